"""Figures of what models make: what they hold, and that they render."""

import numpy as np
import pytest

from jaxae.evaluation.generation_plots import (
    chain,
    draws,
    interpolations,
    manifold,
    samples,
    traversals,
)

RNG = np.random.default_rng(0)


def drawn(figure):
    """The pixels and the range of the only image."""
    (image,) = figure.axes[0].get_images()
    return np.asarray(image.get_array()), image.get_clim()


def names(figure, axis):
    return [label.get_text() for label in getattr(figure.axes[0], f"get_{axis}ticklabels")()]


def places(figure, axis):
    return np.asarray(getattr(figure.axes[0], f"get_{axis}ticks")())


@pytest.mark.parametrize("size", [(16,), (4, 4), (4, 4, 1), (4, 4, 3)])
def test_interpolations_lay_pairs_out_in_rows_named_by_t(size, rendered):
    images = RNG.random((3, 5, *size))
    figure = interpolations(images, title="Between")
    pixels, _ = drawn(figure)
    assert pixels.shape[:2] == (14, 24)  # 3 rows and 5 columns of 4 pixels and a gap of 1
    found = pixels[5:9, 15:19]
    np.testing.assert_allclose(found.ravel(), images[1, 3].ravel())
    assert names(figure, "x") == ["0", "0.25", "0.5", "0.75", "1"]
    assert names(figure, "y") == ["pair 1", "pair 2", "pair 3"]
    np.testing.assert_allclose(places(figure, "x"), 1.5 + 5 * np.arange(5))
    np.testing.assert_allclose(places(figure, "y"), 1.5 + 5 * np.arange(3))
    assert figure.axes[0].get_title() == "Between"
    assert rendered(figure)


def test_images_that_leave_the_range_of_the_data_are_clipped_to_it_if_it_is_given(rendered):
    images = RNG.normal(size=(2, 3, 4, 4))
    most = np.abs(images).max()
    figure = interpolations(images)
    np.testing.assert_allclose(drawn(figure)[1], (-most, most), rtol=1e-6)
    assert len(figure.axes) == 2
    data = np.full((1, 4, 4), 255, np.uint8)
    figures = [
        interpolations(images, like=data),
        traversals(images, [0, 1], np.arange(3), like=data),
        samples(images[0], like=data),
        chain(images, np.full((2, 4, 4), 0.5)),
        chain(images, images[:, 0], like=data),
    ]
    for limited in figures:
        assert drawn(limited)[1] == (0.0, 1.0)
        assert len(limited.axes) == 1
        assert rendered(limited)
    colours = interpolations(RNG.normal(size=(2, 3, 4, 4, 3)))
    assert colours.axes[0].get_xlabel().startswith("t\nblack = -")
    assert rendered(colours)


def test_what_is_no_image_is_a_panel_for_each_row_and_a_line_for_each_column(rendered):
    images = RNG.normal(size=(3, 12, 7))
    figure = interpolations(images, title="Rows")
    assert [axes.get_title() for axes in figure.axes] == ["pair 1", "pair 2", "pair 3"]
    for axes, row in zip(figure.axes, images, strict=True):
        lines = axes.get_lines()
        np.testing.assert_allclose([line.get_ydata() for line in lines], row)
        assert len({tuple(line.get_color()) for line in lines}) == 12
    (legend,) = figure.legends
    texts = [text.get_text() for text in legend.get_texts()]
    assert (len(texts), texts[0], texts[-1]) == (10, "0", "1")
    handles = legend.get_lines()
    assert tuple(handles[-1].get_color()) == tuple(figure.axes[0].get_lines()[-1].get_color())
    assert figure.get_suptitle() == "Rows"
    assert rendered(figure)
    assert len(interpolations(RNG.random((2, 3, 16)), (16,)).axes) == 2


def test_traversals_name_shared_values_by_column_and_their_own_by_row(rendered):
    images = RNG.random((2, 3, 16))
    figure = traversals(images, [4, 0], [-1.0, 0.25, 1000.0])
    assert names(figure, "x") == ["-1", "0.25", "1,000"]
    assert names(figure, "y") == ["unit 4", "unit 0"]
    assert figure.axes[0].get_xlabel() == "value of the unit"
    own = traversals(images, [4, 0], [[-1.0, 0.0, 1.0], [2.0, 3.0, 4.5]])
    assert names(own, "y") == ["unit 4: -1 to 1", "unit 0: 2 to 4.5"]
    assert set(names(own, "x")) == {""}
    lines = traversals(images, [4, 0], np.arange(6).reshape(2, 3), (16,))
    assert [axes.get_title() for axes in lines.axes] == ["unit 4: 0 to 2", "unit 0: 3 to 5"]
    assert not lines.legends
    for each in (figure, own, lines):
        assert rendered(each)


@pytest.mark.parametrize("side", [3, 15])
def test_the_manifold_has_code_one_to_the_right_and_code_two_upwards(side, rendered):
    values = np.linspace(-2, 2, side)
    images = RNG.random((side, side, 4, 4))
    figure = manifold(images, values)
    np.testing.assert_allclose(drawn(figure)[0][:4, -4:], images[0, -1])
    np.testing.assert_allclose(drawn(figure)[0][-4:, :4], images[-1, 0])
    axes = figure.axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("code 1", "code 2")
    shown = np.float64(names(figure, "x"))
    index = (places(figure, "x") - 1.5) / 5
    np.testing.assert_allclose(shown, values[index.astype(int)], atol=0.05)
    up = np.float64(names(figure, "y"))
    index = (places(figure, "y") - 1.5) / 5
    np.testing.assert_allclose(up, values[::-1][index.astype(int)], atol=0.05)
    assert len(up) == (3 if side == 3 else 8)
    assert rendered(figure)


def test_the_manifold_of_lines_is_a_panel_for_each_value_of_code_two(rendered):
    images = RNG.normal(size=(2, 2, 5))
    figure = manifold(images, [-1.0, 1.0])
    assert [axes.get_title() for axes in figure.axes] == ["code 2 = 1", "code 2 = -1"]
    np.testing.assert_allclose(figure.axes[1].get_lines()[1].get_ydata(), images[1, 1])
    assert rendered(figure)


def test_samples_fill_a_grid_whose_rest_is_blank(rendered):
    images = RNG.random((7, 4, 4, 1))
    pixels, _ = drawn(samples(images))
    assert pixels.shape == (14, 14)
    np.testing.assert_allclose(pixels[10:14, :4], images[6, :, :, 0])
    assert np.ma.getmaskarray(np.ma.masked_invalid(pixels))[10:, 5:].all()
    assert drawn(samples(images, columns=20))[0].shape == (4, 34)
    assert drawn(samples(np.uint8(255 * images), columns=7))[1] == (0.0, 1.0)
    lines = samples(RNG.normal(size=(7, 5)))
    assert [axes.get_title() for axes in lines.axes] == [f"sample {i + 1}" for i in range(7)]
    assert not lines.legends
    for figure in (samples(images, title="Samples"), lines):
        assert rendered(figure)


def test_draws_stand_below_their_input_in_its_range(rendered):
    x, mean = RNG.random((2, 12, 16))
    each = RNG.normal(size=(12, 3, 16))
    figure = draws(x, each, mean, title="Draws")
    assert names(figure, "y") == ["input", "mean", "draw 1", "draw 2", "draw 3"]
    pixels, limits = drawn(figure)
    assert limits == (0.0, 1.0)
    assert pixels.shape == (24, 59)  # all twelve
    np.testing.assert_allclose(pixels[20:24, 5:9].ravel(), each[1, 2])
    lines = draws(x[:2, :5], each[:2, :, :5])
    np.testing.assert_allclose(lines.axes[1].get_lines()[3].get_ydata(), each[1, 2, :5])
    for one in (figure, lines):
        assert rendered(one)


def test_chains_begin_with_their_start_and_count_steps(rendered):
    states, start = RNG.random((2, 3, 4, 4)), RNG.random((2, 4, 4))
    figure = chain(states, start, every=500)
    assert names(figure, "x") == ["0", "500", "1,000", "1,500"]
    assert names(figure, "y") == ["chain 1", "chain 2"]
    pixels, _ = drawn(figure)
    np.testing.assert_allclose(pixels[5:9, :4], start[1])
    np.testing.assert_allclose(pixels[5:9, 15:19], states[1, 2])
    many = chain(RNG.random((1, 30, 16)), np.ones((1, 16)), every=10_000)
    assert names(many, "x")[0] == "0"
    assert len(names(many, "x")) < 16
    lines = chain(RNG.normal(size=(2, 3, 5)), RNG.normal(size=(2, 5)))
    assert [text.get_text() for text in lines.legends[0].get_texts()] == ["0", "1", "2", "3"]
    for one in (figure, many, lines):
        assert rendered(one)


def test_figures_refuse_arrays_that_do_not_fit():
    grid = np.ones((2, 3, 16))
    for refused, message in [
        (lambda: interpolations(grid[0]), "Rows, columns and the axes"),
        (lambda: interpolations(grid, (3, 3)), "shape must hold 16 values"),
        (lambda: interpolations(np.nan * grid), "images must be finite"),
        (lambda: traversals(grid, [0], np.ones(3)), "show 2 units at 3 values"),
        (lambda: traversals(grid, [0, 1], np.ones(2)), "show 2 units at 3 values"),
        (lambda: manifold(grid, np.ones(3)), r"\(side, side, ...\)"),
        (lambda: manifold(grid[:, :2], np.ones(3)), r"\(side, side, ...\)"),
        (lambda: samples(grid[0, 0]), "images must be"),
        (lambda: samples(grid, columns=0), "columns must be at least 1"),
        (lambda: draws(grid[:, 0], grid[:, :, :9]), "one and the same shape"),
        (lambda: draws(grid[:, 0], grid[0, 0]), "drawn must have"),
        (lambda: chain(grid, grid[:1, 0]), "start must be"),
        (lambda: chain(grid[0], grid[:, 0]), "start must be"),
    ]:
        with pytest.raises(ValueError, match=message):
            refused()
