"""Schemas of tables: kinds, scales, one-hot cells, missing ones, and the way back."""

import json

import numpy as np
import pandas as pd
import pytest
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from jaxae.data.column_fitting import hide_cells
from jaxae.data.columns import Columns, fit_columns

FRAME = pd.DataFrame(
    {
        "age": [20.0, 30.0, np.nan, 70.0],
        "city": ["Rome", None, "Oslo", "Bern"],
        "smokes": pd.array([True, False, None, True], dtype="boolean"),
        "visits": [3, 1, 2, 2],
    }
)


@pytest.fixture
def columns():
    return fit_columns(FRAME, kinds={"visits": "categorical"})


def test_entries_are_those_of_scikit_learns_scaler_and_one_hot_encoder(columns):
    batch = columns.encode(FRAME)
    assert columns.kinds == ("numeric", "categorical", "binary", "categorical")
    assert columns.widths == (1, 3, 1, 3)
    assert batch["x"].dtype == np.float32
    x, mask = batch["x"], batch["mask"]
    scaled = np.nan_to_num(StandardScaler().fit_transform(FRAME[["age"]]))
    np.testing.assert_allclose(x[:, :1], scaled, rtol=1e-6)
    towns = OneHotEncoder(categories=[["Bern", "Oslo", "Rome"]], handle_unknown="ignore")
    np.testing.assert_array_equal(x[:, 1:4], towns.fit_transform(FRAME[["city"]]).toarray())
    np.testing.assert_array_equal(x[:, 4], [1, 0, 0, 1])
    np.testing.assert_array_equal(
        x[:, 5:], OneHotEncoder().fit_transform(FRAME[["visits"]]).todense()
    )
    gaps = FRAME.isna().to_numpy()
    np.testing.assert_array_equal(mask == 0, np.repeat(gaps, columns.widths, axis=1))
    assert not x[mask == 0].any()


def test_what_is_encoded_decodes_to_the_same_cells(columns):
    whole = FRAME.dropna()
    again = columns.decode(columns.encode(whole)["x"], whole.index)
    pd.testing.assert_frame_equal(again, whole, check_dtype=False, rtol=1e-6)
    assert again["smokes"].dtype == bool
    assert again["visits"].dtype == np.int64


def test_decoding_takes_the_most_probable_category_and_original_units(columns):
    x_hat = [[1.0, 0.2, 0.5, 0.3, 0.49, 0.1, 0.1, 0.8]]
    cells = columns.decode(x_hat).iloc[0]
    mean, scale = FRAME["age"].mean(), FRAME["age"].std(ddof=0)
    np.testing.assert_allclose(cells["age"], mean + scale)
    assert cells[1:].tolist() == ["Oslo", False, 3]
    with pytest.raises(ValueError, match=r"shape \(rows, 8\); got \(1, 7\)"):
        columns.decode(np.zeros((1, 7)))


def test_the_schema_goes_through_json_unchanged(columns):
    again = Columns.from_json(columns.to_json())
    assert again == columns
    assert json.loads(columns.to_json())[2]["categories"] == [False, True]
    for name, array in again.encode(FRAME).items():
        np.testing.assert_array_equal(array, columns.encode(FRAME)[name])
    for text in ("{}", "[]", "nonsense", '[{"name": "a", "kind": "odd", "categories": []}]'):
        with pytest.raises(ValueError, match="schema"):
            Columns.from_json(text)


def test_unknown_categories_are_an_error_that_names_them_or_missing(columns):
    strange = FRAME.assign(city=["Rome", "Paris", "Oslo", "Lima"])
    with pytest.raises(ValueError, match=r"'city'.*\['Paris', 'Lima'\].*'Bern', 'Oslo', 'Rome'"):
        columns.encode(strange)
    batch = columns.encode(strange, unknown="missing")
    assert batch["mask"][:, 1:4].tolist() == [[1] * 3, [0] * 3, [1] * 3, [0] * 3]
    assert not batch["x"][[1, 3], 1:4].any()


def test_absent_columns_are_an_error_that_names_them_or_missing_and_others_are_left_out(columns):
    less = FRAME.drop(columns=["age", "smokes"]).assign(shoe=9)
    with pytest.raises(ValueError, match=r"lacks the columns \['age', 'smokes'\]"):
        columns.encode(less)
    batch = columns.encode(less, absent="missing")
    assert not batch["mask"][:, [0, 4]].any()
    np.testing.assert_array_equal(batch["x"][:, 1:4], columns.encode(FRAME)["x"][:, 1:4])
    for name in ("absent", "unknown"):
        with pytest.raises(ValueError, match=name):
            columns.encode(FRAME, **{name: "ignore"})


def test_filling_touches_missing_cells_alone_and_keeps_types(columns):
    frame = FRAME.assign(city=FRAME["city"].astype("category"), note=["a", None, "b", "c"])
    x_hat = np.tile([[2.0, 0.1, 0.1, 0.8, 0.9, 1, 0, 0]], (4, 1))
    table = columns.fill(frame, x_hat)
    seen = frame.notna().to_numpy()
    np.testing.assert_array_equal(table.to_numpy(object)[seen], frame.to_numpy(object)[seen])
    np.testing.assert_allclose(
        table["age"][2], columns.columns[0].mean + 2 * columns.columns[0].scale
    )
    assert (table["city"][1], table["smokes"][2]) == ("Rome", True)
    assert table["city"].dtype == frame["city"].dtype
    assert table["visits"].dtype == np.int64
    assert table["note"].isna().tolist() == [False, True, False, False]
    assert frame["age"].isna().any()
    assert columns.fill(frame[["age"]], x_hat)["visits"].tolist() == [1] * 4


def test_a_constant_column_a_far_offset_and_huge_numbers_stay_finite():
    frame = pd.DataFrame(
        {
            "same": [0.1 + 0.2] * 3,
            "stamp": [1.7e9 + i for i in range(3)],
            "huge": [1e200, -1e200, 0.0],
            "tiny": [1e-200, 3e-200, 2e-200],
        }
    )
    columns = fit_columns(frame)
    assert columns.columns[0].scale == 1.0
    expected = np.array([[-1, 1, -1], [0, -1, 1], [1, 0, 0]]) * np.sqrt(1.5)
    x = columns.encode(frame)["x"]
    np.testing.assert_allclose(x, np.c_[np.zeros(3), expected], atol=1e-6)
    pd.testing.assert_frame_equal(columns.decode(x.astype(float)), frame, rtol=1e-6, atol=1e-210)
    with pytest.raises(ValueError, match="'tiny' has cells too large"):
        columns.encode(frame.assign(tiny=1.0))


def test_scales_of_other_rows_leave_categories_as_they_are(columns):
    scaled = columns.scaled_by(FRAME.iloc[:2])
    assert (scaled.columns[0].mean, scaled.columns[0].scale) == (25.0, 5.0)
    assert scaled.columns[1:] == columns.columns[1:]


def test_kinds_follow_the_type_of_the_cells():
    frame = pd.DataFrame(
        {
            "int": [1, 2, 3],
            "nullable": pd.array([1, None, 2], dtype="Int64"),
            "text": ["u", "v", "w"],
            "two": ["u", "v", None],
            "one": ["u", "u", "u"],
            "levels": pd.Categorical(["b", "b", "a"], categories=["b", "c", "a"]),
            "ints as objects": np.array([1, 2, 3], object),
            "floats as objects": np.array([1.5, None, 3], object),
            "truth": [True, False, True],
        }
    )
    columns = fit_columns(frame)
    n, b, c = "numeric", "binary", "categorical"
    assert columns.kinds == (n, n, c, b, c, c, c, n, b)
    assert columns.columns[5].categories == ("b", "c", "a")
    assert columns.widths[4] == 1
    told = fit_columns(pd.DataFrame({"size": ["1.5", None, "x"]}).iloc[:2], {"size": "numeric"})
    assert (told.kinds, told.columns[0].mean) == ((n,), 1.5)


@pytest.mark.parametrize(
    ("frame", "kinds", "message"),
    [
        ({"a": [None, None]}, {}, r"\['a'\] have no observed cell"),
        ({"a": [1.0, np.inf]}, {}, "no finite numbers, the first, .*inf.*, in row 1"),
        ({"a": ["1", "two"]}, {"a": "numeric"}, "first, 'two', in row 1"),
        ({"a": ["x", "y", "z"]}, {"a": "binary"}, "has 3"),
        ({"a": [1, 2]}, {"a": "ordinal"}, "A kind is one of"),
        ({"a": [1, 2]}, {"b": "numeric"}, r"kinds has the columns \['b'\]"),
        ({"a": [f"id {i}" for i in range(101)]}, {}, "101 categories"),
        ({"a": pd.to_datetime(["2020-01-01", "2020-01-02"])}, {}, "neither numbers nor categories"),
        ({"a": [1j, 2j]}, {}, "neither numbers nor categories"),
        ({"a": [[1], [2]]}, {}, "Categories are strings"),
        ({("a", "b"): [1, 2]}, {}, "strings or integers"),
        ({"a": []}, {}, "0 rows"),
        ({"a": [1.7e308, -1.7e308]}, {}, "Scale it"),
    ],
)
def test_tables_that_teach_no_schema_are_refused(frame, kinds, message):
    with pytest.raises(ValueError, match=message):
        fit_columns(pd.DataFrame(frame), kinds)


def test_names_that_repeat_and_what_is_no_table_are_refused():
    with pytest.raises(ValueError, match=r"repeat: \['a'\]"):
        fit_columns(pd.DataFrame([[1, 2]], columns=["a", "a"]))
    with pytest.raises(ValueError, match="pandas DataFrame; got ndarray"):
        fit_columns(np.ones((2, 2)))


def test_hidden_cells_are_the_share_asked_for_and_each_column_keeps_one():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"a": rng.normal(size=50), "b": rng.choice(list("xyz"), 50), "c": None})
    frame["c"] = [1.0] + [None] * 49
    holes, hidden = hide_cells(frame, 0.3, seed=1)
    assert hidden.to_numpy().sum() == round(0.3 * 101)
    assert not (hidden & frame.isna()).any(axis=None)
    assert not hidden["c"].any()
    pd.testing.assert_frame_equal(holes.isna(), frame.isna() | hidden)
    seen = ~hidden.to_numpy() & frame.notna().to_numpy()
    np.testing.assert_array_equal(holes.to_numpy(object)[seen], frame.to_numpy(object)[seen])
    pd.testing.assert_frame_equal(hide_cells(frame, 0.3, seed=1)[1], hidden)
    assert not hide_cells(frame, 0.3, seed=2)[1].equals(hidden)
    assert (hide_cells(frame, 0.99)[0].notna().sum() >= 1).all()
    for fraction in (0, 1, -0.5, np.nan):
        with pytest.raises(ValueError, match="fraction must lie"):
            hide_cells(frame, fraction)
    with pytest.raises(ValueError, match="is none"):
        hide_cells(frame.iloc[:1], 0.5)
