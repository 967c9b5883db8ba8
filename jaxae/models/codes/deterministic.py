"""Codes that are functions of the encoder's output."""

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxae.base import Array, Key
from jaxae.models.priors import check_width


class Deterministic(nn.Module):
    """The code is the encoder's output; it costs nothing."""

    inputs = 1
    """Numbers that the encoder gives for each entry of the code."""

    def __call__(self, h: Array, train: bool = True) -> tuple[Array, Array]:
        """Returns h itself and a rate of zeros, of shape `(batch,)`."""
        return self.select(h, train), jnp.zeros(h.shape[0], h.dtype)

    def select(self, h: Array, train: bool) -> Array:
        """The codes, `(batch, ...)`."""
        del train
        return h

    def draw(self, h: Array) -> tuple[Array, Array]:
        """The codes as in use, and a rate of zeros."""
        return self(h, train=False)

    def posterior(self, h: Array) -> tuple[Array, Array]:
        """Raises `ValueError`: the codes of an example have no spread."""
        raise ValueError(
            "A deterministic code has no posterior. Take a variational autoencoder, such as "
            "jaxae.vae, or codes.Gaussian."
        )

    def sample_prior(self, key: Key, n: int) -> Array:
        """Raises `ValueError`: nothing says how deterministic codes are distributed."""
        raise ValueError(
            "A deterministic code has no prior to sample from. Give the autoencoder a "
            "stochastic code, or decode codes of your own with decode(params, z)."
        )


class Matched(Deterministic):
    """Deterministic codes that something makes follow a prior.

    That may be `penalties.mmd`, or the learner `adversarial`.

    Attributes:
        prior: of `jaxae.priors`.
        one_hot: the first so many entries become a softmax, for a prior that is one-hot there.
    """

    prior: nn.Module
    one_hot: int = 0

    def select(self, h: Array, train: bool) -> Array:
        """The codes, the first entries as probabilities."""
        del train
        check_width(self.prior, h.shape[-1])
        if not self.one_hot:
            return h
        classes = jax.nn.softmax(h[..., : self.one_hot])
        return jnp.concatenate([classes, h[..., self.one_hot :]], axis=-1)

    def sample_prior(self, key: Key, n: int) -> Array:
        """Draws n codes of the prior."""
        return self.prior.sample(key, n)


class Rectified(Deterministic):
    """The positive part of h."""

    def select(self, h: Array, train: bool) -> Array:
        """Applies the rectifier."""
        del train
        return jax.nn.relu(h)


class Logistic(Deterministic):
    """sigmoid(h + noise), the noise in training alone, so that codes go to 0 or 1.

    The codes of semantic hashing (Salakhutdinov & Hinton, 2009): only values far from a half
    survive the noise, so that each can be rounded to a bit.

    Attributes:
        noise_level: the standard deviation of the Gaussian noise on h; may be traced.
    """

    noise_level: chex.Numeric = 4.0

    def select(self, h: Array, train: bool) -> Array:
        """The codes, with noise while training."""
        if train:
            noise = jax.random.normal(self.make_rng("code"), h.shape, h.dtype)
            h = h + self.noise_level * noise
        return jax.nn.sigmoid(h)
