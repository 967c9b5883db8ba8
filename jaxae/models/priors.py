"""Priors of codes: Linen modules with `log_prob(z)`, `sample(key, n)` and, some, `kl`.

`log_prob` gives `(batch,)` nats; `kl(mean, scale)` the divergence of a Gaussian of these numbers
from the prior, in closed form for each unit, `(batch, latent_dim)`.
"""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxae.base import Array, Key


class Standard(nn.Module):
    """N(0, 1) for each unit.

    Attributes:
        latent_dim: the number of units.
    """

    latent_dim: int

    def log_prob(self, z: Array) -> Array:
        """The log-density of each row, in nats."""
        return jnp.sum(_normal(z, 0.0, 0.0), axis=-1)

    def kl(self, mean: Array, scale: Array) -> Array:
        """KL(N(mean, scale²) ‖ N(0, 1)) of each unit."""
        return 0.5 * (jnp.square(mean) + jnp.square(scale) - 1.0) - jnp.log(scale)

    def sample(self, key: Key, n: int) -> Array:
        """Draws n codes, `(n, latent_dim)`."""
        return jax.random.normal(key, (n, self.latent_dim))


class Learned(nn.Module):
    """A Gaussian for each unit, whose mean and scale are learned, at first 0 and 1.

    Attributes:
        latent_dim: the number of units.
    """

    latent_dim: int

    def setup(self) -> None:
        """The parameters."""
        self.mean = self.param("mean", nn.initializers.zeros, (self.latent_dim,))
        self.log_scale = self.param("log_scale", nn.initializers.zeros, (self.latent_dim,))

    def log_prob(self, z: Array) -> Array:
        """The log-density of each row, in nats."""
        return jnp.sum(_normal(z, self.mean, self.log_scale), axis=-1)

    def kl(self, mean: Array, scale: Array) -> Array:
        """KL(N(mean, scale²) ‖ prior) of each unit."""
        own = jnp.exp(self.log_scale)
        squares = jnp.square((mean - self.mean) / own) + jnp.square(scale / own)
        return 0.5 * (squares - 1.0) + self.log_scale - jnp.log(scale)

    def sample(self, key: Key, n: int) -> Array:
        """Draws n codes, `(n, latent_dim)`."""
        noise = jax.random.normal(key, (n, self.latent_dim))
        return self.mean + jnp.exp(self.log_scale) * noise


class Mixture(nn.Module):
    """A mixture of Gaussians with learned weights, means and scales.

    Attributes:
        latent_dim: the number of units.
        num_components: of the mixture.
        spread: the standard deviation of the first means.
    """

    latent_dim: int
    num_components: int = 10
    spread: float = 1.0

    def setup(self) -> None:
        """The parameters."""
        shape = (self.num_components, self.latent_dim)
        self.logits = self.param("logits", nn.initializers.zeros, shape[:1])
        self.means = self.param("means", nn.initializers.normal(self.spread), shape)
        self.log_scales = self.param("log_scales", nn.initializers.zeros, shape)

    def log_prob(self, z: Array) -> Array:
        """The log-density of each row, in nats."""
        each = jnp.sum(_normal(z[..., None, :], self.means, self.log_scales), axis=-1)
        return jax.nn.logsumexp(each + jax.nn.log_softmax(self.logits), axis=-1)

    def sample(self, key: Key, n: int) -> Array:
        """Draws n codes, `(n, latent_dim)`."""
        which, noise = jax.random.split(key)
        index = jax.random.categorical(which, self.logits, shape=(n,))
        eps = jax.random.normal(noise, (n, self.latent_dim))
        return self.means[index] + jnp.exp(self.log_scales[index]) * eps


class Layered(nn.Module):
    """A second stochastic layer: z has codes of its own, u, and p(z) = ∫ p(z | u) p(u) du.

    `log_prob` draws u of q(u | z) and gives log p(z | u) + log p(u) - log q(u | z), whose mean
    is a lower bound; under an importance-weighted bound it is the exact weight of the draw
    (Burda et al., 2016).

    Attributes:
        encoder: `z -> h` of the upper code.
        decoder: `u -> (mean, log scale²)` of z, side by side.
        code: of the upper layer, such as `codes.Gaussian`.
    """

    encoder: nn.Module
    decoder: nn.Module
    code: nn.Module

    def log_prob(self, z: Array) -> Array:
        """One draw of the bound of each row, in nats."""
        u, rate = self.code.draw(self.encoder(z))
        mean, log_variance = jnp.split(self.decoder(u), 2, axis=-1)
        if mean.shape != z.shape:
            raise ValueError(_unfit(mean.shape[-1], z.shape[-1]))
        return jnp.sum(_normal(z, mean, 0.5 * log_variance), axis=-1) - rate

    def sample(self, key: Key, n: int) -> Array:
        """Draws n codes from the top downwards."""
        top, noise = jax.random.split(key)
        mean, log_variance = jnp.split(self.decoder(self.code.sample_prior(top, n)), 2, axis=-1)
        return mean + jnp.exp(0.5 * log_variance) * jax.random.normal(noise, mean.shape)


class Categorical(nn.Module):
    """One of `num_classes` with even odds, one-hot. For models that match its draws.

    Attributes:
        num_classes: how many.
    """

    num_classes: int

    @property
    def latent_dim(self) -> int:
        """Entries of a code."""
        return self.num_classes

    def log_prob(self, z: Array) -> Array:
        """-log num_classes for each row."""
        return jnp.full(z.shape[:-1], -np.log(self.num_classes), z.dtype)

    def sample(self, key: Key, n: int) -> Array:
        """Draws n one-hot rows."""
        index = jax.random.randint(key, (n,), 0, self.num_classes)
        return jax.nn.one_hot(index, self.num_classes)


class Joint(nn.Module):
    """Several priors side by side, independent of each other.

    Attributes:
        parts: the priors.
        widths: how many entries of the code each has.
    """

    parts: Sequence[nn.Module]
    widths: Sequence[int]

    @property
    def latent_dim(self) -> int:
        """Entries of a code."""
        return sum(self.widths)

    def log_prob(self, z: Array) -> Array:
        """The sum of the parts' log-densities."""
        cut = jnp.split(z, np.cumsum(self.widths)[:-1], axis=-1)
        return sum((p.log_prob(a) for p, a in zip(self.parts, cut, strict=True)), jnp.zeros(()))

    def sample(self, key: Key, n: int) -> Array:
        """Draws n codes."""
        keys = jax.random.split(key, len(self.parts))
        drawn = [p.sample(k, n) for p, k in zip(self.parts, keys, strict=True)]
        return jnp.concatenate(drawn, axis=-1)


def check_width(prior: Any, width: int) -> None:
    """Raises `ValueError` where a prior says that its codes are of another width."""
    own = getattr(prior, "latent_dim", width)
    if own != width:
        raise ValueError(_unfit(own, width))


def _unfit(prior: int, code: int) -> str:
    return f"The prior is of codes of {prior} entries, the code has {code}; let both be equal."


def _normal(z: Array, mean: Any, log_scale: Any) -> Array:
    """Log N(z; mean, exp(log_scale)²), entry by entry."""
    squares = jnp.square((z - mean) * jnp.exp(-log_scale))
    return -0.5 * (squares + np.log(2 * np.pi)) - log_scale
