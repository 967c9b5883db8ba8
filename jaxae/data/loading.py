"""One function for every source of data."""

import glob
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from jaxae.data.checks import check_data
from jaxae.data.datasets import load_dataset, load_digits
from jaxae.data.files import SHARD_SUFFIXES, SUFFIXES, load_file, select
from jaxae.data.images import is_image_folder, load_images
from jaxae.data.preparing import is_dataset_name
from jaxae.data.tables import from_table

if TYPE_CHECKING:
    import pandas as pd

    Source: TypeAlias = str | os.PathLike[str] | np.ndarray | Mapping[str, Any] | pd.DataFrame


def load(
    source: "Source",
    split: str = "train",
    data_dir: str | os.PathLike[str] | None = None,
    *,
    label: str | None = None,
    download: bool = False,
) -> dict[str, np.ndarray]:
    """Returns data as a batch of all its rows, checked.

    "x" holds one example per row. It is float32 but where the source holds booleans,
    narrower floats or uint8, which stay. Mind that models take uint8 for pixel
    intensities and divide it by 255: convert counts to float32. Files ending in .npy
    are memory-mapped, checked block by block and keep their type; `batches` and `split`
    convert the rows that they read.

    Args:
        source: "digits" (scikit-learn's, the one that needs no file); a name of
            tensorflow-datasets, such as "mnist" or "mnist:3.0.1"; a path to an .npy,
            .npz or .safetensors ("x", and optionally "y", "mask", "context"; or one
            array), .csv or .parquet file; a folder of PNG or JPEG files, or with a
            subfolder of them for each class (see `load_images`); a NumPy array; a mapping
            with "x" and optionally "y", "mask" and "context"; or a pandas DataFrame. Every
            numeric or boolean column of a table is a float32 column of "x", in order. Many
            files of rows are opened by `open_shards` instead.
        split: "train", "test" or what splits the source has, or a slice of one:
            "train[:10%]", "train[1000:2000]", "train[-10%:]". Files, arrays and tables
            are not split: "train" and "all" both mean all rows.
        data_dir: where tensorflow-datasets keeps its sets; else `TFDS_DATA_DIR`, else
            ~/tensorflow_datasets.
        label: the column or feature that becomes "y". Text labels become codes in
            sorted order, over all rows.
        download: whether an absent set of tensorflow-datasets may be prepared now.

    Returns:
        "x" and, where there are labels, "y" (int32, or float32 if real); "mask" and
        "context" where they were given. Arrays that need no conversion are not copied.

    Raises:
        DataNotFoundError: the set is known but not on this machine.
        ValueError: everything else that makes a source unusable, and what to do.

    >>> data = load("digits", "train[:10%]")
    >>> data["x"].shape, data["x"].dtype, data["y"].dtype
    ((144, 8, 8, 1), dtype('float32'), dtype('int32'))
    """
    if isinstance(source, Mapping):
        _refuse_label(label, '{"x": x, "y": y}')
        return select(check_data(source), split)
    if isinstance(source, str | os.PathLike):
        return _load_path(source, split, data_dir, label, download)
    if hasattr(source, "columns") and hasattr(source, "to_numpy"):
        return select(from_table(source, label), split)
    if not hasattr(source, "__array__"):
        raise ValueError(
            f"A source is a name, a path, an array, a mapping or a DataFrame; got "
            f"{type(source).__name__}."
        )
    _refuse_label(label, '{"x": x, "y": y}')
    return select(check_data({"x": source}), split)


def _load_path(
    source: str | os.PathLike[str],
    split: str,
    data_dir: str | os.PathLike[str] | None,
    label: str | None,
    download: bool,
) -> dict[str, np.ndarray]:
    if source == "digits":
        _refuse_label(label, 'load("digits"), which has labels')
        return load_digits(split)
    path = Path(source)
    _refuse_shards(path)
    if is_image_folder(folder := path.expanduser()):
        _refuse_label(label, "a folder with a subfolder for each class")
        return select(check_data(load_images(folder)), split)
    is_file = not isinstance(source, str) or path.suffix.lower() in SUFFIXES or path.is_file()
    if isinstance(source, str) and not is_file and is_dataset_name(source):
        return load_dataset(source, split, data_dir, label, download)
    return load_file(source, split, label)


def _refuse_shards(path: Path) -> None:
    is_folder = path.is_dir()
    files = path.iterdir() if is_folder else ()
    is_pattern = glob.has_magic(str(path)) and not path.is_file()
    if is_pattern or any(file.suffix.lower() in SHARD_SUFFIXES for file in files):
        raise ValueError(
            f"{path} is a {'folder' if is_folder else 'pattern'} of files, and load reads one. Use "
            f'shards = jaxae.data.open_shards({str(path)!r}) and batches({{"x": shards}}, ...), '
            "which streams the rows of all of them."
        )


def _refuse_label(label: str | None, instead: str) -> None:
    if label is not None:
        raise ValueError(f"label={label!r} names a column of a table; here, pass {instead}.")
