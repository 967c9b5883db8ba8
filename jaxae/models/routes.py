"""The routes to the Jacobian of one example, as factors; `jaxae.models.jacobians` chooses.

A route prepares its work: what all examples share, a row of numbers for each, and a function
of the two that gives the example's factor.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.dtypes import canonicalize_dtype
from jax.extend.core import ClosedJaxpr

from jaxae.base import Array, Batch, Params
from jaxae.models.factors import Factor
from jaxae.models.structure import NoStructureError, after_first_layer, chain, count

Row = Mapping[str, Any]
PROBES = "key of the probes"


class Traced(NamedTuple):
    """An encoder's trace for one example: `(*leaves, *others, x) -> z`, each of one row."""

    closed: ClosedJaxpr
    leaves: list[Array]
    others: tuple[str, ...]

    def args(self, row: Row) -> list[Any]:
        """The trace's arguments for an example."""
        return [*self.leaves, *(row[name][None] for name in self.others), row["x"][None]]

    def z(self, row: Row) -> Array:
        """The example's code, `(latent_dim,)`."""
        args = self.args(row)
        return jax.core.eval_jaxpr(self.closed.jaxpr, self.closed.consts, *args)[0].reshape(-1)


class Work(NamedTuple):
    """Attributes: shared by all examples; columns, a row for each; factor of the two."""

    shared: Any
    columns: Any
    factor: Callable[[Any, Any], Factor]


Route = Callable[[Traced, Row], Work]


def trace(encode: Callable[[Params, Batch], Array], params: Params, batch: Batch) -> Traced:
    """Traces `encode` for one example of `batch`."""
    leaves, tree = jax.tree.flatten(params)
    others = tuple(sorted(name for name in batch if name != "x"))

    def one(*args: Any) -> Array:
        extras = dict(zip(others, args[len(leaves) : -1], strict=True))
        return encode(jax.tree.unflatten(tree, args[: len(leaves)]), {**extras, "x": args[-1]})

    arrays = [batch[name] for name in (*others, "x")]
    rows = [like(a, (1, *a.shape[1:])) for a in arrays]
    return Traced(jax.make_jaxpr(one)(*leaves, *rows), leaves, others)


def like(a: Any, shape: tuple[int, ...]) -> jax.ShapeDtypeStruct:
    """The specification of an array of that shape, of a's type as JAX would have it."""
    return jax.ShapeDtypeStruct(shape, canonicalize_dtype(a.dtype, allow_extended_dtype=True))


def per_example(factor: Callable[[Traced, Row], Factor]) -> Route:
    """A route on which all is done anew for each example."""

    def route(traced: Traced, columns: Row) -> Work:
        def of_row(shared: Any, row: Row) -> Factor:
            consts, leaves = shared
            closed = ClosedJaxpr(traced.closed.jaxpr, consts)
            return factor(traced._replace(closed=closed, leaves=leaves), row)

        return Work((traced.closed.consts, traced.leaves), columns, of_row)

    return route


@per_example
def by_forward(traced: Traced, row: Row) -> Factor:
    """All of J, by a Jacobian-vector product for each entry of x: the definition."""
    jacobian = jax.jacfwd(lambda x: traced.z({**row, "x": x}))(row["x"])
    return Factor(None, jacobian.reshape(jacobian.shape[0], -1), None)


@per_example
def by_reverse(traced: Traced, row: Row) -> Factor:
    """All of J, by a vector-Jacobian product for each entry of the code."""
    jacobian = jax.jacrev(lambda x: traced.z({**row, "x": x}))(row["x"])
    return Factor(None, jacobian.reshape(jacobian.shape[0], -1), None)


def after_first(transform: Callable[..., Any]) -> Route:
    """J from the first affine layer on, by `jax.jacfwd` or `jax.jacrev`, and the Gram matrix."""

    @per_example
    def route(traced: Traced, row: Row) -> Factor:
        kernel, a, rest = after_first_layer(traced.closed, traced.args(row))
        jacobian = transform(lambda a: rest(a[None]).reshape(-1))(a[0])
        return Factor(None, jacobian, kernel.T @ kernel)

    return route


def estimate(probes: int) -> Route:
    """Random signs v: vᵀJ over the root of their number has ‖J‖² in the mean (Hutchinson, 1990)."""

    @per_example
    def route(traced: Traced, row: Row) -> Factor:
        z, pull = jax.vjp(lambda x: traced.z({**row, "x": x}), row["x"])
        signs = jax.random.rademacher(row[PROBES], (probes, z.size), z.dtype) / math.sqrt(probes)
        return Factor(None, jax.vmap(pull)(signs)[0].reshape(probes, -1), None)

    return route


def closed_form(traced: Traced, columns: Row) -> Work:
    """diag(s'(a)) Wᵀ, of one affine layer and an elementwise function."""
    (_, slope), kernels = _layers(traced, columns)
    return Work(jnp.sum(kernels[0] ** 2, axis=0), slope, lambda norms, s: Factor(s, None, norms))


def multiplied(traced: Traced, columns: Row) -> Work:
    """The product of a chain's kernels and slopes, from the end where that takes less."""
    slopes, (first, *kernels) = _layers(traced, columns)
    from_code, from_input = _products([kernel.shape for kernel in kernels])
    gram = slopes[0] is None and kernels and 2 * first.shape[1] <= 3 * first.shape[0]

    def factor(shared: Any, slopes: Any) -> Factor:
        kernels, last = shared
        entry, *between, code = slopes
        if not kernels:
            return Factor(code, last.T * (1.0 if entry is None else entry), None)
        pairs = list(zip(kernels, between, strict=True))
        if from_code <= from_input:
            rows = kernels[-1].T * between[-1]
            for kernel, slope in reversed(pairs[:-1]):
                rows = (rows @ kernel.T) * slope
        else:
            rows = kernels[0].T * between[0]
            for kernel, slope in pairs[1:]:
                rows = kernel.T @ (slope[:, None] * rows)
        if gram:
            return Factor(code, rows, last)
        rows = rows @ last.T
        return Factor(code, rows if entry is None else rows * entry, None)

    return Work((kernels, first.T @ first if gram else first), slopes, factor)


def costs(traced: Traced, row: Row, probes: int) -> dict[str, tuple[int, int]]:
    """For each method that suits: multiply-adds of value and gradient, and entries held.

    Automatic differentiation needs three times the products of the value, the quadratic form
    with the Gram matrix only twice (`factors.gram_norms`).
    """
    found: dict[str, tuple[int, int]] = {}

    def look(row: Row) -> None:
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

    jax.eval_shape(look, dict(row))
    columns = {name: jax.ShapeDtypeStruct((2, *a.shape), a.dtype) for name, a in row.items()}
    try:
        slopes, kernels = jax.eval_shape(lambda columns: _layers(traced, columns), columns)
    except NoStructureError:
        return found
    shapes, k, plain = [kernel.shape for kernel in kernels], slopes[-1].shape[1], slopes[0] is None
    d, width = shapes[0]
    if len(shapes) == 1:
        found["chain"] = 3 * k * d, 3 * k * d
        return found | ({"closed_form": (3 * k, 3 * k)} if plain else {})
    direct = 3 * k * width * d
    last = min(2 * k * width**2, direct) if plain else direct
    held = 4 * k * sum(width for _, width in shapes[:-1]) + (2 * k * d if last == direct else 0)
    found["chain"] = 3 * min(_products(shapes[1:])) + last, held
    return found


def _layers(traced: Traced, columns: Row) -> tuple[list[Any], list[Array]]:
    """The slopes of a chain, `(batch, width)`, and its kernels, which all examples share."""

    def one(row: Row) -> tuple[list[Any], list[Array]]:
        found = chain(traced.closed, traced.args(row))
        slopes = [*(layer.slope for layer in found.layers), found.slope]
        return slopes, [layer.kernel for layer in found.layers]

    try:
        return jax.vmap(one, out_axes=(0, None))(columns)
    except ValueError as error:
        raise NoStructureError("A kernel differs between examples.") from error


def _products(shapes: list[tuple[int, ...]]) -> tuple[int, int]:
    """Multiply-adds of a chain's product for one example, from the code and from the input.

    `shapes` are those of the kernels after the first layer; scaling the end ones is free.
    """
    if not shapes:
        return 0, 0
    code, first = shapes[-1][1], shapes[0][0]
    from_code = sum(code * n * m for n, m in shapes[:-1])
    return from_code, sum(first * n * m for n, m in shapes[1:])
