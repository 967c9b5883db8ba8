"""Tables: every numeric column a feature, one column, perhaps, the label."""

from typing import Any

import numpy as np

from jaxae.data.arrays import aligned_empty
from jaxae.data.checks import check_labels, check_values

_SHOWN = 5


def from_table(table: Any, label: str | None = None) -> dict[str, np.ndarray]:
    """The arrays of a pandas DataFrame.

    Args:
        table: its numeric and boolean columns become features, in their order.
        label: the column that becomes "y".

    Returns:
        "x": float32 `(rows, columns)`; "y", with a label: int32, text as codes in sorted
        order, or float32 if it is real.

    Raises:
        ValueError: no rows or no features, a label that is no column, columns that are
            neither numeric nor boolean, and missing, infinite or too large cells.
    """
    names = list(table.columns)
    if len(set(names)) != len(names):
        raise ValueError(
            f"Column names repeat: {sorted({n for n in names if names.count(n) > 1})}."
        )
    if label is not None and label not in names:
        raise ValueError(f"There is no column {label!r} for the label; the columns are {names}.")
    features = [name for name in names if name != label]
    if not len(table) or not features:
        raise ValueError(
            f"The table has {len(table)} rows and {len(features)} feature columns; it needs both."
        )
    _refuse_unfit(table, features)
    x = aligned_empty((len(table), len(features)), np.float32)
    for j, name in enumerate(features):
        x[:, j] = _column(table[name], f"Column {name!r}")
    if label is None:
        return {"x": x}
    return {"x": x, "y": _label(table[label])}


def _refuse_unfit(table: Any, features: list[Any]) -> None:
    from pandas.api import types

    unfit = [
        name
        for name in features
        if not types.is_numeric_dtype(table[name].dtype)
        or types.is_complex_dtype(table[name].dtype)
    ]
    if unfit:
        raise ValueError(
            f"The columns {unfit} are neither numeric nor boolean. Encode them as numbers, drop "
            "them, or choose the label with label=NAME."
        )
    gaps = {name: int(table[name].isna().sum()) for name in features}
    gaps = {name: count for name, count in gaps.items() if count}
    if gaps:
        first = {name: int(np.argmax(table[name].isna())) for name in gaps}
        shown = [f"{name!r} ({gaps[name]}, first in row {first[name]})" for name in gaps]
        more = f" and {len(shown) - _SHOWN} more columns" if len(shown) > _SHOWN else ""
        raise ValueError(
            f"NaN or missing cells in the columns {', '.join(shown[:_SHOWN])}{more}. Drop those "
            'rows, or fill the cells and pass {"x": x, "mask": mask} with a mask that is 0 there.'
        )


def _column(series: Any, what: str) -> np.ndarray:
    """The values of one column without gaps, of a type that NumPy has."""
    values = series.to_numpy()
    if values.dtype.kind not in "biuf":  # pandas' own nullable types
        values = series.to_numpy(np.float64)
    check_values(values, what)
    return values


def _label(series: Any) -> np.ndarray:
    gaps = np.asarray(series.isna())
    if gaps.any():
        raise ValueError(
            f"{int(gaps.sum())} labels in the column {series.name!r} are missing, the first in row "
            f"{int(np.argmax(gaps))}. Drop those rows."
        )
    values = series.to_numpy()
    if values.dtype.kind == "O":
        values = np.asarray(values.tolist(), object)
        if not any(isinstance(value, str | bytes) for value in values):
            values = np.asarray(values.tolist())
    return check_labels(values)
