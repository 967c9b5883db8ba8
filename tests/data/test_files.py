import numpy as np
import pytest

from jaxae.data import load

X = np.arange(40, dtype=np.float32).reshape(20, 2)
Y = np.arange(20) % 3


def test_npy_is_memory_mapped(tmp_path):
    np.save(tmp_path / "x.npy", X)
    data = load(tmp_path / "x.npy", "train[25%:]")
    assert isinstance(data["x"], np.memmap)
    np.testing.assert_array_equal(data["x"], X[5:])
    np.testing.assert_array_equal(load(str(tmp_path / "x.npy"), "all")["x"], X)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.ones(3), "shape"),
        (np.ones((0, 2)), "empty"),
        (np.array([["a"]]), "dtype"),
        (np.array([[1, {}]], object), "no .npy file of numbers"),
        (np.where(np.arange(40).reshape(20, 2) == 31, np.nan, 1), r"position \(15, 1\)"),
        (np.full((3, 3), 2**25), r"2\*\*24"),
    ],
)
def test_npy_refused(tmp_path, x, message):
    np.save(tmp_path / "x.npy", x, allow_pickle=True)
    with pytest.raises(ValueError, match=message):
        load(tmp_path / "x.npy")


def test_npz(tmp_path):
    path = tmp_path / "d.npz"
    np.savez(path, x=X, y=Y)
    data = load(path, "train[:50%]")
    np.testing.assert_array_equal(data["x"], X[:10])
    np.testing.assert_array_equal(data["y"], Y[:10])
    np.savez(path, X)
    np.testing.assert_array_equal(load(path)["x"], X)
    np.savez(path, user=Y, item=Y)
    with pytest.raises(ValueError, match=r"holds \['user', 'item'\]"):
        load(path)
    np.savez(path, x=X, y=Y[:-1])
    with pytest.raises(ValueError, match="same number of rows"):
        load(path)


@pytest.mark.parametrize("name", ["x.npy", "x.npz", "x.csv", "x.parquet"])
def test_missing_empty_and_damaged_files(tmp_path, name):
    path = tmp_path / name
    with pytest.raises(ValueError, match="There is no file"):
        load(path)
    path.write_bytes(b"")
    with pytest.raises(ValueError, match="is empty"):
        load(str(path))
    path.write_bytes(b"\x00\xff\xfe nonsense")
    with pytest.raises(ValueError, match="x"):
        load(path)


def test_unknown_kinds_of_source(tmp_path):
    (tmp_path / "x.xls").write_bytes(b"1")
    with pytest.raises(ValueError, match=r"ends in '.xls'.*parquet"):
        load(str(tmp_path / "x.xls"))
    with pytest.raises(ValueError, match="got int"):
        load(3)
    with pytest.raises(ValueError, match="files that are read"):
        load("no-such.txt")


def test_splits_and_labels_of_unsplit_data(tmp_path):
    with pytest.raises(ValueError, match=r'"train" \(20 rows\), "all"'):
        load(X, "test")
    with pytest.raises(ValueError, match="names a column"):
        load(X, label="a")
    np.save(tmp_path / "x.npy", X)
    with pytest.raises(ValueError, match="names a column"):
        load(tmp_path / "x.npy", label="a")
    assert load(X)["x"] is not None
    np.testing.assert_array_equal(load(X, "train[-2:]")["x"], X[-2:])
