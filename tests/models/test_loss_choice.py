"""Why a sigmoid output is trained with cross-entropy: the classic argument, by its gradients.

Let an output unit be a = sigmoid(logit) and its target y. The chain rule gives, with respect to
the logit,

    half the squared error  (a - y)^2 / 2                        (a - y) a (1 - a)
    the cross-entropy       -y log a - (1 - y) log(1 - a)         a - y

The factor a (1 - a) is the sigmoid's own slope. It is at most 1/4 and vanishes where the unit
saturates, so under squared error a unit that is saturated and wrong hardly learns: the worse its
mistake, the smaller its gradient. In the cross-entropy that factor cancels, and the gradient is
the mistake itself. The library's likelihoods are these losses up to sign and a constant.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import expit

from jaxae import likelihoods

LOGITS = np.linspace(-8, 8, 33)


def cross_entropy(logit, y):
    return -likelihoods.bernoulli().log_prob(logit, y)


def squared_error_after_sigmoid(logit, y):
    return -likelihoods.gaussian(1.0).log_prob(jax.nn.sigmoid(logit), y)


def slope(loss, logit, y):
    """The derivative of the loss with respect to the logit, entry by entry."""
    return jax.grad(lambda out: loss(out, y).sum())(jnp.asarray(logit, jnp.float64))


@pytest.mark.parametrize("y", [0.0, 0.25, 0.5, 1.0])
def test_the_gradient_of_cross_entropy_is_the_mistake(y, x64):
    np.testing.assert_allclose(slope(cross_entropy, LOGITS, y), expit(LOGITS) - y, atol=1e-13)


@pytest.mark.parametrize("y", [0.0, 0.25, 0.5, 1.0])
def test_the_gradient_of_squared_error_carries_the_slope_of_the_sigmoid(y, x64):
    a = expit(LOGITS)
    given = slope(squared_error_after_sigmoid, LOGITS, y)
    np.testing.assert_allclose(given, (a - y) * a * (1 - a), atol=1e-13)


def test_a_saturated_wrong_unit_learns_from_cross_entropy_alone(x64):
    """At a logit of 20 with target 0 the mistake is 1; squared error's gradient is 2e-9."""
    assert slope(cross_entropy, 20.0, 0.0) == pytest.approx(1.0, abs=1e-8)
    assert slope(squared_error_after_sigmoid, 20.0, 0.0) == pytest.approx(np.exp(-20), rel=1e-6)


def test_a_worse_mistake_has_the_smaller_gradient_under_squared_error(x64):
    worse = np.asarray([2.0, 4.0, 8.0, 16.0])
    assert (np.diff(slope(squared_error_after_sigmoid, worse, 0.0)) < 0).all()
    assert (np.diff(slope(cross_entropy, worse, 0.0)) > 0).all()


def test_descent_from_saturation_corrects_the_unit_under_cross_entropy_alone(x64):
    """Twenty steps at learning rate 1, from a logit of 10 towards the target 0."""

    def descend(loss):
        logit = jnp.asarray(10.0, jnp.float64)
        for _ in range(20):
            logit -= slope(loss, logit, 0.0)
        return float(jax.nn.sigmoid(logit))

    assert descend(cross_entropy) < 0.2
    assert descend(squared_error_after_sigmoid) > 0.99
