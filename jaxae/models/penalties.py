"""Penalties: functions of a forward pass that add to the loss, in nats per example.

Those of sparse codes are in `jaxae.models.sparsity`.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from jaxae.base import Array, Batch, Key, Params, check_range
from jaxae.models import corruptions
from jaxae.models.corruptions import Corruption
from jaxae.models.jacobians import mean_squared_jacobian_norm

SCALES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
"""Of the kernels of `mmd`."""


class Forward(NamedTuple):
    """What a penalty may look at; what it does not use is not computed.

    Attributes:
        params: the model's parameters.
        key: randomness of the penalty's own.
        batch: the clean batch, x as floats with unobserved entries zero.
        h: what the encoder gave, `(batch, ...)`.
        z: the codes that the loss decoded, `(batch, latent_dim)`.
        encode: `(params, batch) -> z`, without noise.
        decode: `(params, z) -> x_hat`, the mean of the likelihood.
        distortion: `(params, z) -> nats per example`, of codes decoded in z's place.
        prior: `(params, key, n) -> z`, drawn from the code's prior.
    """

    params: Params
    key: Key
    batch: Batch
    h: Array
    z: Array
    encode: Callable[[Params, Batch], Array]
    decode: Callable[[Params, Array], Array]
    distortion: Callable[[Params, Array], Array]
    prior: Callable[[Params, Key, int], Array]


Penalty = Callable[[Forward], Array]
"""A function, or a Linen module where it has parameters or carries something along."""


def l2(weight: chex.Numeric) -> Penalty:
    """Half the squared norm of all kernels times `weight`: a Gaussian prior on them.

    Kernels are the leaves called "kernel"; biases and scales never count, and a tied
    kernel, which stands in the tree once, counts once. Its gradient is weight * kernel.

    >>> import jaxae
    >>> model = jaxae.deep(8, 3, penalties=[l2(1e-3)])

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


def contractive(
    weight: chex.Numeric, *, method: str = "auto", memory_limit: int = 2**28, probes: int = 1
) -> Penalty:
    """Adds weight · E ‖∂ encode(x) / ∂x‖²_F at the clean x, exactly (Rifai et al., 2011).

    Takes any encoder; method, memory_limit and probes are those of
    `jacobians.squared_jacobian_norm`, of which "hutchinson" alone is an estimate.

    >>> import jaxae
    >>> model = jaxae.deep(8, 3, hidden_dims=(6,), penalties=[contractive(0.1)])

    Raises:
        ValueError: a concrete `weight` below 0; at `init`, what that function refuses.
    """
    check_range("weight", weight, 0.0)

    def penalty(forward: Forward) -> Array:
        return weight * mean_squared_jacobian_norm(
            forward.encode,
            forward.params,
            forward.batch,
            method=method,
            memory_limit=memory_limit,
            key=forward.key,
            probes=probes,
        )

    return penalty


def higher_order_contractive(
    weight: chex.Numeric, noise_level: chex.Numeric, *, method: str = "auto"
) -> Penalty:
    """Adds weight · E ‖J(x) - J(x + ε)‖²_F, ε Gaussian of scale `noise_level`.

    The change of the Jacobian near x stands for the Hessian of the code (Rifai et al., 2011b).

    Raises:
        ValueError: a concrete `weight` or `noise_level` below 0.
    """
    check_range("weight", weight, 0.0)
    corrupt = corruptions.gaussian(noise_level)

    def penalty(forward: Forward) -> Array:
        noise_key, probe_key = jax.random.split(forward.key)
        near = corrupt(noise_key, forward.batch["x"])
        return weight * mean_squared_jacobian_norm(
            forward.encode, forward.params, forward.batch, near, method=method, key=probe_key
        )

    return penalty


def stochastic_contractive(weight: chex.Numeric, corrupt: Corruption) -> Penalty:
    """Adds weight · E ‖encode(x) - encode(corrupt(x))‖².

    With Gaussian noise of small scale σ it tends to `contractive` of weight · σ².

    Raises:
        ValueError: a concrete `weight` below 0.
    """
    check_range("weight", weight, 0.0)

    def penalty(forward: Forward) -> Array:
        noisy = corruptions.corrupted(corrupt, forward.key, forward.batch)
        clean, moved = (forward.encode(forward.params, b) for b in (forward.batch, noisy))
        return weight * jnp.mean(jnp.sum((clean - moved) ** 2, axis=range(1, clean.ndim)))

    return penalty


def mmd(weight: chex.Numeric, scales: Sequence[float] = SCALES) -> Penalty:
    """Weight · MMD² between the batch's codes and as many draws of their prior.

    The unbiased estimate with the sum of inverse multiquadratic kernels c / (c + ‖a - b‖²),
    c = 2 · latent_dim · scale (Tolstikhin et al., 2018). It may be below 0.

    Args:
        weight: in nats; may be traced.
        scales: of the kernels, for a prior of variance 1.

    >>> import jaxae
    >>> code = jaxae.codes.Gaussian(jaxae.priors.Standard(3))
    >>> model = jaxae.deep(8, 3, code=code, penalties=[mmd(10.0)])

    Raises:
        ValueError: a concrete `weight` below 0; at `init`, a code without a prior.
    """
    check_range("weight", weight, 0.0)

    def penalty(forward: Forward) -> Array:
        z = forward.z.reshape(forward.z.shape[0], -1)
        drawn = forward.prior(forward.params, forward.key, z.shape[0])
        return weight * squared_mmd(z, drawn.astype(z.dtype), scales)

    return penalty


def squared_mmd(a: Array, b: Array, scales: Sequence[float] = SCALES) -> Array:
    """The unbiased estimate of MMD² between two samples of equal size, `(n, d)` each.

    Its kernel is that of `mmd`. Of one row each it is 0.
    """
    n = a.shape[0]
    # a common shift changes nothing but the rounding
    middle = jax.lax.stop_gradient(0.5 * (jnp.mean(a, axis=0) + jnp.mean(b, axis=0)))
    a, b = a - middle, b - middle

    def kernel(x: Array, y: Array) -> Array:
        return multiquadric(x, y, scales)

    def within(x: Array) -> Array:
        rows = kernel(x, x)
        return (jnp.sum(rows) - jnp.trace(rows)) / max(1, n * (n - 1))

    both = within(a) + within(b) - 2 * jnp.mean(kernel(a, b))
    return both if n > 1 else 0.0 * both


def multiquadric(a: Array, b: Array, scales: Sequence[float] = SCALES) -> Array:
    """The sum of inverse multiquadratic kernels of `mmd`, of all pairs of rows."""
    squares = jnp.sum(a * a, axis=1)[:, None] + jnp.sum(b * b, axis=1) - 2 * a @ b.T
    widths = [2.0 * a.shape[1] * scale for scale in scales]
    return sum((c / (c + jnp.maximum(squares, 0.0)) for c in widths), jnp.zeros(()))
