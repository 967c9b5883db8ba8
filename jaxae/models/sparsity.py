"""Penalties that make codes sparse, and keep every unit in use."""

from collections.abc import Sequence

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxae.base import Array, check_range, is_traced, where_observed
from jaxae.models.carrying import carried, carry, report, running_mean
from jaxae.models.networks import atoms
from jaxae.models.penalties import Forward, Penalty
from jaxae.models.selecting import keep_largest


class KLSparsity(nn.Module):
    """weight · Σ_j KL(target ‖ mean activation of unit j), for codes in (0, 1) (Ng, 2011).

    The mean is that of the batch, or with a `decay` a running one carried from step to
    step; its gradient is then that of the batch's mean, taken at the running one.

    Attributes:
        sparsity_target: the wanted mean activation, in (0, 1).
        sparsity_weight: in nats; may be traced.
        decay: of the running mean, in (0, 1); None for the batch's own.
    """

    sparsity_target: chex.Numeric
    sparsity_weight: chex.Numeric
    decay: float | None = None

    @nn.compact
    def __call__(self, forward: Forward) -> Array:
        """The penalty of a forward pass."""
        z = forward.z.astype(jnp.promote_types(forward.z.dtype, jnp.float32))
        mean = jnp.mean(z, axis=tuple(range(z.ndim - 1)))
        if self.decay is not None:
            now = running_mean(self, "mean_activation", jax.lax.stop_gradient(mean), self.decay)
            mean = mean + jax.lax.stop_gradient(now - mean)
        report(self, "mean_activation", jnp.mean(mean))
        small = jnp.finfo(mean.dtype).eps
        mean, rho = jnp.clip(mean, small, 1.0 - small), self.sparsity_target
        kl = rho * jnp.log(rho / mean) + (1 - rho) * jnp.log((1 - rho) / (1 - mean))
        return self.sparsity_weight * jnp.sum(kl)


def kl_sparsity(
    sparsity_target: chex.Numeric, sparsity_weight: chex.Numeric, decay: float | None = None
) -> KLSparsity:
    """The `KLSparsity` of these numbers.

    >>> import jaxae
    >>> model = jaxae.deep(8, 20, activation="sigmoid", penalties=[kl_sparsity(0.1, 1.0)])

    Raises:
        ValueError: a concrete target or decay outside (0, 1), or weight below 0.
    """
    check_range("sparsity_target", sparsity_target, 0.0, 1.0, open_low=True, open_high=True)
    check_range("sparsity_weight", sparsity_weight, 0.0)
    if decay is not None:
        check_range("decay", decay, 0.0, 1.0, open_low=True, open_high=True)
    return KLSparsity(sparsity_target, sparsity_weight, decay)


def l1(l1_coefficient: chex.Numeric, *, by_decoder_norm: bool = False) -> Penalty:
    """l1_coefficient · E Σ_i |z_i|, times the length of unit i's atom with `by_decoder_norm`.

    With it, larger decoder weights do not make smaller codes any cheaper.

    Raises:
        ValueError: a concrete coefficient below 0; at `init`, a decoder of several layers.
    """
    check_range("l1_coefficient", l1_coefficient, 0.0)

    def penalty(forward: Forward) -> Array:
        sizes = jnp.abs(forward.z)
        if by_decoder_norm:
            sizes = sizes * jnp.linalg.norm(atoms(forward.params), axis=1)
        return l1_coefficient * jnp.mean(jnp.sum(sizes, axis=range(1, sizes.ndim)))

    return penalty


class AuxK(nn.Module):
    """The error's normalised squared error, rebuilt from the best dead units (Gao et al., 2024).

    A unit is dead when it has not fired for `dead_after` examples. The aux_k largest
    positive pre-activations of dead units are decoded, without the decoder's bias, to match
    x - x_hat, so that dead units find something to do.

    Attributes:
        aux_k: how many; where fewer are dead, all of them.
        aux_coefficient: its weight; may be traced.
        dead_after: examples.
    """

    aux_k: chex.Numeric
    aux_coefficient: chex.Numeric = 1 / 32
    dead_after: int = 100_000

    @nn.compact
    def __call__(self, forward: Forward) -> Array:
        """The penalty; 0 while no unit is dead, or where the error is the same for all rows."""
        z, h = forward.z, forward.h
        since = carried(self, "since_fired", z.shape[-1:])
        dead = since.value >= self.dead_after
        fired = jnp.any(z != 0, axis=tuple(range(z.ndim - 1)))
        carry(self, since, lambda n: jnp.where(fired, 0.0, n + z.shape[0]))
        report(self, "dead_fraction", jnp.mean(dead.astype(z.dtype)))
        kept = (jnp.minimum if is_traced(self.aux_k) else min)(self.aux_k, h.shape[-1])
        revived = keep_largest(jnp.where(dead, jax.nn.relu(h), 0), kept)
        x = forward.batch["x"]
        x_hat = jax.lax.stop_gradient(forward.decode(forward.params, z))
        error = where_observed(forward.batch, x - x_hat)
        zero = forward.decode(forward.params, jnp.zeros_like(z))
        rebuilt = where_observed(forward.batch, forward.decode(forward.params, revived) - zero)
        count = jnp.sum(where_observed(forward.batch, jnp.ones_like(x)), axis=0)
        mean = jnp.sum(error, axis=0) / jnp.maximum(count, 1)
        spread = jnp.sum(where_observed(forward.batch, error - mean) ** 2)
        nmse = jnp.sum((error - rebuilt) ** 2) / jnp.where(spread > 0, spread, jnp.inf)
        return self.aux_coefficient * jnp.where(jnp.any(dead), nmse, 0.0)


def aux_k(
    k: chex.Numeric, aux_coefficient: chex.Numeric = 1 / 32, dead_after: int = 100_000
) -> AuxK:
    """The `AuxK` of these numbers.

    Raises:
        ValueError: k or dead_after below 1, or a concrete coefficient below 0.
    """
    check_range("aux_k", k, 1)
    check_range("aux_coefficient", aux_coefficient, 0.0)
    check_range("dead_after", dead_after, 1)
    return AuxK(k, aux_coefficient, dead_after)


def gate(l1_coefficient: chex.Numeric) -> Penalty:
    """What trains the gates of `codes.Gated` (Rajamanoharan et al., 2024).

    l1_coefficient · E Σ relu(h), and the distortion of relu(h) by a frozen decoder.

    Raises:
        ValueError: a concrete coefficient below 0.
    """
    check_range("l1_coefficient", l1_coefficient, 0.0)

    def penalty(forward: Forward) -> Array:
        opened = jax.nn.relu(forward.h)
        frozen = jax.lax.stop_gradient(forward.params)
        sizes = jnp.mean(jnp.sum(opened, axis=range(1, opened.ndim)))
        return l1_coefficient * sizes + forward.distortion(frozen, opened)

    return penalty


def nested(prefixes: Sequence[int]) -> Penalty:
    """Makes the distortion the mean over codes cut to their first entries (Bussmann et al., 2025).

    The mean of the distortions of all prefixes, less that of the whole code, which the loss
    has already; so the loss has their mean, and `distortion` stays that of the whole code.

    Args:
        prefixes: numbers of entries, rising, the last the whole code's.

    >>> import jaxae
    >>> model = jaxae.deep(8, 20, penalties=[nested([5, 10, 20])])

    Raises:
        ValueError: no or no rising prefixes; at `init`, a last one that is not the code's.
    """
    if not prefixes or list(prefixes) != sorted(set(prefixes)) or prefixes[0] < 1:
        raise ValueError(f"prefixes are rising positive numbers of entries; got {prefixes}.")

    def penalty(forward: Forward) -> Array:
        n = forward.z.shape[-1]
        if prefixes[-1] != n:
            raise ValueError(f"The last of prefixes is the whole code, {n}; got {prefixes}.")
        whole = forward.distortion(forward.params, forward.z)
        cut = [jnp.where(jnp.arange(n) < m, forward.z, 0) for m in prefixes[:-1]]
        extra = [forward.distortion(forward.params, z) - whole for z in cut]
        return sum(extra, jnp.zeros_like(whole)) / len(prefixes)

    return penalty
