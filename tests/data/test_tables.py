import numpy as np
import pandas as pd
import pytest

from jaxae.data import load

TABLE = pd.DataFrame({"b": [1, 2, 3, 4], "kind": ["v", "u", "v", "w"], "a": [True, False] * 2})
EXPECTED = [[1, 1], [2, 0], [3, 1], [4, 0]]


@pytest.mark.parametrize("suffix", ["csv", "parquet", None])
def test_tables(tmp_path, suffix):
    source = TABLE if suffix is None else tmp_path / f"t.{suffix}"
    if suffix == "csv":
        TABLE.to_csv(source, index=False)
    elif suffix == "parquet":
        TABLE.to_parquet(source)
    data = load(source, label="kind")
    assert (data["x"].dtype, data["y"].dtype) == (np.float32, np.int32)
    assert data["x"].tolist() == EXPECTED
    assert data["y"].tolist() == [1, 0, 1, 2]
    assert load(source, "train[50%:]", label="kind")["y"].tolist() == [1, 2]
    with pytest.raises(ValueError, match=r"columns \['kind'\]"):
        load(source)
    with pytest.raises(ValueError, match=r"no column 'c'.*'b', 'kind', 'a'"):
        load(source, label="c")


def test_label_types():
    table = pd.DataFrame({"x": [1.0, 2.0], "y": [0.5, 1.5], "z": pd.Categorical(["q", "p"])})
    assert load(table[["x", "y"]], label="y")["y"].dtype == np.float32
    assert load(table[["x", "z"]], label="z")["y"].tolist() == [1, 0]
    nullable = pd.DataFrame({"x": [1.0, 2.0], "y": pd.array([3, 4], "Int64")})
    assert load(nullable, label="y")["y"].tolist() == [3, 4]
    with pytest.raises(
        ValueError, match="labels in the column 'y' are missing, the first in row 1"
    ):
        load(pd.DataFrame({"x": [1.0, 2.0], "y": ["a", None]}), label="y")


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"a": [1.0, np.nan, np.nan], "b": [1, 2, 3]}, r"'a' \(2, first in row 1\)"),
        ({"a": pd.array([1, None, 3], "Int64")}, r"'a' \(1, first in row 1\)"),
        ({"a": [1.0, np.inf, 2.0]}, "Column 'a' has NaN or infinite"),
        ({"a": [1, 2, 2**24 + 1]}, "Column 'a' has integers beyond"),
        ({"a": [1e300, 1.0, 1.0]}, "Column 'a' has values beyond"),
        ({"a": pd.to_datetime(["2020-01-01"] * 3)}, "neither numeric"),
        ({"a": []}, "0 rows"),
    ],
)
def test_tables_refused(columns, message):
    with pytest.raises(ValueError, match=message):
        load(pd.DataFrame(columns))


def test_counts_of_one_byte_are_no_pixels():
    table = pd.DataFrame({"a": np.array([1, 255], np.uint8)})
    assert load(table)["x"].dtype == np.float32
