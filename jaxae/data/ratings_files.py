"""Ratings from files, tables, arrays and tensorflow-datasets."""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from jaxae.data.preparing import find_builder, is_dataset_name, missing
from jaxae.data.ratings import Ratings, ratings_from
from jaxae.data.records import read_records

if TYPE_CHECKING:
    import pandas as pd

    Source: TypeAlias = str | os.PathLike[str] | Mapping[str, Any] | pd.DataFrame

USERS = ("user", "user_id", "userId")
ITEMS = ("item", "item_id", "itemId", "movie_id", "movieId")
VALUES = ("rating", "user_rating")
SUFFIXES = (".csv", ".parquet", ".npz", ".tsv", ".data", ".dat")
_COLUMNS = ["user", "item", "rating"]


def load_ratings(
    source: "Source",
    *,
    user: str | None = None,
    item: str | None = None,
    rating: str | None = None,
    keep: Literal["error", "last"] = "error",
    data_dir: str | os.PathLike[str] | None = None,
) -> Ratings:
    """Reads ratings, a row each: a user, an item and, unless feedback is implicit, a rating.

    Args:
        source: a path; a pandas DataFrame or a mapping of arrays; or a name of
            tensorflow-datasets such as "movielens/100k-ratings", of which the features
            user_id, movie_id and user_rating of the split "train" are read. Files with names
            of columns: .csv, .tsv (tabs), .parquet and .npz. Without names are MovieLens'
            own: .data (`u.data`: tabs) and .dat (`ratings.dat`: "::"), whose first three
            columns are read.
        user: the column of users; by default user, user_id or userId.
        item: the column of items; by default item, item_id, itemId, movie_id or movieId.
        rating: the column of ratings; by default rating or user_rating, and 1 for each row
            where there is neither.
        keep: of several ratings of one item by one user: an "error", or the "last" row.
        data_dir: where tensorflow-datasets keeps its sets; else `TFDS_DATA_DIR`, else
            ~/tensorflow_datasets.

    >>> table = {"user": ["ann", "bob"], "item": [7, 7], "rating": [4.5, 0.0]}
    >>> load_ratings(table).matrix.toarray().tolist()
    [[4.5], [0.0]]

    Raises:
        DataNotFoundError: a known set of tensorflow-datasets that is not on this machine.
        ValueError: a file that is missing or not readable, columns that are not there, and
            what `ratings_from` refuses.
    """
    table: Any = source
    if isinstance(source, str | os.PathLike):
        path = Path(source).expanduser()
        name = isinstance(source, str) and path.suffix.lower() not in SUFFIXES
        known = name and not path.exists() and is_dataset_name(str(source))
        table = _prepared(str(source), data_dir) if known else _read(path)
    elif not isinstance(source, Mapping) and not hasattr(source, "columns"):
        raise ValueError(
            "Ratings come from a path, a DataFrame, a mapping of arrays or a name of "
            f"tensorflow-datasets; got {type(source).__name__}."
        )
    names = [str(name) for name in (table.columns if hasattr(table, "columns") else table)]
    columns = [_column(names, *asked) for asked in ((user, USERS, "user"), (item, ITEMS, "item"))]
    value = _column(names, rating, VALUES, "rating", required=False)
    users, items = (np.asarray(table[name]) for name in columns)
    return ratings_from(
        users, items, None if value is None else np.asarray(table[value]), keep=keep
    )


def _column(
    names: Sequence[str],
    asked: str | None,
    usual: Sequence[str],
    what: str,
    *,
    required: bool = True,
) -> str | None:
    """The name of a column: the one asked for, or the first usual one that is there."""
    found = [name for name in ([asked] if asked else usual) if name in names]
    if not found and (asked or required):
        raise ValueError(
            f"There is no column {asked or ' or '.join(usual)} of the {what}s; the columns are "
            f"{list(names)}. Choose one with {what}=NAME."
        )
    return found[0] if found else None


def _read(path: Path) -> Any:
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise ValueError(f"{path} ends in {suffix!r}; files of ratings end in {SUFFIXES}.")
    if not path.is_file():
        raise ValueError(f"There is no file {path} (looked in {Path.cwd()}); check the path.")
    if suffix == ".npz":
        try:
            with np.load(path, allow_pickle=False) as archive:
                return {name: archive[name] for name in archive.files}
        except (ValueError, OSError, EOFError) as error:
            raise ValueError(f"{path} is no .npz file of numbers and text: {error}") from error
    try:
        import pandas as pd
    except ImportError as error:
        raise ValueError(f"Reading {path} needs pandas: pip install 'jaxae[tables]'.") from error
    bare: dict[str, Any] = {"header": None, "names": _COLUMNS}
    options: dict[str, dict[str, Any]] = {
        ".csv": {},
        ".tsv": {"sep": "\t"},
        ".data": {"sep": "\t", "usecols": [0, 1, 2], **bare},
        ".dat": {"sep": ":", "usecols": [0, 2, 4], **bare},  # "::" are two with nothing between
    }
    try:
        if suffix == ".parquet":
            return pd.read_parquet(path)
        return pd.read_csv(path, **options[suffix])
    except (ValueError, OSError) as error:  # pandas' and Arrow's own errors are among these
        raise ValueError(f"{path} is no readable table of ratings: {error}") from error


def _prepared(name: str, data_dir: str | os.PathLike[str] | None) -> dict[str, np.ndarray]:
    """The columns of a set of tensorflow-datasets like movielens."""
    builder = find_builder(name, data_dir)
    if builder is None:
        raise missing(name, data_dir)
    wanted = ("user_id", "movie_id", "user_rating")
    absent = [feature for feature in wanted if feature not in builder.info.features]
    if absent or "train" not in builder.info.splits:
        raise ValueError(
            f"{name} has no features {absent} in a split train; of tensorflow-datasets the "
            "ratings of movielens are read, such as movielens/100k-ratings."
        )
    split = builder.info.splits["train"]
    records = read_records(split.file_instructions, builder.info.file_format.value)
    return {
        name: np.asarray(column)
        for name, column in zip(wanted, _fields(records, wanted), strict=True)
    }


def _fields(records: Iterable[bytes], wanted: Sequence[str]) -> list[list[Any]]:
    """The values of features of one number or text each, in columns; nothing else is parsed."""
    from tensorflow_datasets.proto import tf_example_pb2

    columns: list[list[Any]] = [[] for _ in wanted]
    for record in records:
        fields = tf_example_pb2.Example.FromString(record).features.feature
        for name, column in zip(wanted, columns, strict=True):
            field = fields[name]
            text = [value.decode() for value in field.bytes_list.value]
            column.append((text or field.float_list.value or field.int64_list.value)[0])
    return columns
