import jax
import numpy as np
import pytest

from jaxae.data import synthetic_sequences as sequences

KEY = jax.random.key(0)


def by_hand(start, steps):
    found = [start]
    while len(found) < steps:
        found.append(found[-1] // 2 if found[-1] % 2 == 0 else 3 * found[-1] + 1)
    return found


def test_each_number_follows_the_one_before_by_the_rule():
    for row in np.asarray(sequences.hailstone(KEY, 200, steps=12, largest=99)).tolist():
        assert row == by_hand(row[0], 12)


@pytest.mark.parametrize(("steps", "largest"), [(2, 10), (8, 63), (30, 99), (120, 9231)])
def test_starts_are_all_whose_sequences_stay_within_the_largest(steps, largest):
    expected = [s for s in range(1, largest + 1) if max(by_hand(s, steps)) <= largest]
    assert sequences.hailstone_starts(steps, largest).tolist() == expected


def test_starts_are_drawn_uniformly():
    first = np.asarray(sequences.hailstone(KEY, 30_000, steps=8, largest=63))[:, 0]
    starts, counts = np.unique(first, return_counts=True)
    assert starts.tolist() == sequences.hailstone_starts(8, 63).tolist()
    mean = 30_000 / len(starts)
    assert np.sum((counts - mean) ** 2 / mean) < len(starts) + 4.5 * (2 * len(starts)) ** 0.5


def test_unrelated_numbers_are_uniform_and_say_nothing_of_each_other():
    x = np.asarray(sequences.unrelated(KEY, 40_000, steps=3, largest=5))
    pairs = np.histogram2d(x[:, 0], x[:, 2], bins=5, range=[[0.5, 5.5]] * 2)[0]
    assert pairs.sum() == 40_000
    expected = 40_000 / 25
    assert np.sum((pairs - expected) ** 2 / expected) < 24 + 4.5 * 48**0.5


@pytest.mark.parametrize("draw", [sequences.hailstone, sequences.unrelated])
@pytest.mark.parametrize(
    ("n", "steps", "largest"), [(0, 8, 63), (2, 1, 63), (2, 8.0, 63), (2, 8, 3), (2, 8, 2**25)]
)
def test_sizes_that_make_no_sense_are_refused(draw, n, steps, largest):
    with pytest.raises(ValueError, match=r"n is|steps is|largest is"):
        draw(KEY, n, steps=steps, largest=largest)
