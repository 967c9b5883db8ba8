import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxae
from jaxae import networks
from jaxae.models.networks import ACTIVATIONS, INITIALIZERS, TransposedMLP

KEY = jax.random.key(2)
RNG = np.random.default_rng(2)


def perturbed(params):
    """The same tree with biases that are not zero."""
    return jax.tree.map(lambda a: a + 0.1 * RNG.normal(size=a.shape).astype(a.dtype), params)


def initialised(module, x, **given):
    """Random parameters, biases too, of the shapes that the module asks for."""
    shapes = jax.eval_shape(module.init, KEY, x, **given)["params"]
    return jax.tree.map(lambda a: RNG.normal(size=a.shape), shapes)


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("final", ["identity", None])
def test_an_mlp_is_affine_maps_and_activations(name, final, by_hand, x64):
    final = final or name
    x = 2 * RNG.normal(size=(5, 6))
    module = jaxae.MLP((7, 4, 3), activation=name, final=final, param_dtype=jnp.float64)
    params = initialised(module, x)
    given = module.apply({"params": params}, x)
    np.testing.assert_allclose(given, by_hand.mlp(params, x, name, final), rtol=1e-10, atol=1e-10)


def test_every_activation_is_tested(by_hand):
    assert set(ACTIVATIONS) == set(by_hand.activations)


def test_an_activation_may_be_a_function(by_hand, x64):
    x = RNG.normal(size=(5, 6))
    module = jaxae.MLP((4, 3), activation=jnp.tanh, param_dtype=jnp.float64)
    params = initialised(module, x)
    given = module.apply({"params": params}, x)
    np.testing.assert_allclose(given, by_hand.mlp(params, x, "tanh"), rtol=1e-10)


def test_biases_can_be_left_out(by_hand, x64):
    x = RNG.normal(size=(5, 6))
    module = jaxae.MLP((4, 3), use_bias=False, activation="tanh", param_dtype=jnp.float64)
    params = initialised(module, x)
    assert [list(layer) for layer in params.values()] == [["kernel"], ["kernel"]]
    given = module.apply({"params": params}, x)
    np.testing.assert_allclose(given, by_hand.mlp(params, x, "tanh"), rtol=1e-10)


def kernels_of(**options):
    """Kernels of 600 x 400 and 400 x 500, and a check that biases begin at zero."""
    params = jaxae.MLP((400, 500), **options).init(KEY, jnp.zeros((1, 600)))["params"]
    assert all((layer["bias"] == 0).all() for layer in params.values())
    return [np.asarray(params[f"layer_{i}"]["kernel"]) for i in range(2)]


def expected_variance(name, fan_in, fan_out):
    return {
        "he": 2 / fan_in,
        "glorot": 2 / (fan_in + fan_out),
        "lecun": 1 / fan_in,
    }[name.partition("_")[0]]


@pytest.mark.parametrize("name", [name for name in INITIALIZERS if name != "orthogonal"])
def test_initialisers_have_their_variance_and_shape(name):
    for kernel in kernels_of(kernel_init=name):
        variance = expected_variance(name, *kernel.shape)
        np.testing.assert_allclose(kernel.var(), variance, rtol=0.02)
        assert abs(kernel.mean()) < 5 * np.sqrt(variance / kernel.size)
        limit = np.abs(kernel).max() / np.sqrt(3 * variance)
        assert limit <= 1.0001 if name.endswith("uniform") else limit > 1.05


def test_orthogonal_kernels_have_orthonormal_columns():
    kernel, _ = kernels_of(kernel_init="orthogonal")
    np.testing.assert_allclose(kernel.T @ kernel, np.eye(400), atol=1e-5)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_the_default_initialiser_suits_the_activation_of_each_layer(name):
    family = dict.fromkeys(("relu", "leaky_relu", "elu", "gelu", "silu"), "he")
    hidden, last = kernels_of(activation=name)
    suits = {**family, "selu": "lecun"}.get(name, "glorot")
    np.testing.assert_allclose(hidden.var(), expected_variance(suits, 600, 400), rtol=0.02)
    np.testing.assert_allclose(last.var(), expected_variance("glorot", 400, 500), rtol=0.02)


def test_an_initialiser_may_be_a_function():
    hidden, last = kernels_of(kernel_init=jax.nn.initializers.constant(0.5))
    assert (hidden == 0.5).all()
    assert (last == 0.5).all()


@pytest.mark.parametrize("preset", [jaxae.deep, jaxae.tied])
def test_computation_in_bfloat16_keeps_parameters_loss_and_gradient_in_float32(preset):
    batch = {"x": RNG.normal(size=(8, 6)).astype(np.float32)}
    plain = preset(6, 3, hidden_dims=(5,))
    model = preset(6, 3, hidden_dims=(5,), dtype=jnp.bfloat16)
    params = model.init(KEY, batch)
    (loss, metrics), grads = jax.jit(jax.value_and_grad(model.loss, has_aux=True))(
        params, KEY, batch
    )
    for leaf in jax.tree.leaves((params, loss, metrics, grads)):
        assert leaf.dtype == jnp.float32
    assert model.encode(params, batch).dtype == jnp.bfloat16
    exact = plain.loss(params, KEY, batch)[0]
    assert loss != exact
    np.testing.assert_allclose(loss, exact, rtol=0.03)


@pytest.mark.parametrize("preset", [jaxae.deep, jaxae.tied])
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float64])
def test_param_dtype_is_that_of_every_parameter(preset, dtype, x64):
    model = preset(6, 3, hidden_dims=(5,), param_dtype=dtype)
    params = jax.eval_shape(model.init, KEY, {"x": jnp.ones((2, 6))})
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype(dtype)}


def test_a_context_is_flattened_and_appended(by_hand, x64):
    x, context = RNG.normal(size=(5, 2, 3)), RNG.integers(9, size=(5, 2, 2))
    module = jaxae.MLP((4, 3), activation="tanh", param_dtype=jnp.float64)
    params = initialised(module, x, context=context)
    both = np.concatenate([x.reshape(5, 6), context.reshape(5, 4)], axis=1)
    given = module.apply({"params": params}, x, context=context)
    np.testing.assert_allclose(given, by_hand.mlp(params, both, "tanh"), rtol=1e-10)


@pytest.mark.parametrize("shape", [6, (6,), (28, 28, 1), (4, 3)])
@pytest.mark.parametrize("decoder", ["mirrored", "tied"])
def test_decoders_give_the_shape_of_an_example(shape, decoder):
    full = (shape,) if isinstance(shape, int) else shape
    model = jaxae.deep(shape, 5, hidden_dims=(8,), decoder=decoder)
    batch = {"x": jnp.ones((2, *full))}
    params = jax.eval_shape(model.init, KEY, batch)
    assert jax.eval_shape(model.encode, params, batch).shape == (2, 5)
    assert jax.eval_shape(model.decode, params, jnp.ones((3, 5))).shape == (3, *full)


def test_several_outputs_widen_the_last_axis_only():
    decoder = networks.mlp((4, 3), 2, outputs=2).decoder
    assert decoder.shape == (4, 6)
    assert decoder.features == (24,)


@pytest.mark.parametrize("use_bias", [True, False])
def test_a_tied_decoder_is_the_transposed_kernels_with_biases_of_its_own(use_bias, by_hand, x64):
    model = jaxae.tied(
        6, 3, hidden_dims=(5, 4), activation="tanh", use_bias=use_bias, param_dtype=jnp.float64
    )
    batch = {"x": RNG.normal(size=(7, 6))}
    params = perturbed(model.init(KEY, batch))
    own = params.get("decoder", {})
    assert {name: a.shape for name, a in own.items()} == (
        {"bias_0": (6,), "bias_1": (5,), "bias_2": (4,)} if use_bias else {}
    )
    z = RNG.normal(size=(7, 3))
    back = {
        f"layer_{2 - i}": {
            "kernel": params["encoder"][f"layer_{i}"]["kernel"].T,
            "bias": own.get(f"bias_{i}", 0.0),
        }
        for i in range(3)
    }
    np.testing.assert_allclose(model.decode(params, z), by_hand.mlp(back, z, "tanh"), rtol=1e-10)


def test_the_gradient_of_a_tied_kernel_is_the_sum_of_its_two_uses(x64):
    """Its untied twin holds the same numbers twice, and gets a gradient for each."""
    options = {"hidden_dims": (5,), "activation": "tanh", "param_dtype": jnp.float64}
    model, twin = jaxae.tied(6, 3, **options), jaxae.deep(6, 3, **options)
    batch = {"x": RNG.normal(size=(7, 6))}
    params = perturbed(model.init(KEY, batch))
    layers, biases = params["encoder"], params["decoder"]
    untied = {
        "encoder": layers,
        "decoder": {
            f"layer_{1 - i}": {
                "kernel": layers[f"layer_{i}"]["kernel"].T,
                "bias": biases[f"bias_{i}"],
            }
            for i in range(2)
        },
    }
    differentiate = lambda m: jax.jit(jax.value_and_grad(m.loss, has_aux=True))  # noqa: E731
    (loss, _), grads = differentiate(model)(params, KEY, batch)
    (same, _), apart = differentiate(twin)(untied, KEY, batch)
    np.testing.assert_allclose(loss, same, rtol=1e-12)
    for i in range(2):
        layer, mirror = apart["encoder"][f"layer_{i}"], apart["decoder"][f"layer_{1 - i}"]
        given = grads["encoder"][f"layer_{i}"]
        np.testing.assert_allclose(given["kernel"], layer["kernel"] + mirror["kernel"].T, rtol=1e-9)
        np.testing.assert_allclose(given["bias"], layer["bias"], rtol=1e-9)
        np.testing.assert_allclose(grads["decoder"][f"bias_{i}"], mirror["bias"], rtol=1e-9)


def test_a_tied_decoder_mirrors_an_encoder_of_ones_own():
    encoder = jaxae.MLP((4, 2), activation="relu")
    model = jaxae.autoencoder(encoder, TransposedMLP(encoder, (3, 2)))
    batch = {"x": jnp.ones((5, 3, 2))}
    params = model.init(KEY, batch)
    assert model.decode(params, model.encode(params, batch)).shape == (5, 3, 2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"latent_dim": 0}, "positive integers"),
        ({"latent_dim": 2.0}, "positive integers"),
        ({"hidden_dims": (4, -1)}, "positive integers"),
        ({"shape": 0}, "shape is that of one example"),
        ({"shape": ()}, "shape is that of one example"),
        ({"shape": (28, None)}, "shape is that of one example"),
        ({"activation": "rlu"}, "activation is .*'rlu'"),
        ({"latent_activation": "rlu"}, "activation is .*'rlu'"),
        ({"kernel_init": "xavier"}, "kernel_init is .*'xavier'"),
        ({"decoder": "transposed"}, "'mirrored' or 'tied'"),
        ({"decoder": "tied", "outputs": 2}, "tied decoder gives one number"),
    ],
)
def test_networks_that_cannot_be_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        jaxae.mlp(**{"shape": 6, "latent_dim": 3, **options})


@pytest.mark.parametrize("preset", [jaxae.tied, jaxae.rbm])
def test_a_tied_net_refuses_examples_of_another_width(preset):
    with pytest.raises(ValueError, match=r"built for examples of shape \(2, 3\).*given 8 numbers"):
        preset((2, 3), 4).init(KEY, {"x": np.ones((2, 8), np.float32)})
