"""Paths between codes. Rows come first: step j of the path of row i is `[i, j]`."""

import jax
import jax.numpy as jnp

from jaxae.base import Array


def lerp(a: Array, b: Array, t: Array) -> jax.Array:
    """The straight lines (1 - t) a + t b between rows of codes.

    Args:
        a: `(n, ...)`.
        b: Of a's shape.
        t: `(steps,)`, 0 at a and 1 at b.

    Returns:
        `(n, steps, ...)`.

    Raises:
        ValueError: The shapes of a and b differ, or t has not one axis.

    >>> lerp(jnp.zeros((1, 2)), jnp.array([[2.0, 4.0]]), jnp.array([0.0, 0.5])).tolist()
    [[[0.0, 0.0], [1.0, 2.0]]]
    """
    a, b, t = _ends(a, b, t)
    return (1 - t) * a + t * b


def slerp(a: Array, b: Array, t: Array) -> jax.Array:
    """The arcs between rows of codes: equal steps of t turn by equal angles (Shoemake, 1985).

    ((1 - t) |a| + t |b|) (cos(t θ) u + sin(t θ) w), each row taken whole: θ is the angle
    between a and b, u the direction of a, w the one across it towards b. Norms change
    evenly: codes of a Gaussian prior have about one norm, which a straight line would leave
    (White, 2016). Parallel codes give the line between them, and so do opposite ones and
    zeros, which no single arc joins. Arguments, result and errors are those of `lerp`.

    >>> path = slerp(jnp.array([[3.0, 0.0]]), jnp.array([[0.0, 3.0]]), jnp.array([1 / 3]))
    >>> [round(a, 3) for a in path[0, 0].tolist()]
    [2.598, 1.5]
    """
    a, b, t = _ends(a, b, t)

    def dot(a: jax.Array, b: jax.Array) -> jax.Array:
        return jnp.sum(a * b, axis=range(2, a.ndim), keepdims=True)

    def split(z: jax.Array) -> tuple[jax.Array, jax.Array]:
        norm = jnp.sqrt(dot(z, z))
        return norm, z / jnp.where(norm > 0, norm, 1)

    (long_a, u), (long_b, v) = split(a), split(b)
    apart, opposed = split(u - v)[0], split(u + v)[0]
    angle = 2 * jnp.arctan2(apart, opposed)  # exact for small angles, as arccos is not
    arc = jnp.cos(t * angle) * u + jnp.sin(t * angle) * split(v - dot(u, v) * u)[1]
    bent = (opposed > 8 * jnp.finfo(a.dtype).eps) & (long_a > 0) & (long_b > 0)
    return jnp.where(bent, ((1 - t) * long_a + t * long_b) * arc, (1 - t) * a + t * b)


PATHS = {"linear": lerp, "spherical": slerp}


def _ends(a: Array, b: Array, t: Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """`a`, `b` and `t` as `(n, 1, ...)`, `(n, 1, ...)` and `(steps, 1, ...)`, of one dtype."""
    a, b, t = jnp.asarray(a), jnp.asarray(b), jnp.asarray(t)
    if a.shape != b.shape or a.ndim < 2 or t.ndim != 1:
        raise ValueError(
            f"a and b must be (n, ...) of one shape and t (steps,); got {a.shape}, {b.shape} "
            f"and {t.shape}."
        )
    wide = jnp.promote_types(jnp.result_type(a, b), jnp.float32)
    t = t.astype(wide).reshape(-1, *(1,) * (a.ndim - 1))
    return a.astype(wide)[:, None], b.astype(wide)[:, None], t
