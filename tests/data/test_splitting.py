import numpy as np
import pytest

from jaxae.data import split


def data(n=1000):
    x = np.arange(n, dtype=np.float32)[:, None].repeat(3, axis=1)
    return {"x": x, "y": (np.arange(n) % 10).astype(np.int32)}


def test_parts_are_disjoint_complete_stratified_and_seeded():
    train, validation = split(data(), 0.2, seed=1)
    assert np.bincount(validation["y"]).tolist() == [20] * 10
    rows = np.concatenate([train["x"][:, 0], validation["x"][:, 0]])
    assert sorted(rows) == list(range(1000))
    assert not np.all(np.diff(train["x"][:, 0]) > 0)
    np.testing.assert_array_equal(train["x"][:, 0] % 10, train["y"])
    assert train["x"].ctypes.data % 64 == 0
    again = split(data(), 0.2, seed=1)[1]
    np.testing.assert_array_equal(again["x"], validation["x"])
    assert not np.array_equal(split(data(), 0.2, seed=2)[1]["x"], validation["x"])


@pytest.mark.parametrize("y", [np.arange(50), np.linspace(0, 1, 50), np.zeros((50, 2), int)])
def test_plain_where_classes_do_not_allow_strata(y):
    train, validation = split({"x": np.ones((50, 2)), "y": y}, 0.1)
    assert (len(train["x"]), len(validation["x"])) == (45, 5)
    assert train["y"].dtype == y.dtype


def test_memory_mapped(tmp_path):
    np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(size=(5000, 10)))
    x = np.load(tmp_path / "x.npy", mmap_mode="r")
    train, validation = split({"x": x}, 0.1)
    assert not isinstance(train["x"], np.memmap)
    assert validation["x"].dtype == np.float32
    both = np.concatenate([train["x"], validation["x"]])
    np.testing.assert_array_equal(np.sort(both[:, 0]), np.sort(x[:, 0].astype(np.float32)))


@pytest.mark.parametrize("fraction", [0, 1, -0.1, 1.5, float("nan"), 0.95])
def test_fractions_that_leave_a_side_empty(fraction):
    with pytest.raises(ValueError, match="leaves a side empty"):
        split({"x": np.ones((10, 2))}, fraction)
