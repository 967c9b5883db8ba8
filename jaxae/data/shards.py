"""Rows in many files, such as the activations of a language model, read a slice at a time."""

import bisect
import glob
import math
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import numpy as np

from jaxae.data.arrays import aligned_empty
from jaxae.data.checks import check_numeric, check_values
from jaxae.data.files import SHARD_SUFFIXES, open_array

_PIECE_BYTES = 16 * 2**20


class Shard(NamedTuple):
    """One file: where its rows are, and what they are.

    Attributes:
        path: of the file.
        key: the name of the tensor, where the file names its tensors.
        shape: as stored, `(rows, dim)` or `(sequences, tokens, dim)`.
        dtype: as stored.
    """

    path: Path
    key: str | None
    shape: tuple[int, ...]
    dtype: np.dtype

    @property
    def tokens(self) -> int:
        """Rows per sequence, 1 where there are no sequences."""
        return self.shape[1] if len(self.shape) == 3 else 1

    @property
    def rows(self) -> int:
        """How many there are, tokens of all sequences included."""
        return math.prod(self.shape[:-1])


@dataclass(frozen=True, eq=False, repr=False)
class Shards:
    """The rows of many files, as one array `(rows, dim)` that is read by slices.

    `shards[a:b]` reads these rows, and only them, as a fresh array. Nothing stays open or
    mapped between reads, so that memory is bounded by what the slice holds. It goes
    wherever `batches` takes an array; `shards[:]` is an array of all rows.

    Attributes:
        parts: the files in order.
        ends: after how many rows of all each file ends.
    """

    parts: tuple[Shard, ...]
    ends: tuple[int, ...]

    @property
    def files(self) -> tuple[Path, ...]:
        """The paths, in the order of the rows."""
        return tuple(part.path for part in self.parts)

    @property
    def shape(self) -> tuple[int, int]:
        """`(rows, dim)`, over all files."""
        return self.ends[-1], self.parts[0].shape[-1]

    @property
    def ndim(self) -> int:
        """2, the number of dimensions."""
        return 2

    @property
    def stored_dtype(self) -> np.dtype:
        """The type of the numbers in the files."""
        return self.parts[0].dtype

    @property
    def dtype(self) -> np.dtype:
        """The type of the rows that are read: float32, or as stored if uint8 or boolean."""
        stored = self.stored_dtype
        return stored if stored in (np.uint8, np.bool_) else np.dtype(np.float32)

    @property
    def nbytes(self) -> int:
        """The bytes that all rows take in their files; as float32 they may take more."""
        return self.shape[0] * self.shape[1] * self.stored_dtype.itemsize

    def __len__(self) -> int:
        return self.ends[-1]

    def __repr__(self) -> str:
        return f"Shards({len(self.parts)} files, shape={self.shape}, stored as {self.stored_dtype})"

    def __getitem__(self, rows: slice) -> np.ndarray:
        """Reads a slice of step 1, `(rows, dim)`.

        Raises:
            ValueError: an index that is no such slice, a file that can no longer be read,
                or NaN, infinite or too large numbers in it.
        """
        if not isinstance(rows, slice) or rows.step not in (None, 1):
            raise ValueError(f"Shards are read by slices of step 1, shards[a:b]; got {rows!r}.")
        start, stop, _ = rows.indices(len(self))
        out = aligned_empty((max(0, stop - start), self.shape[1]), self.dtype)
        row = start
        while row < stop:
            i = bisect.bisect_right(self.ends, row)
            part, first = self.parts[i], self.ends[i] - self.parts[i].rows
            for low, high in _pieces(part, row - first, min(stop, self.ends[i]) - first):
                block = _read(part, low, high)
                check_values(block, str(part.path), low)
                out[first + low - start : first + high - start] = block
            row = self.ends[i]
        return out

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NoReturn:
        raise ValueError(
            f"The {len(self)} rows of these shards are not read into memory unasked. Take "
            "shards[:] for all rows, shards[a:b] for some, or stream them through batches."
        )


def open_shards(
    source: str | os.PathLike[str] | Iterable[str | os.PathLike[str]], *, key: str | None = None
) -> Shards:
    """Returns the rows of many .npy or .safetensors files as one array that is read by slices.

    A file holds `(rows, dim)`, or `(sequences, tokens, dim)` that counts as
    sequences * tokens rows. Files may differ in length, not in dim or type. float16 and
    bfloat16 become float32 as they are read, in `batches` too; two-byte numbers of an
    .npy file whose type NumPy does not know are bfloat16, which it saves as such. Only
    headers are read here; the numbers are checked whenever they are read.

    `batches({"x": shards}, batch_size, buffer_size=rows)` needs memory for about
    `rows * dim` float32 numbers and a sixteenth more, whatever the size of the files. To
    hold out rows, open some of the files apart.

    Args:
        source: a folder, whose .npy and .safetensors files are taken sorted by name; a
            pattern such as "acts/layer-3-*.npy" (also sorted); a file; or paths, in
            their order.
        key: the tensor's name in .safetensors files; by default "x", or the only one.

    Raises:
        ValueError: no files, or, named, one that is missing, empty, truncated, of another
            kind, or unlike the first in width or type.

    >>> import tempfile
    >>> from jaxae.data import batches, open_shards
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for i, rows in enumerate((300, 100)):
    ...         np.save(f"{folder}/acts-{i}.npy", np.ones((rows, 8), np.float16))
    ...     shards = open_shards(folder)
    ...     sizes = [b["x"].shape for b in batches({"x": shards}, 128, seed=0, epoch=0)]
    >>> shards, sizes
    (Shards(2 files, shape=(400, 8), stored as float16), [(128, 8), (128, 8), (128, 8)])
    """
    parts = tuple(_inspect(path, key) for path in _paths(source))
    first = parts[0]
    for part in parts:
        if (part.shape[-1], part.dtype) != (first.shape[-1], first.dtype):
            raise ValueError(
                f"{part.path} has rows of {part.shape[-1]} x {part.dtype}, but {first.path} of "
                f"{first.shape[-1]} x {first.dtype}; all files need the same."
            )
    return Shards(parts, tuple(accumulate(part.rows for part in parts)))


def _paths(source: str | os.PathLike[str] | Iterable[str | os.PathLike[str]]) -> list[Path]:
    """The files that `source` means; at least one."""
    if not isinstance(source, str | os.PathLike):
        paths = [Path(path).expanduser() for path in source]
        if not paths:
            raise ValueError("The list of shards is empty; give at least one file.")
        return paths
    path = Path(source).expanduser()
    if path.is_dir():
        paths = sorted(
            p for p in path.iterdir() if p.suffix.lower() in SHARD_SUFFIXES and p.is_file()
        )
        if not paths:
            raise ValueError(f"The folder {path} has no files that end in {SHARD_SUFFIXES}.")
        return paths
    if path.is_file() or not glob.has_magic(str(path)):
        return [path]
    paths = sorted(p for p in map(Path, glob.glob(str(path), recursive=True)) if p.is_file())
    if not paths:
        raise ValueError(f"No file matches {path} (looked in {Path.cwd()}); check the pattern.")
    return paths


def _inspect(path: Path, key: str | None) -> Shard:
    """What the header of a file says, checked."""
    suffix = path.suffix.lower()
    if suffix not in SHARD_SUFFIXES:
        raise ValueError(f"{path} ends in {suffix!r}; shards end in {SHARD_SUFFIXES}.")
    if not path.is_file():
        raise ValueError(f"There is no file {path} (looked in {Path.cwd()}); check the path.")
    if not path.stat().st_size:
        raise ValueError(f"The file {path} is empty.")
    with open_array(path, key) as (name, shape, stored):
        fits = len(shape) in (2, 3) and all(shape)
        dtype = stored[:0].dtype if fits else None
    if dtype is None:
        raise ValueError(
            f"{path} holds an array of shape {shape}; a shard is (rows, dim) or (sequences, "
            "tokens, dim), and not empty."
        )
    check_numeric(dtype, str(path))
    return Shard(path, name, shape, dtype)


def _read(part: Shard, start: int, stop: int) -> np.ndarray:
    """Rows [start, stop) of a file, as stored."""
    tokens = part.tokens
    first, last = start // tokens, (stop - 1) // tokens
    with open_array(part.path, part.key) as (_, shape, stored):
        if shape != part.shape or stored[:0].dtype != part.dtype:
            raise ValueError("it has changed since it was opened")
        if len(shape) == 2:
            return stored[start:stop]
        if first == last:
            return stored[first : first + 1, start - first * tokens : stop - first * tokens][0]
        rows = stored[first : last + 1].reshape(-1, shape[-1])
        return rows[start - first * tokens : stop - first * tokens]


def _pieces(part: Shard, start: int, stop: int) -> Iterator[tuple[int, int]]:
    """Rows [start, stop) of a file in pieces of about 16 MiB, none across long sequences."""
    step = max(1, _PIECE_BYTES // (part.shape[-1] * part.dtype.itemsize))
    low = start
    while low < stop:
        end = (low // part.tokens + 1) * part.tokens if part.tokens > step else stop
        yield low, min(low + step, end, stop)
        low = min(low + step, end, stop)
