from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxae
from jaxae import corruptions, likelihoods

KEY = jax.random.key(1)
RNG = np.random.default_rng(6)
X = RNG.uniform(size=(6, 4, 3)).astype(np.float32)
MASK = RNG.integers(2, size=(6, 4, 3))


def build(likelihood=None, **parts):
    model = jaxae.deep((4, 3), 2, hidden_dims=(5,), likelihood=likelihood, **parts)
    return model, model.init(KEY, {"x": X})


def outcome(model, params):
    """A function from the batch to loss, gradient and codes, compiled as one program."""

    @jax.jit
    def everything(batch):
        grads, metrics = jax.grad(model.loss, has_aux=True)(params, KEY, batch)
        return metrics, grads, model.encode(params, batch)

    return everything


def assert_identical(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


@pytest.mark.parametrize("likelihood", [None, likelihoods.bernoulli()])
@pytest.mark.parametrize("value", [np.nan, np.inf, -5.0])
def test_unobserved_entries_change_neither_loss_nor_codes_nor_gradient(likelihood, value):
    model, params = build(likelihood, corrupt=corruptions.gaussian(0.3))
    hidden = np.where(MASK, X, value).astype(np.float32)
    judge = outcome(model, params)
    given = judge({"x": hidden, "mask": MASK})
    assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(given))
    assert_identical(given, judge({"x": X, "mask": MASK}))


def test_observed_entries_alone_count(x64):
    model, params = build()
    x_hat = model.decode(params, model.encode(params, {"x": X * MASK}))
    nats = 0.5 * (X - x_hat) ** 2 + 0.5 * np.log(2 * np.pi)
    given = model.loss(params, KEY, {"x": X, "mask": MASK})[0]
    np.testing.assert_allclose(given, (MASK * nats).sum(axis=(1, 2)).mean(), rtol=1e-5)


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.float32])
def test_a_mask_of_ones_is_no_mask(dtype):
    model, params = build()
    judge = outcome(model, params)
    assert_identical(judge({"x": X, "mask": np.ones(X.shape, dtype)}), judge({"x": X}))


@pytest.mark.parametrize("axes", [1, 2])
def test_a_mask_of_the_first_axes_holds_for_all_that_follow(axes):
    model, params = build()
    mask = MASK[(slice(None),) * axes + (0,) * (3 - axes)]
    full = np.broadcast_to(mask.reshape(mask.shape + (1,) * (3 - axes)), X.shape)
    given, expected = map(outcome(model, params), ({"x": X, "mask": m} for m in (mask, full)))
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6), given, expected)


def test_a_mask_over_the_entries_of_a_categorical_leaves_out_whole_distributions():
    x = np.eye(3, dtype=np.float32)[RNG.integers(3, size=(6, 4))]
    model, params = build(likelihoods.categorical())
    mask = MASK[:, :, 0]
    out = model.decode(params, model.encode(params, {"x": x * mask[..., None]}))
    expected = -np.sum(x * np.log(out), axis=2)
    given = model.loss(params, KEY, {"x": x, "mask": mask})[0]
    np.testing.assert_allclose(given, (mask * expected).sum(axis=1).mean(), rtol=1e-5)


@pytest.mark.parametrize("shape", [(6, 3), (4, 3), (6, 4, 3, 1)])
def test_masks_of_another_shape_are_refused(shape):
    model, params = build()
    with pytest.raises(ValueError, match=r"mask|rows"):
        model.loss(params, KEY, {"x": X, "mask": np.ones(shape)})


def test_full_masking_noise_is_not_a_mask():
    """The encoder sees zeros, and the loss still counts every entry."""
    model, params = build(corrupt=corruptions.masking(1.0))
    x_hat = model.decode(params, model.encode(params, {"x": np.zeros_like(X)}))
    expected = 0.5 * np.sum((X - x_hat) ** 2, axis=(1, 2)).mean() + 6 * np.log(2 * np.pi)
    np.testing.assert_allclose(model.loss(params, KEY, {"x": X})[0], expected, rtol=1e-5)


@pytest.mark.parametrize("likelihood", [likelihoods.bernoulli(), likelihoods.categorical()])
@pytest.mark.parametrize("value", [1.5, -0.1, 255.0])
def test_values_outside_the_support_are_refused_at_init(likelihood, value):
    x = X.copy()
    x[3, 1, 1] = value
    with pytest.raises(ValueError, match="needs x in"):
        jaxae.deep((4, 3), 2, likelihood=likelihood).init(KEY, {"x": x})


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite_are_refused_at_init(value):
    x = X.copy()
    x[3, 1, 1] = value
    with pytest.raises(ValueError, match="NaN or infinite"):
        jaxae.deep((4, 3), 2).init(KEY, {"x": x})


def test_unobserved_values_may_be_anything_at_init():
    x = np.where(MASK, X, np.nan)
    model = jaxae.deep((4, 3), 2, likelihood=likelihoods.bernoulli())
    params = model.init(KEY, {"x": x, "mask": MASK})
    assert_identical(params, model.init(KEY, {"x": X}))


def test_init_looks_at_shapes_only_and_traces_under_jit():
    model = jaxae.deep((4, 3), 2)
    params = model.init(KEY, {"x": X})
    assert_identical(params, model.init(KEY, {"x": 0 * X}))
    assert_identical(params, jax.jit(model.init)(KEY, {"x": X}))


def test_a_decoder_of_another_shape_is_refused_at_init():
    model = jaxae.autoencoder(*jaxae.mlp(12, 2))
    with pytest.raises(ValueError, match=r"\(12,\) for one example, x has \(4, 3\)"):
        model.init(KEY, {"x": X})


def test_a_decoder_without_the_outputs_of_its_likelihood_is_refused_at_init():
    model = jaxae.autoencoder(*jaxae.mlp((4, 4), 2), likelihoods.gaussian("per_entry"))
    with pytest.raises(ValueError, match=r"\(4, 2\) for one example, x has \(4, 4\)"):
        model.init(KEY, {"x": np.ones((2, 4, 4), np.float32)})


@pytest.mark.parametrize("batch", [X, [X], {"y": X}, {}])
def test_a_batch_that_is_no_mapping_with_x_is_refused(batch):
    model, params = build()
    for call in (
        lambda: model.init(KEY, batch),
        lambda: model.loss(params, KEY, batch),
        lambda: model.encode(params, batch),
    ):
        with pytest.raises(ValueError, match='has "x"'):
            call()


def test_arrays_of_different_lengths_and_no_examples_are_refused():
    model, params = build()
    with pytest.raises(ValueError, match="same number of rows"):
        model.loss(params, KEY, {"x": X, "y": np.zeros(5)})
    with pytest.raises(ValueError, match="no examples"):
        model.init(KEY, {"x": X[:0]})


def test_a_deterministic_model_has_nothing_to_sample_from():
    model, params = build()
    with pytest.raises(ValueError, match="no prior to sample from"):
        model.sample(params, KEY, 3)


@pytest.mark.parametrize("beta", [-1.0, np.nan])
def test_a_beta_below_zero_is_refused(beta):
    with pytest.raises(ValueError, match="beta"):
        jaxae.deep(6, 3, beta=beta)
