"""Arrays in bounded memory: aligned ones, and blocks of rows of memory-mapped ones."""

import mmap
from collections.abc import Iterator

import numpy as np
from numpy.typing import DTypeLike

_ALIGNMENT = 64
_BLOCK_BYTES = 16 * 2**20


def aligned_empty(shape: tuple[int, ...], dtype: DTypeLike) -> np.ndarray:
    """Returns an uninitialised array whose memory starts at a multiple of 64 bytes.

    On a CPU `jax.device_put(x)` uses such an array as it is, without a copy; an array
    that starts elsewhere, as most of NumPy's do, is copied (and `jnp.asarray` always
    copies). So do not change an array after it has been handed to JAX.

    >>> x = aligned_empty((3, 5), np.float32)
    >>> x.shape, x.ctypes.data % 64
    ((3, 5), 0)
    """
    dtype = np.dtype(dtype)
    num_bytes = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    memory = np.empty(num_bytes + _ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % _ALIGNMENT
    return memory[start : start + num_bytes].view(dtype).reshape(shape)


def feature_dtype(dtype: np.dtype) -> np.dtype:
    """The type in which a model is given features that are stored as `dtype`.

    uint8 (pixels), booleans and floats of up to 32 bits stay; all else becomes float32.
    """
    is_wide = dtype.kind in "iu" or (dtype.kind == "f" and dtype.itemsize > 4)
    return np.dtype(np.float32) if is_wide and dtype != np.uint8 else dtype


def mapped_root(x: np.ndarray) -> np.memmap | None:
    """The memory map that `x` is, or is a view of; None where it can not be opened again."""
    root: object = x
    while isinstance(root, np.ndarray):
        if isinstance(root, np.memmap) and isinstance(root.base, mmap.mmap):
            same = root.filename is not None and root.mode != "c"
            return root if same else None
        root = root.base
    return None


def rows(x: np.ndarray, start: int, stop: int) -> np.ndarray:
    """`x[start:stop]`, through a memory map of its own where `x` is memory-mapped.

    The pages that are read through a memory map count as this process's memory for as
    long as the map lives. A map of its own gives them back as soon as the returned array
    is dropped. Maps that are not in row-major order are read through `x` itself.
    """
    root = mapped_root(x)
    if root is None or root.filename is None or not x.flags.c_contiguous:
        return x[start:stop]
    row_bytes = x.nbytes // len(x)
    offset = root.offset + (x.ctypes.data - root.ctypes.data) + start * row_bytes
    shape = (stop - start, *x.shape[1:])
    return np.memmap(root.filename, x.dtype, "r", offset, shape)


def blocks(x: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Yields `(start, x[start:stop])` over all rows, about 16 MiB at a time."""
    step = max(1, _BLOCK_BYTES // max(1, x.nbytes // len(x)))
    for start in range(0, len(x), step):
        yield start, rows(x, start, min(start + step, len(x)))


def take(x: np.ndarray, indices: np.ndarray) -> np.ndarray:
    """`x[indices]` as an aligned array of `feature_dtype`, reading `x` once and in order.

    Args:
        x: `(examples, ...)`, may be memory-mapped.
        indices: `(rows,)` distinct integers in [0, examples), in any order.
    """
    out = aligned_empty((len(indices), *x.shape[1:]), feature_dtype(x.dtype))
    order = np.argsort(indices)
    ascending = indices[order]
    for start, block in blocks(x):
        low, high = np.searchsorted(ascending, [start, start + len(block)])
        out[order[low:high]] = block[ascending[low:high] - start]
    return out
