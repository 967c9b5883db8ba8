"""A Jacobian of one example in parts, and its squared norm."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxae.base import Array


class Factor(NamedTuple):
    """A Jacobian of one example up to a rotation of the input, diag(scale) · rows · root(gram).

    Attributes:
        scale: `(latent_dim,)`, or None.
        rows: `(latent_dim, n)`; None for the identity.
        gram: `(n, n)`, the diagonal `(n,)` where rows is None, or None for the identity.
    """

    scale: Any
    rows: Any
    gram: Any


def squared_norm(factor: Factor) -> Array:
    """‖J‖²_F."""
    scale, rows, gram = (_wide(part) for part in factor)
    if rows is None:
        return jnp.sum(scale**2 * gram)
    norms = jnp.sum(rows**2, axis=1) if gram is None else gram_norms(rows, gram)
    return jnp.sum(norms if scale is None else scale**2 * norms)


def minus(factor: Factor, other: Factor) -> Factor:
    """The difference of the Jacobians of one example at two points."""
    if factor.rows is None:
        return factor._replace(scale=factor.scale - other.scale)
    return Factor(None, _scaled(factor) - _scaled(other), factor.gram)


def _scaled(factor: Factor) -> Array:
    return factor.rows if factor.scale is None else factor.scale[:, None] * factor.rows


def _wide(a: Any) -> Any:
    return None if a is None else a.astype(jnp.promote_types(a.dtype, jnp.float32))


@jax.custom_jvp
def gram_norms(rows: Array, gram: Array) -> Array:
    """The diagonal of rows · gram · rowsᵀ, for a symmetric matrix."""
    return jnp.sum((rows @ gram) * rows, axis=1)


@gram_norms.defjvp
def _gram_norms_jvp(
    primals: tuple[Array, Array], tangents: tuple[Array, Array]
) -> tuple[Array, Array]:
    """As the Gram matrix is symmetric, the value's own product serves the rows' derivative."""
    rows, gram = primals
    product = rows @ gram
    by_rows = 2 * jnp.sum(product * tangents[0], axis=1)
    by_gram = jnp.sum((rows @ tangents[1]) * rows, axis=1)
    return jnp.sum(product * rows, axis=1), by_rows + by_gram
