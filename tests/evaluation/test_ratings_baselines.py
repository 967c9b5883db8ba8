import numpy as np
import pytest
from scipy.optimize import minimize

from jaxae.data.ratings import ratings_from
from jaxae.evaluation.ratings_baselines import (
    biased_means,
    ease,
    ease_weights,
    factorise,
    global_mean,
)


@pytest.fixture(scope="module")
def train():
    rng = np.random.default_rng(0)
    pairs = rng.choice(8 * 6, 30, replace=False)
    return ratings_from(pairs // 6, pairs % 6, rng.integers(1, 6, 30))


def everywhere(predictor):
    rows, columns = np.divmod(np.arange(48), 6)
    return predictor(rows, columns).reshape(8, 6)


def test_means(train):
    _, _, values = train.entries
    np.testing.assert_allclose(everywhere(global_mean(train)), values.mean(dtype=np.float64))
    rows, columns, _ = train.entries
    design = np.concatenate([np.eye(8)[rows], np.eye(6)[columns]], axis=1)
    full = np.concatenate([design, np.diag(np.sqrt(np.r_[np.full(8, 2.0), np.full(6, 3.0)]))])
    right = np.r_[values - values.mean(dtype=np.float64), np.zeros(14)]
    exact = np.linalg.lstsq(full, right, rcond=None)[0]
    expected = values.mean(dtype=np.float64) + exact[:8, None] + exact[8:]
    np.testing.assert_allclose(everywhere(biased_means(train)), expected, atol=1e-5)


def test_factors_are_a_minimum_that_a_general_optimiser_finds_too(train):
    rows, columns, values = train.entries
    mean = values.mean(dtype=np.float64)

    def unpack(flat):
        p, q = flat[:16].reshape(8, 2), flat[16:28].reshape(6, 2)
        return p, q, flat[28:36], flat[36:]

    def objective(flat):
        p, q, b, c = unpack(flat)
        predicted = mean + b[rows] + c[columns] + (p[rows] * q[columns]).sum(1)
        penalty = 1.5 * ((p**2).sum() + (q**2).sum()) + 2.0 * (b**2).sum() + 3.0 * (c**2).sum()
        return ((values - predicted) ** 2).sum() + penalty

    found = factorise(train, 2, weight=1.5, user_weight=2.0, item_weight=3.0, steps=300)
    flat = np.r_[found.users.ravel(), found.items.ravel(), found.centring.users]
    flat = np.r_[flat, found.centring.items]
    better = minimize(objective, flat, tol=1e-10)
    assert objective(flat) == pytest.approx(better.fun, abs=1e-5)
    starts = [np.random.default_rng(seed).normal(size=42) for seed in range(3)]
    least = min(minimize(objective, start, tol=1e-10).fun for start in starts)
    assert objective(flat) == pytest.approx(least, rel=1e-3)
    p, q, b, c = unpack(flat)
    np.testing.assert_allclose(everywhere(found.predict), mean + b[:, None] + c + p @ q.T)


def test_ease_is_the_constrained_ridge_regression_of_each_item(train):
    x = train.matrix.toarray().astype(np.float64)
    weights = ease_weights(train.matrix, 2.5)
    for item in range(6):
        others = np.delete(np.arange(6), item)
        full = np.concatenate([x[:, others], np.sqrt(2.5) * np.eye(5)])
        exact = np.linalg.lstsq(full, np.r_[x[:, item], np.zeros(5)], rcond=None)[0]
        np.testing.assert_allclose(weights[others, item], exact, atol=1e-10)
        assert weights[item, item] == 0


def test_ease_adds_to_the_biased_means(train):
    rows, columns, values = train.entries
    means = everywhere(biased_means(train))
    rest = np.zeros((8, 6))
    rest[rows, columns] = values - means[rows, columns]
    from scipy.sparse import csr_matrix

    weights = ease_weights(csr_matrix(rest), 4.0)
    np.testing.assert_allclose(everywhere(ease(train, 4.0)), means + rest @ weights, atol=1e-5)


def test_numbers_out_of_range(train):
    with pytest.raises(ValueError, match="rank must lie"):
        factorise(train, 0)
    with pytest.raises(ValueError, match="weight must lie"):
        factorise(train, weight=0.0)
    with pytest.raises(ValueError, match="steps must lie"):
        factorise(train, steps=0)
    with pytest.raises(ValueError, match="weight must lie"):
        ease(train, -1.0)
