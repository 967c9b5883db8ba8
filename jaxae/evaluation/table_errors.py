"""How well missing cells of a table are filled: errors of each column, beside mean and mode."""

from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxae.base import Autoencoder, Batch, Metrics, Params
from jaxae.data.columns import Columns


def mean_or_mode(frame: Any, columns: Columns) -> Any:
    """Fills missing cells by their column's mean, or its most frequent category.

    Args:
        frame: a pandas DataFrame.
        columns: the schema, whose means are taken; modes are those of `frame`, of several
            the first in the order of the schema.

    >>> import pandas as pd
    >>> from jaxae.data.columns import fit_columns
    >>> frame = pd.DataFrame({"age": [1.0, None, 3.0], "pet": ["cat", "cat", None]})
    >>> mean_or_mode(frame, fit_columns(frame)).loc[[1, 2]].to_numpy().tolist()
    [[2.0, 'cat'], [3.0, 'cat']]

    Raises:
        ValueError: what `Columns.encode` refuses.
    """
    batch = columns.encode(frame)
    shares = batch["x"].sum(0) / np.maximum(batch["mask"].sum(0), 1)
    for column, place in columns.blocks():
        if column.kind == "numeric":
            shares[place] = 0.0  # the mean, in standard units
    return columns.fill(frame, np.broadcast_to(shares, batch["x"].shape))


def column_errors(
    truth: Any, filled: Mapping[str, Any], hidden: Any, columns: Columns
) -> list[dict[str, Any]]:
    """The errors of several ways to fill a table, of each column and of all together.

    Args:
        truth: the table before cells were hidden.
        filled: by the name of the way, the table that it filled.
        hidden: a DataFrame of booleans, True at the cells to judge, as of `hide_cells`.
        columns: the schema.

    Returns:
        Rows for `evaluation.format_table`: `column`, `error` and `cells` (judged), and a value
        for each way. The error of a numeric column is the "RMSE" in its units, of another one
        the "error rate". Below, over all numeric cells the "NRMSE", the RMSE in units of each
        column's scale, and over all others the error rate.

    Raises:
        ValueError: tables that differ in rows or lack columns, a judged cell that is missing
            from `truth` or left missing, or none at all.

    >>> import pandas as pd
    >>> from jaxae.data.columns import fit_columns
    >>> truth = pd.DataFrame({"age": [1.0, 3.0], "pet": ["cat", "dog"]})
    >>> other = pd.DataFrame({"age": [1.0, 4.0], "pet": ["dog", "dog"]})
    >>> hidden = pd.DataFrame({"age": [False, True], "pet": [True, False]})
    >>> for row in column_errors(truth, {"mine": other}, hidden, fit_columns(truth))[:2]:
    ...     print(list(row.values()))
    ['age', 'RMSE', 1, 1.0]
    ['pet', 'error rate', 1, 1.0]
    """
    marks = {name: np.asarray(hidden[name], bool) for name in columns.names if name in hidden}
    if not sum(int(mark.sum()) for mark in marks.values()):
        raise ValueError("No cell is hidden, so there is nothing to judge.")
    rows: list[dict[str, Any]] = []
    numeric: dict[str, list[np.ndarray]] = {name: [] for name in filled}
    wrong: dict[str, list[np.ndarray]] = {name: [] for name in filled}
    for column in columns.columns:
        at = marks.get(column.name, np.zeros(len(truth), bool))
        if not at.any():
            continue
        is_number = column.kind == "numeric"
        row = {"column": column.name, "error": "RMSE" if is_number else "error rate"}
        row["cells"] = int(at.sum())
        for name, table in filled.items():
            errors = _errors(truth, table, column.name, at, is_number)
            row[name] = float(np.sqrt(np.mean(errors**2)) if is_number else np.mean(errors))
            (numeric if is_number else wrong)[name].append(
                errors / column.scale if is_number else errors
            )
        rows.append(row)
    return rows + _totals(numeric, wrong)


def hidden_error(model: Autoencoder) -> Callable[[Params, Batch], Metrics]:
    """How well a model fills cells that were hidden, to watch while training.

    Args:
        model: of rows as `Columns.encode` gives them.

    Returns:
        A pure function `(params, batch) -> metrics`. The batch has beside `x` and `mask`, which
        the model sees, `target` of x's shape and `hidden`, 1 at the entries to judge. The metric
        is `validation_mse`, the mean squared error over these: of numbers in units of their
        scale, of categories that of the probabilities (Brier, 1950).

    >>> import jax, jaxae
    >>> model = jaxae.linear(2, 1)
    >>> batch = {"x": jnp.zeros((3, 2)), "target": jnp.ones((3, 2)), "hidden": jnp.ones((3, 2))}
    >>> params = model.init(jax.random.key(0), {"x": batch["x"]})
    >>> float(hidden_error(model)(params, batch)["validation_mse"])
    1.0
    """

    def evaluate(params: Params, batch: Batch) -> Metrics:
        hidden = batch["hidden"] != 0
        seen = {name: a for name, a in batch.items() if name not in ("target", "hidden")}
        x_hat = model.decode(params, model.encode(params, seen), model.context(seen))
        squares = jnp.where(hidden, (x_hat - batch["target"]) ** 2, 0.0)
        return {"validation_mse": squares.sum() / jnp.maximum(hidden.sum(), 1)}

    return evaluate


def _errors(truth: Any, table: Any, name: Any, at: np.ndarray, is_number: bool) -> np.ndarray:
    """Differences of the cells of a column, or 1 where categories differ."""
    if name not in truth or name not in table or len(truth) != len(table) or len(at) != len(table):
        raise ValueError(
            f"The tables must have the same rows, and the column {name!r}; got {truth.shape} and "
            f"{table.shape}."
        )
    right, found = truth[name][at], table[name][at]
    if right.isna().any() or found.isna().any():
        raise ValueError(
            f"Of the hidden cells of {name!r} {int(right.isna().sum())} are missing in truth and "
            f"{int(found.isna().sum())} were not filled."
        )
    if is_number:
        return found.to_numpy(np.float64) - right.to_numpy(np.float64)
    return (found.to_numpy(object) != right.to_numpy(object)).astype(np.float64)


def _totals(
    numeric: Mapping[str, list[np.ndarray]], wrong: Mapping[str, list[np.ndarray]]
) -> list[dict[str, Any]]:
    rows = []
    for label, error, parts in (
        ("all numeric", "NRMSE", numeric),
        ("all categories", "error rate", wrong),
    ):
        if any(parts.values()):
            each = {name: np.concatenate(errors) for name, errors in parts.items()}
            row: dict[str, Any] = {"column": label, "error": error}
            row["cells"] = len(next(iter(each.values())))
            for name, errors in each.items():
                power = errors**2 if error == "NRMSE" else errors
                row[name] = float(np.sqrt(power.mean()) if error == "NRMSE" else power.mean())
            rows.append(row)
    return rows
