"""Few labels beside the loss of all rows."""

from functools import partial

import jax
import numpy as np
import optax
import pytest
from scipy import special

import jaxae
from jaxae import codes, priors
from jaxae.models.supervised import label_loss

RNG = np.random.default_rng(0)
Y = np.arange(40) % 2
X = (RNG.normal(size=(40, 6)) + 5 * Y[:, None]).astype(np.float32)


def model_of(one_hot=2):
    prior = priors.Joint([priors.Categorical(2), priors.Standard(3)], [2, 3])
    return jaxae.deep(6, 5, code=codes.Matched(prior, one_hot=one_hot), activation="identity")


def test_the_loss_has_the_cross_entropy_of_the_first_codes_beside_its_own():
    inner = model_of()
    few = {"x": X[:10], "y": Y[:10]}
    model = jaxae.semi_supervised(inner, few, 2, label_weight=3.0)
    params = model.init(jax.random.key(0), {"x": X})
    key = jax.random.key(1)
    loss, metrics = model.loss(params, key, {"x": X})
    z = np.asarray(model.encode(params, few))
    np.testing.assert_allclose(z[:, :2].sum(1), 1, rtol=1e-6)
    error = -np.log(z[np.arange(10), Y[:10]]).mean()
    own = inner.loss(params, key, {"x": X})[0]
    np.testing.assert_allclose(metrics["label_loss"], error, rtol=1e-5)
    np.testing.assert_allclose(loss, own + 3.0 * error, rtol=1e-5)
    np.testing.assert_allclose(metrics["accuracy"], (z[:, :2].argmax(1) == Y[:10]).mean())


def test_the_labels_alone_are_a_loss_whose_gradient_is_softmax_regressions():
    model, few = model_of(), {"x": X[:10], "y": Y[:10]}
    params = model.init(jax.random.key(0), {"x": X})
    loss = label_loss(model, few, 2)
    (error, metrics), grads = jax.value_and_grad(loss, has_aux=True)(
        params, jax.random.key(1), {"x": X}
    )
    kernel = np.asarray(params["encoder"]["layer_0"]["kernel"], np.float64)
    p = special.softmax((X[:10] @ kernel)[:, :2], axis=1)
    np.testing.assert_allclose(error, -np.log(p[np.arange(10), Y[:10]]).mean(), rtol=1e-5)
    np.testing.assert_allclose(metrics["accuracy"], (p.argmax(1) == Y[:10]).mean())
    expected = X[:10].T @ (p - np.eye(2)[Y[:10]]) / 10
    np.testing.assert_allclose(
        grads["encoder"]["layer_0"]["kernel"][:, :2], expected, rtol=1e-4, atol=1e-6
    )
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(grads["decoder"]))


def test_a_few_labels_name_the_classes_of_all_rows():
    model = jaxae.semi_supervised(
        model_of(), {"x": X[:4], "y": Y[:4]}, 2, batch_size=2, label_weight=30.0
    )
    learner = jaxae.gradient(model.loss, optax.adam(1e-2))
    params_key, state_key = jax.random.split(jax.random.key(0))
    state = learner.init(model.init(params_key, {"x": X}), state_key)
    fit = jax.jit(partial(jaxae.fit, learner, epochs=200, batch_size=20))
    state, _ = fit(state, {"x": X}, jax.random.key(1))
    named = np.asarray(model.encode(state.params, {"x": X}))[:, :2].argmax(1)
    assert (named[12:] == Y[12:]).mean() > 0.9


def test_labels_that_cannot_be_are_refused():
    for few, message in (
        ({"x": X}, "labels"),
        ({"x": X, "y": Y + 1}, "0"),
        ([X, Y], "mapping"),
    ):
        with pytest.raises(ValueError, match=message):
            jaxae.semi_supervised(model_of(), few, 2)
    for options in ({"label_weight": -1.0}, {"batch_size": 0}):
        with pytest.raises(ValueError, match=next(iter(options))):
            jaxae.semi_supervised(model_of(), {"x": X, "y": Y}, 2, **options)
