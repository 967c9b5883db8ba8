"""Persistent chains, against enumeration, and what machines learn of a known distribution."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.special import expit, logsumexp
from scipy.stats import chisquare

import jaxae
from jaxae import sparsity
from jaxae.models.boltzmann import weights

KEY = jax.random.key(0)
STATES = np.array(list(np.ndindex(2, 2, 2, 2)), np.float32)
BARS = STATES[[0, 3, 5, 10, 12, 15]]
DATA = {"x": np.tile(BARS, (10, 1)).reshape(-1, 2, 2)}
BOUND = -np.log(6)


def machine(d=4, k=3):
    rng = np.random.default_rng(0)
    w, c, b = (rng.normal(size=size) for size in ((d, k), k, d))
    return {"encoder": {"layer_0": {"kernel": w, "bias": c}}, "decoder": {"bias_0": b}}


def unnormalised(params, v):
    w, c, b = (np.asarray(a, np.float64) for a in weights(params))
    return v @ b + np.logaddexp(v @ w + c, 0).sum(1)


def log_likelihood(params):
    """The mean of log p(x) over the data, by enumeration."""
    return unnormalised(params, BARS).mean() - logsumexp(unnormalised(params, STATES))


def fitted(learner, model, epochs, seed=0):
    init_key, state_key, fit_key = jax.random.split(jax.random.key(seed), 3)
    state = learner.init(model.init(init_key, DATA), state_key)
    fit = jax.jit(partial(jaxae.fit, learner, epochs=epochs, batch_size=20))
    return fit(state, DATA, fit_key)


@pytest.mark.parametrize("units", [{}, {"visible": "gaussian"}, {"hidden": "gaussian"}])
def test_a_step_follows_the_outer_product_rule_on_its_own_chains(units, x64):
    params, model = machine(), jaxae.rbm((2, 2), 3, **units)
    learner = jaxae.persistent(
        model, optax.sgd(1.0), energy=jaxae.rbm_energy(**units), num_chains=50
    )
    x = np.random.default_rng(1).uniform(size=(7, 2, 2))
    before = learner.init(params, KEY)
    after, metrics = jax.jit(learner.step)(before, jax.random.key(1), {"x": x})
    assert after.chains.shape == (50, 4)
    assert not np.array_equal(before.chains, after.chains)
    if "visible" not in units:
        assert set(np.unique(after.chains)) == {0, 1}
    w, c, _ = weights(params)
    act = (lambda a: a) if "hidden" in units else expit

    def means(v):
        h = act(v @ w + c)
        return v.T @ h / len(v), h.mean(0), v.mean(0)

    rule = zip(means(x.reshape(7, 4)), means(np.asarray(after.chains)), strict=True)
    steps = jax.tree.map(np.subtract, after.params, params)
    for step, (now, chains) in zip(weights(steps), rule, strict=True):
        np.testing.assert_allclose(step, now - chains, rtol=1e-8, atol=1e-12)
    assert metrics["loss"] != metrics["free_energy"]


@pytest.mark.parametrize("steps", [1, 4])
def test_the_chains_reach_the_distribution_of_a_machine_that_stands_still(steps):
    params = jax.tree.map(jnp.float32, machine())
    tx = optax.sgd(0.0)
    learner = jaxae.persistent(jaxae.rbm((2, 2), 3), tx, num_chains=20_000, steps=steps)
    step = jax.jit(lambda state, key: learner.step(state, key, DATA)[0])
    state, keys = learner.init(params, KEY), jax.random.split(jax.random.key(1), 40 // steps)
    for key in keys:
        state = step(state, key)
    log_p = unnormalised(params, STATES)
    found = np.bincount(np.asarray(state.chains, int) @ [8, 4, 2, 1], minlength=16)
    assert chisquare(found, 20_000 * np.exp(log_p - logsumexp(log_p))).pvalue > 0.01
    jax.tree.map(np.testing.assert_array_equal, state.params, params)


def test_training_goes_on_with_the_chains_of_the_state():
    params = jax.tree.map(jnp.float32, machine())
    learner = jaxae.persistent(jaxae.rbm((2, 2), 3), optax.sgd(0.1), num_chains=50)
    step = jax.jit(lambda state: learner.step(state, KEY, DATA)[0])
    first = step(learner.init(params, KEY))
    other = first._replace(chains=1 - first.chains)
    assert not np.array_equal(step(other).chains, step(first).chains)


def test_both_ways_of_training_near_the_bound_and_persistent_chains_get_closer():
    model = jaxae.rbm((2, 2), 6, kernel_scale=0.5)
    tx = jaxae.momentum_sgd(optax.linear_schedule(0.3, 0.0, 1800), 0.5)
    start = log_likelihood(model.init(KEY, DATA))
    learners = jaxae.gradient(model.loss, tx), jaxae.persistent(model, tx)
    (cd, history), (pcd, _) = (fitted(learner, model, 600) for learner in learners)
    assert start < -2.6 < -2.2 < log_likelihood(cd.params)
    assert log_likelihood(cd.params) < log_likelihood(pcd.params) < BOUND
    assert BOUND - log_likelihood(pcd.params) < 0.15
    assert history["squared_error"][-1] < 0.5 * history["squared_error"][0]


@pytest.mark.parametrize("persistent", [False, True])
def test_a_sparsity_penalty_lowers_the_mean_activation(persistent):
    means = []
    for penalties in ([], [sparsity.kl_sparsity(0.05, 2.0, decay=0.9)]):
        model, tx = jaxae.rbm((2, 2), 4, penalties=penalties), jaxae.momentum_sgd(0.1)
        learner = jaxae.persistent(model, tx) if persistent else jaxae.gradient(model.loss, tx)
        state, history = fitted(learner, model, 40)
        means.append(model.encode(state.params, DATA).mean())
    assert means[1] < 0.15 < 0.35 < means[0]
    np.testing.assert_allclose(history["mean_activation"][-1], means[1], atol=0.02)


def test_a_mask_is_refused_as_chains_have_all_units():
    learner = jaxae.persistent(jaxae.rbm((2, 2), 3), optax.sgd(0.1), num_chains=10)
    state = learner.init(jax.tree.map(jnp.float32, machine()), KEY)
    with pytest.raises(ValueError, match="leave mask out"):
        learner.step(state, KEY, {**DATA, "mask": np.ones((60, 2, 2))})


@pytest.mark.parametrize("option", ["num_chains", "steps"])
def test_a_number_below_one_is_refused(option):
    with pytest.raises(ValueError, match=rf"{option} must lie in \[1, inf\); got 0"):
        jaxae.persistent(jaxae.rbm(4, 3), optax.sgd(0.1), **{option: 0})


def test_parameters_of_another_model_are_refused():
    model = jaxae.deep((2, 2), 3)
    learner = jaxae.persistent(model, optax.sgd(0.1))
    with pytest.raises(ValueError, match="one tied layer with biases"):
        learner.init(model.init(KEY, DATA), KEY)
