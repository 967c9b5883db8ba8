"""Corruptions: functions `(key, x) -> x_tilde` of the same shape and dtype.

Each takes a `noise_level` that may be a traced value, so that one compiled program
can sweep it; a concrete one is checked at once. At level 0 every corruption is the
identity.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxae.base import Array, Batch, Key, check_range, where_observed

Corruption = Callable[[Key, Array], Array]


def none(key: Key, x: Array) -> Array:
    """Leaves `x` as it is."""
    del key
    return x


def masking(noise_level: chex.Numeric) -> Corruption:
    """Sets each entry to zero with probability `noise_level` (Vincent et al., 2008).

    >>> masking(1.0)(jax.random.key(0), jnp.ones(3)).tolist()
    [0.0, 0.0, 0.0]

    Raises:
        ValueError: a concrete `noise_level` outside [0, 1].
    """
    check_range("noise_level", noise_level, 0.0, 1.0)
    return lambda key, x: jnp.where(_chance(key, noise_level, x), 0, x)


def gaussian(noise_level: chex.Numeric) -> Corruption:
    """Adds Gaussian noise of standard deviation `noise_level`, in the units of x.

    >>> gaussian(0.0)(jax.random.key(0), jnp.ones(3)).tolist()
    [1.0, 1.0, 1.0]

    Raises:
        ValueError: a concrete `noise_level` below 0 or infinite.
    """
    check_range("noise_level", noise_level, 0.0, open_high=True)

    def corrupt(key: Key, x: Array) -> Array:
        noise = _draw(jax.random.normal, key, x.shape, dtype=x.dtype)
        # apart from what reads it, where XLA would lose the vectorised erf_inv of the draw
        return jax.lax.optimization_barrier(x + jnp.asarray(noise_level, x.dtype) * noise)

    return corrupt


def salt_and_pepper(
    noise_level: chex.Numeric, low: chex.Numeric = 0.0, high: chex.Numeric = 1.0
) -> Corruption:
    """Sets each entry with probability `noise_level` to `low` or `high`, a fair coin's choice.

    `low` and `high` are the least and the greatest value that x can take
    (Vincent et al., 2010).

    >>> set(salt_and_pepper(1.0)(jax.random.key(0), jnp.full(9, 0.5)).tolist())
    {0.0, 1.0}

    Raises:
        ValueError: a concrete `noise_level` outside [0, 1].
    """
    check_range("noise_level", noise_level, 0.0, 1.0)

    def corrupt(key: Key, x: Array) -> Array:
        u = _draw(jax.random.uniform, key, x.shape)  # in full precision, whatever x has
        extreme = jnp.where(u < 0.5 * noise_level, low, high).astype(x.dtype)
        return jnp.where(u < noise_level, extreme, x)

    return corrupt


def dropout(noise_level: chex.Numeric) -> Corruption:
    """Zeroes entries with probability `noise_level` and scales the rest by 1 / (1 - noise_level).

    Unlike `masking` it leaves the expected input unchanged (Srivastava et al., 2014).

    >>> dropout(0.5)(jax.random.key(0), jnp.ones(4)).max().item()
    2.0

    Raises:
        ValueError: a concrete `noise_level` outside [0, 1).
    """
    check_range("noise_level", noise_level, 0.0, 1.0, open_high=True)

    def corrupt(key: Key, x: Array) -> Array:
        scale = 1.0 / (1.0 - jnp.asarray(noise_level, x.dtype))
        return jnp.where(_chance(key, noise_level, x), 0, x * scale)

    return corrupt


@dataclasses.dataclass(frozen=True, eq=False)
class Hiding:
    """A corruption of what is observed: `of_batch` hides entries in x and in the mask.

    Attributes:
        noise_level: the probability.
        groups: widths of the blocks of the last axis that are hidden together, or None.
    """

    noise_level: chex.Numeric
    groups: tuple[int, ...] | None

    def __call__(self, key: Key, x: Array) -> Array:
        """The array with zeros where entries are hidden."""
        return jnp.where(self._hidden(key, x), 0, x)

    def of_batch(self, key: Key, batch: Batch) -> dict[str, Any]:
        """The batch with x and mask of zeros where entries are hidden."""
        x, hidden = batch["x"], self._hidden(key, batch["x"])
        mask = where_observed(batch, jnp.ones(x.shape, x.dtype))
        return {**batch, "x": jnp.where(hidden, 0, x), "mask": jnp.where(hidden, 0, mask)}

    def _hidden(self, key: Key, x: Array) -> Array:
        if self.groups is None:
            return _chance(key, self.noise_level, x)
        if sum(self.groups) != x.shape[-1]:
            raise ValueError(
                f"groups are widths that add up to x's last axis, {x.shape[-1]}; got {self.groups}."
            )
        count = len(self.groups)
        block = np.repeat(np.arange(count), self.groups)
        return _chance(key, self.noise_level, x[..., :count])[..., block]


def hiding(noise_level: chex.Numeric, groups: Sequence[int] | None = None) -> Hiding:
    """Hides entries from the encoder with probability `noise_level`, as if unobserved.

    They are zeros in the x and in the mask that the encoder sees; the loss still has those
    that were observed. So a model learns to fill in what is missing: ratings, cells of a table.

    Args:
        noise_level: a probability, which may be traced.
        groups: widths of blocks of the last axis, such as one-hot columns, that are hidden
            together; None hides each entry by itself.

    >>> seen = hiding(1.0).of_batch(jax.random.key(0), {"x": jnp.ones((1, 3))})
    >>> seen["x"].tolist(), seen["mask"].tolist()
    ([[0.0, 0.0, 0.0]], [[0.0, 0.0, 0.0]])

    Raises:
        ValueError: a concrete `noise_level` outside [0, 1], or widths that are not positive; in
            use, widths that do not add up to the last axis.
    """
    check_range("noise_level", noise_level, 0.0, 1.0)
    if groups is not None and not all(isinstance(n, int | np.integer) and n > 0 for n in groups):
        raise ValueError(f"groups are positive integers, the widths of blocks; got {groups}.")
    return Hiding(noise_level, None if groups is None else tuple(int(n) for n in groups))


def corrupted(corrupt: Corruption, key: Key, batch: Batch) -> dict[str, Any]:
    """The batch as the encoder sees it: x corrupted, by `Hiding` the mask, too."""
    if isinstance(corrupt, Hiding):
        return corrupt.of_batch(key, batch)
    return {**batch, "x": corrupt(key, batch["x"])}


def _chance(key: Key, probability: chex.Numeric, x: Array) -> Array:
    """True at each entry of x with the probability, independently."""
    return _draw(jax.random.uniform, key, x.shape) < probability


def _draw(draw: Callable[..., Array], key: Key, shape: tuple[int, ...], **options: Any) -> Array:
    """`draw(key, shape)` with half the work of JAX's default, a fifth of a small step on a CPU.

    By default each number costs a whole block of the generator, of which one half is
    thrown away, so that an array drawn in shards equals one drawn whole without its
    devices having to talk. Here both halves are used, and images are drawn as matrices,
    which XLA vectorises better. The same key still gives the same numbers.
    """
    with jax.threefry_partitionable(False):
        return draw(key, (*shape[:1], math.prod(shape[1:])), **options).reshape(shape)
