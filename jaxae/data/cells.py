"""One column of a table: what is known of it, and its cells as entries of x and back."""

from collections.abc import Hashable, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

Kind = Literal["numeric", "binary", "categorical"]
KINDS: tuple[Kind, ...] = ("numeric", "binary", "categorical")
_SHOWN = 5


class Column(NamedTuple):
    """What is known of a column.

    Attributes:
        name: of the column, a string or an integer.
        kind: "numeric", "binary" (two categories, one entry) or "categorical" (one-hot).
        mean: of the observed cells of a numeric column.
        scale: their standard deviation, 1 where it is 0.
        categories: of the others, in order; a binary entry is 1 for the second.
    """

    name: Hashable
    kind: Kind
    mean: float = 0.0
    scale: float = 1.0
    categories: tuple[Any, ...] = ()

    @property
    def width(self) -> int:
        """The number of its entries in x."""
        return len(self.categories) if self.kind == "categorical" else 1


def check_frame(frame: Any) -> None:
    """Raises `ValueError` unless this is a table with rows whose names do not repeat."""
    if not hasattr(frame, "columns") or not hasattr(frame, "isna"):
        raise ValueError(f"A table is a pandas DataFrame; got {type(frame).__name__}.")
    names = list(frame.columns)
    if len(set(names)) != len(names):
        raise ValueError(
            f"Column names repeat: {sorted({str(n) for n in names if names.count(n) > 1})}."
        )
    if not len(frame) or not names:
        raise ValueError(
            f"The table has {len(frame)} rows and {len(names)} columns; it needs both."
        )


def numbers(series: Any) -> np.ndarray:
    """The cells of a numeric column as float64, NaN where they are missing.

    Raises:
        ValueError: a cell is no number, or infinite.
    """
    import pandas as pd

    found = pd.to_numeric(series, errors="coerce").to_numpy(np.float64, na_value=np.nan)
    wrong = ~np.asarray(series.isna()) & ~np.isfinite(found)
    if wrong.any():
        row = int(np.argmax(wrong))
        raise ValueError(
            f"{int(wrong.sum())} cells of the numeric column {series.name!r} are no finite "
            f"numbers, the first, {series.iloc[row]!r}, in row {row}. Mend them, leave them "
            'empty, or tell kinds={name: "categorical"}.'
        )
    return found


def to_entries(series: Any, column: Column, unknown: str) -> tuple[np.ndarray, np.ndarray]:
    """Which cells are observed, `(rows,)`, and the entries of those, `(observed, width)`.

    Raises:
        ValueError: cells that `numbers` refuses, numbers too large for float32, and unknown
            categories, unless `unknown` is "missing".
    """
    if column.kind == "numeric":
        with np.errstate(over="ignore"):
            found = ((numbers(series) - column.mean) / column.scale).astype(np.float32)
        if np.isinf(found).any():
            raise ValueError(f"The column {column.name!r} has cells too large for float32.")
        seen = np.isfinite(found)
        return seen, found[seen, None]
    code = {category: i for i, category in enumerate(column.categories)}
    missing = np.asarray(series.isna())
    cells = [c if isinstance(c, Hashable) else repr(c) for c in series]
    at = np.array([-1 if gap else code.get(c, -2) for c, gap in zip(cells, missing, strict=True)])
    if unknown == "error" and (at == -2).any():
        strange = list(dict.fromkeys(c for c, i in zip(cells, at, strict=True) if i == -2))
        raise ValueError(
            f"The column {column.name!r} has unknown categories, {_listed(strange)}; known are "
            f'{_listed(column.categories)}. Mend them, or take unknown="missing".'
        )
    seen, at = at >= 0, at[at >= 0]
    return seen, at[:, None] if column.kind == "binary" else np.eye(column.width)[at]


def from_entries(x_hat: np.ndarray, column: Column) -> Any:
    """The cells of a column by its entries, `(rows, width)`: numbers, or likeliest categories."""
    import pandas as pd

    if column.kind == "numeric":
        return x_hat[:, 0] * column.scale + column.mean
    at = x_hat[:, 0] >= 0.5 if column.kind == "binary" else x_hat.argmax(1)
    cells = np.empty(len(column.categories), object)
    cells[:] = column.categories
    return pd.Series(cells[at.astype(int)], dtype=object).infer_objects().array


def filled(series: Any, made: Any, column: Column) -> Any:
    """The cells of a column, and where they are missing those of the column `made`."""
    import pandas as pd

    holes = np.asarray(series.isna())
    if column.kind == "numeric":
        cells = np.where(holes, made.to_numpy(np.float64), numbers(series))
        return pd.Series(cells, index=series.index)
    cells = np.where(holes, made.to_numpy(object), series.to_numpy(object))
    whole = pd.Series(cells, index=series.index, dtype=object)
    if isinstance(series.dtype, pd.CategoricalDtype):
        return whole.astype(series.dtype)
    return whole.infer_objects()


def _listed(values: Sequence[Any]) -> str:
    more = f" and {len(values) - _SHOWN} more" if len(values) > _SHOWN else ""
    return f"{list(values[:_SHOWN])}{more}"
