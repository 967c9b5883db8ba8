import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from jaxae.data import DataNotFoundError, load
from jaxae.data.preparing import find_builder
from jaxae.data.records import read_records

LIMIT = 5.0  # seconds that an absent or unknown set may take


def test_digits_are_split_once_and_for_all():
    train, test, everything = (load("digits", split) for split in ("train", "test", "all"))
    assert train["x"].shape == (1437, 8, 8, 1)
    assert (train["x"].dtype, train["y"].dtype) == (np.float32, np.int32)
    assert (train["x"].min(), train["x"].max()) == (0, 1)
    assert train["x"].ctypes.data % 64 == 0
    assert len(test["x"]) == 360
    assert len(everything["x"]) == 1797
    keys = [{row.tobytes() for row in part["x"]} for part in (train, test)]
    assert len(keys[0] & keys[1]) == 0
    share = np.bincount(test["y"]) / np.bincount(everything["y"])
    np.testing.assert_allclose(share, 0.2, atol=0.01)
    np.testing.assert_array_equal(load("digits", "train[:10%]")["x"], train["x"][:144])
    np.testing.assert_array_equal(test["y"][:5], load("digits", "test")["y"][:5])


def test_mnist_is_mnist(mnist_dir):
    train, test = load("mnist", "train", mnist_dir), load("mnist:3.0.1", "test", mnist_dir)
    assert train["x"].shape == (60000, 28, 28, 1)
    assert test["x"].shape == (10000, 28, 28, 1)
    assert (train["x"].dtype, train["y"].dtype) == (np.uint8, np.int32)
    assert train["x"].ctypes.data % 64 == 0
    mean = train["x"].mean(axis=0, dtype=np.float64) / 255
    error = np.mean([np.sum((x / 255 - mean) ** 2) for x in test["x"]])
    assert error == pytest.approx(52.897, abs=5e-4)
    assert np.bincount(test["y"]).tolist() == [
        980,
        1135,
        1032,
        1010,
        982,
        892,
        958,
        1028,
        974,
        1009,
    ]


def test_slices_and_sums_of_splits(mnist_dir):
    part = load("mnist", "test[100:200]", mnist_dir)
    both = load("mnist", "test[-1%:]+test[100:200]", mnist_dir)
    assert len(both["x"]) == 200
    np.testing.assert_array_equal(both["x"][100:], part["x"])
    source = find_builder("mnist", mnist_dir).as_data_source("test[100:200]")
    np.testing.assert_array_equal(part["x"][7], source[7]["image"])
    assert part["y"][7] == source[7]["label"]


@pytest.mark.parametrize("split", ["foo", "test[:200%]", "test[20000:]", "test[5:2]", "all[:10]"])
def test_bad_split(split, mnist_dir):
    with pytest.raises(ValueError, match=r'Splits that exist here: "train" \(60000 rows\), "test"'):
        load("mnist", split, mnist_dir)


@pytest.mark.parametrize("name", ["mnist", "cifar10", "mnist:9.9.9", "titanic"])
def test_absent_set_fails_fast_and_tells_the_command(name, empty_home):
    start = time.monotonic()
    with pytest.raises(DataNotFoundError, match=r"prepare_data\.py") as error:
        load(name)
    assert time.monotonic() - start < LIMIT
    assert "network" in str(error.value)
    assert name in str(error.value)


def test_unknown_set_fails_fast_with_close_names(empty_home):
    start = time.monotonic()
    with pytest.raises(ValueError, match="fashion_mnist") as error:
        load("fashon_mnist")
    assert time.monotonic() - start < LIMIT
    assert not isinstance(error.value, DataNotFoundError)
    assert len(str(error.value)) < 500
    with pytest.raises(ValueError, match="Nothing is known"):
        load("qwxyz/foo")


def test_data_dir_beats_the_environment(mnist_dir, tmp_path, monkeypatch):
    with pytest.raises(DataNotFoundError, match=str(tmp_path)):
        load("mnist", data_dir=tmp_path)
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    assert len(load("mnist", "test[:3]", mnist_dir)["x"]) == 3


def write_tfrecord(folder, records, splits=("train",), **changes):
    """Writes a version-1.0.0 set `small` of the given serialised examples."""
    folder.mkdir(parents=True)
    info = {
        "name": "small",
        "version": "1.0.0",
        "fileFormat": "tfrecord",
        "splits": [
            {
                "name": "train",
                "filepathTemplate": "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
                "numBytes": "1",
                "shardLengths": [str(len(records))],
            }
        ],
        **changes,
    }
    (folder / "dataset_info.json").write_text(json.dumps(info))
    path = folder / "small-train.tfrecord-00000-of-00001"
    frame = [len(r).to_bytes(8, "little") + bytes(4) + r + bytes(4) for r in records]
    path.write_bytes(b"".join(frame))
    return path


@pytest.fixture
def small_mnist(mnist_dir, tmp_path):
    """A TFRecord copy of 20 test images, and its data file."""
    builder = find_builder("mnist", mnist_dir)
    records = list(read_records(builder.info.splits["test[:20]"].file_instructions, "array_record"))
    folder = tmp_path / "small" / "1.0.0"
    path = write_tfrecord(folder, records, supervisedKeys={
        "tuple": {"items": [{"featureKey": "image"}, {"featureKey": "label"}]}
    })  # fmt: skip
    source = Path(builder.data_path) / "features.json"
    (folder / "features.json").write_text(source.read_text())
    return path


def test_tfrecord_copies_are_read_without_tensorflow(small_mnist, mnist_dir, tmp_path):
    data = load("small", "train[5:]", tmp_path)
    expected = load("mnist", "test[5:20]", mnist_dir)
    np.testing.assert_array_equal(data["x"], expected["x"])
    np.testing.assert_array_equal(data["y"], expected["y"])
    assert "tensorflow" not in sys.modules


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda b: b[:-2], "ends within record 19 of 20"),
        (lambda b: b[: len(b) // 2], "ends within record"),
        (lambda b: b + b"more", "goes on after its 20"),
    ],
)
def test_damaged_tfrecord(small_mnist, tmp_path, damage, message):
    small_mnist.write_bytes(damage(small_mnist.read_bytes()))
    with pytest.raises(ValueError, match=message):
        load("small", data_dir=tmp_path)
    small_mnist.unlink()
    with pytest.raises(ValueError, match="is missing"):
        load("small", data_dir=tmp_path)


def test_damaged_array_record(mnist_dir, tmp_path):
    source = Path(mnist_dir) / "mnist" / "3.0.1"
    folder = tmp_path / "mnist" / "3.0.1"
    folder.mkdir(parents=True)
    for file in source.iterdir():
        content = file.read_bytes()
        is_test = file.name.startswith("mnist-test")
        (folder / file.name).write_bytes(content[:1_000_000] if is_test else content[:100])
    for file in ("features.json", "dataset_info.json"):
        (folder / file).write_bytes((source / file).read_bytes())
    with pytest.raises(ValueError, match="damaged or truncated"):
        load("mnist", "test", tmp_path)


def write_table_set(root, features, examples):
    """Prepares a set of numbers as TFRecord, with tensorflow-datasets' own protos."""
    import tensorflow_datasets as tfds
    from tensorflow_datasets.proto import tf_example_pb2

    records = []
    for example in examples:
        message = tf_example_pb2.Example()
        for name, value in example.items():
            field = message.features.feature[name]
            if isinstance(value, bytes):
                field.bytes_list.value.append(value)
            elif isinstance(value, int):
                field.int64_list.value.append(value)
            else:
                field.float_list.value.extend(np.ravel(value).tolist())
        records.append(message.SerializeToString())
    folder = root / "small" / "1.0.0"
    write_tfrecord(folder, records)
    tfds.features.FeaturesDict(features).save_config(str(folder))


def test_tabular_sets(tmp_path):
    import tensorflow_datasets as tfds

    spec = {
        "b": np.float32,
        "a": tfds.features.Tensor(shape=(2,), dtype=np.float32),
        "label": tfds.features.ClassLabel(num_classes=3),
    }
    examples = [{"b": [float(i)], "a": [i + 0.5, -i], "label": i % 3} for i in range(6)]
    write_table_set(tmp_path, spec, examples)
    data = load("small", "train", tmp_path)
    np.testing.assert_array_equal(data["x"], [[i + 0.5, -i, i] for i in range(6)])
    assert data["x"].dtype == np.float32
    assert data["y"].tolist() == [0, 1, 2, 0, 1, 2]
    assert load("small", "train", tmp_path, label="b")["y"].dtype == np.float32
    with pytest.raises(ValueError, match=r"no feature 'c'.*'a', 'b', 'label'"):
        load("small", "train", tmp_path, label="c")


def test_text_features_are_refused_by_name(tmp_path):
    import tensorflow_datasets as tfds

    spec = {"name": tfds.features.Text(), "a": np.float32}
    write_table_set(tmp_path, spec, [{"name": b"x", "a": [1.0]}])
    with pytest.raises(ValueError, match=r"features \['name'\]"):
        load("small", "train", tmp_path)


def test_nothing_heavy_is_imported_before_it_is_needed():
    code = (
        "import sys, jaxae.data as d; d.load(__import__('numpy').ones((3, 2)));"
        "heavy = {'tensorflow_datasets', 'sklearn', 'pandas', 'pyarrow', 'PIL'};"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
