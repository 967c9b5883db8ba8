"""How the schema of a table is learned of its rows, and cells hidden to test what fills them."""

from numbers import Integral, Real
from typing import Any

import numpy as np

from jaxae.data.cells import KINDS, Column, Kind, check_frame, numbers

_CONSTANT = 1e-12
"""Standard deviations below this share of the greatest number are rounding."""


def fit(frame: Any, kinds: dict[Any, Kind], max_categories: int) -> tuple[Column, ...]:
    """The columns of `fit_columns`."""
    check_frame(frame)
    names = list(frame.columns)
    odd = [name for name in names if isinstance(name, bool) or not isinstance(name, str | Integral)]
    if odd:
        raise ValueError(f"Columns are named by strings or integers; got {odd}. Rename them.")
    if unknown := [name for name in kinds if name not in names]:
        raise ValueError(f"kinds has the columns {unknown}; the table has {names}.")
    if wrong := {name: kind for name, kind in kinds.items() if kind not in KINDS}:
        raise ValueError(f"A kind is one of {KINDS}; got {wrong}.")
    empty = [name for name in names if bool(frame[name].isna().all())]
    if empty:
        raise ValueError(f"The columns {empty} have no observed cell to learn of. Drop them.")
    return tuple(_fit_one(name, frame[name], kinds.get(name), max_categories) for name in names)


def hide_cells(frame: Any, fraction: float, seed: int = 0) -> tuple[Any, Any]:
    """Removes a share of the observed cells at random, to test what fills them.

    The hidden cells are as nearly `fraction` of all observed ones as goes without a column
    that loses its last cell.

    Args:
        frame: a pandas DataFrame.
        fraction: the share, in (0, 1).
        seed: which cells.

    Returns:
        The table with holes, and a table of booleans, True where a cell was hidden.

    Raises:
        ValueError: a fraction outside (0, 1), or so few cells that none can be hidden.

    >>> import pandas as pd
    >>> holes, hidden = hide_cells(pd.DataFrame({"a": [1, 2, 3, 4], "b": list("xyxy")}), 0.5)
    >>> int(hidden.to_numpy().sum()), bool((holes.isna() == hidden).all(axis=None))
    (4, True)
    """
    import pandas as pd

    check_frame(frame)
    if not 0 < fraction < 1:
        raise ValueError(f"fraction must lie in (0, 1); got {fraction}.")
    rng = np.random.default_rng(seed)
    seen = frame.notna().to_numpy()
    order = np.where(seen, rng.random(seen.shape), -1.0)
    # the last cell of a column stays
    order[order.argmax(axis=0), np.arange(seen.shape[1])] = -1.0
    free = np.flatnonzero(order.ravel() >= 0)
    count = min(round(fraction * seen.sum()), len(free))
    if not count:
        raise ValueError(
            f"{fraction:g} of {seen.sum()} observed cells in {seen.shape[1]} columns, of which "
            "each keeps one, is none. Take a greater fraction, or more rows."
        )
    chosen = rng.choice(free, count, replace=False)
    hidden = np.zeros(seen.size, bool)
    hidden[chosen] = True
    marks = pd.DataFrame(hidden.reshape(seen.shape), index=frame.index, columns=frame.columns)
    return frame.mask(marks), marks


def _fit_one(name: Any, series: Any, kind: Kind | None, max_categories: int) -> Column:
    name = int(name) if isinstance(name, Integral) else name
    kind = _kind(series) if kind is None else kind
    if kind == "numeric":
        return Column(name, kind, *_moments(numbers(series), name))
    categories = _categories(series)
    if len(categories) > max_categories:
        raise ValueError(
            f"The column {name!r} has {len(categories)} categories in {series.notna().sum()} "
            f"cells, more than max_categories={max_categories}: drop it, tell kinds={{{name!r}: "
            '"numeric"} if these are numbers, or raise max_categories.'
        )
    if kind == "binary" and len(categories) > 2:
        raise ValueError(
            f"A binary column has two categories; {name!r} has {len(categories)}, such as "
            f'{categories[:3]}. Tell "categorical".'
        )
    if len(categories) == 2:
        return Column(name, "binary", categories=tuple(categories))
    return Column(name, "categorical", categories=tuple(categories))


def _kind(series: Any) -> Kind:
    """What the type of a column's cells says."""
    from pandas.api import types

    dtype = series.dtype
    if types.is_bool_dtype(dtype) or isinstance(dtype, _category()):
        return "categorical"
    if types.is_numeric_dtype(dtype) and not types.is_complex_dtype(dtype):
        return "numeric"
    if types.is_object_dtype(dtype) or types.is_string_dtype(dtype):
        found = types.infer_dtype(series, skipna=True)
        if found in ("floating", "mixed-integer-float", "decimal"):
            return "numeric"
        if found in ("string", "boolean", "integer", "mixed-integer", "categorical", "mixed"):
            return "categorical"
        dtype = found
    raise ValueError(
        f"The column {series.name!r} holds {dtype}, neither numbers nor categories. Make numbers "
        "of it (such as days since a date), or drop it."
    )


def _category() -> Any:
    import pandas as pd

    return pd.CategoricalDtype


def _categories(series: Any) -> list[Any]:
    """The different cells in order, as JSON has them."""
    if isinstance(series.dtype, _category()):
        return [_plain(value, series.name) for value in series.dtype.categories]
    found = {_plain(value, series.name) for value in series.dropna()}
    return sorted(found, key=lambda value: (isinstance(value, str), value))


def _plain(value: Any, name: Any) -> Any:
    """A category as a string, boolean, integer or float of Python."""
    if isinstance(value, str | bool):
        return str(value) if isinstance(value, str) else value
    if isinstance(value, np.bool_):
        return bool(value)
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real) and np.isfinite(float(value)):
        return float(value)
    raise ValueError(
        f"Categories are strings, booleans or finite numbers; the column {name!r} has {value!r}."
    )


def _moments(values: np.ndarray, name: Any) -> tuple[float, float]:
    """Mean and standard deviation of what is no NaN, 1 where all are equal."""
    seen = values[np.isfinite(values)]
    greatest = float(np.abs(seen).max())
    if greatest > np.finfo(np.float64).max / 4:
        raise ValueError(f"The column {name!r} has cells as large as {greatest:g}. Scale it.")
    unit = float(np.ldexp(1.0, np.frexp(greatest)[1]))  # squares of huge numbers would overflow
    mean, scale = float((seen / unit).mean()), float((seen / unit).std())
    return mean * unit, scale * unit if scale > _CONSTANT else 1.0
