import itertools

import jax
import numpy as np
import pytest
from sklearn.metrics import mean_absolute_error, ndcg_score, root_mean_squared_error

from jaxae.evaluation.ranking import mae, ndcg_at_k, recall_at_k, rmse


@pytest.fixture(scope="module")
def rng():
    return np.random.default_rng(0)


def test_errors_are_those_of_scikit_learn(rng):
    ratings, predicted = rng.integers(0, 11, 50), rng.normal(7, 2, 50)
    assert rmse(ratings, predicted) == pytest.approx(root_mean_squared_error(ratings, predicted))
    assert mae(ratings, predicted) == pytest.approx(mean_absolute_error(ratings, predicted))
    with pytest.raises(ValueError, match="one prediction for each rating"):
        rmse(ratings, predicted[:, None])
    with pytest.raises(ValueError, match="one prediction for each rating"):
        mae(ratings, predicted[:-1])


@pytest.mark.parametrize("k", [1, 3, 12])
def test_ndcg_is_that_of_scikit_learn(rng, k):
    scores = rng.permuted(np.tile(np.arange(12.0), (20, 1)), axis=1)
    relevant = rng.integers(0, 4, (20, 12)).astype(float)
    found = jax.jit(ndcg_at_k, static_argnums=2)(scores, relevant, k)
    expected = [ndcg_score(r[None], s[None], k=k) for r, s in zip(relevant, scores, strict=True)]
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_what_was_seen_takes_no_part(rng):
    scores, relevant = rng.normal(size=(20, 12)), rng.integers(0, 2, (20, 12)).astype(float)
    seen = rng.integers(0, 2, (20, 12))
    found = ndcg_at_k(scores, relevant, 3, seen), recall_at_k(scores, relevant, 3, seen)
    for i in range(20):
        left = np.flatnonzero(seen[i] == 0)
        if not relevant[i, left].any():
            assert np.isnan(found[0][i])
            assert np.isnan(found[1][i])
            continue
        expected = ndcg_score(relevant[i : i + 1, left], scores[i : i + 1, left], k=3)
        assert found[0][i] == pytest.approx(expected, rel=1e-5)
        best = set(left[np.argsort(-scores[i, left])][:3])
        hits = len(best & set(left[relevant[i, left] > 0]))
        assert found[1][i] == pytest.approx(hits / min(3, relevant[i, left].sum()))


def test_every_order_of_four_items():
    relevant = np.array([1.0, 0.0, 2.0, 0.0])
    scores = np.array([[-order.index(i) for i in range(4)] for order in orders()], float)
    every = np.tile(relevant, (24, 1))
    recalls, gains = recall_at_k(scores, every, 2), ndcg_at_k(scores, every, 2)
    for order, recall, gain in zip(orders(), recalls, gains, strict=True):
        top = relevant[list(order[:2])]
        assert recall == pytest.approx((top > 0).sum() / 2)
        ideal = 2.0 + 1.0 / np.log2(3.0)
        assert gain == pytest.approx((top[0] + top[1] / np.log2(3.0)) / ideal, rel=1e-6)
    assert max(gains) == pytest.approx(1.0)


def orders():
    return list(itertools.permutations(range(4)))


def test_users_without_relevant_items_are_missing_values():
    scores, relevant = np.ones((2, 3)), np.array([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0]])
    assert np.isnan(recall_at_k(scores, relevant, 1)).tolist() == [True, False]
    assert np.isnan(ndcg_at_k(scores, relevant, 1)).tolist() == [True, False]


def test_shapes_and_k_are_checked():
    with pytest.raises(ValueError, match="of one shape"):
        ndcg_at_k(np.ones((2, 3)), np.ones((2, 4)), 1)
    with pytest.raises(ValueError, match="of one shape"):
        recall_at_k(np.ones(3), np.ones(3), 1)
    with pytest.raises(ValueError, match="k must lie"):
        recall_at_k(np.ones((2, 3)), np.ones((2, 3)), 4)
