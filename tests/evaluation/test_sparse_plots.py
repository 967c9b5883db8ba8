"""Figures of sparse codes: what they hold, and that they render."""

import numpy as np
import pytest
from sklearn.datasets import load_digits

from jaxae.evaluation import density_histogram, pareto, top_inputs


@pytest.fixture(scope="module")
def digits():
    return (load_digits().data / 16).astype(np.float32)


def texts(axes):
    return [text.get_text() for text in axes.texts]


def bars(axes):
    """Heights, and edges of the bars of a histogram."""
    heights = [bar.get_height() for bar in axes.patches]
    return heights, [bar.get_x() for bar in axes.patches]


def test_density_histogram_counts_dead_units_in_words(rendered):
    density = 10.0 ** np.random.default_rng(0).uniform(-4, 0, 1200)
    density[:300] = 0.0
    figure = density_histogram(density, title="A dictionary")
    (axes,) = figure.axes
    assert axes.get_title() == "300 of 1,200 units (25.0%) are dead: they fire on no example"
    assert axes.get_xlabel() == "log10 of firing density (share of examples)"
    assert axes.get_ylabel() == "units"
    assert figure.get_suptitle() == "A dictionary"
    heights, edges = bars(axes)
    log = np.log10(density[300:])
    counts, wanted = np.histogram(log, bins=len(heights))
    np.testing.assert_array_equal(heights, counts)
    np.testing.assert_allclose(edges, wanted[:-1])
    assert rendered(figure)


def test_density_histogram_of_none_one_and_all_dead(rendered):
    none, one = density_histogram([0.5, 1.0]), density_histogram(np.float32([0.0, 0.25]))
    assert none.axes[0].get_title() == "no dead unit: all 2 fire"
    assert one.axes[0].get_title() == "1 of 2 units (50.0%) is dead: it fires on no example"
    dead = density_histogram(np.zeros(3))
    assert dead.axes[0].get_title().startswith("3 of 3 units (100.0%) are dead")
    assert not dead.axes[0].patches
    assert texts(dead.axes[0]) == ["no unit fires"]
    for figure in (none, one, dead):
        assert rendered(figure)


def test_density_histogram_refuses_bad_input():
    for density in ([], [[0.1]], 0.1, [-0.1, 0.2], [3.0, 40.0], [0.1, np.nan]):
        with pytest.raises(ValueError, match=r"one share in \[0, 1\] for each unit"):
            density_histogram(density)


def test_top_inputs_tile_a_row_for_each_unit_over_its_codes(digits, rendered):
    indices = np.array([[5, 900, 17], [1796, 0, 3]])
    codes = np.array([[1234.5, 2.0, 0.01234], [0.5, 0.25, 0.0]])
    figure = top_inputs(digits, indices, codes, units=[41, 7], title="Two units")
    (axes,) = figure.axes
    (image,) = axes.get_images()
    pixels = np.ma.filled(image.get_array(), np.nan)
    assert image.get_clim() == (0.0, 1.0)
    assert pixels.shape == (2 * (8 + 2 + 1) - 1, 3 * 9 - 1)
    np.testing.assert_allclose(pixels[:8, 9:17], digits[900].reshape(8, 8))
    np.testing.assert_allclose(pixels[11:19, :8], digits[1796].reshape(8, 8))
    assert np.isnan(pixels[11:19, 18:26]).all()  # a code of 0: not a cause of anything
    assert np.isnan(pixels[8:11]).all()
    assert texts(axes) == ["1,234", "2", "0.0123", "0.5", "0.25"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["unit 41", "unit 7"]
    assert axes.get_title() == "Two units"
    assert rendered(figure)


def test_codes_stand_below_their_images_and_apart(digits):
    indices, codes = np.arange(36).reshape(4, 9), np.full((4, 9), -0.000123)
    figure = top_inputs(digits, indices, codes)
    figure.draw_without_rendering()
    (axes,) = figure.axes
    boxes = [text.get_window_extent() for text in axes.texts]
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
    for i, box in enumerate(boxes):
        _, bottom = axes.transData.transform((0, 11 * (i // 9) + 7.5))
        _, following = axes.transData.transform((0, 11 * (i // 9) + 10.5))
        assert following <= box.y0 < box.y1 <= bottom


@pytest.mark.parametrize("shape", [(5, 6), (5, 6, 1), (5, 6, 3)])
def test_top_inputs_take_images_signed_values_and_dead_units(shape, rendered):
    x = np.random.default_rng(0).normal(size=(10, *shape))
    codes = np.array([[1.0, 1.0], [0.0, 0.0]])
    figure = top_inputs(x, [[1, 2], [3, 4]], codes)
    axes = figure.axes[0]
    assert axes.get_images()[0].get_array().shape[:2] == (2 * 7 - 1, 13)
    assert texts(axes) == ["1", "1", "fires on none"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["unit 0", "unit 1"]
    colour = len(shape) == 3 and shape[2] == 3
    assert len(figure.axes) == (1 if colour else 2)
    assert axes.get_xlabel().startswith("black = -" if colour else "")
    assert rendered(figure)


def test_top_inputs_read_bytes_and_shapes(digits):
    pixels = np.uint8(np.round(255 * digits))
    for shape, height in [(None, 8), ((4, 16), 4)]:
        (image,) = top_inputs(pixels, [[2]], [[1.0]], shape).axes[0].get_images()
        shown = image.get_array()[:height].ravel()
        np.testing.assert_allclose(shown, digits[2], atol=1 / 255)


def test_what_is_no_image_is_lines_by_unit(rendered):
    x = np.random.default_rng(0).normal(size=(20, 13))
    codes = np.array([[3.0, 1.0], [2.0, 0.0], [0.0, 0.0], [1.0, 0.5]])
    indices = np.arange(8).reshape(4, 2)
    figure = top_inputs(x, indices, codes, units=np.array([9, 8, 7, 6]), title="Rows")
    assert [len(axes.get_lines()) for axes in figure.axes] == [2, 1, 0, 2]
    titles = [axes.get_title() for axes in figure.axes]
    assert titles == ["unit 9", "unit 8", "unit 7 fires on none", "unit 6"]
    np.testing.assert_allclose(figure.axes[3].get_lines()[1].get_ydata(), x[7])
    legend = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert legend == ["3", "1"]
    assert figure.axes[0].get_ylabel() == "value"
    assert figure.axes[3].get_xlabel() == "feature"
    assert rendered(figure)
    assert len(top_inputs(x[:, :9], [[1]], [[1.0]], (9,)).axes[0].get_lines()) == 1


def test_top_inputs_refuse_bad_input(digits):
    ones = np.ones((2, 3))
    cases = [
        ((np.zeros((2, 2), int), ones), "both \\(units, n\\)"),
        ((np.zeros((2, 3)), ones), "indices must be integers"),
        ((np.zeros(3, int), np.ones(3)), "activations must be"),
        ((np.zeros((2, 3), int), np.nan * ones), "activations must be finite"),
        ((np.full((2, 3), 1797), ones), "rows of x, from 0 to 1796; got 1797 to 1797"),
        ((np.full((2, 3), -1), ones), "rows of x"),
        ((np.zeros((2, 3), int), ones, (7, 9)), "shape must hold 64 values"),
    ]
    for arguments, message in cases:
        with pytest.raises(ValueError, match=message):
            top_inputs(digits, *arguments)
    with pytest.raises(ValueError, match="units must name 2 units; got 1"):
        top_inputs(digits, np.zeros((2, 3), int), ones, units=[4])


def test_pareto_sorts_each_method_by_l0(rendered):
    points = {"TopK": [(64, 0.1), (16, 0.3), (32, 0.2)], "L1": np.array([[20.0, 0.4], [90.0, 0.2]])}
    figure = pareto(points, title="Digits")
    (axes,) = figure.axes
    first, second = axes.get_lines()
    assert first.get_xydata().tolist() == [[16, 0.3], [32, 0.2], [64, 0.1]]
    assert second.get_xydata().tolist() == [[20, 0.4], [90, 0.2]]
    assert first.get_marker() != second.get_marker()
    assert axes.get_xscale() == "log"
    assert axes.get_yscale() == "linear"
    assert axes.get_xlabel() == "L0, mean active units"
    assert axes.get_ylabel() == "FVU, fraction of variance unexplained"
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["TopK", "L1"]
    assert axes.get_title() == "Digits"
    assert rendered(figure)


@pytest.mark.parametrize("l0", [[5.0], [30.0, 33.0], [8.0, 64.0], [3.0, 200.0], [0.05, 4000.0]])
def test_pareto_writes_out_round_numbers_whatever_the_range(l0, rendered):
    figure = pareto({"a": [(value, 0.5) for value in l0]})
    assert rendered(figure)
    (axes,) = figure.axes
    low, high = axes.get_xlim()
    shown = [
        label.get_text()
        for label, place in zip(axes.get_xticklabels(), axes.get_xticks(), strict=True)
        if low <= place <= high
    ]
    assert 3 <= len(shown) <= 9
    numbers = [float(text.replace(",", "")) for text in shown]
    inside = [place for place in axes.get_xticks() if low <= place <= high]
    np.testing.assert_allclose(numbers, inside, rtol=1e-6)


def test_pareto_draws_an_fvu_of_zero_and_many_methods(rendered):
    figure = pareto({str(i): [(i + 1, i / 12), (i + 2, 0.0)] for i in range(12)})
    assert len(figure.axes[0].get_lines()) == 12
    assert rendered(figure)


def test_pareto_refuses_bad_input():
    with pytest.raises(ValueError, match="at least one method"):
        pareto({})
    for values in ([], [1.0, 2.0], [(0.0, 0.1)], [(1.0, -0.1)], [(1.0, np.nan)], [(1, 2, 3)]):
        with pytest.raises(ValueError, match="Each method needs finite pairs"):
            pareto({"a": values})
