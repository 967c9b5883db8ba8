"""Whether two samples come of one distribution."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxae.base import Array, Key, as_float, check_range
from jaxae.models.penalties import multiquadric


class TwoSampleTest(NamedTuple):
    """Of `two_sample_test`.

    Attributes:
        squared_mmd: the unbiased estimate, about 0 where the distributions are one.
        p_value: the share of random divisions of all rows whose estimate is no less.
    """

    squared_mmd: float
    p_value: float


def two_sample_test(key: Key, a: Array, b: Array, *, permutations: int = 1000) -> TwoSampleTest:
    """The kernel two-sample test by permutation (Gretton et al., 2012).

    Its kernel is the sum of inverse multiquadratics of `penalties.mmd`.

    Args:
        key: of the permutations.
        a: `(n, d)`.
        b: `(n, d)`; as many rows as a, at most some thousands.
        permutations: whose number bounds the p-value from below.

    >>> a, b = jax.random.normal(jax.random.key(0), (2, 100, 3))
    >>> same, moved = (two_sample_test(jax.random.key(1), a, b + by) for by in (0.0, 1.0))
    >>> same.p_value > 0.05, moved.p_value < 0.01
    (True, True)

    Raises:
        ValueError: samples of different shapes, of fewer than two rows or not finite, or no
            permutations.
    """
    check_range("permutations", permutations, 1)
    if np.ndim(a) != 2 or np.shape(a) != np.shape(b) or len(a) < 2:
        raise ValueError(
            "The samples are (n, d) each, n at least 2; got "
            f"{np.shape(a)} and {np.shape(b)}. Take as many rows of each."
        )
    a, b = as_float(a), as_float(b)
    if not (jnp.isfinite(a).all() and jnp.isfinite(b).all()):
        raise ValueError("The samples have NaN or infinite entries; drop their rows.")
    middle = 0.5 * (jnp.mean(a, axis=0) + jnp.mean(b, axis=0))  # a shift changes the rounding alone
    found, others = _estimates(key, a - middle, b - middle, permutations)
    reached = int(jnp.sum(others >= found))
    return TwoSampleTest(float(found), (1 + reached) / (1 + permutations))


@partial(jax.jit, static_argnums=3)
def _estimates(key: Key, a: Array, b: Array, permutations: int) -> tuple[Array, Array]:
    """The estimate of the samples, and those of random divisions."""
    n, rows = len(a), jnp.concatenate([a, b])
    kernel = multiquadric(rows, rows) * (1 - jnp.eye(2 * n))

    def estimate(in_a: Array) -> Array:
        signs = jnp.where(in_a, 1.0, 0.0)
        first, both = kernel @ signs, kernel @ (1.0 - signs)
        within = signs @ first + (1.0 - signs) @ both
        return within / (n * (n - 1)) - 2.0 * (signs @ both) / (n * n)

    def permuted(key: Key) -> Array:
        return estimate(jax.random.permutation(key, 2 * n) < n)

    return estimate(jnp.arange(2 * n) < n), jax.lax.map(
        permuted, jax.random.split(key, permutations)
    )
