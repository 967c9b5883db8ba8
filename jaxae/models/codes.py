"""Codes: Linen modules `h -> (z, rate)`, with `rate` in nats per example."""

import flax.linen as nn
import jax.numpy as jnp

from jaxae.base import Array, Key


class Deterministic(nn.Module):
    """The code is the encoder's output; it costs nothing."""

    def __call__(self, h: Array, train: bool = True) -> tuple[Array, Array]:
        """Returns h itself and a rate of zeros, of shape `(batch,)`."""
        del train
        return h, jnp.zeros(h.shape[0], h.dtype)

    def prior(self, key: Key, n: int) -> Array:
        """Raises `ValueError`: nothing says how deterministic codes are distributed."""
        raise ValueError(
            "A deterministic code has no prior to sample from. Give the autoencoder a "
            "stochastic code, or decode codes of your own with decode(params, z)."
        )
