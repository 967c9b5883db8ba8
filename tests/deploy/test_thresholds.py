"""Thresholds and p-values: their guarantee by exact laws, ties, and what is refused."""

import jax
import numpy as np
import pytest
from scipy import stats

from jaxae.deploy import thresholds


def test_p_values_and_thresholds_flag_the_same_rows_as_counting_does():
    rng = np.random.default_rng(0)
    for n in (1, 9, 19, 100, 999):
        calibration = rng.integers(0, 30, n).astype(np.float32)
        scores = rng.integers(-2, 35, 200).astype(np.float32)
        counted = [(1 + sum(c >= s for c in calibration)) / (n + 1) for s in scores]
        found = thresholds.conformal_p_values(calibration, scores)
        np.testing.assert_array_equal(found, counted)
        for alpha in (0.01, 0.05, 0.1, 0.5):
            above = thresholds.threshold(calibration, quantile=1 - alpha)
            np.testing.assert_array_equal(scores > above, found <= alpha)


def test_false_alarms_over_draws_of_calibration_rows_have_their_exact_law():
    # uniform scores: the share of normal rows above a threshold t is 1 - t
    rng, n, alpha, draws = np.random.default_rng(1), 99, 0.05, 4000
    rates = np.array(
        [1 - thresholds.threshold(rng.random(n), quantile=1 - alpha) for _ in range(draws)]
    )
    k = 5  # floor(0.05 * 100)
    assert stats.kstest(rates, stats.beta(k, n + 1 - k).cdf).pvalue > 1e-3
    error = stats.beta(k, n + 1 - k).std() / np.sqrt(draws)
    assert abs(rates.mean() - k / (n + 1)) < 4 * error
    low, high = thresholds.false_alarm_interval(n, alpha)
    inside = int(((rates > low) & (rates < high)).sum())
    assert stats.binomtest(inside, draws, 0.95).pvalue > 1e-3


@pytest.mark.parametrize(
    "draw",
    [
        lambda rng, n: rng.standard_cauchy(n),
        lambda rng, n: rng.lognormal(sigma=3.0, size=n),
        lambda rng, n: rng.geometric(0.3, n).astype(float),
        lambda rng, n: np.zeros(n),
    ],
)
def test_false_alarms_stay_within_their_level_whatever_the_distribution(draw):
    rng, n, alpha, draws = np.random.default_rng(2), 37, 0.1, 4000
    alarms = 0
    for _ in range(draws):
        rows = draw(rng, n + 1)
        alarms += int(thresholds.conformal_p_values(rows[:n], rows[n:])[0] <= alpha)
    exact = np.floor(alpha * (n + 1)) / (n + 1)
    assert stats.binomtest(alarms, draws, exact, alternative="greater").pvalue > 1e-3
    if len(np.unique(draw(rng, 100))) == 100:  # without ties the level is reached exactly
        assert stats.binomtest(alarms, draws, exact).pvalue > 1e-3


def test_with_ties_drawn_p_values_are_uniform_even_where_all_scores_are_equal():
    rng, n, draws = np.random.default_rng(3), 20, 3000
    for draw in (lambda k: np.zeros(k), lambda k: rng.integers(0, 3, k).astype(float)):
        found = []
        for i in range(draws):
            rows = draw(n + 1)
            p = thresholds.conformal_p_values(rows[:n], rows[n:], key=jax.random.key(i))
            found.append(p[0])
        assert stats.kstest(found, "uniform").pvalue > 1e-3
        assert 0 < min(found) <= max(found) <= 1


def test_drawn_p_values_depend_on_the_key_alone_and_are_at_most_those_not_drawn():
    rng = np.random.default_rng(4)
    calibration, scores = rng.integers(0, 5, 50).astype(float), rng.integers(0, 6, 30).astype(float)
    plain = thresholds.conformal_p_values(calibration, scores)
    drawn = thresholds.conformal_p_values(calibration, scores, key=jax.random.key(0))
    again = thresholds.conformal_p_values(calibration, scores, key=jax.random.key(0))
    other = thresholds.conformal_p_values(calibration, scores, key=jax.random.key(1))
    np.testing.assert_array_equal(drawn, again)
    assert (drawn != other).any()
    assert (drawn <= plain).all()


def test_contamination_flags_its_share_of_the_rows_and_ties_count_as_normal():
    scores = np.random.default_rng(5).permutation(200) / 7.0
    for share, flagged in ((0.05, 10), (0.1, 20), (0.3, 60), (0.999, 199)):
        assert (scores > thresholds.threshold(scores, contamination=share)).sum() == flagged
    assert (np.ones(10) > thresholds.threshold(np.ones(10), contamination=0.5)).sum() == 0
    assert np.isinf(thresholds.threshold(np.arange(18.0), quantile=0.95))
    assert thresholds.threshold(np.arange(19.0), quantile=0.95) == 18


def test_discoveries_are_those_of_the_step_up_procedure_and_keep_its_rate():
    rng, rate, m, strange = np.random.default_rng(6), 0.2, 60, 15
    shares = []
    for _ in range(300):
        calibration = rng.normal(size=500)
        scores = np.concatenate([rng.normal(3.0, 1.0, strange), rng.normal(size=m - strange)])
        p = thresholds.conformal_p_values(calibration, scores)
        found = thresholds.discoveries(p, rate)
        ordered = np.sort(p)
        passing = np.flatnonzero(ordered <= rate * np.arange(1, m + 1) / m + 1e-12)
        bar = ordered[passing[-1]] if passing.size else 0.0
        np.testing.assert_array_equal(found, p <= bar)
        shares.append(found[strange:].sum() / max(1, found.sum()))
    expected = rate * (m - strange) / m
    assert np.mean(shares) < expected + 3 * np.std(shares) / np.sqrt(len(shares))
    assert np.mean(shares) > 0.5 * expected


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: thresholds.threshold([1.0]), "Give quantile"),
        (lambda: thresholds.threshold([1.0], quantile=0.5, contamination=0.5), "Give quantile"),
        (lambda: thresholds.threshold([1.0], quantile=1.0), "quantile must lie"),
        (lambda: thresholds.threshold([1.0], contamination=0.0), "contamination must lie"),
        (lambda: thresholds.threshold([], quantile=0.5), "scores are finite"),
        (lambda: thresholds.threshold([[1.0]], quantile=0.5), "scores are finite"),
        (lambda: thresholds.conformal_p_values([1.0, np.nan], [1.0]), "with 1 NaN"),
        (lambda: thresholds.conformal_p_values([1.0], [np.inf]), "scores are finite"),
        (lambda: thresholds.discoveries([0.5, 1.5]), "p_values must lie"),
        (lambda: thresholds.discoveries([0.5], rate=0.0), "rate must lie"),
        (lambda: thresholds.false_alarm_interval(0, 0.1), "n must lie"),
        (lambda: thresholds.false_alarm_interval(10, 1.0), "alpha must lie"),
    ],
)
def test_what_makes_no_sense_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_too_few_calibration_rows_give_no_alarms():
    assert thresholds.false_alarm_interval(10, 0.05) == (0.0, 0.0)
