"""Adversarial training of codes: the critic's and the model's steps, by hand and in effect."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import special

import jaxae
from jaxae import codes, evaluation, priors

X = np.random.default_rng(0).normal(size=(256, 6)).astype(np.float32) @ np.diag([3, 2, 1, 1, 1, 1])
X = X.astype(np.float32)


class Linear(nn.Module):
    """A critic of one layer, whose gradients are known."""

    @nn.compact
    def __call__(self, z):
        return nn.Dense(1, kernel_init=nn.initializers.ones)(z)


def model_of(prior=None, **options):
    code = codes.Matched(priors.Standard(2) if prior is None else prior)
    return jaxae.deep(6, 2, code=code, activation="identity", **options)


def start(model, learner, seed=0):
    params_key, state_key = jax.random.split(jax.random.key(seed))
    return learner.init(model.init(params_key, {"x": X}), state_key)


def test_the_first_step_of_a_linear_critic_is_that_of_logistic_regression():
    model = model_of()
    learner = jaxae.adversarial(model, optax.sgd(0.0), optax.sgd(1.0), critic=Linear())
    state = start(model, learner)
    key = jax.random.key(3)
    after, metrics = learner.step(state, key, {"x": X})
    real = np.asarray(model.latent.prior(state.params, jax.random.split(key, 3)[0], len(X)))
    fake = np.asarray(model.encode(state.params, {"x": X}))
    sigmoid = lambda a: 1 / (1 + np.exp(-a))  # noqa: E731
    gradient = -(real * sigmoid(-real.sum(1))[:, None]).mean(0)
    gradient += (fake * sigmoid(fake.sum(1))[:, None]).mean(0)
    moved = after.critic.params["Dense_0"]["kernel"][:, 0]
    np.testing.assert_allclose(moved, 1 - gradient, rtol=1e-4)
    loss = np.log1p(np.exp(-real.sum(1))).mean() + np.log1p(np.exp(fake.sum(1))).mean()
    np.testing.assert_allclose(metrics["critic_loss"], loss, rtol=1e-5)
    right = 0.5 * ((real.sum(1) > 0).mean() + (fake.sum(1) <= 0).mean())
    np.testing.assert_allclose(metrics["critic_accuracy"], right, rtol=1e-6)


@pytest.mark.parametrize("weight", [0.0, 2.5])
def test_the_models_loss_is_its_own_and_the_weighted_belief_of_the_critic(weight):
    model = model_of()
    learner = jaxae.adversarial(
        model, optax.sgd(0.0), optax.sgd(0.0), critic=Linear(), adversarial_weight=weight
    )
    state = start(model, learner)
    metrics = learner.step(state, jax.random.key(1), {"x": X})[1]
    z = np.asarray(model.encode(state.params, {"x": X}))
    fooling = np.log1p(np.exp(-z.sum(1))).mean()
    own = model.loss(state.params, jax.random.key(1), {"x": X})[0]
    np.testing.assert_allclose(metrics["fooling"], fooling, rtol=1e-5)
    np.testing.assert_allclose(metrics["loss"], own + weight * fooling, rtol=1e-5)


def test_without_weight_the_model_learns_as_by_the_plain_learner():
    model = model_of()
    learner = jaxae.adversarial(model, optax.sgd(0.01), adversarial_weight=0.0)
    plain = jaxae.gradient(model.loss, optax.sgd(0.01))
    state, alone = start(model, learner), start(model, plain)
    state = learner.step(state, jax.random.key(2), {"x": X})[0]
    alone = plain.step(alone, jax.random.key(2), {"x": X})[0]
    for a, b in zip(*map(jax.tree.leaves, (state.params, alone.params)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)


def test_fooling_in_a_step_of_its_own_follows_the_one_on_the_models_loss():
    model = model_of()
    learner = jaxae.adversarial(
        model,
        optax.sgd(0.01),
        optax.sgd(0.0),
        critic=Linear(),
        adversarial_weight=2.0,
        fooling_tx=optax.sgd(0.5),
    )
    plain = jaxae.gradient(model.loss, optax.sgd(0.01))
    state, alone = start(model, learner), start(model, plain)
    state, metrics = learner.step(state, jax.random.key(2), {"x": X})
    between = plain.step(alone, jax.random.key(2), {"x": X})[0].params
    z = np.asarray(model.encode(between, {"x": X}), np.float64)
    np.testing.assert_allclose(metrics["fooling"], np.log1p(np.exp(-z.sum(1))).mean(), rtol=1e-5)
    pull = special.expit(-z.sum(1))[:, None] * np.ones((1, 2)) / len(X)
    kernel = between["encoder"]["layer_0"]["kernel"] + 0.5 * 2.0 * X.T @ pull
    np.testing.assert_allclose(state.params["encoder"]["layer_0"]["kernel"], kernel, rtol=1e-4)
    for a, b in zip(
        *map(jax.tree.leaves, (state.params["decoder"], between["decoder"])), strict=True
    ):
        np.testing.assert_allclose(a, b, rtol=1e-6)


def test_steps_of_their_own_leave_weights_between_objectives_without_effect():
    adam = optax.adam(1e-3, eps=0.0)

    def trained(scale):
        model = model_of()
        scaled = model._replace(loss=lambda *args: (scale * model.loss(*args)[0], {"loss": 0.0}))
        learner = jaxae.adversarial(scaled, adam, fooling_tx=adam, adversarial_weight=1 / scale)
        state = start(model, learner)
        for i in range(3):
            state = learner.step(state, jax.random.key(i), {"x": X})[0]
        return jax.tree.leaves(state.params)

    for a, b in zip(trained(1.0), trained(64.0), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5)


def test_the_critic_judges_codes_of_what_was_corrupted():
    model = model_of()
    learner = jaxae.adversarial(
        model, optax.sgd(0.0), critic=Linear(), corrupt=lambda key, x: x[:, ::-1]
    )
    state = start(model, learner)
    metrics = learner.step(state, jax.random.key(1), {"x": X})[1]
    z = np.asarray(model.encode(state.params, {"x": X[:, ::-1]}))
    np.testing.assert_allclose(metrics["fooling"], np.log1p(np.exp(-z.sum(1))).mean(), rtol=1e-5)


def test_codes_come_to_follow_a_prior_that_they_were_far_from():
    code = codes.Matched(priors.Standard(2))
    model = jaxae.deep(6, 2, code=code, hidden_dims=(32,), activation="relu")
    learner = jaxae.adversarial(model, optax.adam(2e-3), adversarial_weight=5.0)
    state = start(model, learner)
    fit = jax.jit(partial(jaxae.fit, learner, epochs=150, batch_size=64))
    state, history = fit(state, {"x": X}, jax.random.key(1))
    assert np.isfinite(history["loss"]).all()
    drawn = model.latent.prior(state.params, jax.random.key(5), len(X))
    plain = jaxae.gradient(model.loss, optax.adam(2e-3))
    alone = jax.jit(partial(jaxae.fit, plain, epochs=150, batch_size=64))(
        start(model, plain), {"x": X}, jax.random.key(1)
    )[0]
    distances = [
        evaluation.two_sample_test(
            jax.random.key(0), model.encode(s.params, {"x": X}), drawn, permutations=10
        ).squared_mmd
        for s in (state, alone)
    ]
    assert distances[0] < 0.2 * distances[1]


def test_a_sweep_over_the_weight_and_masks_and_carried_state_work():
    def train(data, key, weight):
        model = model_of(penalties=[jaxae.sparsity.aux_k(1, dead_after=10)])
        learner = jaxae.adversarial(model, optax.adam(1e-3), adversarial_weight=weight)
        state, key = jaxae.start(model, learner, data, key)
        return jaxae.fit(learner, state, data, key, epochs=2, batch_size=64)

    keys, weights = jax.random.split(jax.random.key(0), 2), jnp.array([0.1, 3.0])
    data = {"x": X, "mask": (X > -2).astype(np.float32)}
    state, history = jaxae.sweep(train, data, keys, weights)
    alone, _ = jax.jit(train)(data, keys[1], weights[1])
    for a, b in zip(*map(jax.tree.leaves, (jaxae.take(state, 1), alone)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
    assert np.isfinite(history["loss"]).all()


def test_what_cannot_be_matched_is_refused():
    with pytest.raises(ValueError, match="adversarial_weight"):
        jaxae.adversarial(model_of(), optax.sgd(0.1), adversarial_weight=-1.0)
    with pytest.raises(ValueError, match=r"codes\.Matched"):
        jaxae.adversarial(jaxae.rbm(6, 2), optax.sgd(0.1))
    plain = jaxae.deep(6, 2)
    learner = jaxae.adversarial(plain, optax.sgd(0.1))
    with pytest.raises(ValueError, match="no prior"):
        start(plain, learner)
