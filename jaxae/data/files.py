"""Arrays and tables from files: .npy, .npz, .safetensors, .csv and .parquet."""

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxae.data.arrays import rows
from jaxae.data.checks import KEYS, check_data, check_features, check_numeric
from jaxae.data.slicing import resolve
from jaxae.data.tables import from_table

SUFFIXES = (".npy", ".npz", ".safetensors", ".csv", ".parquet")
SHARD_SUFFIXES = (".npy", ".safetensors")


def load_file(path: str | os.PathLike[str], split: str, label: str | None) -> dict[str, np.ndarray]:
    """Reads the rows of one file; see `jaxae.data.load`.

    Raises:
        ValueError: the file is missing, empty, damaged or of an unknown kind, or what
            it holds is refused.
    """
    path = Path(path).expanduser()
    readers: dict[str, Callable[[Path, str, str | None], dict[str, np.ndarray]]] = {
        ".npy": _load_npy,
        ".npz": _load_named,
        ".safetensors": _load_named,
        ".csv": _load_table,
        ".parquet": _load_table,
    }
    suffix = path.suffix.lower()
    if suffix not in readers:
        raise ValueError(f"{path} ends in {suffix!r}; files that are read end in {SUFFIXES}.")
    if not path.is_file():
        raise ValueError(f"There is no file {path} (looked in {Path.cwd()}); check the path.")
    if not path.stat().st_size:
        raise ValueError(f"The file {path} is empty.")
    return readers[suffix](path, split, label)


def select(data: dict[str, np.ndarray], split: str) -> dict[str, np.ndarray]:
    """The rows that `split` means of data that is not split: "train" and "all" are all rows."""
    count = len(data["x"])
    _, chosen = resolve(split, {"train": count, "all": count})
    return {name: array[chosen] for name, array in data.items()}


@contextlib.contextmanager
def open_array(
    path: Path, key: str | None = None
) -> Iterator[tuple[str | None, tuple[int, ...], np.ndarray]]:
    """Yields the name and the shape of an array in a file, and what gives its rows when sliced.

    Args:
        path: ends in .npy or .safetensors; nothing but the slices is read from it.
        key: the name of the tensor in a .safetensors file; by default the only one, or "x".

    Raises:
        ValueError: whatever goes wrong, here or inside the `with` block, with the path.
    """
    try:
        if path.suffix.lower() == ".npy":
            x = _map_npy(path)
            yield None, x.shape, x
        else:
            with safe_open(path) as file:
                names = sorted(file.keys())
                name = key or (names[0] if len(names) == 1 else "x")
                if name not in names:
                    raise ValueError(f"it has no tensor {name!r}; it has {names}, choose with key=")
                stored = file.get_slice(name)
                yield name, tuple(stored.get_shape()), stored
    except (ValueError, OSError, EOFError) as error:
        raise ValueError(f"{path} can not be read: {str(error).rstrip('.')}.") from error


@contextlib.contextmanager
def safe_open(path: Path) -> Iterator[Any]:
    """Opens a .safetensors file, of which only what is asked for is read.

    Raises:
        ValueError: it is damaged, has a type that NumPy has not, or safetensors is missing.
    """
    try:
        import safetensors
    except ImportError as error:
        raise ValueError("this needs safetensors: pip install 'jaxae[activations]'") from error
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            yield file
    except (safetensors.SafetensorError, AttributeError) as error:
        raise ValueError(str(error)) from error


def _map_npy(path: Path) -> np.ndarray:
    """The memory-mapped array of a file; NumPy saves bfloat16 as two bytes of unknown type."""
    x = np.load(path, mmap_mode="r", allow_pickle=False)
    return x.view(jnp.bfloat16) if x.dtype == "V2" else x


def _no_label(path: Path, label: str | None) -> None:
    if label is not None:
        raise ValueError(
            f"label={label!r} names a column, and {path} has none. Put labels into an .npz file as "
            '"y", or pass {"x": x, "y": y}.'
        )


def _load_npy(path: Path, split: str, label: str | None) -> dict[str, np.ndarray]:
    _no_label(path, label)
    try:
        x = _map_npy(path)
    except (ValueError, OSError, EOFError) as error:
        raise ValueError(f"{path} is no .npy file of numbers: {error}") from error
    if not x.ndim or not x.size:
        raise ValueError(f"{path} is empty: the shape of its array is {x.shape}.")
    check_numeric(x.dtype, str(path))
    _, chosen = resolve(split, {"train": len(x), "all": len(x)})
    return {"x": check_features(rows(x, chosen.start, chosen.stop), str(path))}


def _load_named(path: Path, split: str, label: str | None) -> dict[str, np.ndarray]:
    """Arrays by name, from an .npz or a .safetensors file."""
    _no_label(path, label)
    is_npz = path.suffix.lower() == ".npz"
    try:
        with np.load(path, allow_pickle=False) if is_npz else safe_open(path) as archive:
            read = archive.__getitem__ if is_npz else archive.get_tensor
            keys = list(archive.keys())
            single = len(keys) == 1
            if not single and ("x" not in keys or not set(keys) <= set(KEYS)):
                raise ValueError(
                    f'it holds {keys}; allowed are "x" and, optionally, "y", "mask" and "context", '
                    "or one single array"
                )
            arrays = {"x" if single else key: read(key) for key in keys}
    except (ValueError, OSError, EOFError) as error:
        raise ValueError(f"{path} is not usable: {error}.") from error
    return select(check_data(arrays), split)


def _load_table(path: Path, split: str, label: str | None) -> dict[str, np.ndarray]:
    try:
        import pandas as pd
    except ImportError as error:
        raise ValueError(f"Reading {path} needs pandas: pip install 'jaxae[tables]'.") from error
    try:
        table = pd.read_csv(path) if path.suffix.lower() == ".csv" else pd.read_parquet(path)
    except (ValueError, OSError) as error:  # pandas' and Arrow's own errors are among these
        raise ValueError(f"{path} is no readable table: {error}") from error
    return select(from_table(table, label), split)
