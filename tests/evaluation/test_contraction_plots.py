"""Directions against NumPy's decomposition; figures: what they hold, and that they render."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import expit
from sklearn.decomposition import PCA

import jaxae
from jaxae.base import Autoencoder
from jaxae.evaluation import (
    contraction_curve,
    direction_images,
    directions,
    singular_spectrum,
)


def encode(params, batch):
    return jax.nn.sigmoid(batch["x"].reshape(len(batch["x"]), -1) @ params)


SIGMOID = Autoencoder(None, None, encode, None, None)


def sigmoid_layer(d, latent_dim):
    """One example, the kernel and diag(s'(a)) Wᵀ of one sigmoid layer without bias."""
    rng = np.random.default_rng(latent_dim)
    x, kernel = rng.normal(size=d), rng.normal(size=(d, latent_dim))
    z = expit(x @ kernel)
    return x, kernel, (z * (1 - z))[:, None] * kernel.T


def stretches(j, found):
    """How much J stretches each of the directions `(n, *shape)`, which are unit vectors."""
    flat = found.reshape(len(found), -1)
    np.testing.assert_allclose(flat @ flat.T, np.eye(len(flat)), atol=1e-10)
    return np.linalg.norm(flat @ j.T, axis=1)


@pytest.mark.parametrize("latent_dim", [4, 6, 9])
def test_directions_are_singular_vectors_of_the_jacobian(x64, latent_dim):
    x, kernel, j = sigmoid_layer(6, latent_dim)
    found = directions(SIGMOID, kernel, x.reshape(2, 3), 2)
    _, values, right = np.linalg.svd(j)
    assert found.preserved.shape == found.contracted.shape == (2, 2, 3)
    np.testing.assert_allclose(found.singular_values, values, rtol=1e-10)
    np.testing.assert_allclose(stretches(j, found.preserved), values[:2], rtol=1e-10)
    np.testing.assert_allclose(stretches(j, found.contracted), values[::-1][:2], rtol=1e-10)
    cosines = (found.preserved.reshape(2, 6) * right[:2]).sum(1)
    np.testing.assert_allclose(np.abs(cosines), 1.0, rtol=1e-10)
    for direction in (*found.preserved, *found.contracted):
        assert direction.max() == np.abs(direction).max()


def test_directions_that_leave_the_code_as_it_is_are_left_out(x64):
    x, kernel, _ = sigmoid_layer(6, 4)
    kernel[:, 3] = kernel[:, 2]  # a Jacobian of rank 3
    found = directions(SIGMOID, kernel, x, 3)
    assert found.singular_values.shape == (3,)
    assert found.singular_values[2] > 1e-3
    np.testing.assert_allclose(found.contracted, found.preserved[::-1])
    with pytest.raises(ValueError, match="n must be at most 3, the rank of J here; got 4"):
        directions(SIGMOID, kernel, x, 4)
    with pytest.raises(ValueError, match="at most 0"):
        directions(SIGMOID, 0 * kernel, x, 1)


def test_directions_of_a_basis_maximise_and_minimise_within_its_span(x64):
    x, kernel, j = sigmoid_layer(6, 4)
    basis = np.random.default_rng(0).normal(size=(3, 6))
    found = directions(SIGMOID, kernel, x, 1, basis=basis)
    weights = np.random.default_rng(1).normal(size=(200_000, 3)) @ np.linalg.inv(
        np.linalg.cholesky(basis @ basis.T)
    )
    lengths = np.linalg.norm(weights @ basis @ j.T, axis=1)  # of random unit vectors of the span
    np.testing.assert_allclose(np.linalg.norm(weights @ basis, axis=1).std(), 0.67, atol=0.01)
    lengths /= np.linalg.norm(weights @ basis, axis=1)
    best, least = stretches(j, found.preserved), stretches(j, found.contracted)
    assert best >= lengths.max() > 0.999 * best
    assert least <= lengths.min() < 1.01 * least
    for direction in (found.preserved[0], found.contracted[0]):
        inside = np.linalg.lstsq(basis.T, direction)[0] @ basis
        np.testing.assert_allclose(inside, direction, atol=1e-10)
    repeated = directions(SIGMOID, kernel, x, 1, basis=np.r_[basis, basis])
    np.testing.assert_allclose(repeated.singular_values, found.singular_values)


def test_directions_of_an_example_with_a_mask_and_a_context():
    def encode(params, batch):
        return batch["x"] * batch["mask"] * batch["context"]

    model = Autoencoder(None, None, encode, None, None)
    mask, context = np.array([1.0, 0.0, 1.0]), np.array([2.0, 5.0, 1.0])
    found = directions(model, None, np.ones(3), 1, mask=mask, context=context)
    assert found.singular_values.tolist() == [2.0, 1.0]
    assert found.contracted.tolist() == [[0.0, 0.0, 1.0]]


def test_directions_of_a_trained_shape_of_model_in_the_subspace_of_the_data():
    x = jaxae.load("digits", "train")["x"][:200]
    model = jaxae.undercomplete((8, 8, 1), 12, latent_activation="sigmoid")
    params = model.init(jax.random.key(0), {"x": x})
    pca = PCA(10).fit(x.reshape(200, -1))
    found = directions(model, params, x[0], 4, basis=pca.components_)
    assert found.contracted.shape == (4, 8, 8, 1)
    assert found.singular_values.shape == (10,)
    outside = found.contracted.reshape(4, -1) @ (np.eye(64) - pca.components_.T @ pca.components_)
    np.testing.assert_allclose(outside, 0.0, atol=1e-5)


def test_directions_refuse_bad_input():
    x, kernel, _ = sigmoid_layer(6, 4)
    with pytest.raises(ValueError, match="n must lie in"):
        directions(SIGMOID, kernel, x, 0)
    with pytest.raises(ValueError, match="basis must have rows of 6 entries, as x has; got 5"):
        directions(SIGMOID, kernel, x, 1, basis=np.ones((2, 5)))
    with pytest.raises(ValueError, match="basis must be finite"):
        directions(SIGMOID, kernel, x, 1, basis=np.full((2, 6), np.nan))
    with pytest.raises(ValueError, match="The Jacobian must be finite"):
        directions(SIGMOID, jnp.full((6, 4), jnp.nan), x, 1)


def test_spectra_are_means_in_bands_on_a_log_axis(rendered):
    rng = np.random.default_rng(0)
    wide, narrow = rng.lognormal(size=(50, 20)), rng.lognormal(-3, size=(30, 8))
    figure = singular_spectrum({"autoencoder": wide, "contractive": narrow}, title="Spectra")
    (axes,) = figure.axes
    lines, bands = axes.get_lines(), axes.collections
    np.testing.assert_allclose(lines[1].get_ydata(), narrow.mean(0))
    assert lines[1].get_xdata().tolist() == list(range(1, 9))
    corners = bands[0].get_paths()[0].vertices
    at_three = np.unique(corners[corners[:, 0] == 3.0, 1])
    np.testing.assert_allclose(at_three, np.percentile(wide[:, 2], [10, 90]))
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == ["autoencoder", "contractive"]
    assert axes.get_yscale() == "log"
    assert axes.get_title() == "Spectra"
    assert rendered(figure)


def test_spectra_with_zeros_show_seven_decades_and_no_more(rendered):
    values = np.array([[2.0, 1.0, 1e-12, 0.0]] * 3)
    figure = singular_spectrum({"dead": values})
    low, high = figure.axes[0].get_ylim()
    assert high > 2.0
    np.testing.assert_allclose(low, 1e-7 * high)
    assert rendered(figure)
    for few in (np.zeros((3, 4)), np.ones((1, 1))):
        assert rendered(singular_spectrum({"all": few}))


def test_spectra_refuse_bad_input():
    with pytest.raises(ValueError, match="spectra must hold"):
        singular_spectrum({})
    with pytest.raises(ValueError, match="CAE must be"):
        singular_spectrum({"CAE": np.ones(3)})
    with pytest.raises(ValueError, match="least singular value of CAE must lie in"):
        singular_spectrum({"CAE": -np.ones((3, 2))})


def test_contraction_curves_choose_their_scales(rendered):
    radii = np.geomspace(0.01, 10, 7)
    figure = contraction_curve(radii, {"a": 0.5 + 0 * radii, "b": 0.1 * radii**0.1})
    (axes,) = figure.axes
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "linear")
    assert axes.get_ylim()[0] == 0.0
    np.testing.assert_allclose(axes.get_lines()[1].get_ydata(), 0.1 * radii**0.1)
    np.testing.assert_allclose(axes.get_lines()[0].get_xdata(), radii)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["a", "b"]
    assert rendered(figure)
    steep = contraction_curve([1.0, 2.0, 3.0], {"a": [1e-4, 1.0, np.nan]}, title="Steep")
    assert (steep.axes[0].get_xscale(), steep.axes[0].get_yscale()) == ("linear", "log")
    assert steep.axes[0].get_title() == "Steep"
    assert rendered(steep)
    assert rendered(contraction_curve([1.0], {"a": [np.nan]}))


def test_contraction_curves_refuse_bad_input():
    for radii, ratios in [([1.0], {}), ([1.0], {"a": [1.0, 2.0]}), ([[1.0]], {"a": [[1.0]]})]:
        with pytest.raises(ValueError, match="ratios must be"):
            contraction_curve(radii, ratios)
    with pytest.raises(ValueError, match="radii must lie in"):
        contraction_curve([0.0, 1.0], {"a": [1.0, 1.0]})


@pytest.mark.parametrize("size", [(64,), (8, 8), (8, 8, 1), (4, 4, 3)])
def test_direction_images_show_the_input_and_both_rows_scaled_each(size, rendered):
    rng = np.random.default_rng(0)
    preserved, contracted = rng.normal(size=(2, 3, *size))
    values = np.array([9.0, 8.0, 7.0, 6.0, 0.25, 0.125])
    x = rng.random(size)
    figure = direction_images(x, preserved, contracted, singular_values=values)
    titles = [axes.get_title() for axes in figure.axes]
    assert titles == ["input", "9.0", "8.0", "7.0", "", "0.12", "0.25", "6.0"]
    assert [figure.axes[i].get_ylabel() for i in (1, 5)] == ["preserved", "contracted"]
    assert not figure.axes[4].get_images()
    for i, expected in [(0, x), (3, preserved[2]), (5, contracted[0])]:
        (image,) = figure.axes[i].get_images()
        pixels = np.asarray(image.get_array()).ravel()
        most = np.abs(expected).max()
        if size == (4, 4, 3):
            expected = expected if i == 0 else (expected / most + 1) / 2
        else:
            assert image.get_clim() == ((0.0, 1.0) if i == 0 else (-most, most))
        np.testing.assert_allclose(pixels, expected.ravel(), atol=1e-6)
    assert rendered(figure)


def test_direction_images_of_signed_inputs_bytes_and_single_directions(rendered):
    rng = np.random.default_rng(0)
    one = rng.normal(size=(1, 32))
    figure = direction_images(rng.normal(size=32) - 3, one, one, (4, 8), title="One")
    low, high = figure.axes[0].get_images()[0].get_clim()
    assert low == -high < -3
    assert figure.get_suptitle() == "One"
    pixels = direction_images(np.full((4, 8), 51, np.uint8), one, 0 * one)
    np.testing.assert_allclose(pixels.axes[0].get_images()[0].get_array(), 0.2)
    assert rendered(figure)
    assert rendered(pixels)


def test_direction_images_refuse_bad_input():
    x, two, values = np.ones((4, 4)), np.ones((2, 16)), np.ones(1)
    cases = [
        ((np.ones(13), np.ones((2, 13)), np.ones((2, 13))), {}, "needs an image"),
        ((x, two, two[:1]), {}, "equally many"),
        ((x, np.ones((2, 9)), np.ones((2, 9))), {}, "of its size"),
        ((x, two, two), {"singular_values": values}, "no fewer singular values"),
        ((x, two, two, (3, 3)), {}, "shape must hold 16 values"),
        ((x, np.nan * two, two), {}, "preserved must be finite"),
    ]
    for arguments, options, message in cases:
        with pytest.raises(ValueError, match=message):
            direction_images(*arguments, **options)
