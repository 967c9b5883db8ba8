import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxae
from jaxae import likelihoods
from jaxae.models.dictionaries import dictionary

KEY = jax.random.key(0)
RNG = np.random.default_rng(5)
X = RNG.normal(size=(4, 2, 3)).astype(np.float32)
CENTRE = RNG.normal(size=(2, 3))


def build(**options):
    model = jaxae.deep((2, 3), 10, networks=dictionary, **options)
    return model, model.init(KEY, {"x": X})


@pytest.mark.parametrize("kernel_init", [None, "orthogonal", "glorot_uniform"])
def test_encoder_and_decoder_start_with_the_same_directions_of_length_1(kernel_init):
    _, params = build(kernel_init=kernel_init)
    atoms = params["decoder"]["layer_0"]["kernel"]
    np.testing.assert_array_equal(atoms, params["encoder"]["layer_0"]["kernel"].T)
    np.testing.assert_allclose(np.linalg.norm(atoms, axis=1), np.ones(10), rtol=1e-6)
    np.testing.assert_array_equal(jaxae.atoms(params), atoms)


def test_they_are_learned_apart():
    model, params = build()
    grads = jax.grad(lambda p: model.loss(p, KEY, {"x": X})[0])(params)
    assert not np.allclose(
        grads["decoder"]["layer_0"]["kernel"], grads["encoder"]["layer_0"]["kernel"].T
    )
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == 2 * 6 * 10 + 10 + 6


@pytest.mark.parametrize("pre_bias", [None, CENTRE, CENTRE.ravel().tolist()])
@pytest.mark.parametrize("use_bias", [True, False])
def test_the_output_is_the_pre_bias_and_the_atoms_of_a_centred_x(pre_bias, use_bias):
    model, params = build(pre_bias=pre_bias, use_bias=use_bias)
    start = np.zeros(6) if pre_bias is None else CENTRE.ravel()
    np.testing.assert_allclose(params["encoder"]["pre_bias"], start, rtol=1e-6)
    params = jax.tree.map(lambda a: a + RNG.normal(size=a.shape).astype(np.float32), params)
    layer = params["encoder"]["layer_0"]
    centred = X.reshape(4, 6) - np.asarray(params["encoder"]["pre_bias"])
    z = centred @ np.asarray(layer["kernel"]) + layer.get("bias", 0.0)
    assert ("bias" in layer) == use_bias
    np.testing.assert_allclose(model.encode(params, {"x": X}), z, rtol=1e-4, atol=1e-5)
    x_hat = z @ params["decoder"]["layer_0"]["kernel"] + params["encoder"]["pre_bias"]
    given = model.decode(params, z)
    assert given.shape == X.shape
    np.testing.assert_allclose(given.reshape(4, 6), x_hat, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("shape", [(4,), (4, 2), (4, 2, 3)])
def test_what_a_mask_hides_stands_for_the_pre_bias(shape):
    """Hidden entries add nothing to any unit, as where x equals the pre-bias."""
    model, params = build(pre_bias=CENTRE)
    mask = RNG.integers(2, size=shape)
    seen = np.broadcast_to(mask.reshape(shape + (1,) * (3 - len(shape))), X.shape)
    hidden = {"x": np.where(seen, X, np.nan).astype(np.float32), "mask": mask}
    filled = np.where(seen, X, CENTRE).astype(np.float32)
    expected = model.encode(params, {"x": filled})
    np.testing.assert_allclose(model.encode(params, hidden), expected, rtol=1e-4, atol=1e-5)


def test_the_geometric_median_is_a_first_pre_bias():
    _, params = build(pre_bias=jaxae.geometric_median(X))
    np.testing.assert_array_equal(params["encoder"]["pre_bias"], jaxae.geometric_median(X))


def test_dtypes_are_those_asked_for():
    model, params = build(dtype=jnp.bfloat16, param_dtype=jnp.float16, pre_bias=CENTRE)
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {np.dtype(np.float16)}
    assert model.encode(params, {"x": X}).dtype == jnp.bfloat16


def test_a_context_is_refused_by_both():
    model, params = build()
    context = np.ones((4, 2), np.float32)
    with pytest.raises(ValueError, match="no kernel for a context"):
        model.encode(params, {"x": X, "context": context})
    with pytest.raises(ValueError, match="no kernel for a context"):
        model.decode(params, np.ones((4, 10), np.float32), context)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hidden_dims": (4,)}, r"no hidden layers.*got \(4,\)"),
        ({"likelihood": likelihoods.gaussian("per_entry")}, "one output"),
        ({"pre_bias": np.zeros(5)}, "each of 6 entries; got 5"),
        ({"kernel_init": "ones"}, "kernel_init"),
    ],
)
def test_what_a_dictionary_cannot_be_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        build(**options)


@pytest.mark.parametrize("latent_dim", [0, -3, 2.5])
def test_a_number_of_atoms_is_positive(latent_dim):
    with pytest.raises(ValueError, match="positive number of atoms"):
        dictionary(6, latent_dim)
