"""The routes to the Jacobian of one example, as factors; `jaxae.models.jacobians` chooses."""

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.extend.core import ClosedJaxpr

from jaxae.base import Array, Batch, Key, Params
from jaxae.models.structure import NoStructureError, after_first_layer, chain, count


class Traced(NamedTuple):
    """An encoder's trace for one example: `(*leaves, *others, x) -> z`, each of one row."""

    closed: ClosedJaxpr
    leaves: list[Array]
    others: tuple[str, ...]

    def args(self, row: Mapping[str, Array]) -> list[Any]:
        """The trace's arguments for an example."""
        return [*self.leaves, *(row[name][None] for name in self.others), row["x"][None]]

    def z(self, row: Mapping[str, Array]) -> Array:
        """The example's code, `(latent_dim,)`."""
        args = self.args(row)
        return jax.core.eval_jaxpr(self.closed.jaxpr, self.closed.consts, *args)[0].reshape(-1)


class Factor(NamedTuple):
    """The Jacobian diag(scale) · rows · kernelᵀ of one example; a part that is None is absent.

    Attributes:
        scale: `(latent_dim,)`.
        rows: `(latent_dim, n)`.
        kernel: `(d, n)`, the same for every example.
    """

    scale: Any
    rows: Any
    kernel: Any


Route = Callable[[Traced, Mapping[str, Array]], Factor]


def trace(encode: Callable[[Params, Batch], Array], params: Params, batch: Batch) -> Traced:
    """Traces `encode` for one example of `batch`."""
    leaves, tree = jax.tree.flatten(params)
    others = tuple(sorted(name for name in batch if name != "x"))

    def one(*args: Any) -> Array:
        extras = dict(zip(others, args[len(leaves) : -1], strict=True))
        return encode(jax.tree.unflatten(tree, args[: len(leaves)]), {**extras, "x": args[-1]})

    arrays = [batch[name] for name in (*others, "x")]
    rows = [jax.ShapeDtypeStruct((1, *a.shape[1:]), a.dtype) for a in arrays]
    return Traced(jax.make_jaxpr(one)(*leaves, *rows), leaves, others)


def squared_norm(factor: Factor) -> Array:
    """‖J‖²_F."""
    scale, rows, kernel = (_wide(part) for part in factor)
    if rows is None:
        return jnp.sum(scale**2 * jnp.sum(kernel**2, axis=0))
    norms = jnp.sum(rows**2, axis=1) if kernel is None else _row_norms(rows, kernel)
    return jnp.sum(norms if scale is None else scale**2 * norms)


def minus(factor: Factor, other: Factor) -> Factor:
    """The difference of the Jacobians of one example at two points."""
    if factor.rows is None:
        return factor._replace(scale=factor.scale - other.scale)
    return Factor(None, _scaled(factor) - _scaled(other), factor.kernel)


def by_forward(traced: Traced, row: Mapping[str, Array]) -> Factor:
    """All of J, by a Jacobian-vector product for each entry of x: the definition."""
    jacobian = jax.jacfwd(lambda x: traced.z({**row, "x": x}))(row["x"])
    return Factor(None, jacobian.reshape(jacobian.shape[0], -1), None)


def by_reverse(traced: Traced, row: Mapping[str, Array]) -> Factor:
    """All of J, by a vector-Jacobian product for each entry of the code."""
    jacobian = jax.jacrev(lambda x: traced.z({**row, "x": x}))(row["x"])
    return Factor(None, jacobian.reshape(jacobian.shape[0], -1), None)


def after_first(transform: Callable[..., Any]) -> Route:
    """J from the first affine layer on, by `jax.jacfwd` or `jax.jacrev`, and the layer's kernel."""

    def route(traced: Traced, row: Mapping[str, Array]) -> Factor:
        kernel, a, rest = after_first_layer(traced.closed, traced.args(row))
        jacobian = transform(lambda a: rest(a[None]).reshape(-1))(a[0])
        return Factor(None, jacobian, kernel)

    return route


def closed_form(traced: Traced, row: Mapping[str, Array]) -> Factor:
    """diag(s'(a)) Wᵀ, of one affine layer and an elementwise function."""
    found = chain(traced.closed, traced.args(row))
    if len(found.layers) != 1 or found.layers[0].slope is not None:
        raise NoStructureError("The encoder is not one affine layer that x enters as it is.")
    return Factor(found.slope, None, found.layers[0].kernel)


def multiplied(traced: Traced, row: Mapping[str, Array]) -> Factor:
    """The product of a chain's kernels and slopes, from the end where that takes less."""
    found = chain(traced.closed, traced.args(row))
    first, *layers = found.layers
    if not layers:
        slope = 1.0 if first.slope is None else first.slope
        return Factor(found.slope, first.kernel.T * slope, None)
    from_code, from_input = _products([layer.kernel.shape for layer in layers])
    if from_code <= from_input:
        rows = layers[-1].kernel.T * layers[-1].slope
        for layer in reversed(layers[:-1]):
            rows = (rows @ layer.kernel.T) * layer.slope
    else:
        rows = layers[0].kernel.T * layers[0].slope
        for layer in layers[1:]:
            rows = layer.kernel.T @ (layer.slope[:, None] * rows)
    if first.slope is not None:
        return Factor(found.slope, (rows @ first.kernel.T) * first.slope, None)
    return Factor(found.slope, rows, first.kernel)


def estimate(key_name: str, probes: int) -> Route:
    """Random signs v: vᵀJ over the root of their number has ‖J‖² in the mean (Hutchinson, 1990)."""

    def route(traced: Traced, row: Mapping[str, Array]) -> Factor:
        z, pull = jax.vjp(lambda x: traced.z({**row, "x": x}), row["x"])
        key: Key = row[key_name]
        signs = jax.random.rademacher(key, (probes, z.size), z.dtype) / math.sqrt(probes)
        return Factor(None, jax.vmap(pull)(signs)[0].reshape(probes, -1), None)

    return route


def costs(traced: Traced, row: Mapping[str, Any], probes: int) -> dict[str, tuple[int, int]]:
    """For each method that suits: multiply-adds of value and gradient, and entries held.

    Automatic differentiation needs three times the products of the value, the quadratic form
    with the Gram matrix only twice (`_row_norms`).
    """
    found: dict[str, tuple[int, int]] = {}

    def look(row: Mapping[str, Any]) -> None:
        operations, entries = count(traced.closed)
        d, k = row["x"].size, traced.z(row).size
        found["jacfwd"] = 3 * d * operations, d * (entries + k)
        found["jacrev"] = 3 * k * operations, k * (entries + d)
        found["hutchinson"] = 3 * probes * operations, probes * (entries + d)
        try:
            _, a, rest = after_first_layer(traced.closed, traced.args(row))
        except NoStructureError:
            pass
        else:
            width = a.size
            operations, entries = count(jax.make_jaxpr(rest)(a))
            gram, held = 2 * k * width**2, 3 * k * width
            found["gram_jacfwd"] = 3 * width * operations + gram, width * entries + held
            found["gram_jacrev"] = 3 * k * operations + gram, k * entries + held
        try:
            layers = chain(traced.closed, traced.args(row)).layers
        except NoStructureError:
            return
        widths = [layer.kernel.shape[1] for layer in layers]
        products = 3 * min(_products([layer.kernel.shape for layer in layers[1:]]))
        d, width = layers[0].kernel.shape
        last = _last_product(k, d, width, layers[0].slope is None)
        found["chain"] = products + last, 4 * k * sum(widths[:-1])
        if len(layers) == 1:
            found["chain"] = 3 * k * d, 3 * k * d
            if layers[0].slope is None:
                found["closed_form"] = 3 * k, 3 * k

    jax.eval_shape(look, dict(row))
    return found


def _products(shapes: list[tuple[int, ...]]) -> tuple[int, int]:
    """Multiply-adds of a chain's product for one example, from the code and from the input.

    `shapes` are those of the kernels after the first layer; scaling the end ones is free.
    """
    if not shapes:
        return 0, 0
    code, first = shapes[-1][1], shapes[0][0]
    from_code = sum(code * n * m for n, m in shapes[:-1])
    return from_code, sum(first * n * m for n, m in shapes[1:])


def _last_product(k: int, d: int, width: int, plain: bool) -> int:
    """Multiply-adds of the first layer's part in ‖J‖², value and gradient."""
    return min(2 * k * width**2, 3 * k * width * d) if plain else 3 * k * width * d


def _scaled(factor: Factor) -> Array:
    assert factor.rows is not None
    return factor.rows if factor.scale is None else factor.scale[:, None] * factor.rows


def _wide(a: Any) -> Any:
    return None if a is None else a.astype(jnp.promote_types(a.dtype, jnp.float32))


def _row_norms(rows: Array, kernel: Array) -> Array:
    """The squared norm of each row of `rows @ kernel.T`, by the cheaper of two ways."""
    d, width = kernel.shape
    if 2 * width <= 3 * d:
        return _gram_norms(rows, kernel)
    return jnp.sum((rows @ kernel.T) ** 2, axis=1)


@jax.custom_jvp
def _gram_norms(rows: Array, kernel: Array) -> Array:
    return jnp.sum((rows @ (kernel.T @ kernel)) * rows, axis=1)


@_gram_norms.defjvp
def _gram_norms_jvp(
    primals: tuple[Array, Array], tangents: tuple[Array, Array]
) -> tuple[Array, Array]:
    """As the Gram matrix is symmetric, the value's own product serves the rows' derivative."""
    rows, kernel = primals
    product = rows @ (kernel.T @ kernel)
    half = kernel.T @ tangents[1]
    by_rows = 2 * jnp.sum(product * tangents[0], axis=1)
    by_kernel = jnp.sum((rows @ (half + half.T)) * rows, axis=1)
    return jnp.sum(product * rows, axis=1), by_rows + by_kernel
