"""Checks and reshapes that probes, baselines and plots share; NumPy only."""

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from jaxae.base import Batch, as_float, num_examples


def features(name: str, z: npt.ArrayLike) -> np.ndarray:
    """Returns `z`, `(n, ...)`, as finite floats of shape `(n, features)`.

    Raises:
        ValueError: `z` has fewer than two axes, no rows or features, or NaN or infinity.
    """
    array = np.asarray(z)
    if array.ndim < 2 or not array.size:
        raise ValueError(
            f"{name} must be (n, features) with n, features >= 1; got shape {array.shape}. "
            f"Reshape a single feature with {name}[:, None]."
        )
    if array.dtype not in (np.float32, np.float64):
        array = array.astype(np.float32)
    array = array.reshape(len(array), -1)
    if not np.isfinite(array).all():
        bad = int((~np.isfinite(array).all(1)).sum())
        raise ValueError(
            f"{name} must be finite; {bad} of {len(array)} rows hold NaN or infinity. "
            "Drop or fill these rows, or see whether the training diverged."
        )
    return array


def labels(name: str, y: npt.ArrayLike, n: int) -> np.ndarray:
    """Returns `y` as class labels of shape `(n,)`.

    Raises:
        ValueError: `y` is not one integer (or string, boolean) label per row of `n`.
    """
    array = np.asarray(y)
    if array.shape != (n,):
        raise ValueError(
            f"{name} must be one label per row, shape ({n},); got {array.shape}. "
            "Turn one-hot labels into classes with argmax(1)."
        )
    if array.dtype.kind not in "iubUS" and not (array == np.round(array)).all():
        raise ValueError(f"{name} must be class labels; got {array.dtype} values, not integers.")
    return array


def expand_mask(mask: Any, shape: tuple[int, ...]) -> Any:
    """Gives `mask` as many axes as `shape`, of which its own shape is a left prefix.

    Raises:
        ValueError: The shape of `mask` is no left prefix of `shape`.
    """
    given = tuple(np.shape(mask))
    if given != shape[: len(given)] or not given:
        raise ValueError(
            f"mask must have x's shape {shape} or a left prefix of it, such as {shape[:1]}; "
            f"got {given}."
        )
    return mask.reshape(given + (1,) * (len(shape) - len(given)))


def matrix(data: Batch) -> tuple[np.ndarray, np.ndarray | None]:
    """Returns `x` as `(n, d)` float64, and which entries are observed, `(n, d)` or None.

    Raises:
        ValueError: `data` is no batch, or an observed entry is NaN or infinite.
    """
    n = num_examples(data)
    x = np.asarray(as_float(data["x"]), np.float64).reshape(n, -1)
    if "mask" not in data:
        return features('data["x"]', x), None
    shape = tuple(np.shape(data["x"]))
    mask = np.asarray(expand_mask(np.asarray(data["mask"]), shape)) != 0
    mask = np.broadcast_to(mask, shape).reshape(n, -1)
    return features("The observed part of data['x']", np.where(mask, x, 0.0)), mask


def image_shape(d: int, shape: tuple[int, ...] | None) -> tuple[int, int, int] | None:
    """The `(height, width, channels)` of `d` values; None where they are no image.

    Without `shape`, a square number of values is one grey image. A `shape` of one
    axis says that the values are no image.

    Raises:
        ValueError: `shape` does not hold `d` values, or is no image of 1 or 3 channels.
    """
    if shape is None:
        side = math.isqrt(d)
        return (side, side, 1) if side * side == d else None
    if math.prod(shape) != d or len(shape) > 3 or (len(shape) == 3 and shape[2] not in (1, 3)):
        raise ValueError(
            f"shape must hold {d} values as (height, width), (height, width, 1 or 3) or ({d},); "
            f"got {shape}."
        )
    return None if len(shape) < 2 else (shape[0], shape[1], (*shape, 1)[2])


def subsample(n: int, most: int, seed: int) -> np.ndarray:
    """Sorted indices of `most` of `n` rows drawn without replacement; all where n <= most."""
    if n <= most:
        return np.arange(n)
    return np.sort(np.random.default_rng(seed).choice(n, most, replace=False))
