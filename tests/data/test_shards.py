import json
import os
import subprocess
import sys

import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save_file

from jaxae.data import batches, load, open_shards

DTYPES = [np.float32, np.float16, jnp.bfloat16]
KINDS = ["npy", "safetensors"]
LENGTHS = (7, 300, 1, 95)  # of files, 403 together


def rows(n=403, dim=5, dtype=np.float32):
    return np.random.default_rng(0).normal(size=(n, dim)).astype(dtype)


def write(path, x):
    if path.suffix == ".npy":
        np.save(path, x)
    else:
        save_file({"x": np.ascontiguousarray(x)}, path)


def write_all(folder, kind, x):
    for i, part in enumerate(np.split(x, np.cumsum(LENGTHS)[:-1])):
        write(folder / f"part-{i}.{kind}", part)
    return folder


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_slices_equal_those_of_the_concatenated_arrays(tmp_path, kind, dtype):
    x = rows(dtype=dtype)
    shards = open_shards(write_all(tmp_path, kind, x))
    assert (len(shards), shards.shape, shards.ndim) == (403, (403, 5), 2)
    assert (shards.dtype, shards.stored_dtype) == (np.float32, np.dtype(dtype))
    assert shards.nbytes == x.nbytes
    expected = x.astype(np.float32)
    for a, b in ((None, None), (0, 7), (5, 9), (6, 308), (307, 308), (-50, None), (9, 9), (8, 3)):
        part = shards[a:b]
        assert part.dtype == np.float32
        np.testing.assert_array_equal(part, expected[a:b])
    part[...] = 0  # what is read is the reader's own
    np.testing.assert_array_equal(shards[:], expected)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("piece", [None, 100, 20])
def test_sequences_of_tokens_are_rows_in_order(tmp_path, kind, piece, monkeypatch):
    if piece:  # bytes read at once: 5 rows, less than a sequence, and 1
        monkeypatch.setitem(open_shards.__globals__, "_PIECE_BYTES", piece)
    x = rows(8 * 6)
    write(tmp_path / f"a.{kind}", x[:30].reshape(5, 6, 5))
    write(tmp_path / f"b.{kind}", x[30:42].reshape(2, 6, 5))
    np.save(tmp_path / "c.npy", np.asfortranarray(x[42:]))  # no sequences, column by column
    (tmp_path / "config.json").write_text("{}")
    shards = open_shards(tmp_path)
    for a in range(0, 48, 5):
        for b in range(a, 49, 4):
            np.testing.assert_array_equal(shards[a:b], x[a:b])


@pytest.mark.parametrize("dtype", [np.uint8, np.bool_, np.float64, np.int16])
def test_bytes_and_booleans_stay_and_wider_numbers_become_float32(tmp_path, dtype):
    x = (np.arange(12).reshape(6, 2) % 3).astype(dtype)
    np.save(tmp_path / "x.npy", x)
    shards = open_shards(tmp_path / "x.npy")
    assert shards.dtype == (dtype if dtype in (np.uint8, np.bool_) else np.float32)
    (batch,) = batches({"x": shards}, 6)
    assert batch["x"].dtype == shards.dtype
    np.testing.assert_array_equal(np.sort(batch["x"], axis=0), np.sort(x, axis=0))


def test_folders_and_patterns_are_sorted_and_lists_are_not(tmp_path):
    write_all(tmp_path, "npy", rows())
    paths = tuple(tmp_path / f"part-{i}.npy" for i in range(4))
    assert open_shards(str(tmp_path)).files == paths
    assert open_shards(str(tmp_path / "part-[0-2].npy")).files == paths[:3]
    assert open_shards(f"{tmp_path}/**/part-3.npy").files == paths[3:]
    assert open_shards([paths[3], str(paths[0])]).files == (paths[3], paths[0])
    np.save(tmp_path / "odd[1].npy", rows(9))
    assert len(open_shards(tmp_path / "odd[1].npy")) == 9


def test_the_tensor_is_the_one_named_or_x_or_the_only_one(tmp_path):
    path = tmp_path / "a.safetensors"
    save_file({"x": rows(3), "resid": rows(4)}, path)
    assert len(open_shards(path)) == 3
    assert len(open_shards(path, key="resid")) == 4
    with pytest.raises(ValueError, match=r"a\.safetensors.*no tensor 'mlp'.*\['resid', 'x'\]"):
        open_shards(path, key="mlp")
    save_file({"resid": rows(4)}, path)
    assert len(open_shards(path)) == 4
    save_file({"resid": rows(4), "mlp": rows(3)}, path)
    with pytest.raises(ValueError, match=r"no tensor 'x'.*\['mlp', 'resid'\].*key="):
        open_shards(path)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("buffer_size", [16, 100, 65536])
def test_an_epoch_of_batches_has_every_row_once(tmp_path, kind, buffer_size):
    x = rows(dtype=np.float16)
    shards = open_shards(write_all(tmp_path, kind, x))
    seen = list(batches({"x": shards, "y": np.arange(403)}, 13, buffer_size=buffer_size))
    assert len(seen) == 31  # 403 = 13 * 31
    assert seen[0]["x"].dtype == np.float32
    y = np.concatenate([b["y"] for b in seen])
    np.testing.assert_array_equal(np.sort(y), np.arange(403))
    np.testing.assert_array_equal(np.concatenate([b["x"] for b in seen]), x[y.astype(int)])


def test_batches_are_those_of_the_array_and_differ_by_epoch_and_seed(tmp_path):
    x = rows()
    shards = open_shards(write_all(tmp_path, "safetensors", x))

    def order(data, **options):
        stream = batches({"x": data}, 32, buffer_size=64, **options)
        return np.concatenate([batch["x"] for batch in stream])

    first = order(shards, seed=1, epoch=2)
    np.testing.assert_array_equal(first, order(x, seed=1, epoch=2))
    assert not np.array_equal(first, order(shards, seed=1, epoch=3))
    assert not np.array_equal(first, order(shards, seed=2, epoch=2))


def test_what_would_read_everything_says_so(tmp_path):
    shards = open_shards(write_all(tmp_path, "npy", rows()))
    assert repr(shards) == "Shards(4 files, shape=(403, 5), stored as float32)"
    for read in (np.asarray, jnp.asarray, list, lambda s: s[3], lambda s: s[::2], load):
        with pytest.raises(ValueError, match=r"shards\[a:b\]"):
            read(shards)
    for source in (tmp_path, str(tmp_path), f"{tmp_path}/*.npy"):
        with pytest.raises(ValueError, match="open_shards"):
            load(source)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.unlink(), "There is no file"),
        (lambda path: path.write_bytes(b""), "is empty"),
        (lambda path: path.write_bytes(path.read_bytes()[:-9]), "can not be read"),
        (lambda path: path.write_bytes(path.read_bytes()[:20]), "can not be read"),
        (lambda path: path.write_bytes(b"nonsense" * 99), "can not be read"),
        (lambda path: write(path, rows(9, dim=4)), "rows of 4 x float32, but .*part-0"),
        (lambda path: write(path, rows(9, dtype=np.float16)), "rows of 5 x float16"),
        (lambda path: write(path, rows(9)[:0]), r"shape \(0, 5\)"),
        (lambda path: write(path, np.ones(9, np.float32)), r"shape \(9,\)"),
        (lambda path: write(path, np.ones((2, 2, 2, 5), np.float32)), r"\(2, 2, 2, 5\)"),
        (lambda path: write(path, np.ones((2, 5), np.complex64)), "complex64|C64"),
        (lambda path: write(path, np.ones((2, 5), jnp.float8_e4m3fn)), "float8|V1"),
    ],
)
def test_unfit_files_are_named(tmp_path, kind, damage, message):
    paths = [tmp_path / f"part-{i}.{kind}" for i in range(4)]
    write_all(tmp_path, kind, rows())
    damage(paths[2])
    with pytest.raises(ValueError, match=message) as error:
        open_shards(paths)
    assert str(paths[2]) in str(error.value)


def test_sources_without_files(tmp_path):
    for source, message in [
        ([], "list of shards is empty"),
        (tmp_path, "has no files that end in"),
        (f"{tmp_path}/*.npy", "No file matches"),
        (tmp_path / "none.npy", "There is no file"),
        ([tmp_path / "a.pt"], r"ends in '\.pt'"),
    ]:
        with pytest.raises(ValueError, match=message):
            open_shards(source)


@pytest.mark.parametrize("kind", KINDS)
def test_what_happens_to_a_file_after_opening_is_noticed(tmp_path, kind):
    shards = open_shards(write_all(tmp_path, kind, rows()))
    path = shards.files[1]
    x = rows(300)
    x[17, 2] = np.nan
    write(path, x)
    with pytest.raises(ValueError, match=r"part-1.*NaN.*position \(17, 2\)"):
        list(batches({"x": shards}, 8))
    write(path, rows(299))
    with pytest.raises(ValueError, match=r"part-1.*changed"):
        shards[:]
    path.unlink()
    assert len(shards[:7]) == 7
    with pytest.raises(ValueError, match="part-1"):
        shards[7:8]


@pytest.mark.parametrize("dtype", DTYPES)
def test_load_reads_one_safetensors_file_and_two_byte_npy(tmp_path, dtype):
    x = rows(20, dtype=dtype)
    save_file({"x": x, "y": np.arange(20)}, tmp_path / "a.safetensors")
    data = load(tmp_path / "a.safetensors", "train[:50%]")
    assert (data["x"].dtype, data["y"].tolist()) == (np.dtype(dtype), list(range(10)))
    np.testing.assert_array_equal(data["x"], x[:10])
    save_file({"resid": x}, tmp_path / "b.safetensors")
    np.testing.assert_array_equal(load(str(tmp_path / "b.safetensors"))["x"], x)
    np.save(tmp_path / "x.npy", x)
    np.testing.assert_array_equal(load(tmp_path / "x.npy")["x"], x)
    save_file({"resid": x, "mlp": x}, tmp_path / "b.safetensors")
    with pytest.raises(ValueError, match=r"b\.safetensors.*holds \['mlp', 'resid'\]"):
        load(tmp_path / "b.safetensors")


MEASURE = """
import itertools
import sys
from jaxae.data import batches, open_shards

shards = open_shards(sys.argv[1])
steps = itertools.islice(batches({"x": shards}, 1024, buffer_size=16384), 224)
assert sum(len(batch["x"]) for batch in steps) == 224 * 1024  # 0.9 GB
for line in open("/proc/self/status"):
    if line.startswith("VmHWM"):
        print(int(line.split()[1]) / 1024)
"""


def sparse(path, shape):
    """A file of float32 zeros that takes no space on the disk."""
    if path.suffix == ".npy":
        return np.lib.format.open_memmap(path, "w+", np.float32, shape)
    size = int(np.prod(shape)) * 4
    tensor = {"dtype": "F32", "shape": shape, "data_offsets": [0, size]}
    text = json.dumps({"x": tensor}).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text)
    return os.truncate(path, 8 + len(text) + size)


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak of the memory from /proc")
@pytest.mark.parametrize("shape", [(192 * 1024, 1024), (3, 64 * 1024, 1024)])
def test_memory_stays_bounded_over_files_that_are_larger(tmp_path, shape):
    kind = KINDS[len(shape) - 2]
    for i in range(2):  # of 0.8 GB each
        sparse(tmp_path / f"{i}.{kind}", shape)
    command = [sys.executable, "-c", MEASURE, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    assert float(done.stdout) < 600  # MiB: JAX itself, a buffer of 64, pieces
