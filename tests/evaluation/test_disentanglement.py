"""MIG, SAP and DCI against closed forms, scikit-learn and SciPy."""

import itertools

import numpy as np
import pytest
from scipy.stats import entropy
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import mutual_info_score

from jaxae.evaluation.disentanglement import (
    dci,
    dci_scores,
    discretise,
    mig,
    mutual_information,
    sap,
)

METRICS = [mig, sap, lambda codes, factors: dci(codes, factors).disentanglement]


def grid(*levels, repeats=1):
    """All combinations of levels, so that factors are exactly independent."""
    return np.array(list(itertools.product(*map(range, levels))) * repeats)


def turned(factors):
    """Two centred factors, turned by 45 degrees."""
    z = factors - factors.mean(0)
    return np.stack([z[:, 0] + z[:, 1], z[:, 0] - z[:, 1]], axis=1)


@pytest.fixture(scope="module")
def noisy():
    """Codes that tell, in part, of three factors."""
    rng = np.random.default_rng(0)
    factors = rng.integers(0, [2, 4, 3], (400, 3))
    codes = factors @ rng.normal(size=(3, 4)) + 0.5 * rng.normal(size=(400, 4))
    return codes, factors


def test_bins_are_of_equal_width_between_the_extremes():
    x = np.random.default_rng(0).normal(size=(500, 3)) * [1.0, 1e-3, 1e3] + [0.0, 1.0, -7.0]
    for column, out in zip(x.T, discretise(x, 7).T, strict=True):
        np.testing.assert_array_equal(np.bincount(out), np.histogram(column, 7)[0])
    assert discretise(np.ones((4, 1))).tolist() == [[0]] * 4


def test_mutual_information_agrees_with_scikit_learn(noisy):
    codes, factors = noisy
    binned = discretise(codes, 9)
    expected = [[mutual_info_score(b, v) for v in factors.T] for b in binned.T]
    np.testing.assert_allclose(mutual_information(codes, factors, bins=9), expected, atol=1e-12)
    relabelled = factors * -3.0 + 100
    np.testing.assert_allclose(mutual_information(codes, relabelled, bins=9), expected, atol=1e-12)


def test_mutual_information_with_itself_is_the_entropy():
    v = np.repeat([0, 1, 2], [10, 20, 70])
    np.testing.assert_allclose(mutual_information(v[:, None], v[:, None]), entropy([1, 2, 7]))


def test_perfectly_disentangled_codes_have_known_scores():
    factors = grid(3, 4, 2, repeats=5)
    codes = np.c_[-2.0 * factors[:, [2]], 0 * factors[:, [0]], factors[:, :2] + 7.0]
    assert mig(codes, factors) == pytest.approx(1.0, abs=1e-12)
    codes[:, 1] = np.tile(grid(2)[:, 0], 60)[: len(codes)]  # tells of the third factor too
    assert mig(codes[:, [0, 2, 3]], factors) == pytest.approx(1.0, abs=1e-12)
    assert sap(codes[:, [0, 2, 3]], factors) == pytest.approx(np.mean([2 / 3, 3 / 4, 1 / 2]))
    result = dci(codes[:, [0, 2, 3]], factors)
    np.testing.assert_allclose(result[:3], [1.0, 1.0, 1.0], atol=1e-6)
    np.testing.assert_allclose(result.importances, np.eye(3)[[2, 0, 1]], atol=1e-6)
    assert result.importances.shape == (3, 3)


def test_a_code_that_errs_in_a_quarter_has_the_gap_of_its_channel():
    factors = np.repeat([[0], [1]], 40, axis=0)
    code = np.r_[np.repeat([0, 1], [30, 10]), np.repeat([0, 1], [10, 30])]
    codes = np.c_[code, np.tile([0, 1], 40)]  # and one that is independent of it all
    assert mig(codes, factors) == pytest.approx(1.0 - entropy([3, 1], base=2))
    assert sap(codes, factors) == pytest.approx(3 / 4 - 1 / 2)


def test_two_codes_of_one_factor_leave_no_gap():
    factors = grid(3, 2, repeats=2)
    codes = np.c_[factors[:, 0], -factors[:, 0], factors[:, 1]]
    assert mig(codes, factors) == pytest.approx((0.0 + 1.0) / 2)
    assert sap(codes, factors) == pytest.approx((0.0 + 1 / 2) / 2)


def test_sap_weighs_rare_levels_as_much_as_common_ones():
    factors = np.repeat([[0], [1]], [90, 10], axis=0)
    code = np.r_[np.zeros(60), np.ones(40)]  # recalls 60 of 90, and 10 of 10
    coin = np.tile([0, 1], 50)
    assert sap(np.c_[code, coin], factors) == pytest.approx((2 / 3 + 1) / 2 - 1 / 2)


def test_inactive_codes_tell_sap_nothing():
    factors = grid(2, repeats=20)
    copy = factors[:, 0] * 1e-3
    codes = np.c_[factors[:, 0], copy, np.ones(40)]
    assert sap(codes, factors) == 0.0
    assert sap(codes, factors, min_variance=1e-4) == 1.0
    assert sap(codes[:, [0, 2]], factors) == 1.0


@pytest.mark.parametrize("metric", METRICS)
def test_turned_codes_score_lower(metric):
    factors = grid(4, 4, repeats=10)
    straight, askew = metric(factors * 1.0, factors), metric(turned(factors), factors)
    assert askew < 0.5 * straight


def test_codes_independent_of_all_factors_score_about_nothing():
    rng = np.random.default_rng(0)
    factors, codes = rng.integers(0, 2, (4000, 2)), rng.normal(size=(4000, 3))
    assert mig(codes, factors) < 0.01
    assert sap(codes, factors) < 0.03
    forest = RandomForestClassifier(10, max_features=None, random_state=0)
    result = dci(codes[:1000], factors[:1000], classifier=forest)
    assert max(result.disentanglement, result.completeness) < 0.02
    assert 0.4 < result.informativeness < 0.6


def test_the_order_of_codes_and_of_factors_changes_nothing(noisy):
    codes, factors = noisy
    order, places = [2, 0, 3, 1], [1, 2, 0]
    for metric in (mig, sap):
        score = metric(codes, factors)
        assert 0 < score < 1
        assert metric(codes[:, order], factors[:, places]) == pytest.approx(score, abs=1e-12)
    result, other = dci(codes, factors), dci(codes[:, order], factors[:, places])
    np.testing.assert_allclose(other[:3], result[:3], atol=1e-6)
    np.testing.assert_allclose(other[3], result[3][np.ix_(order, places)], atol=1e-6)


def test_dci_scores_agree_with_entropies_of_scipy():
    r = np.random.default_rng(0).uniform(size=(5, 3)) ** 4
    r /= r.sum(0)
    by_code = [1 - entropy(row, base=3) for row in r]
    assert dci_scores(r) == pytest.approx(
        (np.average(by_code, weights=r.sum(1)), np.mean([1 - entropy(c, base=5) for c in r.T]))
    )
    assert dci_scores(r * [1.0, 10.0, 0.1]) == pytest.approx(dci_scores(r))
    assert dci_scores(np.ones((4, 3))) == pytest.approx((0.0, 0.0), abs=1e-12)
    assert dci_scores(np.zeros((4, 3))) == (0.0, 0.0)
    assert dci_scores([[1.0, 0.0], [0.0, 0.0]]) == (1.0, 0.5)


class LargerCode(ClassifierMixin, BaseEstimator):
    """Takes the larger of two codes for the level, and says that one code is all it uses."""

    def fit(self, x, y):
        self.classes_ = np.unique(y)
        self.feature_importances_ = np.array([0.0, 1.0, 0.0])
        return self

    def predict(self, x):
        return x.max(1).astype(int)


def test_informativeness_is_the_accuracy_of_the_classifier_given():
    factors = grid(2, 2, repeats=50)
    codes = np.c_[factors[:, 0], factors[:, 1], np.zeros(200)]
    result = dci(codes, factors, classifier=LargerCode(), test_share=0.5)
    assert (result.disentanglement, result.completeness) == (0.0, 1.0)
    assert result.informativeness == pytest.approx(3 / 4, abs=0.1)  # right in 3 of 4 cells
    larger = np.tile(factors.max(1, keepdims=True), 2)
    assert dci(codes, larger, classifier=LargerCode()).informativeness == 1.0


def test_bad_input_is_refused():
    codes, factors = np.random.default_rng(0).normal(size=(12, 3)), grid(2, 3, repeats=2)
    broken = np.where(np.arange(12)[:, None] == 4, np.nan, codes)
    cases = [
        ((codes[:, 0], factors), r"codes must be \(n, features\)"),
        ((codes[:, :, None], factors), r"codes must be \(n, latent_dim\)"),
        ((codes[:, :1], factors), "latent_dim >= 2"),
        ((broken, factors), "codes must be finite; 1 of 12 rows"),
        ((codes, factors[:, 0]), r"factors must be \(12, num_factors\)"),
        ((codes, factors[:5]), r"as many rows as codes"),
        ((codes, factors + 0.5), "whole numbers; got other float64. Use discretise"),
        ((codes, factors * np.nan), "factors must be finite"),
        ((codes, np.c_[factors, np.ones(12)]), r"must vary; those of columns \[2\] do not"),
    ]
    for metric in (mig, sap, dci):
        for arguments, message in cases:
            with pytest.raises(ValueError, match=message):
                metric(*arguments)
    for call, message in [
        (lambda: mig(codes, factors, bins=1), "bins must lie in"),
        (lambda: sap(codes, factors, min_variance=-1.0), "min_variance must lie in"),
        (lambda: dci(codes, factors[:, :1]), "num_factors >= 2"),
        (lambda: dci(codes, factors, test_share=1.0), "test_share must lie in"),
        (lambda: dci(codes[:2], [[0, 1], [1, 0]], test_share=0.5), "All 1 rows to fit show one"),
        (lambda: dci_scores([[1.0, 2.0]]), "importances must be"),
        (lambda: dci_scores([[1.0, -1.0], [0.0, 1.0]]), "importances must be"),
    ]:
        with pytest.raises(ValueError, match=message):
            call()
