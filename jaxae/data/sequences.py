"""Sequences of differing length: padded with a mask, and in batches of similar length."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from jaxae.base import Batch, num_examples
from jaxae.data.checks import check_features


def pad(sequences: Sequence[Any], length: int | None = None) -> dict[str, np.ndarray]:
    """Pads sequences at their ends to one length, with a mask that is 1 where a step is.

    Files of such arrays, "x" and "mask", are what `load` reads; `step_mask` makes a mask of
    lengths.

    Args:
        sequences: arrays `(time, channels)`, or `(time,)`: floats for a single channel, integers
            for tokens.
        length: of all of them, in steps; None for that of the longest.

    Returns:
        "x" `(n, length, channels)` of float32, or `(n, length)` of int32 for tokens, and "mask"
        `(n, length)` of float32.

    >>> data = pad([np.array([3, 1, 2]), np.array([5])])
    >>> data["x"].tolist(), data["mask"].tolist()
    ([[3, 1, 2], [5, 0, 0]], [[1.0, 1.0, 1.0], [1.0, 0.0, 0.0]])

    Raises:
        ValueError: no sequences, one without a step or longer than `length`, or sequences that
            differ in channels or kind, or are not finite numbers.
    """
    arrays = [np.asarray(sequence) for sequence in sequences]
    if not arrays or any(not a.size for a in arrays):
        raise ValueError(f"pad needs sequences of a step at least; got {len(arrays)}, some empty.")
    kinds = {(a.shape[1:], a.dtype.kind in "iu" and a.ndim == 1) for a in arrays}
    if len(kinds) > 1 or arrays[0].ndim not in (1, 2):
        shapes = sorted({f"{a.dtype} (time, {str(a.shape[1:])[1:]}" for a in arrays})
        raise ValueError(
            "All sequences are (time, channels) with the same channels, or (time,) of one kind, "
            f"integers or floats; got {shapes}."
        )
    lengths = np.array([len(a) for a in arrays])
    longest = int(lengths.max()) if length is None else length
    if lengths.max() > longest:
        i = int(lengths.argmax())
        raise ValueError(
            f"length={length} is below the {lengths[i]} steps of sequence {i}; cut it, or raise it."
        )
    (_, is_tokens), mask = kinds.pop(), step_mask(lengths, longest)
    flat = np.concatenate([a if a.ndim == 2 or is_tokens else a[:, None] for a in arrays])
    flat = flat.astype(np.int32) if is_tokens else check_features(flat, "sequences")
    x = np.zeros((*mask.shape, *flat.shape[1:]), flat.dtype)
    x[mask != 0] = flat
    return {"x": x, "mask": mask}


def step_mask(lengths: Any, time: int) -> np.ndarray:
    """The mask `(n, time)` of sequences that are padded at their ends.

    >>> step_mask([2, 3], 3).tolist()
    [[1.0, 1.0, 0.0], [1.0, 1.0, 1.0]]

    Raises:
        ValueError: lengths that are no integers from 1 to time.
    """
    given = np.asarray(lengths)
    if given.ndim != 1 or given.dtype.kind not in "iu" or not given.size:
        raise ValueError(f"lengths are integers, one a sequence; got {given.dtype} {given.shape}.")
    if given.min() < 1 or given.max() > time:
        raise ValueError(
            f"lengths lie in [1, {time}], the steps there are; got {given.min()} to {given.max()}."
        )
    return (np.arange(time) < given[:, None]).astype(np.float32)


def bucketed(
    data: Batch, batch_size: int, seed: int = 0, *, epoch: int = 0, num_buckets: int = 4
) -> Iterator[dict[str, np.ndarray]]:
    """Yields one epoch of shuffled batches of similar length, cut to what their bucket needs.

    Rows are sorted into buckets by their last observed step, in equal shares where lengths
    differ; x and mask lose the steps that no row of the bucket has. So there are at most
    `num_buckets` shapes, and as many compilations. Rows that do not fill a bucket's last batch
    join the next longer bucket; only those left over at the longest, fewer than `batch_size` and
    others in each epoch, are left out.

    Args:
        data: "x" `(n, time, ...)`, "mask" `(n, time, ...)`, and what else belongs to the rows.
        batch_size: rows per batch, at most the number of rows.
        seed: with `epoch`, decides the order.
        epoch: give each epoch its own number, else their batches are the same.
        num_buckets: the most shapes of a batch.

    Raises:
        ValueError: at once, for sizes or seeds out of range, or data without a mask of steps.

    >>> data = pad([np.ones((n, 2)) for n in (3, 9, 4, 8)])
    >>> batches = bucketed(data, batch_size=2, num_buckets=2)
    >>> sorted(batch["x"].shape for batch in batches)
    [(2, 4, 2), (2, 9, 2)]
    """
    count = num_examples(data)
    if not 1 <= batch_size <= count:
        raise ValueError(f"batch_size={batch_size} must lie in [1, {count}], the number of rows.")
    if num_buckets < 1 or seed < 0 or epoch < 0:
        raise ValueError(
            f"num_buckets={num_buckets} must be at least 1, seed={seed} and epoch={epoch} not "
            "negative."
        )
    shapes = np.shape(data["x"]), np.shape(data["mask"]) if "mask" in data else ()
    if len(shapes[1]) < 2 or shapes[1] != shapes[0][: len(shapes[1])]:
        raise ValueError(
            f"bucketed needs a mask of the steps, {shapes[0][:2]}, or of all entries of x, "
            f"{shapes[0]}; got {shapes[1]}. pad and step_mask make one."
        )
    arrays = {name: np.asarray(array) for name, array in data.items()}
    return _epoch(arrays, batch_size, np.random.default_rng([seed, epoch]), num_buckets)


def _epoch(
    data: dict[str, np.ndarray], batch_size: int, rng: np.random.Generator, num_buckets: int
) -> Iterator[dict[str, np.ndarray]]:
    mask = data["mask"]
    seen = (mask != 0).any(axis=tuple(range(2, mask.ndim)))
    lengths = np.where(seen, np.arange(1, seen.shape[1] + 1), 1).max(axis=1)
    shares = np.linspace(0, 1, num_buckets + 1)[1:]
    tops = np.unique(np.quantile(lengths, shares, method="inverted_cdf"))
    bucket, rest = np.searchsorted(tops, lengths), np.empty(0, int)
    found: list[tuple[int, np.ndarray]] = []
    for i, top in enumerate(tops.tolist()):
        rows = rng.permutation(np.concatenate([rest, np.flatnonzero(bucket == i)]))
        used = len(rows) - len(rows) % batch_size
        found += [(top, rows[j : j + batch_size]) for j in range(0, used, batch_size)]
        rest = rows[used:]
    for i in rng.permutation(len(found)):
        top, rows = found[i]
        batch = {name: array[rows] for name, array in data.items()}
        yield {**batch, "x": batch["x"][:, :top], "mask": batch["mask"][:, :top]}
