import decimal

import numpy as np
import pytest
from scipy import special, stats

from jaxae.deploy.coding import levels
from jaxae.deploy.coding.containers import library

pytest.importorskip("constriction")


def told(rng, n, count, scale=(0.3, 40.0)):
    """Locations and log-scales in levels, and rounded."""
    location = rng.uniform(-0.5 * count, 1.5 * count, n)
    octaves = rng.uniform(*np.log2(scale), n)
    steps = np.rint(np.stack([location * levels.PLACE, octaves * levels.OCTAVE], axis=1))
    return steps.astype(np.int32)


def mixed(rng, n, count, components, scale=(0.3, 40.0)):
    """The same for mixtures, with their shares."""
    parts = [told(rng, n, count, scale) for _ in range(components)]
    shares = np.rint(rng.dirichlet(np.full(components, 0.5), n) * levels.SHARE).astype(np.int32)
    if components == 1:
        return parts[0]
    return np.concatenate([np.stack(parts, axis=2).reshape(n, -1), shares], axis=1)


def cumulative(steps, k):
    """Of the rounded distributions, the share of levels below k, by scipy."""
    count = max(steps.shape[-1] // 3, 1)
    place, octave, share = np.split(steps, [count, 2 * count], axis=-1)
    below = special.expit(
        (k[..., None] - 0.5 - place / levels.PLACE) / 2.0 ** (octave / levels.OCTAVE)
    )
    share = share if count > 1 else np.ones_like(place)
    return (below * share).sum(-1) / share.sum(-1)


@pytest.mark.parametrize("components", [1, 3])
@pytest.mark.parametrize("count", [2, 17, 256, 300])
def test_frequencies_are_those_of_the_distributions_and_never_none(count, components):
    steps = mixed(np.random.default_rng(0), 2000, count, components, (0.2, 1e4))
    entries, parts = levels.logistic(steps, count), 2 ** levels.precision(count)
    k = np.arange(1, count)
    below = np.stack([entries.below(np.full(2000, i)) for i in k], axis=1)
    expected = cumulative(steps[:, None], k) * (parts - count) + k
    assert np.abs(below - expected).max() < 0.51
    whole = np.concatenate([np.zeros((2000, 1)), below, np.full((2000, 1), parts)], axis=1)
    assert np.diff(whole, axis=1).min() >= 1


@pytest.mark.parametrize("components", [1, 3])
@pytest.mark.parametrize("count", [2, 3, 17, 256])
def test_levels_come_back_and_cost_their_negative_log_probability(count, components):
    n = 40_000
    rng = np.random.default_rng(count)
    steps = mixed(rng, n, count, components)
    share = np.cumsum(steps[:, 2 * components :], axis=1)
    chosen = (rng.uniform(size=(n, 1)) * share[:, -1:] >= share).sum(1) if share.size else 0
    place, octave = (steps[range(n), i + chosen] for i in (0, components))
    noise = rng.logistic(size=n) * 2.0 ** (octave / levels.OCTAVE)
    x = np.clip(np.rint(place / levels.PLACE + noise), 0, count - 1).astype(np.int32)
    coder = library().stack.AnsCoder()
    levels.push_logistic(coder, steps, x, count)
    spent = coder.num_valid_bits()
    np.testing.assert_array_equal(levels.pop_logistic(coder, steps, count), x)
    assert coder.is_empty()
    upper = np.where(x == count - 1, 1.0, cumulative(steps, x + 1))
    lower = np.where(x == 0, 0.0, cumulative(steps, x))
    assert abs(spent / -np.log2(np.maximum(upper - lower, 1e-9)).sum() - 1) < 0.005


def test_levels_that_never_happen_can_be_coded():
    steps = np.array([[-(2**25), -48], [2**25, -48], [0, -48], [0, 288]], np.int32).repeat(256, 0)
    x = np.tile(np.arange(256), 4)
    coder = library().stack.AnsCoder()
    levels.push_logistic(coder, steps, x, 256)
    np.testing.assert_array_equal(levels.pop_logistic(coder, steps, 256), x)


def test_a_table_gives_each_level_its_share_and_at_least_one_part():
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.full(17, 0.01), 500)
    parts = 2 ** levels.precision(17)
    sums = np.rint(np.cumsum(p, axis=1)[:, :-1] * (parts - 17)).astype(np.int32)
    table = levels.table(sums, 17)
    assert table.min() >= 1
    assert set(table.sum(axis=1)) == {parts}
    assert np.abs(table - 1 - p * (parts - 17)).max() <= 1
    x = rng.integers(0, 17, 500)
    coder = library().stack.AnsCoder()
    levels.push_table(coder, sums, x, 17)
    np.testing.assert_array_equal(levels.pop_table(coder, sums, 17), x)


def test_powers_are_powers():
    y = np.random.default_rng(0).uniform(-63.9, 63.9, 100_000)
    assert np.abs(levels.powers(y) / np.exp2(-y) - 1).max() < 1e-9
    assert stats.spearmanr(np.sort(y), levels.powers(np.sort(y))).statistic == -1


def test_the_tables_of_powers_do_not_depend_on_the_machine():
    decimal.getcontext().prec = 40
    log2_e = 1 / decimal.Decimal(2).ln()
    for table, count, factor in (
        (levels._PARTS, levels._FINE, decimal.Decimal(1)),
        (levels._SLOPES, levels.OCTAVE, log2_e),
    ):
        for i, value in enumerate(table):
            steps = factor * decimal.Decimal(2) ** (-decimal.Decimal(i) / count) * 2**32
            assert i == 0 or abs(steps - int(steps) - decimal.Decimal("0.5")) > 1e-5
            assert value * 2**32 == int(steps.to_integral_value())
