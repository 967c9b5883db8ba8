"""A model beside its trivial baselines, as rows and as a plain table."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from jaxae.base import Autoencoder, Batch, Params, check_range, num_examples
from jaxae.evaluation.arrays import matrix, subsample
from jaxae.evaluation.baselines import column_means, fill, mean_baseline, pca_baseline
from jaxae.evaluation.metrics import codes, reconstruction
from jaxae.evaluation.probes import knn_probe, linear_probe

MAX_KNN_TEST_ROWS = 10_000
NEIGHBOURS = 5


def summarize(
    model: Autoencoder,
    params: Params,
    train: Batch,
    test: Batch,
    *,
    latent_dim: int,
    max_probe_examples: int = 10_000,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """Evaluates a model on test rows, and the baselines that it must beat beside it.

    The accuracies are those of probes: a vote of the 5 nearest codes, and logistic
    regression. Both train on the same seeded draw of at most `max_probe_examples`
    training rows and test on all test rows, the nearest codes on a draw of 10,000 where
    there are more. They need `y` in both splits and two classes in the draw.

    Args:
        model: Its `encode` and `decode` are used.
        params: Of the model.
        train: `x` is `(n, ...)`, d entries per row; fits baselines and probes.
        test: `x` is `(m, ...)`.
        latent_dim: The number of codes of the model.
        max_probe_examples: The most training rows of a probe, at least 2.
        seed: Of the draws of rows.

    Returns:
        Rows named "model", "PCA-k" with k = min(latent_dim, d, n), "mean" and "raw
        input". Each has `name`, `codes`, `mse` (mean over observed entries),
        `squared_error` (summed over an example, mean over examples), `knn_accuracy`
        and `linear_accuracy` (shares in [0, 1]); None where one does not apply.

    Raises:
        ValueError: Either split is no batch, or a number is out of range.

    >>> import jax.numpy as jnp
    >>> def encode(params, batch): return batch["x"] @ params
    >>> def decode(params, z, context=None): return z @ params.T
    >>> model = Autoencoder(None, None, encode, decode, None)
    >>> data = {"x": jnp.array([[1.0, 2.0], [-1.0, 2.0]])}
    >>> rows = summarize(model, jnp.array([[0.0], [1.0]]), data, data, latent_dim=1)
    >>> [(row["name"], round(row["mse"], 4)) for row in rows[:3]]
    [('model', 0.5), ('PCA-1', 0.0), ('mean', 0.5)]
    """
    check_range("latent_dim", latent_dim, 1)
    check_range("max_probe_examples", max_probe_examples, 2)
    n, d = num_examples(train), math.prod(np.shape(train["x"])[1:])
    k = min(latent_dim, d, n)
    draw = subsample(n, max_probe_examples, seed)
    labelled = _labelled(train, test, draw)
    errors = {name: float(v) for name, v in jax.jit(reconstruction(model))(params, test).items()}
    pca = pca_baseline(train, test, k)
    rows = [
        _row("model", latent_dim, errors),
        _row(f"PCA-{k}", k, pca),
        _row("mean", 0, mean_baseline(train, test)),
        _row("raw input", d),
    ]
    if labelled:
        few = {name: np.asarray(array)[draw] for name, array in train.items()}
        test_z = codes(model, params, test)
        rows[0] |= _accuracies(codes(model, params, few), test_z, few, test, seed)
        rows[1] |= _accuracies(pca["train_codes"][draw], pca["test_codes"], few, test, seed)
        rows[3] |= _accuracies(*_raw(train, test, draw), few, test, seed)
    return rows


def format_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows of named values as a plain table for a terminal.

    Columns come in the order in which they first occur; floats have 5 significant
    digits; None, or a column that a row lacks, is "-".

    Raises:
        ValueError: There are no rows.

    >>> print(format_table([{"name": "PCA-2", "mse": 0.0556690}, {"name": "raw", "mse": None}]))
    name        mse
    -----  --------
    PCA-2  0.055669
    raw           -
    """
    if not rows:
        raise ValueError("A table needs at least one row; got none.")
    names = list(dict.fromkeys(name for row in rows for name in row))
    cells = [[_cell(row.get(name)) for name in names] for row in rows]
    widths = [max(map(len, column)) for column in zip(names, *cells, strict=True)]
    text = [any(isinstance(row.get(name), str) for row in rows) for name in names]

    def line(values: Sequence[str]) -> str:
        parts = zip(values, widths, text, strict=True)
        return "  ".join(v.ljust(w) if left else v.rjust(w) for v, w, left in parts).rstrip()

    return "\n".join(map(line, [names, ["-" * w for w in widths], *cells]))


def _row(name: str, size: int, errors: Mapping[str, Any] | None = None) -> dict[str, Any]:
    errors = errors or {}
    return {
        "name": name,
        "codes": size,
        "mse": errors.get("mse"),
        "squared_error": errors.get("squared_error"),
        "knn_accuracy": None,
        "linear_accuracy": None,
    }


def _labelled(train: Batch, test: Batch, draw: np.ndarray) -> bool:
    """Whether both splits have labels, and the drawn rows more than one class."""
    return "y" in train and "y" in test and len(np.unique(np.asarray(train["y"])[draw])) > 1


def _accuracies(
    train_z: np.ndarray, test_z: np.ndarray, train: Batch, test: Batch, seed: int
) -> dict[str, float]:
    """Both probes' accuracies on codes of `train` and `test`."""
    y: np.ndarray = np.asarray(train["y"])
    test_y: np.ndarray = np.asarray(test["y"])
    near = subsample(len(test_z), MAX_KNN_TEST_ROWS, seed)
    k = min(NEIGHBOURS, len(train_z))
    return {
        "knn_accuracy": knn_probe(train_z, y, test_z[near], test_y[near], k=k),
        "linear_accuracy": linear_probe(train_z, y, test_z, test_y),
    }


def _raw(train: Batch, test: Batch, draw: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The inputs as features, what is not observed filled with training means."""
    (x, mask), (x_test, test_mask) = matrix(train), matrix(test)
    mean = column_means(x, mask)
    return fill(x, mask, mean)[draw], fill(x_test, test_mask, mean)


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.5g}" if isinstance(value, (float, np.floating)) else str(value)
