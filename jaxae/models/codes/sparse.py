"""Sparse codes."""

import math
from typing import Any

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxae.base import Array, is_traced
from jaxae.models.carrying import carried, carry, report, running_mean
from jaxae.models.codes.deterministic import Deterministic
from jaxae.models.selecting import chosen, keep_largest


class TopK(Deterministic):
    """The k largest entries of an example, where positive; the others are 0 (Gao et al., 2024).

    Of equal entries the first are kept, never more than k; of maps k at each place.

    Attributes:
        k: at most the number of entries; may be traced, which sorts all of them.
    """

    k: chex.Numeric

    def select(self, h: Array, train: bool) -> Array:
        """Keeps exactly k entries, then applies the rectifier."""
        del train
        return jax.nn.relu(keep_largest(h, self.k))


class KSparse(Deterministic):
    """The k largest entries of an example as they are (Makhzani & Frey, 2014).

    Of maps, k at each place.

    Attributes:
        k: the number to keep, at last; this, start_k and alpha may be traced.
        start_k: the number to keep at first; None for k.
        anneal_steps: over so many steps the number falls from start_k to k, evenly.
        alpha: in use, without training, alpha * k entries are kept.
    """

    k: chex.Numeric
    start_k: chex.Numeric | None = None
    anneal_steps: int = 0
    alpha: chex.Numeric = 1.0

    @nn.compact
    def select(self, h: Array, train: bool) -> Array:
        """Keeps the number of entries that is due at this step."""
        if not train:
            n, k = h.shape[-1], self.alpha * self.k
            return keep_largest(
                h, jnp.minimum(n, jnp.round(k)) if is_traced(k) else min(n, round(k))
            )
        if self.start_k is None or not self.anneal_steps:
            return keep_largest(h, self.k)
        steps = carried(self, "steps")
        left = jnp.maximum(0.0, 1.0 - steps.value / self.anneal_steps)
        carry(self, steps, lambda n: n + 1.0)
        k = jnp.round(self.k + left * (self.start_k - self.k)).astype(jnp.int32)
        ends = (self.k, self.start_k)
        return keep_largest(h, k, most=None if is_traced(ends) else max(ends))


class BatchTopK(Deterministic):
    """The batch's k · batch largest entries, where positive (Bussmann et al., 2024).

    In use each example stands alone: an entry is kept above a threshold, the running mean
    of the smallest entry that was kept in training.

    Attributes:
        k: entries for an example, in the mean; may be traced.
        decay: of the running mean.
    """

    k: chex.Numeric
    decay: float = 0.99

    @nn.compact
    def select(self, h: Array, train: bool) -> Array:
        """Keeps by rank in the batch while training, by the threshold otherwise."""
        positive = jax.nn.relu(h)
        if not train:
            threshold = running_mean(
                self, "threshold", jnp.zeros((), h.dtype), self.decay, update=False
            )
            return jnp.where(positive > threshold, positive, 0)
        z = keep_largest(positive.reshape(-1), self.k * h.shape[0]).reshape(h.shape)
        least = jnp.min(jnp.where(z > 0, z, jnp.inf))
        running_mean(self, "threshold", jnp.where(jnp.isfinite(least), least, 0), self.decay)
        report(self, "l0", jnp.sum(z > 0).astype(z.dtype) / h.shape[0])
        return z


class WinnerTakeAll(Deterministic):
    """Each unit keeps its largest entries over the batch (Makhzani & Frey, 2015).

    So every unit fires equally often: lifetime sparsity. In use every entry passes. Of
    feature maps, `(batch, *sizes, channels)`, each first keeps its largest entry alone while
    training: spatial sparsity.

    Attributes:
        fraction: the share of the batch for which a unit fires, in (0, 1].
    """

    fraction: chex.Numeric

    def select(self, h: Array, train: bool) -> Array:
        """Keeps the winners of each unit while training."""
        if not train:
            return h
        places = range(1, h.ndim - 1)
        strength = jnp.max(h, axis=places) if places else h
        if places:
            rows = jnp.moveaxis(h, -1, 1)
            maps = keep_largest(rows.reshape(*rows.shape[:2], -1), 1)
            h = jnp.moveaxis(maps.reshape(rows.shape), 1, -1)
        share = self.fraction * h.shape[0] - 1e-5  # 0.07 * 100 exceeds 7
        kept = jnp.maximum(1, jnp.ceil(share)) if is_traced(share) else max(1, math.ceil(share))
        winners = chosen(strength.T, kept).T
        return jnp.where(winners.reshape(h.shape[0], *[1] * (h.ndim - 2), -1), h, 0)


class Gated(Deterministic):
    """1[h > 0] · relu(exp(r) · h + b): which units fire, apart from how much.

    The magnitudes of Rajamanoharan et al. (2024) are exp(r) · W(x - pre_bias) + b_mag; as
    h has the gate's bias in it already, b here is b_mag - exp(r) · b_gate: the same functions.
    """

    @nn.compact
    def select(self, h: Array, train: bool) -> Array:
        """Passes the magnitudes of the units whose gate is open."""
        del train
        r = self.param("r", nn.initializers.zeros, h.shape[-1:])
        bias = self.param("bias", nn.initializers.zeros, h.shape[-1:])
        return jnp.where(h > 0, jax.nn.relu(jnp.exp(r) * h + bias), 0).astype(h.dtype)


class JumpReLU(Deterministic):
    """h where it exceeds a learned threshold, else 0 (Rajamanoharan et al., 2024b).

    Each active unit costs `sparsity_weight` nats. Where the derivative by the threshold
    vanishes almost everywhere, it is estimated over a window of width `bandwidth`.

    Attributes:
        sparsity_weight: nats for an active unit; may be traced.
        bandwidth: of the window, in units of h.
        threshold: at first, of every unit.
    """

    sparsity_weight: chex.Numeric
    bandwidth: chex.Numeric = 0.1
    threshold: chex.Numeric = 0.1

    @nn.compact
    def __call__(self, h: Array, train: bool = True) -> tuple[Array, Array]:
        """Returns the codes, and sparsity_weight times the number of active units."""
        start = nn.initializers.constant(jnp.log(self.threshold))
        threshold = jnp.exp(self.param("log_threshold", start, h.shape[-1:])).astype(h.dtype)
        active = _step(h, threshold, self.bandwidth)
        l0 = jnp.sum(active, axis=range(1, h.ndim))
        if train:
            report(self, "l0", jnp.mean(l0))
        return _jump(h, threshold, self.bandwidth), self.sparsity_weight * l0


@jax.custom_jvp
def _step(h: Array, threshold: Array, bandwidth: float) -> Array:
    """1 where h exceeds the threshold."""
    return (h > threshold).astype(h.dtype)


@_step.defjvp
def _step_jvp(primals: Any, tangents: Any) -> tuple[Array, Array]:
    h, threshold, bandwidth = primals
    slope = -_window(h, threshold, bandwidth) / bandwidth
    return _step(*primals), slope * tangents[1]


@jax.custom_jvp
def _jump(h: Array, threshold: Array, bandwidth: float) -> Array:
    """Passes h where it exceeds the threshold, else 0."""
    return jnp.where(h > threshold, h, 0)


@_jump.defjvp
def _jump_jvp(primals: Any, tangents: Any) -> tuple[Array, Array]:
    h, threshold, bandwidth = primals
    slope = -threshold / bandwidth * _window(h, threshold, bandwidth)
    return _jump(*primals), jnp.where(h > threshold, tangents[0], 0) + slope * tangents[1]


def _window(h: Array, threshold: Array, bandwidth: Array) -> Array:
    """The rectangle of width `bandwidth` about the threshold."""
    return (jnp.abs(h - threshold) <= bandwidth / 2).astype(h.dtype)
