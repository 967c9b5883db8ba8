"""Fréchet distances against closed forms and SciPy's matrix square root."""

import numpy as np
import pytest
from scipy.linalg import sqrtm
from sklearn.datasets import load_digits

from jaxae.evaluation.frechet import frechet_distance, gaussian_frechet_distance, pca_features


def orthogonal(d, seed):
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(d, d)))[0]


def sample(n, mean, cov, seed=0):
    """Rows whose sample mean and covariance are exactly those given."""
    x = np.random.default_rng(seed).normal(size=(n, len(mean)))
    x = x - x.mean(0)
    white = x @ np.linalg.inv(np.linalg.cholesky(np.cov(x, rowvar=False))).T
    values, vectors = np.linalg.eigh(cov)
    return mean + white @ (vectors * np.sqrt(values)).T


def test_of_one_feature_it_is_the_squares_of_the_gaps_of_means_and_deviations():
    rng = np.random.default_rng(0)
    a, b = rng.normal(1.0, 2.0, (50, 1)), rng.normal(-3.0, 0.5, (70, 1))
    expected = (a.mean() - b.mean()) ** 2 + (a.std(ddof=1) - b.std(ddof=1)) ** 2
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-12)


def test_a_shift_is_its_squared_length():
    a = np.random.default_rng(0).normal(size=(40, 5))
    shift = np.array([1.0, -2.0, 0.0, 3.0, 0.5])
    assert frechet_distance(a, a + shift) == pytest.approx(shift @ shift, rel=1e-12)
    assert frechet_distance(a, a[::-1]) == pytest.approx(0.0, abs=1e-12)


def test_commuting_covariances_of_samples_have_a_closed_form():
    axes, (p, q) = orthogonal(4, 1), np.random.default_rng(2).uniform(0.1, 5.0, (2, 4))
    a = sample(30, np.zeros(4), axes * p @ axes.T)
    b = sample(60, np.ones(4), axes * q @ axes.T, seed=3)
    expected = 4.0 + ((np.sqrt(p) - np.sqrt(q)) ** 2).sum()
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-10)


def test_nearly_and_wholly_singular_covariances_keep_their_closed_form():
    axes = orthogonal(8, 4)
    p = np.array([0.0, 0.0, 1e-14, 1e-10, 1e-6, 1e-3, 1.0, 50.0])
    q = np.array([0.0, 1.0, 1e-10, 0.0, 1e-2, 1e-3, 1e-12, 49.0])
    covs = [axes * values @ axes.T for values in (p, q)]
    out = gaussian_frechet_distance(np.zeros(8), covs[0], np.zeros(8), covs[1])
    assert out == pytest.approx(((np.sqrt(p) - np.sqrt(q)) ** 2).sum(), rel=1e-6)


def test_any_covariances_agree_with_the_square_root_of_their_product():
    rng = np.random.default_rng(5)
    a = rng.normal(size=(200, 6)) @ rng.normal(size=(6, 6))
    b = rng.gamma(2.0, size=(150, 6)) @ rng.normal(size=(6, 6)) + 1.0
    s, t, gap = np.cov(a, rowvar=False), np.cov(b, rowvar=False), a.mean(0) - b.mean(0)
    expected = gap @ gap + np.trace(s + t - 2 * sqrtm(s @ t).real)
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-9)
    assert frechet_distance(b, a) == pytest.approx(expected, rel=1e-9)


def test_fewer_rows_than_features_agree_with_the_space_that_the_rows_span():
    rng = np.random.default_rng(6)
    a, b = rng.normal(size=(2, 6, 3))  # of three features, seen in forty
    frame = np.linalg.qr(rng.normal(size=(40, 3)))[0]
    assert frechet_distance(a @ frame.T, b @ frame.T) == pytest.approx(frechet_distance(a, b))


def test_it_turns_with_the_features_and_grows_with_the_square_of_their_unit():
    rng = np.random.default_rng(7)
    a, b = rng.normal(size=(30, 4)), 2 * rng.normal(size=(30, 4)) + 1
    turn, distance = orthogonal(4, 8), frechet_distance(a, b)
    assert frechet_distance(a @ turn, b @ turn) == pytest.approx(distance)
    assert frechet_distance(10 * a, 10 * b) == pytest.approx(100 * distance)
    assert frechet_distance(a + 1e6, b + 1e6) == pytest.approx(distance, rel=1e-6)


def test_bytes_are_pixels():
    rng = np.random.default_rng(9)
    a, b = rng.integers(0, 256, (2, 20, 2, 2), np.uint8)
    expected = frechet_distance(a.reshape(20, 4) / 255.0, b.reshape(20, 4) / 255.0)
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-5)
    project = pca_features(a, 2)
    np.testing.assert_allclose(project(b), project(b / 255.0), atol=1e-6)


@pytest.mark.parametrize("n", [1000, 40])
def test_pca_features_are_the_projections_on_the_first_singular_vectors(n):
    x = load_digits().data / 16
    train, test = x[:n], x[n : n + 300]
    basis = np.linalg.svd(train - train.mean(0), full_matrices=False)[2][:10]
    out = pca_features(train, 10)(test)
    assert out.dtype == np.float64
    np.testing.assert_allclose(np.abs(out), np.abs((test - train.mean(0)) @ basis.T), atol=1e-9)


def test_pca_features_of_all_dimensions_leave_the_distance_as_it_is():
    rng = np.random.default_rng(10)
    a, b = rng.normal(size=(50, 5)), rng.normal(size=(50, 5)) @ rng.normal(size=(5, 5))
    project = pca_features(rng.normal(size=(30, 5)), 5)
    assert frechet_distance(project(a), project(b)) == pytest.approx(frechet_distance(a, b))


def test_constant_training_rows_give_features_without_a_warning():
    assert np.isfinite(pca_features(np.ones((5, 3)), 2)(np.eye(3))).all()


def test_bad_input_is_refused():
    x, broken = np.eye(3), np.full((3, 3), np.nan)
    for a, b, message in [
        (x, np.ones((4, 2)), "same features; got 3 and 2"),
        (x[:1], x, "at least two rows; got 1 and 3"),
        (broken, x, "a must be finite"),
        (x, x[:, 0], r"b must be \(n, features\)"),
    ]:
        with pytest.raises(ValueError, match=message):
            frechet_distance(a, b)
    mean = np.zeros(3)
    for moments, message in [
        ((mean, x, mean[:2], x), "Moments must be"),
        ((mean, x, mean, x[:2]), "Moments must be"),
        ((mean, broken, mean, x), "cov_a must be finite and symmetric"),
        ((mean, x, mean, np.triu(np.ones((3, 3)))), "cov_b must be finite and symmetric"),
        ((mean, x, mean, -x), "cov_b must be positive semidefinite; its least eigenvalue is -1"),
        ((mean, x, mean + np.inf, x), "must be finite"),
    ]:
        with pytest.raises(ValueError, match=message):
            gaussian_frechet_distance(*moments)
    for dims in (0, 4):
        with pytest.raises(ValueError, match=r"dims must lie in \[1, 3\]"):
            pca_features(x, dims)
    with pytest.raises(ValueError, match="3 entries per row, as the training rows; got 2"):
        pca_features(x, 2)(np.ones((4, 2)))
