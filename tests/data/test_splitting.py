import numpy as np
import pytest

from jaxae.data import split
from jaxae.data.splitting import labelled_subset


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


def unequal(*sizes):
    """Rows that number themselves, with as many of each class as `sizes` says."""
    y = np.repeat(np.arange(len(sizes)), sizes)
    return {"x": np.arange(len(y), dtype=np.float32)[:, None], "y": y.astype(np.int32)}


def sizes_of(subset, classes):
    return np.bincount(subset["y"], minlength=classes).tolist()


@pytest.mark.parametrize(
    ("sizes", "n", "expected"),
    [
        ((500, 300, 200), 10, [5, 3, 2]),
        ((500, 300, 200), 100, [50, 30, 20]),
        ((500, 300, 200), 1000, [500, 300, 200]),
        ((650, 175, 175), 10, [6, 2, 2]),  # large classes are not favoured
        ((1000, 1, 1), 20, [18, 1, 1]),  # none is left out
        ((2, 1, 1), 3, [1, 1, 1]),
        ((60, 40), 7, [4, 3]),  # 4.2 and 2.8
    ],
)
def test_a_subset_has_the_shares_of_the_classes(sizes, n, expected):
    for seed in range(3):
        assert sizes_of(labelled_subset(unequal(*sizes), n, seed), len(sizes)) == expected


def test_no_share_of_a_subset_is_off_by_a_whole_row():
    sizes = np.array([173, 182, 177, 183, 181, 182, 181, 179, 174, 180])
    whole = unequal(*sizes)
    for n in range(10, sum(sizes), 37):
        given = np.array(sizes_of(labelled_subset(whole, n), 10))
        assert given.sum() == n
        assert np.abs(given - n * sizes / sizes.sum()).max() < 1


@pytest.mark.parametrize(("n", "expected"), [(9, [3, 3, 3]), (60, [20, 20, 20])])
def test_a_balanced_subset_has_equally_many_rows_of_each_class(n, expected):
    whole = unequal(500, 30, 20)
    assert sizes_of(labelled_subset(whole, n, balanced=True), 3) == expected
    more = sizes_of(labelled_subset(whole, 59, balanced=True), 3)
    assert sorted(more) == [19, 20, 20]


def test_rows_of_a_subset_are_distinct_shuffled_seeded_and_nested():
    whole = unequal(500, 300, 200)
    for balanced in (False, True):
        few, more = (labelled_subset(whole, n, 1, balanced=balanced) for n in (50, 150))
        rows = few["x"][:, 0].astype(int)
        assert len(set(rows)) == 50
        assert set(rows) < set(more["x"][:, 0].astype(int))
        np.testing.assert_array_equal(whole["y"][rows], few["y"])
        assert np.any(np.diff(rows) < 0)
        draws = [labelled_subset(whole, 50, seed, balanced=balanced)["y"] for seed in range(20)]
        assert {len(set(y[:3])) for y in draws} >= {2, 3}  # in no order of classes
        again = labelled_subset(whole, 50, 1, balanced=balanced)
        np.testing.assert_array_equal(again["x"], few["x"])
        other = labelled_subset(whole, 50, 2, balanced=balanced)
        assert set(other["x"][:, 0]) != set(few["x"][:, 0])


def test_each_row_of_a_class_is_equally_likely_in_a_subset():
    """Of 4000 draws of 3 of 10 rows, each row has 1200 ± 29."""
    whole, counts = unequal(10, 20), np.zeros(30)
    for seed in range(4000):
        counts[labelled_subset(whole, 9, seed)["x"][:, 0].astype(int)] += 1
    assert np.abs(counts - 1200).max() < 5 * np.sqrt(4000 * 0.3 * 0.7)


def test_a_subset_takes_any_integer_labels_and_memory_mapped_rows(tmp_path):
    np.save(tmp_path / "x.npy", np.arange(200.0).reshape(100, 2))
    x = np.load(tmp_path / "x.npy", mmap_mode="r")
    y = np.where(np.arange(100) % 4 == 0, -7, 1000)
    subset = labelled_subset({"x": x, "y": y, "context": np.arange(100.0)}, 20)
    assert not isinstance(subset["x"], np.memmap)
    assert subset["x"].dtype == np.float32
    assert subset["x"].ctypes.data % 64 == 0
    np.testing.assert_array_equal(subset["x"][:, 0], 2 * subset["context"])
    np.testing.assert_array_equal(subset["y"] == -7, subset["context"] % 4 == 0)
    assert (subset["y"] == -7).sum() == 5


@pytest.mark.parametrize(
    ("changed", "n", "options", "message"),
    [
        ({}, 0, {}, "from 3, the number of classes, to 62"),
        ({}, 2, {}, "from 3, the number of classes, to 62"),
        ({}, 63, {}, "from 3, the number of classes, to 62"),
        ({}, 10.0, {}, "n must be an integer"),
        ({}, 33, {"balanced": True}, "need 11 of each; class 2 has 10"),
        ({}, 34, {"balanced": True}, "class 2 has 10"),
        ({"y": None}, 10, {}, 'needs labels "y"'),
        ({"y": np.ones(62)}, 10, {}, "float64"),
        ({"y": np.ones((62, 2), int)}, 10, {}, "argmax"),
    ],
)
def test_subsets_that_cannot_be_drawn_are_refused(changed, n, options, message):
    whole = {k: v for k, v in {**unequal(40, 12, 10), **changed}.items() if v is not None}
    with pytest.raises(ValueError, match=message):
        labelled_subset(whole, n, **options)
