"""Scaling of table columns by the statistics of the training rows."""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

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


def geometric_median(x: npt.ArrayLike, *, steps: int = 100, tolerance: float = 1e-6) -> np.ndarray:
    """The point with the least sum of distances to all rows, `(d,)` (Weiszfeld, 1937).

    With the rule of Vardi & Zhang (2000) where the point meets a row. A centre that few
    far rows do not move: a first pre-bias for `dictionary`.

    Args:
        x: `(n, ...)`, flattened to `(n, d)`; uint8 stands for x / 255.
        steps: the most iterations.
        tolerance: stops when the point moves by less than this share of its spread.

    >>> geometric_median(np.array([[0.0], [1.0], [100.0]])).round(3).tolist()
    [1.0]

    Raises:
        ValueError: no rows.
    """
    rows = np.asarray(x)
    if rows.ndim < 2 or not rows.size:
        raise ValueError(f"x has rows of features, (n, d); got shape {rows.shape}.")
    rows = rows.reshape(len(rows), -1) / np.float64(255 if rows.dtype == np.uint8 else 1)
    point = rows.mean(axis=0)
    scale = np.linalg.norm(rows - point, axis=1).mean()
    for _ in range(steps):
        away = rows - point
        distances = np.linalg.norm(away, axis=1)
        here = distances <= 1e-9 * scale
        weights = np.where(here, 0.0, 1.0 / np.where(here, 1.0, distances))
        pull = np.linalg.norm(weights @ away)
        if pull <= here.sum():  # the rows at the point hold it there
            break
        move = (1 - here.sum() / pull) * (weights @ away) / weights.sum()
        point = point + move
        if np.linalg.norm(move) <= tolerance * scale:
            break
    return point.astype(np.float32)
