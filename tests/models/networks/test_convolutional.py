import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxae
from jaxae.models.networks.convnets import convolutional

KEY = jax.random.key(3)
RNG = np.random.default_rng(3)
SMALL = {"hidden_dims": (3, 4), "networks": convolutional}

NETS = {
    "strided": ((7, 10, 1), {}),
    "colour, rectangular": ((9, 6, 3), {"kernel_size": [(5, 3), 3], "strides": [2, (3, 1)]}),
    "max pool": ((7, 6, 2), {"pooling": "max", "dense_dims": (7,)}),
    "mean pool": ((7, 6, 2), {"pooling": "mean", "strides": 3, "dilation": 2}),
    "layer norm": ((8, 8, 1), {"normalisation": "layer"}),
    "group norm": ((8, 8, 1), {"normalisation": "group", "dense_dims": (6, 5)}),
    "signal": ((21, 2), {"kernel_size": 5, "strides": 3}),
    "volume": ((5, 4, 3, 1), {}),
    "no bias": ((6, 6, 1), {"use_bias": False}),
    "maps": ((7, 10, 1), {"maps": True}),
    "a single layer of maps": ((7, 10, 1), {"maps": True, "hidden_dims": ()}),
}


@pytest.mark.parametrize("decoder", ["mirrored", "tied"])
@pytest.mark.parametrize("name", NETS)
def test_nets_of_all_kinds_code_and_give_back_examples_of_their_shape(name, decoder):
    shape, options = NETS[name]
    model = jaxae.deep(shape, 5, **{**SMALL, "decoder": decoder, **options})
    batch = {"x": jax.ShapeDtypeStruct((4, *shape), jnp.float32)}
    params = jax.eval_shape(lambda: model.init(KEY, {"x": jnp.zeros((4, *shape))}))
    z = jax.eval_shape(model.encode, params, batch)
    assert (z.shape[0], z.shape[-1]) == (4, 5)
    assert (z.ndim == len(shape) + 1) == ("maps" in name)
    assert jax.eval_shape(model.decode, params, z).shape == batch["x"].shape
    own, layers = params.get("decoder", {}), [n for n in params["encoder"] if "norm" not in n]
    kernels = [name for name in own if name.startswith("layer")]
    assert len(kernels) == (0 if decoder == "tied" else len(layers))


def moved(params, scale=0.3):
    return jax.tree.map(lambda a: a + scale * RNG.normal(size=a.shape).astype(a.dtype), params)


def test_an_encoder_is_scipys_layers_in_turn(by_scipy, x64):
    model = jaxae.deep((7, 9, 2), 5, param_dtype=jnp.float64, **SMALL)
    x = RNG.normal(size=(3, 7, 9, 2))
    params = moved(model.init(KEY, {"x": x}))
    maps = x
    for name in ("layer_0", "layer_1"):
        layer = params["encoder"][name]
        maps = by_scipy(maps, layer["kernel"], (2, 2), (1, 1)) + layer["bias"]
        maps = np.where(maps > 0, maps, np.expm1(np.minimum(maps, 0)))
    last = params["encoder"]["layer_2"]
    expected = maps.reshape(len(x), -1) @ last["kernel"] + last["bias"]
    np.testing.assert_allclose(model.encode(params, {"x": x}), expected, rtol=1e-10, atol=1e-10)


def test_linear_tied_nets_decode_by_the_jacobian_of_their_encoder(x64):
    """Without biases and activations decoding is the transpose of encoding."""
    options = {"activation": "identity", "use_bias": False, "decoder": "tied", "dense_dims": (6,)}
    model = jaxae.deep((5, 6, 2), 4, param_dtype=jnp.float64, **SMALL, **options)
    x, z = RNG.normal(size=(1, 5, 6, 2)), RNG.normal(size=(1, 4))
    params = model.init(KEY, {"x": x})
    jacobian = jax.jacfwd(lambda x: model.encode(params, {"x": x[None]})[0])(x[0])
    expected = np.tensordot(z[0], jacobian, axes=1)
    np.testing.assert_allclose(model.decode(params, z)[0], expected, rtol=1e-10, atol=1e-12)


def test_a_mirrored_decoder_of_the_encoders_kernels_is_the_tied_one(x64):
    """And its gradients by both kernels add up to that of the tied one."""
    options = {"param_dtype": jnp.float64, "pooling": "mean", "dense_dims": (6,), **SMALL}
    tied = jaxae.deep((5, 6, 2), 4, decoder="tied", **options)
    free = jaxae.deep((5, 6, 2), 4, **options)
    batch = {"x": RNG.normal(size=(3, 5, 6, 2))}
    params = moved(tied.init(KEY, batch))
    up, biases, last = params["encoder"], params["decoder"], len(params["encoder"]) - 1
    turn = lambda a: a.T if a.ndim == 2 else a  # noqa: E731
    down = {
        f"layer_{last - i}": {
            "kernel": turn(up[f"layer_{i}"]["kernel"]),
            "bias": biases[f"bias_{i}"],
        }
        for i in range(last + 1)
    }
    both = {"encoder": up, "decoder": down}
    differentiate = lambda m: jax.jit(jax.value_and_grad(m.loss, has_aux=True))  # noqa: E731
    (loss, _), grads = differentiate(tied)(params, KEY, batch)
    (same, _), apart = differentiate(free)(both, KEY, batch)
    np.testing.assert_allclose(loss, same, rtol=1e-12)
    for i in range(last + 1):
        here, back = apart["encoder"][f"layer_{i}"], apart["decoder"][f"layer_{last - i}"]
        total = here["kernel"] + turn(back["kernel"])
        np.testing.assert_allclose(grads["encoder"][f"layer_{i}"]["kernel"], total, rtol=1e-9)
        np.testing.assert_allclose(grads["decoder"][f"bias_{i}"], back["bias"], rtol=1e-9)


def test_contraction_of_a_convolutional_encoder_is_the_norm_of_its_jacobian(x64):
    model = jaxae.contractive((6, 5, 1), 3, activation="tanh", **SMALL)
    x = RNG.normal(size=(4, 6, 5, 1))
    for dtype, tolerance in ((np.float32, 1e-5), (np.float64, 1e-10)):
        batch = {"x": x.astype(dtype)}
        params = jax.tree.map(lambda a: a.astype(dtype), model.init(KEY, batch))  # noqa: B023
        one = lambda x: model.encode(params, {"x": x[None]})[0]  # noqa: E731, B023
        jacobians = jax.vmap(jax.jacfwd(one))(batch["x"]).reshape(4, -1)
        expected = np.sum(np.float64(jacobians) ** 2, axis=1)
        for method in ("auto", "jacfwd", "jacrev"):
            given = jaxae.squared_jacobian_norm(model.encode, params, batch, method=method)
            np.testing.assert_allclose(given, expected, rtol=tolerance)
        penalty = model.loss(params, KEY, batch)[1]["penalty"]
        np.testing.assert_allclose(penalty, 0.1 * expected.mean(), rtol=tolerance)
    assert jaxae.explain(model.encode, params, batch).method in ("jacfwd", "jacrev")


def test_bytes_and_low_precision_are_taken():
    x = RNG.integers(0, 256, (4, 6, 6, 3), dtype=np.uint8)
    model = jaxae.deep((6, 6, 3), 4, dtype=jnp.bfloat16, normalisation="group", **SMALL)
    params = model.init(KEY, {"x": x})
    grads = jax.jit(jax.grad(lambda p: model.loss(p, KEY, {"x": x})[0]))(params)
    for leaf in jax.tree.leaves((params, grads)):
        assert leaf.dtype == jnp.float32
        assert np.isfinite(leaf).all()
    assert model.encode(params, {"x": x}).dtype == jnp.bfloat16


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shape": 36}, r"channels last.*x\[..., None\]"),
        ({"shape": (36,)}, "channels last"),
        ({"hidden_dims": ()}, "give at least one"),
        ({"hidden_dims": (4, 0)}, "hidden_dims takes positive integers"),
        ({"latent_dim": 0}, "latent_dim takes positive integers"),
        ({"dense_dims": (1.5,)}, "dense_dims takes positive integers"),
        ({"hidden_dims": (2,) * 5}, "layer_3 is given are one entry"),
        ({"kernel_size": (3, 3, 3)}, "each of 2 convolutions"),
        ({"strides": [(2, 2, 2), 1]}, "one or 2 of them"),
        ({"dilation": 0}, "dilation is a positive integer"),
        ({"pooling": "median"}, "pooling is one of .*'median'"),
        ({"normalisation": "batch"}, "normalisation is one of .*'batch'"),
        ({"activation": "rlu"}, "activation is .*'rlu'"),
        ({"decoder": "adjoint"}, "'mirrored' or 'tied'"),
        ({"decoder": "tied", "outputs": 2}, "tied decoder gives one number"),
        ({"decoder": "tied", "see_mask": True}, "see_mask"),
        ({"maps": True, "dense_dims": (4,)}, "no dense layer follows"),
        ({"maps": True, "latent_outputs": 2}, "take maps=False"),
    ],
)
def test_networks_that_cannot_be_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        convolutional(**{"shape": (6, 6, 1), "latent_dim": 3, **options})


def test_examples_and_codes_of_other_shapes_are_refused():
    model = jaxae.deep((6, 6, 1), 4, maps=True, **SMALL)
    with pytest.raises(ValueError, match=r"shape \(6, 6, 1\); got x with \(5, 6, 1\)"):
        model.init(KEY, {"x": np.ones((2, 5, 6, 1), np.float32)})
    params = model.init(KEY, {"x": np.ones((2, 6, 6, 1), np.float32)})
    with pytest.raises(ValueError, match="to sample, build the networks with maps=False"):
        model.decode(params, np.ones((3, 4)))
