"""Shuffled batches in bounded memory."""

from collections.abc import Iterator, Mapping

import numpy as np

from jaxae.base import Batch, num_examples
from jaxae.data.arrays import feature_dtype, rows
from jaxae.data.shards import Shards

_BLOCKS_PER_BUFFER = 16


def batches(
    data: Batch, batch_size: int, seed: int = 0, *, epoch: int = 0, buffer_size: int = 65536
) -> Iterator[dict[str, np.ndarray]]:
    """Yields one epoch of shuffled batches, from arrays, memory-mapped files or `Shards`.

    Contiguous blocks of rows are read in random order into a buffer of about
    `buffer_size` rows, from which batches are drawn at random. So memory stays bounded
    whatever the size of the file, and a shuffle is complete where all rows fit into
    the buffer. Rows of the last, incomplete batch are left out; no row comes twice.

    Args:
        data: arrays, or `Shards`, by name with equally many rows.
        batch_size: rows per batch, at most the number of rows.
        seed: with `epoch`, decides the order.
        epoch: give each epoch its own number, else their batches are the same.
        buffer_size: rows in memory at once, at least `batch_size`.

    Raises:
        ValueError: at once, for sizes or seeds out of range.

    >>> data = {"x": np.arange(10.0, dtype=np.float32).reshape(10, 1)}
    >>> [batch["x"].shape for batch in batches(data, batch_size=4)]
    [(4, 1), (4, 1)]
    """
    count = num_examples(data)
    if not 1 <= batch_size <= count:
        raise ValueError(f"batch_size={batch_size} must lie in [1, {count}], the number of rows.")
    if buffer_size < batch_size:
        raise ValueError(f"buffer_size={buffer_size} must be at least batch_size={batch_size}.")
    if seed < 0 or epoch < 0:
        raise ValueError(f"seed={seed} and epoch={epoch} must not be negative.")
    arrays = {
        name: array if isinstance(array, Shards) else np.asanyarray(array)
        for name, array in data.items()
    }
    return _epoch(arrays, count, batch_size, np.random.default_rng([seed, epoch]), buffer_size)


def _epoch(
    arrays: Mapping[str, np.ndarray | Shards],
    count: int,
    batch_size: int,
    rng: np.random.Generator,
    buffer_size: int,
) -> Iterator[dict[str, np.ndarray]]:
    block = max(1, buffer_size // _BLOCKS_PER_BUFFER)
    starts = rng.permutation(np.arange(0, count, block))
    rest = {name: array[:0].astype(feature_dtype(array.dtype)) for name, array in arrays.items()}
    for i in range(0, len(starts), _BLOCKS_PER_BUFFER):
        ranges = [(s, min(s + block, count)) for s in starts[i : i + _BLOCKS_PER_BUFFER].tolist()]
        buffer = {name: _fill(array, rest[name], ranges) for name, array in arrays.items()}
        size = len(buffer["x"])
        order = rng.permutation(size)
        used = size - size % batch_size
        for j in range(0, used, batch_size):
            chosen = order[j : j + batch_size]
            yield {name: array[chosen] for name, array in buffer.items()}
        rest = {name: array[order[used:]] for name, array in buffer.items()}
        del buffer  # before the next one is filled


def _fill(
    array: np.ndarray | Shards, rest: np.ndarray, ranges: list[tuple[int, int]]
) -> np.ndarray:
    """A buffer of the rows left over and the blocks `ranges`, in the type that models take."""
    size = len(rest) + sum(stop - start for start, stop in ranges)
    out = np.empty((size, *array.shape[1:]), rest.dtype)
    out[: len(rest)] = rest
    row = len(rest)
    for start, stop in ranges:
        out[row : row + stop - start] = (
            array[start:stop] if isinstance(array, Shards) else rows(array, start, stop)
        )
        row += stop - start
    return out
