"""Which cells of a table look wrong: their surprise, given the other cells of their row."""

import functools
from typing import Any

import jax
import numpy as np

from jaxae.base import Array, Autoencoder, Batch, Params, check_range, map_batches
from jaxae.data.columns import Columns
from jaxae.deploy.imputing import hold_out

FLOOR = 1e-2
"""The least standard deviation of a numeric column given the others, in its own."""
LEAST = 1e-7
"""The least probability of a category, of which float32 knows no less beside 1."""


def cell_scores(
    model: Autoencoder,
    params: Params,
    frame: Any,
    columns: Columns,
    *,
    scale: np.ndarray | None = None,
    **how: Any,
) -> Any:
    """The surprise of each observed cell, -log p(cell | the other cells of its row), in nats.

    The model does not see the cell that it judges. A number is judged by a Gaussian around
    the model's mean, in units of the column's standard deviation; its own is `scale`. A
    category is judged by its probability.

    Args:
        model: one that was trained with cells hidden, such as `jaxae.table`.
        params: of the model.
        frame: a pandas DataFrame.
        columns: the schema.
        scale: of `error_scales` of other rows, such as those of training; by default that of
            `frame` itself, which then needs more than a few rows.
        **how: of `Columns.encode`: unknown, absent.

    Returns:
        A DataFrame `(rows, columns of the schema)`; NaN where a cell is missing. The sums
        over rows rank rows, `name_cells` says which cells make them so. A wrong cell misleads
        the model about the others of its row: mend the first of a row, and score it again.

    Raises:
        ValueError: what `Columns.encode` refuses.

    >>> import pandas as pd
    >>> from jaxae.data.columns import fit_columns
    >>> from jaxae.models.tabular import table
    >>> frame = pd.DataFrame({"age": [1.0, None, 3.0], "pet": ["cat", "dog", None]})
    >>> columns = fit_columns(frame)
    >>> model = table(columns, 2)
    >>> params = model.init(jax.random.key(0), columns.encode(frame))
    >>> cell_scores(model, params, frame, columns).isna().to_numpy().tolist()
    [[False, False], [True, False], [False, True]]
    """
    batch = columns.encode(frame, **how)
    scores = surprise(columns, batch, _held_out(model, params, batch, columns), scale)
    return scores.set_axis(frame.index)


def error_scales(
    model: Autoencoder, params: Params, frame: Any, columns: Columns, **how: Any
) -> np.ndarray:
    """How far the model's predictions are from the cells of a table, `(width,)`, for each entry.

    In units of x, the length that 68 % of a column's errors do not exceed, which a few wrong
    cells do not move; of Gaussian errors their standard deviation. At least 0.01.

    Raises:
        ValueError: what `Columns.encode` refuses.
    """
    batch = columns.encode(frame, **how)
    return _scales(batch, _held_out(model, params, batch, columns))


def surprise(
    columns: Columns, batch: Batch, x_hat: np.ndarray, scale: np.ndarray | None = None
) -> Any:
    """The surprise of each observed cell under predictions, however these were made.

    Args:
        columns: the schema.
        batch: `x` and `mask`, `(rows, width)`, as `Columns.encode` gives them.
        x_hat: the predictions, likewise; probabilities of categories.
        scale: of `error_scales`; by default that of these predictions.

    Returns:
        As `cell_scores`, the rows numbered from 0.

    >>> from jaxae.data.cells import Column
    >>> columns = Columns((Column("pet", "binary", categories=("cat", "dog")),))
    >>> batch = {"x": np.array([[1.0], [0.0]]), "mask": np.ones((2, 1))}
    >>> np.exp(-surprise(columns, batch, np.array([[0.75], [0.9]]))["pet"]).round(3).tolist()
    [0.75, 0.1]
    """
    import pandas as pd

    scale = _scales(batch, x_hat) if scale is None else scale
    scores = {}
    for column, place in columns.blocks():
        x, mean = (np.asarray(a)[:, place].astype(np.float64) for a in (batch["x"], x_hat))
        if column.kind == "numeric":
            z = (x - mean) / scale[place]
            nats = (0.5 * z**2 + np.log(scale[place]) + 0.5 * np.log(2 * np.pi))[:, 0]
        else:
            likely = (x * mean).sum(1)
            if column.kind == "binary":
                likely += ((1 - x) * (1 - mean)).sum(1)
            nats = -np.log(np.clip(likely, LEAST, 1))
        scores[column.name] = np.where(batch["mask"][:, place.start] > 0, nats, np.nan)
    return pd.DataFrame(scores, columns=columns.names)


def expected_cells(
    model: Autoencoder, params: Params, frame: Any, columns: Columns, **how: Any
) -> Any:
    """What the model expects in each cell, observed or not, of the others of its row.

    Returns:
        A DataFrame `(rows, columns of the schema)`, in the units and categories of `frame`.

    Raises:
        ValueError: what `Columns.encode` refuses.

    >>> import pandas as pd
    >>> from jaxae.data.columns import fit_columns
    >>> from jaxae.models.tabular import table
    >>> frame = pd.DataFrame({"age": [1.0, None, 3.0], "pet": ["cat", "dog", None]})
    >>> columns = fit_columns(frame)
    >>> model = table(columns, 2)
    >>> params = model.init(jax.random.key(0), columns.encode(frame))
    >>> expected_cells(model, params, frame, columns).shape
    (3, 2)
    """
    batch = columns.encode(frame, **how)
    return columns.decode(_held_out(model, params, batch, columns), frame.index)


def name_cells(scores: Any, k: int = 10) -> Any:
    """The k most surprising cells, the most surprising first.

    Args:
        scores: of `cell_scores`; some rows of them, such as `scores.loc[[label]]`, for the
            cells that make these rows odd.
        k: how many; all where there are fewer.

    Returns:
        A DataFrame with `row` (its label), `column` and `nats`.

    Raises:
        ValueError: k below 1.

    >>> import pandas as pd
    >>> name_cells(pd.DataFrame({"a": [0.1, 7.0], "b": [None, 0.3]}), 2).to_numpy().tolist()
    [[1, 'a', 7.0], [1, 'b', 0.3]]
    """
    import pandas as pd

    check_range("k", k, 1)
    values = scores.to_numpy(np.float64)
    order = np.argsort(-np.nan_to_num(values.ravel(), nan=-np.inf), kind="stable")
    order = order[: min(k, int(np.isfinite(values).sum()))]
    rows, places = np.unravel_index(order, values.shape)
    return pd.DataFrame(
        {
            "row": scores.index[rows],
            "column": scores.columns[places],
            "nats": values[rows, places],
        }
    )


def _scales(batch: Batch, x_hat: np.ndarray) -> np.ndarray:
    errors = np.where(batch["mask"] > 0, np.abs(batch["x"] - x_hat), np.nan).astype(np.float64)
    errors[:, np.isnan(errors).all(0)] = 1.0  # no cell to learn of
    return np.maximum(np.nanquantile(errors, 0.6827, axis=0), FLOOR)


def _held_out(model: Autoencoder, params: Params, batch: Batch, columns: Columns) -> np.ndarray:
    return np.asarray(_compiled(model, columns.widths, params, batch))


@functools.partial(jax.jit, static_argnums=(0, 1))
def _compiled(model: Autoencoder, widths: tuple[int, ...], params: Params, batch: Batch) -> Array:
    return map_batches(lambda rows: hold_out(model, params, rows, widths), batch)
