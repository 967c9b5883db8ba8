import os

import numpy as np
import pandas as pd
import pytest

from jaxae.data.ratings import core, ratings_from, split_ratings
from jaxae.data.ratings_files import load_ratings


def random_ratings(n=300, users=40, items=30, seed=0):
    rng = np.random.default_rng(seed)
    pairs = rng.choice(users * items, n, replace=False)
    return pairs // items, pairs % items, rng.integers(0, 6, n).astype(float)


def test_every_rating_lies_where_its_user_and_item_are_zeros_included():
    users, items, values = random_ratings()
    names = np.array([f"user-{u:02d}" for u in users])
    ratings = ratings_from(names, items * 10, values)
    assert ratings.size == 300
    assert (values == 0).any()
    rows, columns, found = ratings.entries
    stored = {
        (ratings.users[r], ratings.items[c]): v
        for r, c, v in zip(rows, columns, found, strict=True)
    }
    assert stored == {
        (name, item * 10): value for name, item, value in zip(names, items, values, strict=True)
    }
    assert ratings.matrix.dtype == np.float32
    assert ratings.matrix.has_sorted_indices


def test_the_transpose_keeps_zeros_and_ids():
    ratings = ratings_from([0, 0, 1], ["a", "b", "b"], [0.0, 2.0, 3.0])
    other = ratings.transposed
    assert other.size == 3
    assert (other.users.tolist(), other.items.tolist()) == (["a", "b"], [0, 1])
    np.testing.assert_array_equal(other.matrix.toarray(), ratings.matrix.toarray().T)
    np.testing.assert_array_equal(other.transposed.matrix.toarray(), ratings.matrix.toarray())


def test_without_values_each_rating_is_one():
    assert ratings_from([0, 1], [3, 3]).matrix.toarray().tolist() == [[1.0], [1.0]]


def test_what_comes_twice_is_named_or_the_last_one_is_kept():
    columns = [7, 7, 8], ["x", "x", "x"], [1.0, 5.0, 2.0]
    with pytest.raises(ValueError, match=r"User 7 has several ratings of item x \(1 such rows"):
        ratings_from(*columns)
    assert ratings_from(*columns, keep="last").matrix.toarray().tolist() == [[5.0], [2.0]]
    with pytest.raises(ValueError, match="'error' or 'last'"):
        ratings_from([1], [1], [1.0], keep="first")


@pytest.mark.parametrize(
    ("columns", "match"),
    [
        (([1, 2], [1], [1.0]), "columns of one length"),
        (([], [], []), "at least one row"),
        (([1], [1], [np.nan]), "finite numbers"),
        (([1], [1], ["good"]), "finite numbers"),
        ((np.array(["a", None], object), [1, 2], [1.0, 1.0]), "lack 1 ids, the first in row 1"),
        ((pd.array(["a", None]), [1, 2], [1.0, 1.0]), "lack 1 ids, the first in row 1"),
        (([1.0, np.nan], [1, 2], [1.0, 1.0]), "none missing"),
        (([[1]], [1], [1.0]), "one id for each rating"),
    ],
)
def test_columns_that_are_no_ratings(columns, match):
    with pytest.raises(ValueError, match=match):
        ratings_from(*columns)


def test_the_core_is_the_largest_part_in_which_all_have_k():
    users, items, values = random_ratings()
    found = core(ratings_from(users, items, values), 6)
    alive_users, alive_items = set(users.tolist()), set(items.tolist())
    pairs = set(zip(users.tolist(), items.tolist(), strict=True))
    while True:  # one vertex at a time, which leads to the same core in any order
        few = [
            (side, i)
            for side, alive in ((0, alive_users), (1, alive_items))
            for i in alive
            if sum(p[side] == i for p in pairs) < 6
        ]
        if not few:
            break
        side, gone = few[0]
        (alive_users, alive_items)[side].discard(gone)
        pairs = {p for p in pairs if p[side] != gone}
    assert 0 < len(alive_users) < 40
    assert found.users.tolist() == sorted(alive_users)
    assert found.items.tolist() == sorted(alive_items)
    rows, columns, _ = found.entries
    kept = zip(found.users[rows].tolist(), found.items[columns].tolist(), strict=True)
    assert set(kept) == pairs


def test_the_core_of_movietweetings():
    path = os.environ.get("JAXAE_RATINGS")
    if not path:
        pytest.skip("needs MovieTweetings' 100,000 ratings: set JAXAE_RATINGS to their file")
    ratings = load_ratings(path)
    assert (ratings.matrix.shape, ratings.size) == ((16554, 10506), 100_000)
    found = core(ratings, 10)
    assert (found.matrix.shape, found.size) == ((2059, 1099), 44_613)


def test_a_core_that_is_empty():
    with pytest.raises(ValueError, match="No user and item are left with at least 9"):
        core(ratings_from([0, 1], [0, 1]), 9)
    with pytest.raises(ValueError, match="k must lie"):
        core(ratings_from([0, 1], [0, 1]), 0)


def test_parts_are_disjoint_complete_and_seeded():
    ratings = ratings_from(*random_ratings())
    parts = split_ratings(ratings, (0.5, 0.3, 0.2), seed=3)
    assert [part.size for part in parts] == [150, 90, 60]
    total = sum((part.with_values(np.ones(part.size)).matrix.toarray() for part in parts), 0)
    np.testing.assert_array_equal(total, ratings.with_values(np.ones(300)).matrix.toarray())
    joined = sum((part.matrix.toarray() for part in parts), 0)
    np.testing.assert_array_equal(joined, ratings.matrix.toarray())
    again, other = split_ratings(ratings, (0.5, 0.3, 0.2), 3), split_ratings(ratings, (0.5, 0.5), 4)
    np.testing.assert_array_equal(again[2].matrix.toarray(), parts[2].matrix.toarray())
    assert (other[0].matrix.toarray() != parts[0].matrix.toarray()).any()
    assert all(part.users is ratings.users for part in parts)


@pytest.mark.parametrize("fractions", [(0.5, 0.6), (1.0, 0.0), (0.999, 0.001), (-0.5, 1.5)])
def test_fractions_that_make_no_parts(fractions):
    with pytest.raises(ValueError, match="add up to 1"):
        split_ratings(ratings_from(*random_ratings()), fractions)


def test_other_values_for_the_same_pairs():
    ratings = ratings_from([0, 1], [0, 1], [0.0, 2.0])
    assert ratings.with_values(np.array([3.0, 0.0])).entries[2].tolist() == [3.0, 0.0]
    assert ratings.matrix.data.tolist() == [0.0, 2.0]
    with pytest.raises(ValueError, match="2 ratings need as many values"):
        ratings.with_values(np.ones(3))
