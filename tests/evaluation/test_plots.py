"""Figures: what they hold, and that they render."""

import subprocess
import sys

import numpy as np
import pytest
from sklearn.datasets import load_digits

from jaxae.evaluation import codes_2d, curves, filters, image_rows


@pytest.fixture(scope="module")
def digits():
    x, y = load_digits(return_X_y=True)
    return (x / 16).astype(np.float32), y


def drawn(figure):
    """The pixels and the range of the only image."""
    (image,) = figure.axes[0].get_images()
    return image.get_array(), image.get_clim()


def test_importing_evaluation_imports_nothing_heavy():
    code = (
        "import sys, jaxae.evaluation as e; "
        "assert e.__doc__; print([m for m in ('sklearn', 'matplotlib', 'scipy.stats') "
        "if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_image_rows_tile_examples_under_labels(digits, rendered):
    x, _ = digits
    noisy = x + np.random.default_rng(0).normal(0, 0.3, x.shape)
    figure = image_rows({"original": x, "corrupted": noisy, "bytes": np.uint8(255 * x)})
    pixels, limits = drawn(figure)
    assert rendered(figure)
    assert limits == (0.0, 1.0)
    assert pixels.shape == (3 * 9 - 1, 10 * 9 - 1)
    np.testing.assert_allclose(pixels[:8, 9:17], x[1].reshape(8, 8))
    np.testing.assert_allclose(pixels[18:, :8], x[0].reshape(8, 8), atol=1 / 255)
    assert np.ma.getmaskarray(np.ma.masked_invalid(pixels))[8].all()
    assert len(figure.axes) == 1


@pytest.mark.parametrize("shape", [(6, 8, 8), (6, 8, 8, 1), (6, 8, 8, 3), (1, 4, 16)])
def test_image_rows_take_images(shape, rendered):
    x = np.random.default_rng(0).random(shape)
    figure = image_rows({"a": x, "b": x}, max_columns=4, title="Images")
    columns = min(4, shape[0])
    gap = 1
    expected = (2 * (shape[1] + gap) - gap, columns * (shape[2] + gap) - gap)
    assert drawn(figure)[0].shape[:2] == expected
    assert figure.axes[0].get_title() == "Images"
    assert rendered(figure)


def test_image_rows_of_signed_values_state_their_range(digits, rendered):
    x = digits[0] - 0.25
    figure = image_rows({"a": x, "b": 3 * x})
    assert drawn(figure)[1] == (-0.75, 0.75)
    assert len(figure.axes) == 2
    assert "value" in figure.axes[1].get_ylabel()
    assert rendered(figure)
    colours = image_rows({"a": np.random.default_rng(0).normal(size=(3, 4, 4, 3))})
    assert colours.axes[0].get_xlabel().startswith("black = -")
    assert rendered(image_rows({"nothing": np.zeros((2, 64)) - 0.0, "b": np.ones((2, 64))}))


@pytest.mark.parametrize("n", [1, 6])
def test_what_is_no_image_is_lines(n, rendered):
    x = np.random.default_rng(0).normal(size=(n, 13))
    figure = image_rows({"input": x, "reconstruction": x / 2}, title="Rows")
    assert len(figure.axes) == n
    assert all(len(axes.get_lines()) == 2 for axes in figure.axes)
    np.testing.assert_allclose(figure.axes[-1].get_lines()[1].get_ydata(), x[-1] / 2)
    assert rendered(figure)
    assert len(image_rows({"input": np.ones((3, 16))}, (16,)).axes) == 3


def test_image_rows_refuse_bad_input(digits):
    x = digits[0]
    cases = [
        (({},), "one and the same shape"),
        (({"a": x, "b": x[:5]},), "one and the same shape"),
        (({"a": x}, (7, 9)), "shape must hold 64 values"),
        (({"a": x}, (4, 4, 4)), "shape must hold 64 values"),
        (({"a": x[0]},), "a must be"),
        (({"a": np.full((2, 4), np.nan)},), "a must be finite"),
    ]
    for arguments, message in cases:
        with pytest.raises(ValueError, match=message):
            image_rows(*arguments)
    with pytest.raises(ValueError, match="max_columns"):
        image_rows({"a": x}, max_columns=0)


def test_filters_are_scaled_each_and_sorted(rendered):
    kernel = np.random.default_rng(0).uniform(1, 2, size=(64, 12)) * 3.0 ** np.arange(12)
    kernel[:, 0] = 0.0
    figure = filters(kernel, (8, 8), max_units=5)
    pixels, limits = drawn(figure)
    assert limits == (-1.0, 1.0)
    assert pixels.shape == (17, 26)
    last = kernel[:, 11].reshape(8, 8)
    np.testing.assert_allclose(pixels[:8, :8], last / np.abs(last).max())
    assert figure.axes[0].get_title().startswith("5 of 12 filters by norm")
    assert rendered(figure)
    given = drawn(filters(kernel, order="given"))[0]
    np.testing.assert_allclose(given[:8, :8], 0.0)  # the first unit is dead


def test_filters_of_colours_and_of_no_image(rendered):
    kernel = np.random.default_rng(0).normal(size=(75, 7))
    assert drawn(filters(kernel, (5, 5, 3)))[0].shape == (17, 17, 3)
    assert rendered(filters(kernel, (5, 5, 3)))
    figure = filters(kernel, order="given")
    pixels, limits = drawn(figure)
    np.testing.assert_allclose(pixels, kernel)
    assert limits == (-np.abs(kernel).max(), np.abs(kernel).max())
    assert len(figure.axes) == 2
    assert rendered(figure)
    assert drawn(filters(kernel[:64], (64,)))[0].shape == (64, 7)


def test_filters_refuse_bad_input():
    for arguments in [(np.ones((4, 2, 2)),), (np.ones((4, 2)), None, 0)]:
        with pytest.raises(ValueError, match="kernel must be"):
            filters(*arguments)
    with pytest.raises(ValueError, match='"norm" or "given"'):
        filters(np.ones((4, 2)), order="size")
    with pytest.raises(ValueError, match="shape must hold 4 values"):
        filters(np.ones((4, 2)), (3, 3))


def test_curves_group_splits_and_choose_scales(rendered):
    epochs = np.arange(1.0, 9.0)
    history = {
        "epoch": 5 * epochs,
        "train_loss": 100 - epochs,
        "val_loss": 101 - epochs,
        "mse": 10.0**-epochs,
        "mse/test": 10.0**-epochs,
        "elbo": -1000 * epochs,
    }
    figure = curves(history, title="A run")
    labels = ["loss (nats per example)", "mse", "elbo (nats per example)"]
    assert [axes.get_ylabel() for axes in figure.axes] == labels
    assert [axes.get_yscale() for axes in figure.axes] == ["linear", "log", "linear"]
    assert [len(axes.get_lines()) for axes in figure.axes] == [2, 2, 1]
    assert figure.axes[0].get_lines()[0].get_xdata()[0] == 5
    legend = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert legend == ["train_loss", "val_loss"]
    assert rendered(figure)


def test_curves_of_one_epoch_with_gaps_and_nothing_finite(rendered):
    assert rendered(curves({"loss": [3.0]}))
    assert rendered(curves({"loss": [3.0, 2.0, 1.0], "val_loss": [np.nan, 2.0, np.nan]}))
    assert rendered(curves({"loss": [np.nan, np.inf]}))


def test_curves_refuse_bad_input():
    for history in [{}, {"epoch": [1]}, {"a": [1, 2], "b": [1]}, {"a": np.ones((2, 2))}]:
        with pytest.raises(ValueError, match="one axis and one length"):
            curves(history)


def test_codes_in_the_plane_are_drawn_as_they_are(digits, rendered):
    z, y = digits[0][:, 20:22], digits[1]
    figure = codes_2d(z, y)
    dots = figure.axes[0].collections
    assert len(dots) == 10
    np.testing.assert_allclose(dots[3].get_offsets(), z[y == 3])
    assert [text.get_text() for text in figure.legends[0].get_texts()] == list("0123456789")
    assert figure.axes[0].get_xlabel() == "code 1"
    assert rendered(figure)


def test_more_codes_are_drawn_by_principal_components(digits, rendered):
    z = np.float64(digits[0])
    figure = codes_2d(z)
    left, values, _ = np.linalg.svd(z - z.mean(0), full_matrices=False)
    points = figure.axes[0].collections[0].get_offsets()
    np.testing.assert_allclose(np.abs(points), np.abs(left[:, :2] * values[:2]), atol=1e-6)
    share = values[0] ** 2 / (values**2).sum()
    assert figure.axes[0].get_xlabel() == f"component 1 ({share:.1%} of variance)"
    assert rendered(figure)


def test_single_codes_many_classes_many_points_and_collapsed_codes(digits, rendered):
    x, y = digits
    strip, histogram = codes_2d(x[:, 20:21], y), codes_2d(x[:, 20:21])
    assert len(strip.axes[0].collections) == 10
    assert strip.axes[0].get_ylabel() == "class"
    assert len(histogram.axes[0].patches) > 1
    classes = codes_2d(x, np.arange(len(x)) % 30, max_points=100)
    assert len(classes.axes) == 2
    assert len(classes.axes[0].collections[0].get_offsets()) == 100
    assert classes.axes[0].get_title() == "Codes of 100 of 1,797 examples"
    collapsed = codes_2d(np.zeros((20, 5)), np.array(["a", "b"] * 10))
    assert "0.0% of variance" in collapsed.axes[0].get_xlabel()
    for figure in (strip, histogram, classes, collapsed):
        assert rendered(figure)


def test_codes_2d_refuses_bad_input():
    with pytest.raises(ValueError, match="z must be"):
        codes_2d(np.ones(3))
    with pytest.raises(ValueError, match="one label per row"):
        codes_2d(np.ones((3, 2)), [0, 1])
    with pytest.raises(ValueError, match="at least 2 rows"):
        codes_2d(np.ones((1, 3)))
    with pytest.raises(ValueError, match="max_points"):
        codes_2d(np.ones((3, 2)), max_points=0)
