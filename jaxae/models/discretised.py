"""Logistic distributions summed over the levels 0, 1 / (levels - 1), ... 1, and mixtures of them.

The lowest and highest level have the whole tails (Salimans et al., 2017). Natural parameters are
arrays of the shape of x, in tuples: a location and a log scale of one distribution, for a
mixture `(logit, (location, log scale))` of each component.
"""

from collections.abc import Sequence
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxae.base import Array, Key

Natural = tuple[Array, Array]
"""Locations and log scales."""
Weighted = Sequence[tuple[Array, Natural]]
"""A logit and the natural parameters of each component."""


class LevelScale(nn.Module):
    """Splits the last axis into locations about 0.5 and log scales about -2."""

    lowest: float

    def __call__(self, out: Array) -> Natural:
        """Returns `(location, log_scale)`, each half as wide as `out`."""
        location, log_scale = jnp.split(out, 2, axis=-1)
        return 0.5 + location, jnp.clip(log_scale - 2.0, self.lowest, 30.0)


class Components(nn.Module):
    """Splits the last axis into `LevelScale`'s numbers and a logit for each component.

    Locations are about 0 for the first, about 1 for the last, evenly between for the others.
    """

    lowest: float
    count: int

    def __call__(self, out: Array) -> Weighted:
        """Returns `(logit, (location, log_scale))` for each, arrays 1 / (3 count) as wide."""
        split = LevelScale(self.lowest, parent=None)
        width = out.shape[-1] // (3 * self.count)
        parts = jnp.split(out, self.count, axis=-1)
        spread = np.linspace(-0.5, 0.5, self.count).tolist()
        naturals = [split(part[..., width:]) for part in parts]
        return tuple(
            (part[..., :width], (centre + location, log_scale))
            for part, centre, (location, log_scale) in zip(parts, spread, naturals, strict=True)
        )


def mean(masses: Array) -> Array:
    """The mean of levels with the probabilities `masses`, `(..., levels)`.

    >>> float(mean(jnp.array([0.5, 0.0, 0.5])))
    0.5
    """
    levels = jnp.linspace(0.0, 1.0, masses.shape[-1], dtype=masses.dtype)
    return jnp.sum(masses * levels, axis=-1)


class Logistic(NamedTuple):
    """A logistic distribution of each entry."""

    levels: int

    @property
    def head(self) -> nn.Module:
        """From the decoder's array to natural parameters."""
        return LevelScale(np.log(0.25 / self.levels))

    def log_prob(self, out: Natural, x: Array) -> Array:
        """The log-probability of levels `x`, of the shape of x."""
        location, log_scale = out
        half = 0.5 / (self.levels - 1)
        upper = (x + half - location) * jnp.exp(-log_scale)
        width = 2.0 * half * jnp.exp(-log_scale)
        # log(sigmoid(upper) - sigmoid(lower)), exact in both tails
        above, below = jax.nn.log_sigmoid(upper), jax.nn.log_sigmoid(width - upper)
        inner = above + below + jnp.log(-jnp.expm1(-width))
        return jnp.where(x <= half, above, jnp.where(x >= 1.0 - half, below, inner))

    def masses(self, out: Natural) -> Array:
        """The probabilities of all levels, `(..., levels)`."""
        location, log_scale = out
        edges = (np.arange(1, self.levels) - 0.5) / (self.levels - 1)
        ends = jnp.asarray([-np.inf, *edges, np.inf], location.dtype)
        at = (ends - location[..., None]) * jnp.exp(-log_scale)[..., None]
        low, high = at[..., :-1], at[..., 1:]
        below = jax.nn.sigmoid(high) - jax.nn.sigmoid(low)
        return jnp.where(low > 0, jax.nn.sigmoid(-low) - jax.nn.sigmoid(-high), below)

    def mean(self, out: Natural) -> Array:
        """The mean, of the shape of x."""
        return mean(self.masses(out))

    def sample(self, key: Key, out: Natural) -> Array:
        """Draws a level of each entry."""
        location, log_scale = out
        x = location + jnp.exp(log_scale) * jax.random.logistic(key, location.shape, location.dtype)
        most = self.levels - 1
        return jnp.clip(jnp.round(x * most), 0, most) / most

    def logistic(self, out: Natural) -> tuple[Array, Array, Array]:
        """Location, log scale and share of the one component, `(..., 1)`."""
        location, log_scale = (a[..., None] for a in out)
        return location, log_scale, jnp.ones_like(location)


class Mixture(NamedTuple):
    """A mixture of `components` logistic distributions of each entry."""

    one: Logistic
    components: int

    @property
    def head(self) -> nn.Module:
        """From the decoder's array to natural parameters."""
        return Components(np.log(0.25 / self.one.levels), self.components)

    def log_prob(self, out: Weighted, x: Array) -> Array:
        """The log-probability of levels `x`, of the shape of x."""
        logits = jnp.stack([logit for logit, _ in out])
        parts = jnp.stack([self.one.log_prob(natural, x) for _, natural in out])
        return jax.nn.logsumexp(logits + parts, axis=0) - jax.nn.logsumexp(logits, axis=0)

    def masses(self, out: Weighted) -> Array:
        """The probabilities of all levels, `(..., levels)`."""
        shares = jax.nn.softmax(jnp.stack([logit for logit, _ in out]), axis=0)
        parts = [
            share[..., None] * self.one.masses(n) for share, (_, n) in zip(shares, out, strict=True)
        ]
        return sum(parts[1:], parts[0])

    def mean(self, out: Weighted) -> Array:
        """The mean, of the shape of x."""
        return mean(self.masses(out))

    def sample(self, key: Key, out: Weighted) -> Array:
        """Draws a component and of it a level of each entry."""
        key, choice_key = jax.random.split(key)
        chosen = jax.random.categorical(choice_key, jnp.stack([logit for logit, _ in out], -1))
        location, log_scale = (
            jnp.take_along_axis(a, chosen[..., None], -1)[..., 0] for a in self.logistic(out)[:2]
        )
        return self.one.sample(key, (location, log_scale))

    def logistic(self, out: Weighted) -> tuple[Array, Array, Array]:
        """Location, log scale and share of the components, `(..., components)`."""
        logits, naturals = zip(*out, strict=True)
        locations, log_scales = zip(*naturals, strict=True)
        shares = jax.nn.softmax(jnp.stack(logits, -1))
        return jnp.stack(locations, -1), jnp.stack(log_scales, -1), shares
