"""Activations that jaxae has of its own, against SciPy and against JAX's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from jaxae.models.networks.activations import elu, softplus


def test_softplus_is_the_logarithm_of_one_plus_exp_without_overflow(x64):
    x = np.array([-800.0, -40.0, -1.0, 0.0, 1e-3, 5.0, 40.0, 800.0])
    np.testing.assert_allclose(softplus(jnp.asarray(x)), np.logaddexp(0.0, x), rtol=1e-14)
    assert softplus(jnp.float64(-np.inf)) == 0.0
    assert softplus(jnp.float64(np.inf)) == np.inf
    assert np.isnan(softplus(jnp.float64(np.nan)))


def test_the_first_two_derivatives_of_softplus_are_those_of_the_logistic_function(x64):
    x = jnp.linspace(-50.0, 50.0, 41)
    s = special.expit(np.asarray(x))
    np.testing.assert_allclose(jax.vmap(jax.grad(softplus))(x), s, rtol=1e-14)
    np.testing.assert_allclose(jax.vmap(jax.grad(jax.grad(softplus)))(x), s * (1 - s), rtol=1e-12)


@pytest.mark.parametrize("ours", [elu, softplus])
def test_forward_and_reverse_mode_agree_with_jax(ours, x64):
    theirs = getattr(jax.nn, ours.__name__)
    x, v = jnp.array([-3.0, -0.5, 0.5, 3.0]), jnp.array([1.0, -2.0, 0.5, 3.0])
    np.testing.assert_allclose(ours(x), theirs(x), rtol=1e-14)
    for one, other in zip(jax.jvp(ours, (x,), (v,)), jax.jvp(theirs, (x,), (v,)), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12)
    np.testing.assert_allclose(jax.vjp(ours, x)[1](v)[0], jax.vjp(theirs, x)[1](v)[0], rtol=1e-12)
