"""Sequences of whole numbers: some that follow a rule, and some that follow none."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from jaxae.base import Array, Key


def hailstone(key: Key, n: int, *, steps: int, largest: int) -> Array:
    """Draws sequences in which half of an even number follows it, and 3x + 1 an odd x.

    So the first number determines all that follow (Collatz's rule), however they go up and
    down. It is uniform over those whose sequences stay within `largest` for all steps,
    `hailstone_starts`.

    Args:
        key: decides the first numbers.
        n: how many sequences.
        steps: numbers in each.
        largest: no number is above it.

    Returns:
        `(n, steps)` of int32, from 1 to `largest`.

    >>> hailstone_from(jnp.array([7, 6]), steps=8).tolist()
    [[7, 22, 11, 34, 17, 52, 26, 13], [6, 3, 10, 5, 16, 8, 4, 2]]
    >>> hailstone(jax.random.key(0), 20, steps=8, largest=60).shape
    (20, 8)

    Raises:
        ValueError: sizes that are no positive integers, a single step, or `largest` beyond 2**24.
    """
    _check(n, steps, largest)
    starts = hailstone_starts(steps, largest)
    return hailstone_from(jax.random.choice(key, jnp.asarray(starts), (n,)), steps=steps)


def unrelated(key: Key, n: int, *, steps: int, largest: int) -> Array:
    """Draws sequences `(n, steps)` of independent numbers, uniform from 1 to `largest`.

    They are as long as those of `hailstone` and have their range, and no number says anything
    of another. The arguments are those of that function.

    >>> unrelated(jax.random.key(0), 20, steps=8, largest=60).shape
    (20, 8)

    Raises:
        ValueError: as `hailstone`.
    """
    _check(n, steps, largest)
    return jax.random.randint(key, (n, steps), 1, largest + 1)


@functools.partial(jax.jit, static_argnames="steps")
def hailstone_from(starts: Array, *, steps: int) -> Array:
    """The sequences `(n, steps)` that begin with the positive integers `starts`, `(n,)`."""

    def turn(now: Array, _: None) -> tuple[Array, Array]:
        return jnp.where(now % 2 == 0, now // 2, 3 * now + 1), now

    _, numbers = jax.lax.scan(turn, jnp.asarray(starts, jnp.int32), length=steps)
    return numbers.T


def hailstone_starts(steps: int, largest: int) -> np.ndarray:
    """The first numbers, ascending, of sequences that stay within `largest` for all steps.

    >>> hailstone_starts(4, 10).tolist()
    [1, 2, 4, 6, 8]

    Raises:
        ValueError: as `hailstone`.
    """
    _check(1, steps, largest)
    starts = np.arange(1, largest + 1)
    now, within = starts.copy(), np.ones(largest, bool)
    for _ in range(steps - 1):
        now = np.where(now % 2 == 0, now // 2, 3 * now + 1)
        within &= now <= largest
        now = np.minimum(now, 2 * largest)  # those beyond are out for good
    return starts[within]


def _check(n: int, steps: int, largest: int) -> None:
    for name, size, least in (("n", n, 1), ("steps", steps, 2), ("largest", largest, 4)):
        if isinstance(size, bool) or not isinstance(size, int | np.integer) or size < least:
            raise ValueError(f"{name} is an integer of at least {least}; got {size!r}.")
    if largest > 2**24:
        raise ValueError(f"largest is at most 2**24, which a float32 holds; got {largest}.")
