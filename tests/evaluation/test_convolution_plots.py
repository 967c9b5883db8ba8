import jax
import numpy as np
import pytest

import jaxae
from jaxae.evaluation.convolution_plots import (
    convolution_filters,
    exciting_patches,
    feature_maps,
    maps_by_layer,
    receptive_field,
    top_patches,
)
from jaxae.models.networks.convnets import convolutional

RNG = np.random.default_rng(0)
SHAPE = (9, 8, 1)
BATCH = {"x": RNG.uniform(size=(6, *SHAPE)).astype(np.float32)}
OPTIONS = {
    "strided": {},
    "pooled, dilated": {"pooling": "max", "dilation": 2},
    "uneven": {"kernel_size": [(5, 3), 2], "strides": [(1, 2), 3]},
}


def nets(name="strided", shape=SHAPE):
    encoder, _ = convolutional(shape, 3, hidden_dims=(4, 5), activation="tanh", **OPTIONS[name])
    x = np.zeros((1, *shape), np.float32)
    return encoder, encoder.init(jax.random.key(0), x)["params"]


def test_feature_maps_are_what_the_layers_alone_give():
    model = jaxae.deep(SHAPE, 3, hidden_dims=(4, 5), networks=convolutional, activation="tanh")
    params = model.init(jax.random.key(1), BATCH)
    encoder, _ = nets()
    first, second = feature_maps(encoder, params, BATCH)
    own = params["encoder"]
    below = jaxae.deep(
        SHAPE, 4, hidden_dims=(), maps=True, networks=convolutional, activation="tanh"
    )
    lower = {"encoder": {"layer_0": own["layer_0"]}}
    np.testing.assert_allclose(first, below.encode(lower, BATCH), rtol=1e-5, atol=1e-6)
    above = jaxae.deep(
        (5, 4, 4), 5, hidden_dims=(), maps=True, networks=convolutional, activation="tanh"
    )
    upper = {"encoder": {"layer_0": own["layer_1"]}}
    np.testing.assert_allclose(second, above.encode(upper, {"x": first}), rtol=1e-5, atol=1e-6)
    flat = np.reshape(second, (6, -1))
    z = flat @ own["layer_2"]["kernel"] + own["layer_2"]["bias"]
    np.testing.assert_allclose(model.encode(params, BATCH), z, rtol=1e-4, atol=1e-5)


def test_masked_pixels_do_not_show_in_maps():
    encoder, params = nets()
    mask = RNG.integers(0, 2, (6, 9, 8))
    other = np.where(mask[..., None] == 1, BATCH["x"], 9.0).astype(np.float32)
    here = feature_maps(encoder, params, {**BATCH, "mask": mask})
    there = feature_maps(encoder, params, {"x": other, "mask": mask})
    for a, b in zip(here, there, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("name", OPTIONS)
def test_receptive_fields_are_where_the_gradient_is_not_zero(name):
    """Of a linear net with kernels of ones, mean pools in the place of those by maximum."""
    options = {**OPTIONS[name], **({"pooling": "mean"} if "pooling" in OPTIONS[name] else {})}
    shape = (23, 17, 1)
    encoder, _ = convolutional(
        shape, 2, hidden_dims=(1, 1), activation="identity", kernel_init=jax.nn.initializers.ones,
        **options,
    )  # fmt: skip
    x = np.zeros((1, *shape), np.float32)
    params = encoder.init(jax.random.key(0), x)["params"]
    for layer in range(2):
        unit = lambda x: feature_maps(encoder, params, {"x": x})[layer][0, ..., 0]  # noqa: E731, B023
        jacobian = np.asarray(jax.jacrev(unit)(x))[:, :, 0, ..., 0]
        for place in [(0, 0), tuple(n // 2 for n in jacobian.shape[:2])]:
            rows, columns = np.nonzero(jacobian[place])
            (top, bottom), (left, right) = receptive_field(encoder, layer, place)
            assert (rows.min(), rows.max()) == (max(top, 0), min(bottom, 22))
            assert (columns.min(), columns.max()) == (max(left, 0), min(right, 16))


@pytest.mark.parametrize("name", OPTIONS)
def test_a_patch_alone_excites_its_unit_as_the_whole_input_does(name):
    shape = (33, 33, 1)
    encoder, params = nets(name, shape)
    x = np.zeros((4, *shape), np.float32)
    x[:, 14:19, 13:18] = RNG.uniform(size=(4, 5, 5, 1))  # away from the edge
    found = top_patches(encoder, params, {"x": x}, 1, units=[3, 0], n=2)
    maps = np.asarray(feature_maps(encoder, params, {"x": x})[1])
    assert found.units == (3, 0)
    for row, unit in enumerate(found.units):
        largest = np.sort(maps[..., unit].max((1, 2)))[::-1][:2]
        np.testing.assert_allclose(found.activations[row], largest, rtol=1e-6)
        middle = tuple(n // 2 for n in maps.shape[1:3])
        (top, bottom), (left, right) = receptive_field(encoder, 1, middle)
        alone = np.zeros((2, *shape), np.float32)
        alone[:, top : bottom + 1, left : right + 1] = found.x[row]
        again = feature_maps(encoder, params, {"x": alone})[1][:, *middle, unit]
        np.testing.assert_allclose(again, found.activations[row], rtol=1e-5)


def test_figures_have_a_row_for_each_layer_or_unit(rendered):
    encoder, params = nets()
    figure = maps_by_layer(encoder, params, BATCH, max_examples=2, max_channels=4)
    assert len(figure.axes) == 2 * 3
    assert figure.axes[2].get_ylabel() == "layer 0\n4 maps\n5 x 4"
    assert figure.axes[4].get_ylabel() == "layer 1\n4 of 5 maps\n3 x 2"
    assert rendered(figure)
    figure = exciting_patches(top_patches(encoder, params, BATCH, -1, n=4))
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert sorted(labels) == [f"unit {i}" for i in range(5)]
    assert rendered(figure)
    figure = convolution_filters(params["layer_0"]["kernel"])
    assert figure.axes[0].get_title().startswith("4 filters")
    assert rendered(figure)


def test_colour_bytes_are_drawn(rendered):
    encoder, params = nets(shape=(8, 8, 3))
    batch = {"x": RNG.integers(0, 256, (3, 8, 8, 3), dtype=np.uint8)}
    assert rendered(maps_by_layer(encoder, params, batch))
    assert rendered(exciting_patches(top_patches(encoder, params, batch, 0, n=2)))
    assert rendered(convolution_filters(params["layer_0"]["kernel"]))


def test_what_cannot_be_shown_is_refused():
    encoder, params = nets()
    with pytest.raises(ValueError, match=r"encoder of jaxae.convolutional; got MLP"):
        feature_maps(jaxae.MLP((3,)), params, BATCH)
    for options, message in (
        ({"layer": 2}, "layer is a number below 2"),
        ({"layer": 0, "units": [4]}, "channels from 0 to 3"),
        ({"layer": 0, "n": 7}, "at most the 6"),
    ):
        with pytest.raises(ValueError, match=message):
            top_patches(encoder, params, BATCH, **options)
    with pytest.raises(ValueError, match="at least one input"):
        maps_by_layer(encoder, params, BATCH, max_examples=0)
    with pytest.raises(ValueError, match="1 or 3, features"):
        convolution_filters(np.ones((3, 3, 2, 4)))
    signals, _ = convolutional((20, 1), 3, hidden_dims=(4,))
    own = signals.init(jax.random.key(0), np.zeros((1, 20, 1)))["params"]
    assert feature_maps(signals, own, {"x": np.zeros((2, 20, 1))})[0].shape == (2, 10, 4)
    with pytest.raises(ValueError, match="of an encoder of images"):
        top_patches(signals, own, {"x": np.zeros((2, 20, 1))}, 0)
