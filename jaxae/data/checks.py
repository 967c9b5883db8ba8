"""What arrays must be before a model is given them; every error says how to mend it."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxae.base import num_examples
from jaxae.data.arrays import aligned_empty, blocks, feature_dtype, mapped_root

KEYS = ("x", "y", "mask", "context")
_MAX_EXACT = 2**24  # all smaller integers are float32 numbers
_MAX_FLOAT32 = float(np.finfo(np.float32).max)
_INT32 = np.iinfo(np.int32)


def check_data(data: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Returns the arrays of `data` as models take them.

    Raises:
        ValueError: a key is unknown, `x` is missing, lengths differ, or an array is
            refused by `check_features` or `check_labels`.
    """
    unknown = sorted(str(key) for key in data if key not in KEYS)
    if unknown or "x" not in data:
        raise ValueError(
            f'Data is a mapping of "x" and, where they apply, "y", "mask" and "context"; got the '
            f"keys {sorted(str(key) for key in data)}. Rename or drop the others."
        )
    checked = {"x": check_features(data["x"])}
    for key in KEYS[1:]:
        if key in data:
            checked[key] = check_labels(data[key]) if key == "y" else _check_extra(data[key], key)
    num_examples(checked)
    return checked


def check_features(x: Any, what: str = "x", min_dims: int = 2) -> np.ndarray:
    """Returns `x` as float32, or unchanged where it is uint8, boolean, or a narrower float.

    A memory-mapped array is checked block by block and returned unchanged.

    Args:
        x: `(examples, ...)`.
        what: the array's name in messages.
        min_dims: how many dimensions it needs.

    Raises:
        ValueError: too few dimensions, no elements, not numeric, NaN or infinite
            cells, or values that float32 can not hold.
    """
    array = x if isinstance(x, np.ndarray) else _as_array(x, what)
    if array.ndim < min_dims:
        raise ValueError(
            f"{what} has shape {array.shape}; it needs {min_dims} or more dimensions, rows "
            "(examples) first. For one feature per example use x.reshape(-1, 1)."
        )
    if not array.size:
        raise ValueError(f"{what} is empty: its shape is {array.shape}.")
    check_numeric(array.dtype, what)
    for start, block in blocks(array):
        check_values(block, what, start)
    dtype = feature_dtype(array.dtype)
    if dtype == array.dtype or mapped_root(array) is not None:
        return array
    out = aligned_empty(array.shape, dtype)
    out[...] = array
    return out


def check_numeric(dtype: np.dtype, what: str) -> None:
    """Raises `ValueError` unless `dtype` holds real numbers or booleans."""
    if dtype.kind in "biuf":
        return
    import jax.numpy as jnp  # knows bfloat16 and its kin, which NumPy calls void

    if not jnp.issubdtype(dtype, jnp.floating):
        raise ValueError(
            f"{what} has dtype {dtype}; allowed are booleans, integers and real floats. "
            "Encode text or categories as numbers first, and store ragged rows padded, with a mask."
        )


def check_values(block: np.ndarray, what: str, first_row: int = 0) -> None:
    """Raises `ValueError` if a cell is NaN or infinite, or too large for float32."""
    if block.dtype.kind in "iu":
        if block.dtype.itemsize > 2:
            bad = (block > _MAX_EXACT) | (block < -_MAX_EXACT)
            why = f"{what} has integers beyond 2**24, which float32 merges; scale them, take their "
            _refuse(bad, block, first_row, f"{why}differences, or drop the column (an id?)")
        return
    if block.dtype.kind == "b":
        return
    _refuse(~np.isfinite(block), block, first_row, f"{what} has NaN or infinite cells; drop those "
            'rows, or fill the cells and give a "mask" that is 0 there')  # fmt: skip
    if block.dtype.kind == "f" and block.dtype.itemsize > 4:
        _refuse(np.abs(block) > _MAX_FLOAT32, block, first_row,
                f"{what} has values beyond the range of float32 (3.4e38); scale them")  # fmt: skip


def check_labels(y: Any) -> np.ndarray:
    """Returns `y` as int32, or float32 if it is real; text becomes codes in sorted order.

    >>> check_labels(["dog", "cat", "dog"]).tolist()
    [1, 0, 1]

    Raises:
        ValueError: empty, missing or mixed labels, or integers outside int32.
    """
    y = y if isinstance(y, np.ndarray) else _as_array(y, "y")
    if not y.ndim or not y.size:
        raise ValueError(f"y needs one label per example; its shape is {y.shape}.")
    if y.dtype.kind in "USOT":
        return _label_codes(y)
    if y.dtype.kind not in "biuf":
        raise ValueError(f"y has dtype {y.dtype}; allowed are integers, floats and text.")
    if y.dtype.kind == "f":
        check_values(y, "y")
        return y.astype(np.float32, copy=False)
    if y.dtype.kind != "b":
        _refuse((y < _INT32.min) | (y > _INT32.max), y, 0,
                "y has integers outside int32; renumber them")  # fmt: skip
    return y.astype(np.int32, copy=False)


def _label_codes(y: np.ndarray) -> np.ndarray:
    values = y.ravel().tolist()
    kinds = {type(value).__name__ for value in values}
    if kinds not in ({"str"}, {"bytes"}):
        raise ValueError(
            f"y mixes labels of the types {sorted(kinds)}; labels are all text or all numbers, and "
            "none is missing. Drop the rows without a label."
        )
    codes = np.unique(np.asarray(values), return_inverse=True)[1]
    return codes.reshape(y.shape).astype(np.int32)


def _check_extra(value: Any, key: str) -> np.ndarray:
    """A mask (booleans or floats in [0, 1]) or a context (as x, integers as int32)."""
    array = value if isinstance(value, np.ndarray) else _as_array(value, key)
    if key == "context" and array.dtype.kind in "iu" and array.dtype != np.uint8:
        return check_labels(array)
    array = check_features(array, key, min_dims=1)
    if key == "mask":
        for start, block in blocks(array):
            _refuse((block < 0) | (block > 1), block, start,
                    "mask has values outside [0, 1]; 1 means observed")  # fmt: skip
        # as uint8 it would be taken for pixels and divided by 255
        return array.astype(np.float32) if array.dtype == np.uint8 else array
    return array


def _as_array(value: Any, what: str) -> np.ndarray:
    try:
        return np.asarray(value)
    except ValueError as error:
        raise ValueError(f"{what} is no rectangular array: {error}.") from error


def _refuse(bad: np.ndarray, block: np.ndarray, first_row: int, message: str) -> None:
    if not bad.any():
        return
    first: Sequence[int] = [int(i) for i in np.unravel_index(np.argmax(bad), bad.shape)]
    position = (first_row + first[0], *first[1:])
    count = int(bad.sum())
    raise ValueError(
        f"{message} ({count} here, first {block[tuple(first)]!s} at position {position})."
    )
