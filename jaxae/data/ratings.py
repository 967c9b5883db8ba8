"""Ratings: sparse matrices of users by items, of which what is not stored is not observed."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from jaxae.base import check_range

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix


class Ratings(NamedTuple):
    """What rows (users) think of columns (items); a stored 0 is a rating of 0.

    Attributes:
        matrix: `(users, items)`, float32, SciPy's compressed rows; what is not stored is
            not observed.
        users: the users' own ids, `(users,)`.
        items: the items' own ids, `(items,)`.
    """

    matrix: "csr_matrix"
    users: np.ndarray
    items: np.ndarray

    @property
    def size(self) -> int:
        """The number of ratings."""
        return int(self.matrix.nnz)

    @property
    def transposed(self) -> "Ratings":
        """The ratings with items as rows and users as columns, for item-based models.

        In it `users` are the items' ids and `items` the users'.
        """
        return Ratings(self.matrix.T.tocsr(), self.items, self.users)

    @property
    def entries(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Row numbers, column numbers and values, row by row."""
        rows = np.repeat(np.arange(self.matrix.shape[0]), np.diff(self.matrix.indptr))
        return rows, self.matrix.indices, self.matrix.data

    def with_values(self, values: np.ndarray) -> "Ratings":
        """Other values in the place of these, in the order of `entries`."""
        from scipy.sparse import csr_matrix

        data = np.asarray(values, np.float32)
        if data.shape != self.matrix.data.shape:
            raise ValueError(f"{self.size} ratings need as many values; got {data.shape}.")
        triple = (data, self.matrix.indices, self.matrix.indptr)
        return self._replace(matrix=csr_matrix(triple, shape=self.matrix.shape))


def ratings_from(
    users: npt.ArrayLike,
    items: npt.ArrayLike,
    values: npt.ArrayLike | None = None,
    *,
    keep: Literal["error", "last"] = "error",
) -> Ratings:
    """Ratings of three columns: who, what, and how good.

    Args:
        users: ids, numbers or text, `(n,)`; rows come in their sorted order.
        items: ids, likewise; columns come in their sorted order.
        values: finite numbers, `(n,)`; None is implicit feedback, 1 each.
        keep: what becomes of a user's several ratings of one item: an "error", or the "last".

    >>> ratings = ratings_from(["ann", "bob", "ann"], [10, 10, 20], [5.0, 0.0, 3.0])
    >>> ratings.matrix.toarray().tolist(), ratings.size, ratings.users.tolist()
    ([[5.0, 3.0], [0.0, 0.0]], 3, ['ann', 'bob'])

    Raises:
        ValueError: columns of different lengths, empty ones, values that are no finite
            numbers, missing ids, or a pair that comes twice.
    """
    from scipy.sparse import csr_matrix

    who, what = _ids(users, "users"), _ids(items, "items")
    rating = np.ones(len(who)) if values is None else np.asarray(values)
    if not len(who) == len(what) == len(rating) or rating.ndim != 1 or not len(who):
        raise ValueError(
            "Ratings are columns of one length, with at least one row; got "
            f"{len(who)} users, {len(what)} items and {rating.shape} values."
        )
    if rating.dtype.kind not in "biuf" or not np.isfinite(rating).all():
        raise ValueError(
            f"Ratings are finite numbers; got {rating.dtype} with NaN, infinite or other entries. "
            "Drop those rows: what a user did not rate is simply absent."
        )
    names, rows = np.unique(who, return_inverse=True)
    titles, columns = np.unique(what, return_inverse=True)
    flat = rows.astype(np.int64) * len(titles) + columns
    order = np.argsort(flat, kind="stable")
    last = np.r_[flat[order][1:] != flat[order][:-1], True]
    if keep == "error" and not last.all():
        twice = order[np.argmin(last)]
        raise ValueError(
            f"User {names[rows[twice]]!s} has several ratings of item {titles[columns[twice]]!s} "
            f"({int((~last).sum())} such rows in all). Drop them, or pass keep='last'."
        )
    if keep not in ("error", "last"):
        raise ValueError(f"keep is 'error' or 'last'; got {keep!r}.")
    chosen = order[last]
    starts = np.searchsorted(rows[chosen], np.arange(len(names) + 1))
    triple = (rating[chosen].astype(np.float32), columns[chosen].astype(np.int32), starts)
    return Ratings(csr_matrix(triple, shape=(len(names), len(titles))), names, titles)


def core(ratings: Ratings, k: int) -> Ratings:
    """The k-core: what is left when users and items with fewer than k ratings go, repeatedly.

    >>> ratings = ratings_from([0, 0, 1, 1, 2], [5, 6, 5, 6, 7])
    >>> core(ratings, 2).users.tolist(), core(ratings, 2).items.tolist()
    ([0, 1], [5, 6])

    Raises:
        ValueError: k below 1, or nothing is left.
    """
    check_range("k", k, 1)
    users, items = np.arange(len(ratings.users)), np.arange(len(ratings.items))
    matrix = ratings.matrix
    while True:
        rows = np.diff(matrix.indptr) >= k
        columns = np.bincount(matrix.indices, minlength=matrix.shape[1]) >= k
        if rows.all() and columns.all():
            break
        users, items, matrix = users[rows], items[columns], matrix[rows][:, columns]
    if not matrix.nnz:
        raise ValueError(f"No user and item are left with at least {k} ratings; take a lower k.")
    return Ratings(matrix, ratings.users[users], ratings.items[items])


def split_ratings(
    ratings: Ratings, fractions: Sequence[float] = (0.8, 0.1, 0.1), seed: int = 0
) -> tuple[Ratings, ...]:
    """Random parts of the ratings, with the same users and items in each.

    What a model is given as input is the first part alone, also where it is tested on the
    last: ratings that are to be predicted are never seen.

    Args:
        ratings: to be split.
        fractions: of each part, positive, with the sum 1.
        seed: which ratings.

    >>> ratings = ratings_from(np.repeat(np.arange(10), 10), np.tile(np.arange(10), 10))
    >>> [part.size for part in split_ratings(ratings)]
    [80, 10, 10]

    Raises:
        ValueError: fractions that are not positive, do not add up to 1, or leave a part empty.
    """
    ends = np.round(np.cumsum(fractions) * ratings.size).astype(int)
    sizes = np.diff(ends, prepend=0)
    if not np.isclose(sum(fractions), 1) or min(fractions) <= 0 or not sizes.all():
        raise ValueError(
            f"fractions are positive numbers that add up to 1 and leave no part of the "
            f"{ratings.size} ratings empty; got {tuple(fractions)}."
        )
    order = np.random.default_rng(seed).permutation(ratings.size)
    parts = np.split(order, ends[:-1])
    return tuple(_only(ratings, np.sort(part)) for part in parts)


def _only(ratings: Ratings, chosen: np.ndarray) -> Ratings:
    """Those of the given places in `entries`, of the same users and items."""
    from scipy.sparse import csr_matrix

    matrix = ratings.matrix
    triple = matrix.data[chosen], matrix.indices[chosen], np.searchsorted(chosen, matrix.indptr)
    return ratings._replace(matrix=csr_matrix(triple, shape=matrix.shape))


def _ids(values: npt.ArrayLike, what: str) -> np.ndarray:
    ids = np.asarray(values)
    if ids.dtype.kind == "O":  # pandas' text
        gaps = [i for i, value in enumerate(ids.ravel().tolist()) if _is_missing(value)]
        if gaps:
            raise ValueError(f"{what} lack {len(gaps)} ids, the first in row {gaps[0]}.")
        ids = ids.astype(str)
    if ids.ndim != 1 or (ids.dtype.kind == "f" and not np.isfinite(ids).all()):
        raise ValueError(f"{what} are one id for each rating, none missing; got {ids.shape}.")
    return ids


def _is_missing(value: object) -> bool:
    try:
        return value is None or bool(value != value)
    except TypeError:  # pandas' NA, of which nothing is true
        return True
