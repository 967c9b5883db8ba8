"""Learners that take turns: they do what they do alone, one after the other."""

import jax
import numpy as np
import optax
import pytest

import jaxae
from jaxae import codes, priors
from jaxae.models.supervised import label_loss
from jaxae.training.turns import alternating

RNG = np.random.default_rng(0)
Y = np.arange(64) % 2
X = (RNG.normal(size=(64, 6)) + 5 * Y[:, None]).astype(np.float32)


def model_of(**options):
    prior = priors.Joint([priors.Categorical(2), priors.Standard(1)], [2, 1])
    code = codes.Matched(prior, one_hot=2)
    return jaxae.deep(6, 3, code=code, activation="identity", **options)


def own_and_labels(model):
    few = {"x": X[:4], "y": Y[:4]}
    own = jaxae.gradient(model.loss, optax.adam(1e-2))
    return own, jaxae.gradient(label_loss(model, few, 2), optax.adam(1e-2), frozen=("decoder",))


def test_two_learners_in_turn_are_one_after_the_other_with_their_own_optimisers():
    model = model_of()
    first, second = own_and_labels(model)
    learner = alternating(first, second)
    params = model.init(jax.random.key(0), {"x": X})
    state = learner.init(params, jax.random.key(1))
    a, b = first.init(params, jax.random.key(1)), second.init(params, jax.random.key(1))
    for i in range(3):
        key = jax.random.key(i)
        state, metrics = learner.step(state, key, {"x": X})
        a, one = first.step(a, key, {"x": X})
        b, two = second.step(b._replace(params=a.params), key, {"x": X})
        a = a._replace(params=b.params)
    for got, expected in zip(*map(jax.tree.leaves, (state.params, b.params)), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-6)
    assert metrics["loss"] == pytest.approx(float(one["loss"]), rel=1e-6)
    assert metrics["label_loss"] == pytest.approx(float(two["label_loss"]), rel=1e-6)


def test_codes_match_and_labels_are_learned_in_turn_with_what_the_model_carries():
    model = model_of(penalties=[jaxae.sparsity.aux_k(1, dead_after=10)])
    tx = optax.adam(1e-2, b1=0.5)
    against = jaxae.adversarial(model, tx, fooling_tx=tx)
    learner = alternating(against, own_and_labels(model)[1])

    def train(data, key, _):
        state, key = jaxae.start(model, learner, data, key)
        return jaxae.fit(learner, state, data, key, epochs=60, batch_size=32)

    keys = jax.random.split(jax.random.key(0), 2)
    state, history = jaxae.sweep(train, {"x": X}, keys, np.zeros(2))
    assert np.isfinite(history["loss"]).all()
    params = jaxae.take(state, 1).params
    assert "carried" in params
    named = np.asarray(model.encode(params, {"x": X}))[:, :2].argmax(1)
    assert (named == Y).mean() > 0.9


def test_nobody_to_take_turns_is_refused():
    with pytest.raises(ValueError, match="at least one"):
        alternating()
