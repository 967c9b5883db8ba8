import pytest

from jaxae.data.preparing import find_builder
from jaxae.data.slicing import resolve

GOOD = ["train", "train[:10%]", "train[1000:2000]", "train[-10%:]", "train[33%:34%]", "train[-5:]"]
BAD = ["foo", "train[a:]", "train[:101%]", "train[70000:]", "train[:70000]", "train[5:2]", ""]


@pytest.mark.parametrize("split", BAD)
def test_bad_splits_name_what_is_allowed_and_what_exists(split):
    with pytest.raises(ValueError, match=r'train\[:10%\].*exist here: "train" \(60000 rows\)'):
        resolve(split, {"train": 60000, "test": 10000})


def test_same_rule_as_tensorflow_datasets(mnist_dir):
    splits = find_builder("mnist", mnist_dir).info.splits
    for split in GOOD:
        (expected,) = splits[split].file_instructions
        rows = resolve(split, {"train": 60000})[1]
        assert (rows.start, rows.stop - rows.start) == (expected.skip, expected.take), split


@pytest.mark.parametrize("percent", [1, 15, 50, 55, 85])
def test_percentages_partition(percent):
    low = resolve(f"all[:{percent}%]", {"all": 1797})[1]
    high = resolve(f"all[{percent}%:]", {"all": 1797})[1]
    assert (low.start, low.stop, high.stop) == (0, high.start, 1797)
