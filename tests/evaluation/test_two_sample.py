from itertools import combinations

import jax
import numpy as np
import pytest
from scipy import stats

from jaxae.evaluation import two_sample_test

KEY = jax.random.key(7)
RNG = np.random.default_rng(10)
SCALES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)


def kernel(a, b):
    return sum(2 * len(a) * s / (2 * len(a) * s + np.sum((a - b) ** 2)) for s in SCALES)


def squared_mmd(a, b):
    """Of all pairs of different rows, one by one."""
    n = len(a)
    within = sum(
        kernel(x[i], x[j]) for x in (a, b) for i in range(n) for j in range(n) if i != j
    ) / (n * (n - 1))
    return within - 2 * sum(kernel(x, y) for x in a for y in b) / n**2


def test_the_estimate_is_that_of_all_pairs():
    a, b = RNG.normal(size=(9, 3)), 1.3 * RNG.normal(size=(9, 3)) + 0.5
    found = two_sample_test(KEY, a, b, permutations=1).squared_mmd
    np.testing.assert_allclose(found, squared_mmd(a, b), rtol=1e-5)


def test_the_estimate_is_that_of_all_pairs_far_from_zero():
    """Where squares of single precision would leave no digits of the differences."""
    a, b = RNG.normal(size=(2, 9, 3)) + 1e3
    found = two_sample_test(KEY, a, b, permutations=1).squared_mmd
    np.testing.assert_allclose(found, squared_mmd(a, b), atol=1e-3)


@pytest.mark.parametrize("by", [0.0, 0.8, 3.0])
def test_the_p_value_is_the_share_of_all_divisions_that_reach_the_estimate(by):
    """Of 8 rows there are 70, each as often as its swap; the same division is always a tie."""
    a, b = RNG.normal(size=(4, 2)), RNG.normal(size=(4, 2)) + by
    rows, reached = np.concatenate([a, b]), 0
    for chosen in combinations(range(8), 4):
        others = [i for i in range(8) if i not in chosen]
        reached += squared_mmd(rows[list(chosen)], rows[others]) >= squared_mmd(a, b) - 1e-9
    p, draws = reached / 70, 3_000
    found = two_sample_test(KEY, a, b, permutations=draws).p_value
    assert abs(found - p) < 4.5 * np.sqrt(p * (1 - p) / draws) + 1 / draws


def test_p_values_are_uniform_where_the_distributions_are_one():
    found = []
    for key in jax.random.split(KEY, 80):
        a, b = np.random.default_rng(len(found)).normal(size=(2, 12, 2))
        found.append(two_sample_test(key, a, b, permutations=99).p_value)
    assert np.all(np.rint(np.array(found) * 100) >= 1)
    assert stats.kstest(found, "uniform").pvalue > 1e-3


def test_the_estimate_has_no_bias_where_the_distributions_are_one():
    pairs = np.random.default_rng(3).normal(size=(100, 2, 12, 2))
    found = [two_sample_test(KEY, a, b, permutations=1).squared_mmd for a, b in pairs]
    assert abs(np.mean(found)) < 4 * np.std(found) / np.sqrt(len(found))


@pytest.mark.parametrize("change", ["mean", "scale", "correlation"])
def test_differences_are_found(change):
    a, b = RNG.normal(size=(2, 150, 2))
    if change == "mean":
        b = b + 0.7
    elif change == "scale":
        b = 2 * b
    else:
        b = b @ np.linalg.cholesky([[1, 0.9], [0.9, 1]]).T
    found = two_sample_test(KEY, a, b, permutations=199)
    assert found.p_value == 1 / 200
    assert found.squared_mmd > 0


def test_the_order_of_rows_does_not_matter():
    a, b = RNG.normal(size=(2, 20, 2))
    first = two_sample_test(KEY, a, b, permutations=10).squared_mmd
    swapped = two_sample_test(KEY, b, RNG.permutation(a), permutations=10).squared_mmd
    np.testing.assert_allclose(first, swapped, atol=1e-5)


def test_bytes_are_tested_as_the_numbers_they_stand_for():
    a, b = RNG.integers(0, 256, size=(2, 10, 3)).astype(np.uint8)
    found = two_sample_test(KEY, a, b, permutations=9)
    as_floats = two_sample_test(KEY, a / 255.0, b / 255.0, permutations=9)
    np.testing.assert_allclose(found, as_floats, rtol=1e-4, atol=1e-6)


def test_samples_that_cannot_be_compared_are_refused():
    a = RNG.normal(size=(6, 2))
    for other in (a[:5], a[:, :1], a[0], a[None]):
        with pytest.raises(ValueError, match=r"\(6, 2\)"):
            two_sample_test(KEY, a, other)
    with pytest.raises(ValueError, match="at least 2"):
        two_sample_test(KEY, a[:1], a[:1])
    with pytest.raises(ValueError, match="permutations"):
        two_sample_test(KEY, a, a, permutations=0)


def test_samples_with_nan_are_refused_and_not_called_different():
    a = RNG.normal(size=(6, 2))
    with pytest.raises(ValueError, match="NaN"):
        two_sample_test(KEY, a, np.where(a > 0, np.nan, a))
