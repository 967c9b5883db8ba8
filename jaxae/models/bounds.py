"""Bounds: how the costs of several draws of a code join in the loss.

A bound is a function of the distortions and rates of the draws, each `(samples, batch)` in nats,
and of beta; it returns a scalar.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxae.base import Array

Bound = Callable[[Array, Array, Any], Array]


def elbo(distortion: Array, rate: Array, beta: Any) -> Array:
    """The mean over draws and examples: with beta 1 the negative evidence lower bound.

    >>> float(elbo(jnp.ones((2, 3)), jnp.full((2, 3), 2.0), 0.5))
    2.0
    """
    return jnp.mean(distortion) + beta * jnp.mean(rate)


def importance(distortion: Array, rate: Array, beta: Any) -> Array:
    """-E log (1/k) sum of exp(-cost) over the k draws of an example (Burda et al., 2016).

    With beta 1 and the rate of the draws themselves, log q(z | x) - log p(z), as `Latent.draw`
    and `codes.Gaussian(analytic=False)` have it, it falls to -log p(x) as k grows.

    >>> print(f"{importance(jnp.array([[1.0], [3.0]]), jnp.zeros((2, 1)), 1.0):.4f}")
    1.5662
    """
    costs = distortion + beta * rate
    weights = jax.nn.logsumexp(-costs, axis=0) - jnp.log(costs.shape[0]).astype(costs.dtype)
    return -jnp.mean(weights)
