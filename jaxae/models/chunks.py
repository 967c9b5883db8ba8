"""Means over examples in chunks, with the gradient made on the way."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxae.base import Array


def mean_over(
    function: Callable[[Any, Any], Array], shared: Any, columns: Any, *, chunk: int
) -> Array:
    """The mean of `function(shared, row)` over the rows of `columns`, `chunk` rows at a time.

    Where it is differentiated, the gradient of a chunk is made with the chunk, as the
    cotangent of every row is the same: nothing of a chunk is kept, and nothing computed twice.

    Args:
        function: `(shared, row) -> scalar`; it closes over no traced value.
        shared: a pytree of arrays.
        columns: a pytree of arrays with equally many rows.
        chunk: the most rows at a time.

    >>> weights, rows = jnp.arange(3.0), jnp.ones((5, 3))
    >>> mean_over(lambda w, row: w @ row, weights, rows, chunk=2).item()
    3.0
    """
    n = jax.tree.leaves(columns)[0].shape[0]
    count = -(-n // chunk)
    size = -(-n // count)
    index = jnp.minimum(jnp.arange(count * size), n - 1).reshape(count, size)
    weights = jnp.where(jnp.arange(count * size) < n, 1 / n, 0.0).reshape(count, size)
    columns = jax.tree.map(jnp.asarray, columns)
    chunks = jax.tree.map(lambda a: a[None] if count == 1 else a[index], columns)
    same, same_rest, join_same = _floating(shared)
    each, each_rest, join_each = _floating(chunks)

    def of_chunk(same: list[Array], each: list[Array], rest: tuple[list[Array], Array]) -> Array:
        values = jax.vmap(function, in_axes=(None, 0))(
            join_same(same, same_rest), join_each(each, rest[0])
        )
        return jnp.sum(values * rest[1].astype(values.dtype))

    inputs = each_rest, weights

    @jax.custom_jvp
    def mean(same: list[Array], each: list[Array]) -> Array:
        return jnp.sum(jax.lax.map(lambda part: of_chunk(same, *part), (each, inputs)))

    @mean.defjvp
    def mean_jvp(primals: Any, tangents: Any) -> tuple[Array, Array]:
        same, each = primals

        of_part = jax.value_and_grad(of_chunk, argnums=(0, 1))

        def add(sums: Any, part: Any) -> tuple[Any, Any]:
            value, (by_same, by_each) = of_part(same, *part)
            return jax.tree.map(jnp.add, sums, (value, by_same)), by_each

        first = jax.tree.map(lambda a: a[0], (each, inputs))
        value, (by_same, _) = jax.eval_shape(of_part, same, *first)
        start = jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), (value, by_same))
        (value, by_same), by_each = jax.lax.scan(add, start, (each, inputs))
        products = jax.tree.map(lambda g, t: jnp.sum(g * t), [by_same, by_each], list(tangents))
        slope = sum(jax.tree.leaves(products), jnp.zeros_like(value))
        return value, jnp.real(slope).astype(value.dtype)

    return mean(same, each)


def _floating(
    tree: Any,
) -> tuple[list[Array], list[Array], Callable[[list[Array], list[Array]], Any]]:
    """The leaves that have derivatives, those that have none, and what joins them again."""
    leaves, structure = jax.tree.flatten(tree)
    chosen = [jnp.issubdtype(jnp.result_type(leaf), jnp.inexact) for leaf in leaves]
    parts: dict[bool, list[Array]] = {True: [], False: []}
    for leaf, floating in zip(leaves, chosen, strict=True):
        parts[floating].append(leaf)

    def join(floating: list[Array], rest: list[Array]) -> Any:
        sources = {True: iter(floating), False: iter(rest)}
        return jax.tree.unflatten(structure, [next(sources[f]) for f in chosen])

    return parts[True], parts[False], join
