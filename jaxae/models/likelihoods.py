"""Likelihoods p(x | out): densities, means and samples, entry by entry.

`out` is what the decoder gives: the natural parameters. Minimising the negative
log-density under a Gaussian of fixed scale is minimising squared error, under a
Bernoulli it is minimising cross-entropy.
"""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxae.base import Array, Key, check_range, is_traced
from jaxae.models.discretised import Logistic, Mixture
from jaxae.models.networks.activations import softplus


def _no_masses(out: Any) -> Array:
    raise ValueError(
        "This likelihood is no distribution over a few levels. Take likelihoods.bernoulli() for "
        "binary entries, or discretised_logistic() for bytes."
    )


class Likelihood(NamedTuple):
    """A distribution of the data given the decoder's output.

    Attributes:
        log_prob: `(out, x) -> log p(x | out)`, in nats, of the shape of x (without
            the last axis where the distribution is over that axis).
        mean: `out -> E[x | out]`, of the shape of x.
        sample: `(key, out) -> x`.
        outputs: how many numbers the decoder gives for each entry of x, side by
            side on the last axis.
        head: a Linen module from the decoder's array to `out`, for likelihoods that
            have parameters of their own; None where that is the identity.
        support: the least and the greatest value that x may take.
        event_axes: how many last axes of x one density is over; 0 for entry by entry.
        masses: `out -> (..., levels)`, the probabilities of the values 0, 1 / (levels - 1), ... 1
            of an entry, where it has no others; a `ValueError` for other likelihoods.
        logistic: `out -> (location, log scale, share)`, each `(..., components)`, where these
            masses are those of a mixture of logistic distributions between the levels' middles;
            else None.
    """

    log_prob: Callable[[Any, Array], Array]
    mean: Callable[[Any], Array]
    sample: Callable[[Key, Any], Array]
    outputs: int = 1
    head: nn.Module | None = None
    support: tuple[float, float] = (-np.inf, np.inf)
    event_axes: int = 0
    masses: Callable[[Any], Array] = _no_masses
    logistic: Callable[[Any], tuple[Array, Array, Array]] | None = None


class SharedScale(nn.Module):
    """Pairs the mean with one learned log standard deviation for all entries."""

    initial: float = 0.0

    @nn.compact
    def __call__(self, out: Array) -> tuple[Array, Array]:
        """Returns `(mean, log_scale)`, the latter a scalar."""
        return out, self.param("log_scale", nn.initializers.constant(self.initial), ())


class PerEntryScale(nn.Module):
    """Splits the last axis into means and log standard deviations."""

    floor: float = 1e-3

    def __call__(self, out: Array) -> tuple[Array, Array]:
        """Returns `(mean, log_scale)`, each half as wide as `out`; scales stay above `floor`."""
        mean, raw = jnp.split(out, 2, axis=-1)
        return mean, jnp.logaddexp(raw, jnp.log(self.floor).astype(raw.dtype))


def gaussian(scale: chex.Numeric | Literal["shared", "per_entry"] = 1.0) -> Likelihood:
    """Gaussian around the decoder's output.

    Args:
        scale: the standard deviation in the units of x, a positive number (or traced
            value): at 1 the loss is half the squared error plus a constant. "shared"
            learns one for all entries, "per_entry" has the decoder give one for each
            (kept above 1e-3, without which a constant entry has infinite density).

    >>> print(f"{gaussian(1.0).log_prob(jnp.zeros(()), jnp.zeros(())):.4f}")
    -0.9189

    Raises:
        ValueError: another word, or a concrete scale that is not positive and finite.
    """
    if isinstance(scale, str):
        heads: dict[str, tuple[int, nn.Module]] = {
            "shared": (1, SharedScale()),
            "per_entry": (2, PerEntryScale()),
        }
        if scale not in heads:
            raise ValueError(f"scale is a number or one of {sorted(heads)}; got {scale!r}.")
        outputs, head = heads[scale]
        return Likelihood(
            log_prob=lambda out, x: _normal_log_prob(out[0], out[1], x),
            mean=lambda out: out[0],
            sample=lambda key, out: _normal_sample(key, out[0], out[1]),
            outputs=outputs,
            head=head,
        )
    check_range("scale", scale, 0.0, open_low=True, open_high=True)
    # by NumPy where it can be: an import must not start JAX's devices
    log_scale: Any = jnp.log(scale) if is_traced(scale) else np.log(np.asarray(scale, np.float64))
    return Likelihood(
        log_prob=lambda out, x: _normal_log_prob(out, log_scale.astype(out.dtype), x),
        mean=lambda out: out,
        sample=lambda key, out: _normal_sample(key, out, log_scale.astype(out.dtype)),
    )


def bernoulli() -> Likelihood:
    """Bernoulli with the decoder's output as logits; x in [0, 1].

    For x strictly between 0 and 1, as grey pixels are, the value is the negative
    cross-entropy, which has the floor of x's own entropy and is no log-density.

    >>> print(f"{bernoulli().log_prob(jnp.zeros(()), jnp.ones(())):.4f}")
    -0.6931
    """
    return Likelihood(
        log_prob=lambda out, x: x * out - softplus(out),
        mean=jax.nn.sigmoid,
        sample=lambda key, out: jax.random.bernoulli(key, jax.nn.sigmoid(out)).astype(out.dtype),
        support=(0.0, 1.0),
        masses=lambda out: jnp.stack([jax.nn.sigmoid(-out), jax.nn.sigmoid(out)], axis=-1),
    )


def discretised_logistic(levels: int = 256, components: int = 1) -> Likelihood:
    """A logistic distribution of each entry, summed over the levels 0, 1 / (levels - 1), ... 1.

    The lowest and highest level have the whole tails (Salimans et al., 2017). x has these values
    alone, as bytes have, and the value is a true log-probability in nats. The decoder gives a
    location and a log scale for each entry, side by side; of mixtures a logit, a location and a
    log scale of each component.

    Args:
        levels: that an entry may take.
        components: of a mixture. Several have room for what one has not, such as a dark
            background beside strokes of any grey.

    >>> x = jnp.linspace(0, 1, 4)
    >>> print(f"{jnp.exp(discretised_logistic(4).log_prob((0.5, -1.0), x)).sum():.4f}")
    1.0000

    Raises:
        ValueError: fewer than two levels, or less than one component.
    """
    check_range("levels", levels, 2)
    check_range("components", components, 1)
    one = Logistic(levels)
    law: Any = one if components == 1 else Mixture(one, components)
    return Likelihood(
        law.log_prob,
        law.mean,
        law.sample,
        2 if components == 1 else 3 * components,
        law.head,
        (0.0, 1.0),
        masses=law.masses,
        logistic=law.logistic,
    )


def categorical() -> Likelihood:
    """Categorical over the last axis, a softmax of the decoder's output.

    x is one-hot (or a distribution) over the last axis, which log_prob sums away.

    >>> print(f"{categorical().log_prob(jnp.zeros(4), jnp.eye(4)[0]):.4f}")
    -1.3863
    """

    def sample(key: Key, out: Array) -> Array:
        return jax.nn.one_hot(jax.random.categorical(key, out), out.shape[-1], dtype=out.dtype)

    return Likelihood(
        log_prob=lambda out, x: jnp.sum(x * jax.nn.log_softmax(out), axis=-1),
        mean=jax.nn.softmax,
        sample=sample,
        support=(0.0, 1.0),
        event_axes=1,
    )


def multinomial(count: int = 1) -> Likelihood:
    """Counts over the last axis, with the softmax of the decoder's output as probabilities.

    Σ_i x_i log softmax(out)_i, without the coefficient, which the decoder does not enter
    (Liang et al., 2018): x_i says how often i was chosen, such as 0 or 1 for implicit feedback.
    The mean is that of a single choice.

    Args:
        count: choices of a sample.

    >>> print(f"{multinomial().log_prob(jnp.zeros(4), jnp.array([2.0, 0, 0, 1])):.4f}")
    -4.1589

    Raises:
        ValueError: a count that is no positive integer.
    """
    if not isinstance(count, int | np.integer) or count < 1:
        raise ValueError(f"count is a positive integer; got {count!r}.")
    likelihood = categorical()

    def sample(key: Key, out: Array) -> Array:
        chosen = jax.vmap(lambda key: likelihood.sample(key, out))(jax.random.split(key, count))
        return jnp.sum(chosen, axis=0)

    return likelihood._replace(sample=sample, support=(0.0, np.inf))


def _normal_log_prob(mean: Array, log_scale: Array, x: Array) -> Array:
    z = (x - mean) * jnp.exp(-log_scale)
    return -0.5 * jnp.square(z) - log_scale - 0.5 * np.log(2.0 * np.pi).astype(mean.dtype)


def _normal_sample(key: Key, mean: Array, log_scale: Array) -> Array:
    return mean + jnp.exp(log_scale) * jax.random.normal(key, mean.shape, mean.dtype)
