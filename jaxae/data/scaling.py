"""Scaling of table columns by the statistics of the training rows."""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from jaxae.data.arrays import blocks
from jaxae.data.checks import check_features


class Scaler(NamedTuple):
    """The map `(x - shift) / scale` and its inverse, for NumPy and JAX arrays.

    Attributes:
        shift: float32, of the shape of one row.
        scale: float32, of the shape of one row, positive.
    """

    shift: np.ndarray
    scale: np.ndarray

    def apply(self, x: Any) -> Any:
        """Scales `x`, `(..., *row shape)`, as the training rows were."""
        return (x - self.shift) / self.scale

    def invert(self, x: Any) -> Any:
        """Returns scaled `x` to the original units."""
        return x * self.scale + self.shift


def fit_scaler(
    x: np.ndarray,
    kind: Literal["standard", "minmax"] = "standard",
    names: Sequence[str] | None = None,
) -> Scaler:
    """Computes a `Scaler` from training rows, in float64 and block by block.

    Args:
        x: `(examples, ...)`, the training rows only; may be memory-mapped. Integers count
            as they are, uint8 too.
        kind: "standard" gives columns of mean 0 and standard deviation 1, "minmax" the
            range [0, 1].
        names: of the columns, for messages.

    Raises:
        ValueError: an unknown kind, constant columns, NaN, or as many names as there
            are not columns.

    >>> scaler = fit_scaler(np.array([[1.0, 10.0], [3.0, 30.0]], np.float32), "minmax")
    >>> scaler.apply(np.array([[2.0, 30.0]], np.float32)).tolist()
    [[0.5, 1.0]]
    """
    if kind not in ("standard", "minmax"):
        raise ValueError(f'kind={kind!r}; allowed are "standard" and "minmax".')
    x = check_features(x)
    columns = int(np.prod(x.shape[1:]))
    if names is not None and len(names) != columns:
        raise ValueError(f"{len(names)} names for {columns} columns; give one each.")
    low = np.min([block.min(axis=0) for _, block in blocks(x)], axis=0).astype(np.float64)
    high = np.max([block.max(axis=0) for _, block in blocks(x)], axis=0).astype(np.float64)
    _refuse_constant(low, high, names)
    if kind == "minmax":
        return Scaler(low.astype(np.float32), (high - low).astype(np.float32))
    mean = sum(block.sum(axis=0, dtype=np.float64) for _, block in blocks(x)) / len(x)
    squares = sum(np.square(block.astype(np.float64) - mean).sum(axis=0) for _, block in blocks(x))
    return Scaler(np.asarray(mean, np.float32), np.asarray(np.sqrt(squares / len(x)), np.float32))


def _refuse_constant(low: np.ndarray, high: np.ndarray, names: Sequence[str] | None) -> None:
    constant = np.flatnonzero(low == high).tolist()
    if constant:
        called = "" if names is None else f" ({[names[j] for j in constant]})"
        raise ValueError(
            f"The columns {constant}{called} are constant in these rows: they can not "
            "be scaled and teach nothing. Drop them."
        )
