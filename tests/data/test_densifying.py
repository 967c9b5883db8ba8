import numpy as np
import pytest

from jaxae.data.densifying import dense, rating_batches
from jaxae.data.ratings import ratings_from


@pytest.fixture(scope="module")
def ratings():
    rng = np.random.default_rng(0)
    pairs = rng.choice(50 * 20, 200, replace=False)
    pairs = pairs[pairs // 20 != 7]  # a user without a rating, once split
    return ratings_from(pairs // 20, pairs % 20, rng.integers(0, 5, len(pairs)))


def test_rows_are_dense_with_a_mask_that_has_zeros_apart_from_what_is_absent(ratings):
    batch = dense(ratings, [3, 1])
    rows, columns, values = ratings.entries
    for i, row in enumerate((3, 1)):
        expected = dict(zip(columns[rows == row], values[rows == row], strict=True))
        seen = np.flatnonzero(batch["mask"][i])
        assert {c: batch["x"][i, c] for c in seen} == expected
    assert (batch["x"].dtype, batch["mask"].dtype) == (np.float32, np.float32)
    assert batch["x"].ctypes.data % 64 == 0
    assert not batch["x"][batch["mask"] == 0].any()
    assert dense(ratings, slice(0, 4))["x"].shape == (4, 20)
    assert list(dense(ratings, [0], mask=False)) == ["x"]


def test_an_epoch_has_each_row_with_ratings_once_in_an_order_of_its_own(ratings):
    empty = ratings._replace(matrix=ratings.matrix.copy())
    everything = dense(ratings)["x"]
    batches = list(rating_batches(empty, 7, seed=1, epoch=2))
    assert [len(batch["x"]) for batch in batches] == [7] * (len(ratings.users) // 7)
    rows = np.concatenate([batch["x"] for batch in batches])
    unlike = {row.tobytes() for row in rows}
    assert unlike <= {row.tobytes() for row in everything}
    again = np.concatenate([b["x"] for b in rating_batches(empty, 7, seed=1, epoch=2)])
    later = np.concatenate([b["x"] for b in rating_batches(empty, 7, seed=1, epoch=3)])
    np.testing.assert_array_equal(rows, again)
    assert (rows != later).any()


def test_rows_without_ratings_are_left_out():
    ratings = ratings_from([0, 1, 2], [0, 1, 2], [1.0, 2.0, 3.0])
    some = ratings._replace(matrix=ratings.matrix[[0, 2]], users=ratings.users[[0, 2]])
    some.matrix.indptr[1] = 0  # both ratings are the second user's
    (batch,) = rating_batches(some, 1)
    assert batch["x"].tolist() == [[1.0, 0.0, 3.0]]


def test_numbers_out_of_range_at_once(ratings):
    with pytest.raises(ValueError, match=r"batch_size=0 must lie in \[1, "):
        rating_batches(ratings, 0)
    with pytest.raises(ValueError, match="batch_size=1000"):
        rating_batches(ratings, 1000)
    with pytest.raises(ValueError, match="must not be negative"):
        rating_batches(ratings, 5, -1)
