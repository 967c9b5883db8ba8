import jax
import numpy as np
import pytest

from jaxae.data import aligned_empty
from jaxae.data.arrays import blocks, feature_dtype, mapped_root, rows, take


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.int32, bool])
def test_device_put_uses_an_aligned_array_without_a_copy(dtype):
    x = aligned_empty((1000, 7), dtype)
    x[...] = 1
    on_device = jax.device_put(x, jax.devices("cpu")[0])
    assert on_device.unsafe_buffer_pointer() == x.ctypes.data
    assert aligned_empty((0, 3), dtype).shape == (0, 3)


def test_rows_of_views_and_slices_of_memory_maps(tmp_path):
    x = np.arange(60, dtype=np.int16).reshape(20, 3)
    np.save(tmp_path / "x.npy", x)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    for view, expected in ((mapped, x), (mapped[5:], x[5:]), (np.asarray(mapped)[7:9], x[7:9])):
        part = rows(view, 1, 2)
        assert isinstance(part, np.memmap)
        np.testing.assert_array_equal(part, expected[1:2])
    np.testing.assert_array_equal(rows(mapped[:, :2], 1, 3), x[1:3, :2])
    np.testing.assert_array_equal(rows(mapped[::2], 1, 3), x[2:6:2])
    changed = np.load(tmp_path / "x.npy", mmap_mode="c")
    changed[0] = -1
    assert mapped_root(changed) is None
    assert rows(changed, 0, 1).tolist() == [[-1, -1, -1]]


def test_take_and_blocks(tmp_path):
    x = np.random.default_rng(0).normal(size=(9000, 500))  # 36 MB: three blocks
    np.save(tmp_path / "x.npy", x)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    assert len(list(blocks(mapped))) == 3
    indices = np.random.default_rng(1).permutation(9000)[:4000]
    out = take(mapped, indices)
    assert out.dtype == np.float32
    np.testing.assert_array_equal(out, x[indices].astype(np.float32))


def test_feature_dtype():
    kept = [np.uint8, bool, np.float16, np.float32]
    assert [feature_dtype(np.dtype(t)) for t in kept] == kept
    assert {feature_dtype(np.dtype(t)) for t in ("i1", "i8", "u4", "f8")} == {np.dtype("f4")}
