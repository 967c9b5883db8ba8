import numpy as np
import pytest

from jaxae.data.centring import centre
from jaxae.data.ratings import ratings_from


@pytest.fixture(scope="module")
def ratings():
    rng = np.random.default_rng(0)
    pairs = rng.choice(12 * 9, 50, replace=False)
    return ratings_from(pairs // 9, pairs % 9, rng.integers(1, 6, 50))


def test_biases_solve_the_penalised_least_squares(ratings):
    found = centre(ratings, user_weight=2.0, item_weight=5.0)
    rows, columns, values = ratings.entries
    n, m = ratings.matrix.shape
    design = np.concatenate([np.eye(n)[rows], np.eye(m)[columns]], axis=1)
    penalty = np.diag(np.sqrt(np.r_[np.full(n, 2.0), np.full(m, 5.0)]))
    right = np.r_[values - values.mean(dtype=np.float64), np.zeros(n + m)]
    exact = np.linalg.lstsq(np.concatenate([design, penalty]), right, rcond=None)[0]
    np.testing.assert_allclose(np.r_[found.users, found.items], exact, atol=1e-5)
    assert found.mean == pytest.approx(values.mean(), rel=1e-6)
    np.testing.assert_array_equal(found.counts, (ratings.matrix.toarray() > 0).sum(0))


def test_applied_and_put_back_ratings_are_the_same(ratings):
    found = centre(ratings)
    rows, columns, values = found.apply(ratings).entries
    back = values + found.expected(rows, columns)
    np.testing.assert_allclose(back, ratings.matrix.data, atol=1e-6)
    grid = found.expected(np.arange(12)[:, None], np.arange(9))
    np.testing.assert_allclose(grid[rows, columns], found.expected(rows, columns))


def test_other_users_keep_the_items_and_get_a_mean_of_their_own(ratings):
    found = centre(ratings, user_weight=2.0)
    same = found.for_users(ratings)
    np.testing.assert_array_equal(same.items, found.items)
    np.testing.assert_allclose(same.users, found.users, atol=1e-2)
    one = ratings._replace(matrix=ratings.matrix[:1], users=ratings.users[:1])
    _, columns, values = one.entries
    rest = values - found.mean - found.items[columns]
    np.testing.assert_allclose(found.for_users(one).users, rest.sum() / (len(rest) + 2.0))
    with pytest.raises(ValueError, match="for_users"):
        found.apply(one)


def test_the_mean_alone_and_nothing_at_all(ratings):
    mean, none = centre(ratings, "mean"), centre(ratings, "none")
    assert mean.mean == pytest.approx(ratings.matrix.data.mean())
    assert none.mean == 0
    for found in (mean, none, mean.for_users(ratings)):
        assert not found.users.any()
        assert not found.items.any()
    np.testing.assert_array_equal(none.apply(ratings).matrix.data, ratings.matrix.data)


def test_what_is_refused(ratings):
    with pytest.raises(ValueError, match="'biases', 'mean' or 'none'"):
        centre(ratings, "median")
    with pytest.raises(ValueError, match="user_weight must lie"):
        centre(ratings, user_weight=0.0)
