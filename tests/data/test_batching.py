import subprocess
import sys

import numpy as np
import pytest

from jaxae.data import batches

X = np.arange(1003, dtype=np.float32)[:, None]
DATA = {"x": X, "y": np.arange(1003, dtype=np.int32)}


def rows(**options):
    return [b["y"] for b in batches(DATA, 10, **options)]


@pytest.mark.parametrize("buffer_size", [10, 64, 333, 65536])
def test_every_row_at_most_once_and_rows_stay_together(buffer_size):
    seen = list(batches(DATA, 10, buffer_size=buffer_size))
    assert len(seen) == 100
    y = np.concatenate([b["y"] for b in seen])
    assert len(np.unique(y)) == 1000
    np.testing.assert_array_equal(np.concatenate([b["x"] for b in seen])[:, 0], y)
    assert not np.all(np.diff(y) > 0)


def test_deterministic_in_seed_and_epoch():
    first = np.concatenate(rows(seed=1, epoch=2))
    np.testing.assert_array_equal(first, np.concatenate(rows(seed=1, epoch=2)))
    assert not np.array_equal(first, np.concatenate(rows(seed=1, epoch=3)))
    assert not np.array_equal(first, np.concatenate(rows(seed=2, epoch=2)))


def test_batches_of_a_small_buffer_mix_blocks():
    spread = [np.ptp(y) for y in rows(buffer_size=160)]
    assert np.median(spread) > 300


def test_memory_mapped_equals_in_memory(tmp_path):
    np.save(tmp_path / "x.npy", X.astype(np.float64))
    mapped = {"x": np.load(tmp_path / "x.npy", mmap_mode="r"), "y": DATA["y"]}
    for a, b in zip(batches(mapped, 32), batches(DATA, 32), strict=True):
        assert a["x"].dtype == np.float32
        np.testing.assert_array_equal(a["x"], b["x"])
        np.testing.assert_array_equal(a["y"], b["y"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, r"\[1, 1003\]"),
        ({"batch_size": 2000}, r"\[1, 1003\]"),
        ({"batch_size": 10, "buffer_size": 5}, "at least batch_size"),
        ({"batch_size": 10, "seed": -1}, "negative"),
    ],
)
def test_errors_come_at_once(options, message):
    with pytest.raises(ValueError, match=message):
        batches(DATA, **options)


MEASURE = """
import sys
import numpy as np
import psutil
from jaxae.data import batches, load

def resident():
    return psutil.Process().memory_info().rss / 2**20

before = resident()
x = load(sys.argv[1])["x"]
peak, count = resident(), 0
for i, batch in enumerate(batches({"x": x}, 256, buffer_size=8192)):
    count += 1
    if i % 8 == 0:
        peak = max(peak, resident())
assert count == 300 * 1024 // 256, count
print(peak - before)
"""


def test_memory_stays_flat_over_a_large_file(tmp_path):
    shape = (300 * 1024, 256)  # 300 MiB of float32
    x = np.lib.format.open_memmap(tmp_path / "x.npy", "w+", np.float32, shape)
    x[:] = 1
    x.flush()
    del x
    command = [sys.executable, "-c", MEASURE, str(tmp_path / "x.npy")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    assert float(done.stdout) < 80  # MiB: a buffer of 8, blocks, and allocator slack
