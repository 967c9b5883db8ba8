"""Penalties: functions of a forward pass that add to the loss, in nats per example."""

from collections.abc import Callable
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from jaxae.base import Array, Batch, Key, Params, check_range


class Forward(NamedTuple):
    """What a penalty may look at; what it does not use is not computed.

    Attributes:
        params: the model's parameters.
        key: randomness of the penalty's own.
        batch: the clean batch, x as floats with unobserved entries zero.
        z: the codes that the loss decoded, `(batch, latent_dim)`.
        encode: `(params, batch) -> z`, without noise.
    """

    params: Params
    key: Key
    batch: Batch
    z: Array
    encode: Callable[[Params, Batch], Array]


Penalty = Callable[[Forward], Array]


def l2(weight: chex.Numeric) -> Penalty:
    """Half the squared norm of all kernels times `weight`: a Gaussian prior on them.

    Kernels are the leaves called "kernel"; biases and scales never count, and a tied
    kernel, which stands in the tree once, counts once. Its gradient is weight * kernel.

    >>> tree = {"layer": {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)}}
    >>> l2(0.5)(Forward(tree, None, {}, None, None)).item()
    1.0

    Raises:
        ValueError: a concrete `weight` below 0.
    """
    check_range("weight", weight, 0.0)

    def penalty(forward: Forward) -> Array:
        leaves = jax.tree_util.tree_leaves_with_path(forward.params)
        squares = [
            jnp.sum(jnp.square(leaf))
            for path, leaf in leaves
            if jax.tree_util.keystr(path[-1:], simple=True) == "kernel"
        ]
        return 0.5 * weight * sum(squares, jnp.zeros(()))

    return penalty
