import jax.numpy as jnp
import numpy as np
import pytest

from jaxae.data import load
from jaxae.data.checks import check_data, check_features, check_labels

X = np.ones((4, 2), np.float32)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.ones(4), r"shape \(4,\).*reshape"),
        (np.ones((0, 3)), "empty"),
        (np.array([["a", "b"]]), "dtype <U1"),
        (np.array([[None, 1]], object), "dtype object"),
        (np.ones((2, 2), complex), "complex128"),
        ([[1, 2], [3]], "rectangular"),
        (np.array([[1, 2], [3, np.nan]]), r"NaN.*1 here, first nan at position \(1, 1\)"),
        (np.array([[np.inf, -np.inf]]), "2 here"),
        (np.array([[0, 2**24 + 1]]), r"2\*\*24.*16777217"),
        (np.array([[1e39, 1]]), r"3\.4e38"),
    ],
)
def test_features_refused(x, message):
    with pytest.raises(ValueError, match=message):
        check_features(x)


@pytest.mark.parametrize("dtype", [np.uint8, bool, np.float16, np.float32, jnp.bfloat16])
def test_types_that_stay_are_not_copied(dtype):
    x = np.ones((3, 2), dtype)
    assert check_features(x) is x


@pytest.mark.parametrize("dtype", [np.int8, np.int64, np.float64, np.uint32])
def test_types_that_become_float32(dtype):
    x = check_features(np.array([[1, 2], [3, 4]], dtype))
    assert x.dtype == np.float32
    assert x.tolist() == [[1, 2], [3, 4]]


@pytest.mark.parametrize(
    ("y", "message"),
    [
        ([2**31, 0], "outside int32"),
        ([0.5, np.nan], "NaN"),
        (np.array(["a", None], object), "mixes"),
        ([1j, 2], "complex"),
        ([], "one label"),
        (3, "one label"),
    ],
)
def test_labels_refused(y, message):
    with pytest.raises(ValueError, match=message):
        check_labels(y)


def test_labels():
    assert check_labels([3, 1]).dtype == np.int32
    assert check_labels([True, False]).tolist() == [1, 0]
    assert check_labels(np.array([0.5])).dtype == np.float32
    assert check_labels(np.array(["b", "a", "b"], object)).tolist() == [1, 0, 1]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"y": [1]}, "keys \\['y'\\]"),
        ({"x": X, "label": [1]}, "label"),
        ({"x": X, "y": [1, 2, 3]}, "same number of rows"),
        ({"x": X, "mask": 2 * X}, "mask has values outside"),
    ],
)
def test_mappings_refused(data, message):
    with pytest.raises(ValueError, match=message):
        check_data(data)


def test_mask_and_context():
    data = {"x": X, "mask": X.astype(np.uint8), "context": np.arange(4)}
    data = load(data, "train[:50%]")
    assert data["mask"].dtype == np.float32
    assert data["context"].dtype == np.int32
    assert {len(array) for array in data.values()} == {2}
