"""Dense batches of sparse ratings."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from jaxae.data.arrays import aligned_empty
from jaxae.data.ratings import Ratings


def dense(
    ratings: Ratings, rows: npt.ArrayLike | slice = slice(None), *, mask: bool = True
) -> dict[str, np.ndarray]:
    """Rows as a batch: "x", `(rows, columns)`, and "mask" of the same shape, 1 = observed.

    Args:
        ratings: of which `transposed` gives items as rows.
        rows: numbers of rows, or a slice.
        mask: whether to give one. Of implicit feedback, of which the absence counts, too,
            there is none: leave it out for `likelihoods.multinomial`.

    >>> from jaxae.data.ratings import ratings_from
    >>> batch = dense(ratings_from([0, 1], [7, 8], [0.0, 4.0]))
    >>> batch["x"].tolist(), batch["mask"].tolist()
    ([[0.0, 0.0], [0.0, 4.0]], [[1.0, 0.0], [0.0, 1.0]])
    """
    part = ratings.matrix[rows]
    where = np.repeat(np.arange(part.shape[0]), np.diff(part.indptr)), part.indices
    batch = {"x": _zeros(part.shape)}
    batch["x"][where] = part.data
    if mask:
        batch["mask"] = _zeros(part.shape)
        batch["mask"][where] = 1
    return batch


def rating_batches(
    ratings: Ratings, batch_size: int, seed: int = 0, *, epoch: int = 0, mask: bool = True
) -> Iterator[dict[str, np.ndarray]]:
    """Yields one epoch of shuffled batches, of which one at a time is dense.

    For `jaxae.stream` and, as `lambda epoch: rating_batches(ratings, 256, epoch=epoch)`, for
    `jaxae.over_batches`. Rows without a rating, which teach nothing, are left out, as are those
    of the last, incomplete batch.

    Args:
        ratings: to train on.
        batch_size: rows per batch, at most the number of rows with ratings.
        seed: with `epoch`, decides the order.
        epoch: give each epoch its own number, else their batches are the same.
        mask: of `dense`.

    >>> from jaxae.data.ratings import ratings_from
    >>> ratings = ratings_from([0, 1, 2], [7, 8, 9], [1.0, 2.0, 3.0])
    >>> [batch["x"].shape for batch in rating_batches(ratings, 2)]
    [(2, 3)]

    Raises:
        ValueError: at once, for sizes or seeds out of range.
    """
    rows = np.flatnonzero(np.diff(ratings.matrix.indptr))
    if not 1 <= batch_size <= len(rows):
        raise ValueError(
            f"batch_size={batch_size} must lie in [1, {len(rows)}], the number of rows with "
            "ratings."
        )
    if seed < 0 or epoch < 0:
        raise ValueError(f"seed={seed} and epoch={epoch} must not be negative.")
    order = np.random.default_rng([seed, epoch]).permutation(rows)
    parts = np.split(order[: len(order) - len(order) % batch_size], len(order) // batch_size)
    return (dense(ratings, part, mask=mask) for part in parts)


def _zeros(shape: tuple[int, ...]) -> np.ndarray:
    out = aligned_empty(shape, np.float32)
    out[...] = 0
    return out
