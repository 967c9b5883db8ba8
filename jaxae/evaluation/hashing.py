"""Semantic hashing: codes as bits, search by Hamming distance, baselines; mostly NumPy."""

from collections.abc import Iterator

import jax
import numpy as np
import numpy.typing as npt

from jaxae.base import Key, check_range
from jaxae.evaluation.arrays import features, labels
from jaxae.evaluation.frechet import pca_features, rows

PAIRS_AT_ONCE = 2**22


def to_bits(z: npt.ArrayLike, threshold: npt.ArrayLike = 0.5) -> np.ndarray:
    """Packs which codes exceed a threshold, eight bits a byte (Salakhutdinov & Hinton, 2009).

    `z` is `(n, bits)`, the hashes `(n, ceil(bits / 8))`, uint8, of each byte the highest bit
    first, zeros at the end. A threshold, a number or `(bits,)`, of 0.5 suits sigmoid units,
    0 or the medians of the training codes others.

    Raises:
        ValueError: `z` is not finite or has no rows, or `threshold` does not fit it.

    >>> to_bits([[0.9, 0.2, 0.7], [0.1, 0.5, 0.6]]).tolist()
    [[160], [32]]
    """
    codes = features("z", z)
    limit = np.asarray(threshold, codes.dtype)
    if limit.shape not in ((), codes.shape[1:]) or not np.isfinite(limit).all():
        wanted = f"a finite number or {codes.shape[1]} of them"
        raise ValueError(f"threshold must be {wanted}; got {threshold!r}.")
    return np.packbits(codes > limit, axis=1)


def hamming_distances(a: npt.ArrayLike, b: npt.ArrayLike) -> np.ndarray:
    """In how many bits packed `a`, `(n, bytes)`, and `b`, `(m, bytes)`, differ: int32 `(n, m)`.

    Only this result grows with n · m; `hamming_search` does without it.

    Raises:
        ValueError: Either is not packed bits, or they differ in bytes.

    >>> hamming_distances(to_bits([[0, 1, 1]]), to_bits([[0, 1, 0], [1, 0, 0]])).tolist()
    [[1, 3]]
    """
    left, right = _words("a", a, "b", b)
    return np.concatenate([_distances(left[p], right) for p in _chunks(len(left), len(right))])


def hamming_search(
    queries: npt.ArrayLike, database: npt.ArrayLike, n: int, *, exclude_self: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """The `n` rows of a database whose hashes differ least from each query's.

    Of equal distances the earlier row of the database comes first, which also settles who
    is among the n: shuffle a database that is sorted by label. In memory are some 4 million
    distances at a time, or those of one query.

    Args:
        queries: Packed bits, `(q, bytes)`.
        database: Packed bits, `(m, bytes)`.
        n: From 1 to m, or to m - 1 with `exclude_self`.
        exclude_self: Row i of the database is query i, and is not found by it.

    Returns:
        Indices of the rows, `(q, n)`, the nearest first, and distances in bits, `(q, n)`.

    Raises:
        ValueError: Either is not packed bits, they differ in bytes, `n` is out of range,
            or `exclude_self` where the sets differ in rows.

    >>> database = to_bits([[0, 0, 1], [1, 1, 1], [0, 0, 0]])
    >>> indices, distances = hamming_search(to_bits([[0, 0, 1]]), database, n=2)
    >>> indices.tolist(), distances.tolist()
    ([[0, 2]], [[0, 1]])
    """
    left, right = _words("queries", queries, "database", database)
    q, m = _check_search(n, left, right, exclude_self)
    keys = np.empty((q, n), np.int64)
    for part in _chunks(q, m):
        ranks = _distances(left[part], right) * np.int64(m) + np.arange(m)  # all differ
        if exclude_self:
            ranks[np.arange(len(ranks)), np.arange(q)[part]] = np.iinfo(np.int64).max
        ranks.partition(n - 1, axis=1)
        keys[part] = np.sort(ranks[:, :n], axis=1)
    return keys % m, keys // m


def euclidean_search(
    queries: npt.ArrayLike, database: npt.ArrayLike, n: int, *, exclude_self: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """The `n` rows of a database nearest to each query: the search that hashes stand in for.

    As `hamming_search`, of real codes or inputs, `(q, ...)` and `(m, ...)`, bytes being pixels
    in [0, 1]; exact, by scikit-learn, in bounded memory. Equal distances have no sure order.

    Raises:
        ValueError: As of `hamming_search`, or values are not finite.

    >>> indices, distances = euclidean_search([[0.0]], [[6.0], [1.0], [2.0]], n=2)
    >>> indices.tolist(), distances.tolist()
    ([[1, 2]], [[1.0, 2.0]])
    """
    left, right = rows("queries", queries), rows("database", database)
    _check_sizes("queries", left, "database", right)
    q, _ = _check_search(n, left, right, exclude_self)
    from sklearn.neighbors import NearestNeighbors

    mean = right.mean(0)  # squares of values far from 0 would swallow small distances
    search = NearestNeighbors(n_neighbors=n + exclude_self, algorithm="brute").fit(right - mean)
    distances, indices = search.kneighbors(left - mean)
    if not exclude_self:
        return indices, distances
    order = np.argsort(indices == np.arange(q)[:, None], axis=1, kind="stable")[:, :n]
    return np.take_along_axis(indices, order, 1), np.take_along_axis(distances, order, 1)


def precision_at_k(
    query_labels: npt.ArrayLike, database_labels: npt.ArrayLike, indices: npt.ArrayLike
) -> float:
    """The share of k rows found that have the label of their query, averaged over queries.

    `indices`, `(q, k)`, are of rows of the database, as a search finds them: cut them with
    `indices[:, :k]` for a smaller k. Labels are `(q,)` and `(m,)`.

    Raises:
        ValueError: Shapes do not agree, or an index is no row of the database.

    >>> precision_at_k([0, 1], [0, 0, 1], [[0, 2], [2, 1]])
    0.5
    """
    found, m = np.asarray(indices), np.size(database_labels)
    if found.ndim != 2 or not found.size or found.dtype.kind not in "iu":
        raise ValueError(f"indices must be integers (q, k); got {found.dtype} {found.shape}.")
    check_range("indices, rows of the database,", found, 0, m - 1)
    wanted = labels("query_labels", query_labels, len(found))[:, None]
    return float((labels("database_labels", database_labels, m)[found] == wanted).mean())


def gini_purity(packed: npt.ArrayLike, y: npt.ArrayLike) -> dict[str, float]:
    """How pure in labels `y`, `(n,)`, the sets of rows are that have the same hash.

        purity of a set = 1 - sum_c p_c (1 - p_c) = sum_c p_c^2

    where p_c is the share of class c in the set. A set of one has purity 1 whatever the
    code: read the means beside the number of singletons, or those over shared hashes.

    Returns:
        `purity`, the mean over sets, and `example_purity`, over examples of the purity of
        their set; `shared_purity` and `shared_example_purity`, likewise of the sets of at
        least two, NaN without any; `sets` and `singletons`, how many there are.

    Raises:
        ValueError: `packed` is not packed bits, `(n, bytes)`, or `y` not a label a row.

    >>> result = gini_purity(to_bits([[0], [0], [0], [0], [1]]), [0, 0, 0, 1, 1])
    >>> result["purity"], result["example_purity"], result["shared_purity"]
    (0.8125, 0.7, 0.625)
    """
    bits = _packed("packed", packed)
    classes, y = np.unique(labels("y", y, len(bits)), return_inverse=True)
    hashes = np.unique(bits, axis=0, return_inverse=True)[1].reshape(-1)
    cells, counts = np.unique(hashes * len(classes) + y, return_counts=True)
    sizes = np.bincount(hashes)
    purity = np.bincount(cells // len(classes), weights=counts.astype(float) ** 2) / sizes**2.0
    result: dict[str, float] = {}
    for name, few in (("", 1), ("shared_", 2)):
        p, size = purity[sizes >= few], sizes[sizes >= few]
        result[f"{name}purity"] = float(p.mean()) if len(p) else np.nan
        result[f"{name}example_purity"] = float(p @ size / size.sum()) if len(p) else np.nan
    return result | {"sets": len(sizes), "singletons": int((sizes == 1).sum())}


def pca_sign_hash(train: npt.ArrayLike, x: npt.ArrayLike, bits: int) -> np.ndarray:
    """Packed signs of the first principal components of `x` (Gong & Lazebnik, 2011).

    Fitted to `train`, `(n, ...)`, and centred by its mean; `bits` from 1 to min(n, d).
    Raises `ValueError` as `pca_features` does.

    >>> pca_sign_hash(np.eye(4), np.eye(4), bits=3).shape
    (4, 1)
    """
    return to_bits(pca_features(train, bits)(x), 0.0)


def random_hyperplane_hash(
    key: Key, train: npt.ArrayLike, x: npt.ArrayLike, bits: int
) -> np.ndarray:
    """Packed sides of random hyperplanes on which rows of `x` lie (Charikar, 2002).

    They pass through the mean of `train`, `(n, ...)`: rows seen from there at an angle
    differ in a share angle / π of the `bits` in expectation.

    Raises:
        ValueError: Values are not finite, rows differ in size, or `bits` is less than 1.

    >>> random_hyperplane_hash(jax.random.key(0), np.eye(4), np.eye(4), bits=12).shape
    (4, 2)
    """
    given, known = rows("x", x), rows("train", train)
    _check_sizes("x", given, "train", known)
    check_range("bits", bits, 1)
    normals = np.asarray(jax.random.normal(key, (known.shape[1], bits)), np.float64)
    return to_bits((given - known.mean(0, dtype=np.float64)) @ normals, 0.0)


def _packed(name: str, a: npt.ArrayLike) -> np.ndarray:
    array = np.asarray(a)
    if array.dtype != np.uint8 or array.ndim != 2 or not array.size:
        given = f"{array.dtype} {array.shape}"
        raise ValueError(f"{name} must be uint8 (n, bytes), as of to_bits; got {given}.")
    return array


def _words(name: str, a: npt.ArrayLike, other: str, b: npt.ArrayLike) -> list[np.ndarray]:
    """Both hashes as 64-bit words, filled up with zeros."""
    left, right = _packed(name, a), _packed(other, b)
    _check_sizes(name, left, other, right)
    width = ((0, 0), (0, -left.shape[1] % 8))
    padded = [np.ascontiguousarray(np.pad(array, width)) for array in (left, right)]
    return [array.view(np.uint64) for array in padded]


def _distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    out = np.zeros((len(a), len(b)), np.int32)
    for left, right in zip(a.T, b.T, strict=True):
        out += np.bitwise_count(left[:, None] ^ right)
    return out


def _chunks(n: int, m: int) -> Iterator[slice]:
    step = max(1, PAIRS_AT_ONCE // m)
    return (slice(i, i + step) for i in range(0, n, step))


def _check_sizes(name: str, a: np.ndarray, other: str, b: np.ndarray) -> None:
    if a.shape[1] != b.shape[1]:
        sizes = f"{a.shape[1]} and {b.shape[1]}"
        raise ValueError(f"Rows of {name} and {other} must have the same size; got {sizes}.")


def _check_search(n: int, a: np.ndarray, b: np.ndarray, exclude_self: bool) -> tuple[int, int]:
    if exclude_self and len(a) != len(b):
        sizes = f"{len(a)} queries and {len(b)} rows"
        raise ValueError(f"exclude_self searches a set in itself; got {sizes}.")
    check_range("n, how many rows of the database to find,", n, 1, len(b) - exclude_self)
    return len(a), len(b)
