"""Figures of sweeps show means, intervals and filters where they belong."""

import numpy as np
import pytest
from scipy import stats

from jaxae.evaluation import filter_rows, member_curves, response


def test_the_band_is_students_interval_of_the_members_of_a_value(rendered):
    rng = np.random.default_rng(0)
    x, y = np.repeat([0.0, 0.1, 0.4], 5), rng.normal(size=15)
    figure = response(x, {"mse": y, "accuracy": -y}, xlabel="noise_level", title="Digits")
    assert rendered(figure)
    first, second = figure.axes
    assert [first.get_ylabel(), second.get_ylabel()] == ["mse", "accuracy"]
    group = y[5:10]
    (line,) = first.get_lines()
    assert line.get_ydata()[1] == pytest.approx(group.mean())
    low, high = stats.t.interval(0.95, 4, group.mean(), stats.sem(group))
    (band,) = first.collections
    at = band.get_paths()[0].vertices
    ends = at[np.isclose(at[:, 0], 0.1), 1]
    assert (ends.min(), ends.max()) == pytest.approx((low, high))


def test_members_of_random_search_are_points_on_a_logarithmic_axis(rendered):
    x = np.geomspace(1e-4, 1e-2, 7)
    figure = response(x, {"mse": np.append(np.arange(6.0), np.nan)}, xlabel="learning_rate")
    (axes,) = figure.axes
    assert rendered(figure)
    assert axes.get_xscale() == "log"
    assert len(axes.get_lines()[0].get_xdata()) == 6
    assert not axes.collections


def test_a_value_with_one_member_beside_others_has_no_band_there(rendered):
    figure = response([0, 0, 1], {"mse": [1.0, 3.0, 5.0]}, xlabel="l2")
    assert rendered(figure)
    assert figure.axes[0].get_lines()[0].get_ydata().tolist() == [2.0, 5.0]


def test_filters_of_each_model_are_a_row_largest_norm_first(rendered):
    a = np.diag([1.0, 4.0, 2.0, 3.0])
    figure = filter_rows({"a": a, "b": -2 * a}, shape=(2, 2), max_columns=3)
    assert rendered(figure)
    pixels = figure.axes[0].get_images()[0].get_array()
    assert pixels.shape == (2 * 3 - 1, 3 * 3 - 1)
    assert pixels[0, 1] == 1.0  # the second unit has the largest norm, and its weight is x[1]
    assert pixels[3, 1] == -1.0
    assert pixels[1, 4] == 1.0  # then the fourth


def test_filters_of_no_images_are_a_heat_map(rendered):
    assert rendered(filter_rows({"a": np.ones((7, 3))}))


def test_curves_share_a_panel(rendered):
    figure = member_curves({"a": [2.0, 1.0], "b": [3.0, np.nan]}, "mse", title="Members")
    assert rendered(figure)
    assert [line.get_label() for line in figure.axes[0].get_lines()] == ["a", "b"]


def test_mistakes_are_named():
    with pytest.raises(ValueError, match=r"must be \(members,\)"):
        response([0, 1], {"mse": [1.0]}, xlabel="l2")
    with pytest.raises(ValueError, match="all of one length"):
        member_curves({"a": [1.0], "b": [1.0, 2.0]}, "mse")
    with pytest.raises(ValueError, match="all of one shape"):
        filter_rows({"a": np.eye(4), "b": np.eye(9)})
