"""Networks of one layer each whose decoder is a dictionary of directions."""

import math
from collections.abc import Sequence
from numbers import Integral
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from jaxae.base import Array, where_observed
from jaxae.models.networks import Initializer, Networks, Shape, example_shape, initializer


class Reading(nn.Module):
    """h = (x - pre_bias) W + b, with columns of W of length 1 at first.

    Where atoms overlap, h is disturbed by what other units explain. Each iteration takes
    that out, an unrolled pursuit (Gregor & LeCun, 2010): with learned thresholds t, relative
    to the largest entry of h, and a learned gain g,

        z = g · relu(h - t · max h);  h = (x - pre_bias - z Wᵀ) W + b + z

    Attributes:
        features: the number of units.
        iterations: how often.
        pre_bias: its first value, `(d,)`, or None for 0; the decoder adds it again.
        use_bias: whether there is b.
        kernel_init: of its directions.
        dtype: of the computation.
        param_dtype: of the parameters.
    """

    features: int
    pre_bias: tuple[float, ...] | None = None
    use_bias: bool = True
    kernel_init: Initializer = nn.initializers.normal(1.0)
    dtype: Any = None
    param_dtype: Any = jnp.float32
    iterations: int = 0

    @nn.compact
    def __call__(self, x: Array, mask: Array | None = None, context: Array | None = None) -> Array:
        """Maps `(batch, ...)` to `(batch, features)`; a context is refused."""
        _refuse(context)
        given = self.pre_bias or (0.0,) * math.prod(x.shape[1:])
        pre_bias = self.param("pre_bias", lambda _: jnp.asarray(given, self.param_dtype))
        centred = x - pre_bias.reshape(x.shape[1:]).astype(x.dtype)
        if mask is not None:
            centred = where_observed({"mask": mask}, centred)
        centred = centred.reshape(x.shape[0], -1)
        read = nn.Dense(
            self.features,
            use_bias=self.use_bias,
            kernel_init=_unit_columns(self.kernel_init),
            dtype=self.dtype,
            param_dtype=self.param_dtype,
            name="layer_0",
        )
        h = read(centred)
        for i in range(self.iterations):
            kernel = self.variables["params"]["layer_0"]["kernel"].astype(h.dtype)
            start = nn.initializers.constant(0.5)
            threshold = self.param(f"threshold_{i}", start, h.shape[1:], self.param_dtype)
            gain = self.param(f"gain_{i}", nn.initializers.constant(1.6), (), self.param_dtype)
            above = jax.nn.relu(h - threshold.astype(h.dtype) * jnp.max(h, axis=1, keepdims=True))
            z = gain.astype(h.dtype) * above
            explained = (z @ kernel.T).reshape(x.shape)
            if mask is not None:
                explained = where_observed({"mask": mask}, explained)
            h = read(centred - explained.reshape(centred.shape)) + z
        return h


class Atoms(nn.Module):
    """x_hat = z D + pre_bias, with D at first the encoder's kernel, transposed: its own afterwards.

    Attributes:
        encoder: the one that reads with this dictionary, the same instance.
        shape: the output's shape for one example.
    """

    encoder: Reading
    shape: Sequence[int]

    @nn.compact
    def __call__(self, z: Array, context: Array | None = None) -> Array:
        """Maps `(batch, latent_dim)` to `(batch, *shape)`; a context is refused."""
        _refuse(context)
        read = self.encoder.variables["params"]

        def transposed(key: Array, shape: tuple[int, ...], dtype: Any) -> Array:
            del key, shape
            return read["layer_0"]["kernel"].T.astype(dtype)

        x = nn.Dense(
            math.prod(self.shape),
            use_bias=False,
            kernel_init=transposed,
            dtype=self.encoder.dtype,
            param_dtype=self.encoder.param_dtype,
            name="layer_0",
        )(z)
        return (x + read["pre_bias"].astype(x.dtype)).reshape(z.shape[0], *self.shape)


def dictionary(
    shape: Shape,
    latent_dim: int,
    *,
    hidden_dims: Sequence[int] = (),
    outputs: int = 1,
    latent_outputs: int = 1,
    pre_bias: npt.ArrayLike | None = None,
    use_bias: bool = True,
    kernel_init: str | Initializer | None = None,
    dtype: Any = None,
    param_dtype: Any = jnp.float32,
    iterations: int = 0,
) -> Networks:
    """A linear encoder and a dictionary of `latent_dim` unit-length atoms (Bricken et al., 2023).

    Both see x less a learned pre-bias, and start with the same directions. Keep the atoms'
    length with `jaxae.unit_norm`.

    Args:
        shape: of one example.
        latent_dim: the number of atoms.
        hidden_dims: none.
        outputs: 1, numbers that a likelihood needs for each entry.
        latent_outputs: 1, numbers that a code needs for each of its own.
        pre_bias: its first value, of d numbers, such as `jaxae.geometric_median(x)`; 0 for None.
        use_bias: of the encoder.
        kernel_init: of the directions, which are then scaled to length 1; None for uniform.
        dtype: of the computation.
        param_dtype: of the parameters.
        iterations: of the pursuit with which the encoder goes on after its linear guess.

    >>> encoder, decoder = dictionary(16, 64)

    Raises:
        ValueError: a latent_dim or iterations that is no such number, hidden layers, several
            outputs, or a pre_bias of another size.
    """
    shape = example_shape(shape)
    size = math.prod(shape)
    if not isinstance(latent_dim, Integral) or latent_dim < 1:
        raise ValueError(f"latent_dim is a positive number of atoms; got {latent_dim!r}.")
    if not isinstance(iterations, Integral) or iterations < 0:
        raise ValueError(f"iterations is a whole number of at least 0; got {iterations!r}.")
    if hidden_dims or outputs != 1 or latent_outputs != 1:
        raise ValueError(
            f"A dictionary has no hidden layers, and one output for each entry and code; got "
            f"{tuple(hidden_dims)}, {outputs} and {latent_outputs}. Take networks=mlp for them."
        )
    if pre_bias is not None and np.size(pre_bias) != size:
        raise ValueError(
            f"pre_bias has a number for each of {size} entries; got {np.size(pre_bias)}."
        )
    start = None if pre_bias is None else tuple(np.ravel(np.asarray(pre_bias)).tolist())
    init = nn.initializers.normal(1.0) if kernel_init is None else initializer(kernel_init, "relu")
    encoder = Reading(latent_dim, start, use_bias, init, dtype, param_dtype, iterations)
    return Networks(encoder, Atoms(encoder, shape))


def _refuse(context: Array | None) -> None:
    if context is not None:
        raise ValueError("A dictionary has no kernel for a context; leave it out of the batch.")


def _unit_columns(kernel_init: Initializer) -> Initializer:
    def unit(key: Array, shape: tuple[int, ...], dtype: Any) -> Array:
        kernel = kernel_init(key, shape, dtype)
        return kernel / jnp.linalg.norm(kernel, axis=0)

    return unit
