"""Codes that are random variables with a prior."""

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxae.base import Array, Key, is_traced
from jaxae.models.carrying import Scheduled, report, scheduled
from jaxae.models.priors import check_width


class Gaussian(nn.Module):
    """z ~ N(mean, scale²), with h = (mean, log scale²) side by side (Kingma & Welling, 2014).

    The rate is KL(q(z | h) ‖ p(z)): in closed form where the prior has one and `analytic`,
    else log q(z | h) - log p(z) of the code that was drawn.

    Attributes:
        prior: of `jaxae.priors`, over codes of this width.
        analytic: whether the rate may be the divergence in closed form.
        free_bits: nats; a unit whose divergence, in the batch's mean, is less counts for this
            much and so need not fall further (Kingma et al., 2016).
        capacity: nats; the rate becomes |KL - capacity| (Burgess et al., 2018). May be a schedule.
    """

    prior: nn.Module
    analytic: bool = True
    free_bits: chex.Numeric = 0.0
    capacity: Scheduled | None = None
    inputs = 2

    @nn.compact
    def __call__(self, h: Array, train: bool = True) -> tuple[Array, Array]:
        """The codes and their rate; without training the means."""
        mean, scale = self.posterior(h)
        if not train:
            return mean, jnp.zeros(h.shape[0], h.dtype)
        freed = is_traced(self.free_bits) or self.free_bits > 0
        if not (self.analytic and hasattr(self.prior, "kl")):
            if freed:
                raise ValueError("free_bits needs a prior with a divergence in closed form.")
            z, rate = self.draw(h)
        else:
            z = mean + scale * self.noise(mean)
            kl = self.prior.kl(mean, scale)
            rate = jnp.sum(kl, axis=-1)
            if freed or self.capacity is not None:
                report(self, "kl", jnp.mean(rate))
            if freed:
                least = jnp.maximum(jnp.mean(kl, axis=0), self.free_bits)
                rate = jnp.broadcast_to(jnp.sum(least), rate.shape)
        if self.capacity is not None:
            rate = jnp.abs(rate - scheduled(self, "capacity", self.capacity))
        return z, rate

    def draw(self, h: Array) -> tuple[Array, Array]:
        """A code of each row and log q(z | h) - log p(z)."""
        mean, scale = self.posterior(h)
        noise = self.noise(mean)
        z = mean + scale * noise
        log_q = -0.5 * (jnp.square(noise) + np.log(2 * np.pi).astype(h.dtype)) - jnp.log(scale)
        return z, jnp.sum(log_q, axis=-1) - self.prior.log_prob(z)

    def posterior(self, h: Array) -> tuple[Array, Array]:
        """Mean and standard deviation."""
        mean, log_variance = jnp.split(h, 2, axis=-1)
        check_width(self.prior, mean.shape[-1])
        return mean, jnp.exp(0.5 * log_variance)

    def noise(self, mean: Array) -> Array:
        """Standard normal numbers."""
        return jax.random.normal(self.make_rng("code"), mean.shape, mean.dtype)

    def sample_prior(self, key: Key, n: int) -> Array:
        """Draws n codes of the prior."""
        return self.prior.sample(key, n)


class Binary(nn.Module):
    """Bits z ~ Bernoulli(sigmoid(h)), of a prior with even odds.

    Training passes a gradient through the draw: of a relaxed bit at a temperature (Maddison et
    al., 2017; Jang et al., 2017), or, with `straight_through`, of that relaxation while the
    decoder sees the rounded bit.

    Attributes:
        latent_dim: the number of bits.
        temperature: of the relaxation, in (0, 1] or so; may be traced.
        straight_through: whether the decoder sees whole bits in training.
    """

    latent_dim: int
    temperature: chex.Numeric = 0.5
    straight_through: bool = True
    inputs = 1

    def __call__(self, h: Array, train: bool = True) -> tuple[Array, Array]:
        """The bits, and their rate in closed form; without training the likelier bits."""
        if not train:
            return (h > 0).astype(h.dtype), jnp.zeros(h.shape[0], h.dtype)
        noise = jax.random.logistic(self.make_rng("code"), h.shape, h.dtype)
        soft = jax.nn.sigmoid((h + noise) / self.temperature)
        hard = (h + noise > 0).astype(h.dtype)
        z = soft + jax.lax.stop_gradient(hard - soft) if self.straight_through else soft
        p = jax.nn.sigmoid(h)
        kl = (
            p * jax.nn.log_sigmoid(h) + (1 - p) * jax.nn.log_sigmoid(-h) + np.log(2).astype(h.dtype)
        )
        return z, jnp.sum(kl, axis=range(1, h.ndim))

    def draw(self, h: Array) -> tuple[Array, Array]:
        """Bits of each row, and log q(z | h) - log p(z)."""
        z = jax.random.bernoulli(self.make_rng("code"), jax.nn.sigmoid(h)).astype(h.dtype)
        log_q = jnp.where(z > 0, jax.nn.log_sigmoid(h), jax.nn.log_sigmoid(-h))
        return z, jnp.sum(log_q + np.log(2).astype(h.dtype), axis=range(1, h.ndim))

    def posterior(self, h: Array) -> tuple[Array, Array]:
        """Raises `ValueError`: bits are not Gaussian."""
        raise ValueError("Bits have no Gaussian posterior; take codes.Gaussian.")

    def sample_prior(self, key: Key, n: int) -> Array:
        """Fair bits, `(n, latent_dim)`."""
        return jax.random.bernoulli(key, 0.5, (n, self.latent_dim)).astype(jnp.float32)
