"""Which entries are the largest, exactly as many as asked for."""

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxae.base import Array, is_traced


def chosen(h: Array, k: chex.Numeric, most: int | None = None) -> Array:
    """Marks the k largest entries along the last axis; of equal ones the first.

    Args:
        h: `(..., n)`.
        k: how many, 0..n; may be traced.
        most: the largest value that a traced k can take; the fewer, the faster. None for n.

    >>> chosen(jnp.array([1.0, 3.0, 3.0, 3.0]), 2).tolist()
    [False, True, True, False]

    Raises:
        ValueError: a concrete k that is no whole number in [0, n].
    """
    n = h.shape[-1]
    if not is_traced(k):
        if not 0 <= k <= n or k != int(k):
            raise ValueError(
                f"k must be a whole number in [0, {n}], the number of entries; got {k}."
            )
        most = int(k)
    most = n if most is None else min(most, n)
    index = jax.lax.top_k(jax.lax.stop_gradient(h).reshape(-1, n), most)[1]
    rows = np.arange(index.shape[0])[:, None]
    marks = jnp.zeros((index.shape[0], n), bool).at[rows, index].set(np.arange(most) < k)
    return marks.reshape(h.shape)


def keep_largest(h: Array, k: chex.Numeric, most: int | None = None) -> Array:
    """`h` with all but its k largest entries along the last axis 0; see `chosen`.

    >>> keep_largest(jnp.array([[1.0, 3.0, 2.0]]), 2).tolist()
    [[0.0, 3.0, 2.0]]
    """
    return jnp.where(chosen(h, k, most), h, 0)
