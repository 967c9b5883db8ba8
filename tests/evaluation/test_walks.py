"""Chains of reconstructions, against the closed forms of linear Gaussian models."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import stats
from scipy.linalg import solve_discrete_lyapunov

import jaxae
from jaxae.evaluation.generation import (
    reconstruct,
)
from jaxae.evaluation.walks import markov_chain, tangent_walk, walkback_corruption


def test_the_chain_of_the_best_denoiser_ends_at_the_distribution_of_the_data(world):
    params, gain, _ = world.optimal_denoiser()
    corrupt = jaxae.corruptions.gaussian(world.NOISE)
    start = jnp.tile(jnp.array([20.0, -20.0]), (world.N, 1))
    seen = markov_chain(
        world.LINEAR, params, jax.random.key(0), start, steps=60, every=20, corrupt=corrupt
    )
    assert np.abs(np.linalg.matrix_power(gain, 60) @ [20.0, -20.0]).max() < 1e-4  # forgotten
    world.moments_agree(seen[:, -1], np.zeros(2), world.COVARIANCE)
    for i in range(2):
        scaled = np.asarray(seen[:, -1, i]) / np.sqrt(world.COVARIANCE[i, i])
        assert stats.kstest(scaled, "norm").pvalue > 1e-4


def test_a_linear_chain_has_the_moments_of_its_recursion_at_every_look(world):
    params, gain, _ = world.optimal_denoiser()
    factor = np.array([[0.9, 0.0], [-0.2, 0.4]])  # a scale that does not fit the noise
    params["L"] = jnp.asarray(factor, jnp.float32)
    corrupt = jaxae.corruptions.gaussian(world.NOISE)
    start = jnp.tile(jnp.array([3.0, 1.0]), (world.N, 1))
    key = jax.random.key(1)
    seen = markov_chain(world.LINEAR, params, key, start, steps=42, every=3, corrupt=corrupt)
    assert seen.shape == (world.N, 14, 2)
    mean, spread = np.array([3.0, 1.0]), np.zeros((2, 2))
    added = world.NOISE**2 * gain @ gain.T + factor @ factor.T
    for look in range(2):
        for _ in range(3):
            mean, spread = gain @ mean, gain @ spread @ gain.T + added
        world.moments_agree(seen[:, look], mean, spread)
    world.moments_agree(seen[:, -1], np.zeros(2), solve_discrete_lyapunov(gain, added))
    once = markov_chain(world.LINEAR, params, key, start, steps=6, corrupt=corrupt)
    np.testing.assert_array_equal(once, seen[:, 1])


def test_chains_start_from_bytes_pass_context_and_keep_shape(world):
    model = jaxae.denoising((4, 4, 1), 3, likelihood=jaxae.likelihoods.bernoulli())
    x = np.random.default_rng(0).integers(0, 256, (5, 4, 4, 1)).astype(np.uint8)
    params = model.init(jax.random.key(0), {"x": x})
    corrupt = jaxae.corruptions.masking(0.2)
    states = markov_chain(model, params, jax.random.key(1), x, steps=4, corrupt=corrupt)
    assert states.shape == x.shape
    assert states.dtype == jnp.float32
    assert set(np.unique(states)) == {0.0, 1.0}
    assert tangent_walk(model, params, jax.random.key(1), x, steps=2, scale=1.0).shape == x.shape
    # with W = V = 1 and no noise each step adds the context
    line = {name: jnp.eye(1) for name in "WV"} | {"L": jnp.zeros((1, 1))}
    context, x = jnp.array([[1.0], [5.0]]), jnp.zeros((2, 1))
    none, key = jaxae.corruptions.none, jax.random.key(0)
    far = markov_chain(world.LINEAR, line, key, x, steps=3, corrupt=none, context=context)
    np.testing.assert_allclose(far, 3 * context)
    walk = walkback_corruption(world.LINEAR, line, none, 2, context=context)
    np.testing.assert_allclose(walk(key, x), 2 * context)
    still = tangent_walk(world.LINEAR, line, key, x, steps=3, scale=0.0, context=context)
    np.testing.assert_allclose(still, 3 * context)


def test_tangent_walks_spread_codes_by_the_jacobian_four_times(world):
    rng = np.random.default_rng(0)
    kernel = rng.normal(size=(3, 2))
    params = {"W": kernel, "V": np.linalg.pinv(kernel)}  # V W = 1: codes survive decoding
    x, scale = np.array([1.0, -2.0, 0.5]), 0.3
    starts = jnp.tile(jnp.asarray(x, jnp.float32), (world.N, 1))
    seen = tangent_walk(
        world.LINEAR, params, jax.random.key(0), starts, steps=6, every=2, scale=scale
    )
    gram = kernel.T @ kernel  # J Jᵀ
    for look in range(3):
        codes = np.float64(seen[:, look]) @ kernel
        world.moments_agree(codes, x @ kernel, 2 * (look + 1) * scale**2 * gram @ gram.T)
        np.testing.assert_allclose(codes @ params["V"], seen[:, look], atol=1e-4)


def test_a_step_of_a_tangent_walk_is_that_of_the_whole_jacobian(x64):
    model = jaxae.deep((2, 3), 4, hidden_dims=(5,), activation="tanh", param_dtype="f8")
    x = np.random.default_rng(0).normal(size=(3, 2, 3))
    params = model.init(jax.random.key(0), {"x": x})
    key, scale = jax.random.key(1), 0.7
    noise = scale * jax.random.normal(jax.random.fold_in(key, 0), (3, 4), jnp.float64)
    j = np.asarray(jaxae.evaluation.jacobians(model, params, {"x": x}))
    codes = model.encode(params, {"x": x}) + np.einsum("nkd,nld,nl->nk", j, j, noise)
    walked = tangent_walk(model, params, key, x, steps=1, scale=scale)
    np.testing.assert_allclose(walked, model.decode(params, codes), rtol=1e-10)
    still = tangent_walk(model, params, key, x, steps=1, scale=0.0)
    np.testing.assert_allclose(still, reconstruct(model, params, {"x": x}), rtol=1e-12)


def test_chains_may_be_jitted_and_mapped_over_keys_and_parameters(world):
    params, *_ = world.optimal_denoiser()
    corrupt, x = jaxae.corruptions.gaussian(world.NOISE), jnp.ones((3, 2))
    keys = jax.random.split(jax.random.key(0), 4)
    for chain in (
        lambda p, k: markov_chain(world.LINEAR, p, k, x, steps=5, corrupt=corrupt),
        lambda p, k: tangent_walk(world.LINEAR, p, k, x, steps=5, scale=p["W"][0, 0]),
        lambda p, k: walkback_corruption(world.LINEAR, p, corrupt, 2)(k, x),
    ):
        each = jnp.stack([chain(params, key) for key in keys])
        assert len(np.unique(each.round(4))) > 12
        mapped = jax.jit(jax.vmap(chain, (None, 0)))(params, keys)
        np.testing.assert_allclose(mapped, each, rtol=1e-4, atol=1e-5)
        pair = jax.tree.map(lambda a: jnp.stack([a, 0.5 * a]), params)
        swept = jax.vmap(chain, (0, None))(pair, keys[0])
        half = chain(jax.tree.map(lambda a: 0.5 * a, params), keys[0])
        np.testing.assert_allclose(swept, jnp.stack([each[0], half]), rtol=1e-4, atol=1e-5)


def test_chains_refuse_bad_numbers(world):
    params, *_ = world.optimal_denoiser()
    key, x, corrupt = jax.random.key(0), jnp.ones((1, 2)), jaxae.corruptions.gaussian(1.0)
    for numbers, message in [
        ({"steps": 0}, "steps must lie in"),
        ({"steps": 4, "every": 0}, "every must lie in"),
        ({"steps": 4, "every": 3}, "every must divide steps"),
    ]:
        with pytest.raises(ValueError, match=message):
            markov_chain(world.LINEAR, params, key, x, corrupt=corrupt, **numbers)
        with pytest.raises(ValueError, match=message):
            tangent_walk(world.LINEAR, params, key, x, scale=1.0, **numbers)
    with pytest.raises(ValueError, match="scale must lie in"):
        tangent_walk(world.LINEAR, params, key, x, steps=1, scale=-1.0)
    with pytest.raises(ValueError, match="steps must lie in"):
        walkback_corruption(world.LINEAR, params, corrupt, 0)


def test_walks_back_have_the_moments_of_a_chain_that_is_corrupted_again(world):
    params, gain, spread = world.optimal_denoiser()
    start = jnp.tile(jnp.array([3.0, 1.0]), (world.N, 1))
    walk = walkback_corruption(world.LINEAR, params, jaxae.corruptions.gaussian(world.NOISE), 2)
    added = world.NOISE**2 * gain @ gain.T + spread
    covariance = gain @ added @ gain.T + added + world.NOISE**2 * np.eye(2)
    world.moments_agree(walk(jax.random.key(0), start), gain @ gain @ [3.0, 1.0], covariance)


def test_walk_back_training_passes_no_gradient_through_the_walk():
    likelihood = jaxae.likelihoods.gaussian(0.5)
    corrupt, key = jaxae.corruptions.gaussian(0.3), jax.random.key(1)

    def build(**parts):
        return jaxae.undercomplete(4, 2, likelihood=likelihood, **parts)

    batch = {"x": np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)}
    params = build().init(jax.random.key(0), batch)

    def loss(params, key, batch):
        walk = walkback_corruption(build(), params, corrupt, 2)
        keys = jax.random.split(key)
        near, metrics = build(corrupt=corrupt).loss(params, keys[0], batch)
        return 0.5 * (near + build(corrupt=walk).loss(params, keys[1], batch)[0]), metrics

    frozen = jax.tree.map(np.asarray, params)

    def with_frozen_walk(params, key, batch):
        walk = walkback_corruption(build(), frozen, corrupt, 2)
        keys = jax.random.split(key)
        near = build(corrupt=corrupt).loss(params, keys[0], batch)[0]
        return 0.5 * (near + build(corrupt=walk).loss(params, keys[1], batch)[0])

    gradient = jax.grad(lambda p: loss(p, key, batch)[0])(params)
    expected = jax.grad(with_frozen_walk)(params, key, batch)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), gradient, expected)
    assert max(jnp.abs(a).max() for a in jax.tree.leaves(gradient)) > 1e-3
    through = jax.grad(lambda x: walkback_corruption(build(), params, corrupt, 2)(key, x).sum())
    assert not through(jnp.asarray(batch["x"])).any()
    learner = jaxae.gradient(loss, optax.adam(1e-2))
    state = learner.init(params, key)
    _, history = jax.jit(
        lambda state: jaxae.fit(learner, state, batch, key, epochs=40, batch_size=6)
    )(state)
    assert history["loss"][-5:].mean() < 0.9 * history["loss"][:5].mean()


def test_a_trained_denoiser_walks_to_the_covariance_of_its_data(world):
    """Nothing by hand: a linear model and its scales, learned, then its own chain."""
    covariance = np.diag([1.0, 0.3])  # where the noise of each entry is independent, too
    rng = np.random.default_rng(0)
    x = np.float32(rng.multivariate_normal(np.zeros(2), covariance, size=8192))
    corrupt = jaxae.corruptions.gaussian(world.NOISE)
    likelihood = jaxae.likelihoods.gaussian("per_entry")
    model = jaxae.linear(2, 2, corrupt=corrupt, likelihood=likelihood)
    learner = jaxae.gradient(model.loss, optax.adam(3e-3))
    state, key = jaxae.start(model, learner, {"x": x}, jax.random.key(0))
    fit = jax.jit(lambda s: jaxae.fit(learner, s, {"x": x}, key, epochs=30, batch_size=256))
    state, _ = fit(state)
    start = jnp.full((world.N, 2), 9.0)
    states = markov_chain(model, state.params, key, start, steps=40, corrupt=corrupt)
    np.testing.assert_allclose(np.mean(states, 0), 0.0, atol=0.1)
    np.testing.assert_allclose(np.cov(states.T), covariance, atol=0.1)
