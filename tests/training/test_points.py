"""Points of sweeps against enumeration and, for random ones, their distributions."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jaxae.training.points import cross, grid, log_uniform, num_members, sample, uniform

AXES = {"noise_level": uniform(-1.0, 3.0), "learning_rate": log_uniform(1e-5, 1e-1)}


def test_a_grid_is_the_product_of_its_axes_the_last_fastest():
    axes = {"rate": [0.1, 0.01, 0.001], "k": (1, 2), "seed": range(4)}
    points = grid(**axes)
    rows = list(itertools.product(*axes.values()))
    assert list(points) == list(axes)
    assert list(zip(*(a.tolist() for a in points.values()), strict=True)) == rows
    mesh = np.meshgrid(*axes.values(), indexing="ij")
    for a, expected in zip(points.values(), mesh, strict=True):
        np.testing.assert_array_equal(a, expected.ravel())


def test_a_grid_keeps_whole_numbers_whole_and_takes_arrays_and_generators():
    points = grid(k=[1, 2], rate=np.float32([0.5]), scale=jnp.ones(2), seed=(i for i in range(3)))
    kinds = {name: a.dtype.kind for name, a in points.items()}
    assert kinds == {"k": "i", "rate": "f", "scale": "f", "seed": "i"}
    assert num_members(points) == 12


@pytest.mark.parametrize(
    "axes",
    [
        {},
        {"a": []},
        {"a": ["adam", "sgd"]},
        {"a": [[1, 2], [3, 4]]},
        {"a": [[1, 2], [3]]},
        {"a": "12"},
        {"a": 3.0},
        {"a": np.float32(3.0)},
        {"a": [None]},
        {"a": np.zeros((2, 2))},
    ],
)
def test_a_grid_of_what_is_no_list_of_numbers_is_refused(axes):
    with pytest.raises(ValueError, match="list of numbers" if axes else "at least one axis"):
        grid(**axes)


def test_random_points_have_the_distributions_that_were_asked_for():
    points = sample(0, 4000, **AXES)
    a, b = points["noise_level"], points["learning_rate"]
    assert a.min() >= -1.0
    assert a.max() < 3.0
    assert b.min() >= 1e-5
    assert b.max() < 1e-1
    assert stats.kstest(a, stats.uniform(-1.0, 4.0).cdf).pvalue > 0.01
    assert stats.kstest(b, stats.loguniform(1e-5, 1e-1).cdf).pvalue > 0.01
    assert stats.kstest(b, stats.uniform(1e-5, 1e-1).cdf).pvalue < 1e-6
    assert stats.spearmanr(a, b).pvalue > 0.01


def test_random_points_are_those_of_their_seed():
    first, again, other = (sample(seed, 50, **AXES) for seed in (3, 3, 4))
    for name in AXES:
        np.testing.assert_array_equal(first[name], again[name])
        assert not np.isin(first[name], other[name]).any()


@pytest.mark.parametrize("axes", [("noise_level",), ("beta", "noise_level"), ("noise_level", "a")])
def test_an_axis_draws_the_same_whatever_the_others_are_and_more_points_go_on(axes):
    draws = {**AXES, "beta": uniform(0, 1), "a": uniform(0, 1)}
    wanted = sample(3, 50, **AXES)["noise_level"]
    drawn = sample(3, 80, **{name: draws[name] for name in axes})["noise_level"]
    np.testing.assert_array_equal(drawn[:50], wanted)


def test_axes_of_other_names_draw_other_numbers():
    points = sample(0, 1000, **{name: uniform(0, 1) for name in ("a", "b", "ab", "ba")})
    table = np.stack(list(points.values()))
    assert np.abs(np.corrcoef(table) - np.eye(4)).max() < 0.15


@pytest.mark.parametrize(
    ("n", "axes", "message"),
    [
        (0, AXES, "n >= 1"),
        (2.5, AXES, "n >= 1"),
        (3, {}, "at least one axis"),
        (3, {"a": lambda generator, n: np.zeros(n + 1)}, r"Each axis must draw 3 values.*'a': 4"),
        (3, {"a": lambda generator, n: np.array(["x"] * n)}, "a needs a list of numbers"),
    ],
)
def test_what_cannot_be_sampled_is_refused(n, axes, message):
    with pytest.raises(ValueError, match=message):
        sample(0, n, **axes)


@pytest.mark.parametrize("ends", [(1.0, 1.0), (2.0, 1.0), (0.0, np.inf), (np.nan, 1.0)])
@pytest.mark.parametrize("draw", [uniform, log_uniform])
def test_ends_that_are_no_interval_are_refused(draw, ends):
    with pytest.raises(ValueError, match="low < high"):
        draw(*ends)


def test_a_logarithm_needs_positive_ends():
    with pytest.raises(ValueError, match="0 < low"):
        log_uniform(0.0, 1.0)


def test_cross_takes_each_with_each():
    first, second = {"a": np.array([1, 2]), "b": np.array([3, 4])}, {"c": np.array([5, 6, 7])}
    both = cross(first, second)
    rows = [(a, b, c) for (a, b) in ((1, 3), (2, 4)) for c in (5, 6, 7)]
    assert list(zip(both["a"], both["b"], both["c"], strict=True)) == rows
    with pytest.raises(ValueError, match=r"Both have \['b'\]"):
        cross(first, {"b": np.array([1])})
    with pytest.raises(ValueError, match="lengths"):
        cross({"a": np.zeros(2), "b": np.zeros(3)}, second)


def test_the_number_of_members_is_the_length_that_all_arrays_share():
    keys = jax.random.split(jax.random.key(0), 3)
    assert num_members(({"a": np.zeros(3)}, keys, jnp.zeros((3, 2)))) == 3


@pytest.mark.parametrize(
    "tree", [(), {}, (np.zeros(2), np.zeros(3)), np.zeros(()), 1.0, np.zeros((0, 2)), [1.0, 2.0]]
)
def test_what_has_no_row_for_each_member_is_refused(tree):
    with pytest.raises(ValueError, match="one row for each member"):
        num_members(tree)
