"""Exact squared norms of an encoder's Jacobian, by the cheapest of several equal routes.

With J the Jacobian of the code by x, A that of the code by what the first affine layer gives
and W that layer's kernel, J = A Wᵀ and

    ‖J‖² = Σ (A G) ∘ A,   G = Wᵀ W,

so that the tensor J of batch × code × input need never be built.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax

from jaxae.base import Array, Batch, Key, Params, as_float, check_range, num_examples
from jaxae.models import factors, routes
from jaxae.models.chunks import mean_over

Encode = Callable[[Params, Batch], Array]
_ROUTES: dict[str, routes.Route] = {
    "jacfwd": routes.by_forward,
    "jacrev": routes.by_reverse,
    "closed_form": routes.closed_form,
    "gram_jacfwd": routes.after_first(jax.jacfwd),
    "gram_jacrev": routes.after_first(jax.jacrev),
    "chain": routes.multiplied,
}
METHODS = ("auto", *_ROUTES, "hutchinson")
_CPU_CACHE = 2**24


class Plan(NamedTuple):
    """How a norm is to be computed; `str` puts it in words.

    Attributes:
        method: the one taken.
        operations: multiply-adds for an example, value and gradient, by method that suits.
        chunk: examples at a time.
        bytes: the memory that a chunk is reckoned to take.
        exact: False for an estimate.
    """

    method: str
    operations: Mapping[str, int]
    chunk: int
    bytes: int
    exact: bool

    def __str__(self) -> str:
        ranked = sorted(self.operations.items(), key=lambda item: item[1])
        costs = ", ".join(f"{name} {n:.3g}" for name, n in ranked)
        kind = "exact" if self.exact else "an unbiased estimate"
        return (
            f"{self.method} ({kind}), {self.chunk} examples at a time in about "
            f"{self.bytes / 2**20:.0f} MiB; multiply-adds for an example: {costs}"
        )


def squared_jacobian_norm(
    encode: Encode,
    params: Params,
    x: Batch | Array,
    other: Array | None = None,
    *,
    method: str = "auto",
    memory_limit: int = 2**28,
    key: Key | None = None,
    probes: int = 1,
) -> jax.Array:
    """‖J(x)‖²_F of each example, J = ∂ encode(x) / ∂x (Rifai et al., 2011).

    Defined by `jax.jacfwd`. The exact methods agree with it to float rounding:

    - "jacfwd", "jacrev": any encoder; all of J, by a pass for each entry of x or of the code.
    - "closed_form": one affine layer and an elementwise activation, Σ s'(a)² ‖W_i‖².
    - "gram_jacfwd", "gram_jacrev": x enters by one affine layer, whatever follows; the
      Jacobian from there on, and the Gram matrix of the layer's kernel.
    - "chain": affine layers with elementwise functions between them, multiplied out.
    - "auto": of these the one with the fewest operations; see `explain`.

    "hutchinson" is an unbiased estimate, E_v ‖vᵀJ‖² over `probes` random signs v
    (Hutchinson, 1990), for encoders of which no exact method fits into memory.

    Args:
        encode: `(params, batch) -> z`, rows independent of each other.
        params: what encode reads.
        x: a batch with `x`, or the array itself, `(batch, ...)`.
        other: where it is given, `(batch, ...)` as x, the result is ‖J(x) - J(other)‖²_F
            instead; mask and context are those of x.
        method: of those above.
        memory_limit: bytes that the Jacobians may take; examples are processed in chunks.
        key: of the probes; only for "hutchinson".
        probes: of "hutchinson".

    Returns:
        `(batch,)`, in squared units of the code over those of x (as floats).

    >>> import jax.numpy as jnp, jaxae
    >>> model, batch = jaxae.undercomplete(6, 2, activation="sigmoid"), {"x": jnp.ones((3, 6))}
    >>> params = model.init(jax.random.key(0), batch)
    >>> squared_jacobian_norm(model.encode, params, batch).shape
    (3,)

    Raises:
        ValueError: an unknown method, one that does not suit the encoder, a missing key, or
            no exact method within `memory_limit`.
    """
    points = _points(x, other)
    one, work, columns, plan = _prepare(
        encode, params, points, method, memory_limit, memory_limit, key, probes
    )
    if plan.chunk >= num_examples(points[0]):
        return jax.vmap(one, in_axes=(None, 0))(work.shared, columns)
    again = jax.checkpoint(one)
    return jax.lax.map(lambda rows: again(work.shared, rows), columns, batch_size=plan.chunk)


def mean_squared_jacobian_norm(
    encode: Encode,
    params: Params,
    x: Batch | Array,
    other: Array | None = None,
    *,
    method: str = "auto",
    memory_limit: int = 2**28,
    key: Key | None = None,
    probes: int = 1,
) -> jax.Array:
    """The mean of `squared_jacobian_norm` over the examples, a scalar, for losses.

    Its gradient costs less time and memory: it is made chunk by chunk with the value, on a
    CPU in chunks that stay in the cache. The arguments are those of that function.

    >>> import jax.numpy as jnp, jaxae
    >>> model, x = jaxae.linear(6, 2), jnp.ones((3, 6))
    >>> params = model.init(jax.random.key(0), {"x": x})
    >>> mean_squared_jacobian_norm(model.encode, params, x, x + 1).item()
    0.0

    Raises:
        ValueError: as `squared_jacobian_norm`.
    """
    target = min(memory_limit, _CPU_CACHE) if jax.default_backend() == "cpu" else memory_limit
    one, work, columns, plan = _prepare(
        encode, params, _points(x, other), method, memory_limit, target, key, probes
    )
    return mean_over(one, work.shared, columns, chunk=plan.chunk)


def explain(
    encode: Encode,
    params: Params,
    x: Batch | Array,
    *,
    method: str = "auto",
    memory_limit: int = 2**28,
    probes: int = 1,
) -> Plan:
    """Which method `squared_jacobian_norm` takes and what each would cost; computes nothing.

    >>> import jax.numpy as jnp, jaxae
    >>> model, batch = jaxae.undercomplete(6, 2, activation="sigmoid"), {"x": jnp.ones((3, 6))}
    >>> explain(model.encode, model.init(jax.random.key(0), batch), batch).method
    'closed_form'

    Raises:
        ValueError: as `squared_jacobian_norm`.
    """
    (batch,) = jax.eval_shape(lambda: _points(x, None))
    traced = routes.trace(encode, params, batch)
    return _plan(traced, batch, method, memory_limit, memory_limit, probes, 1)


def _points(x: Any, other: Any) -> list[dict[str, Any]]:
    """The batch, x as floats, and where there is a second point, the batch with that as x."""
    batch: dict[str, Any] = dict(x) if isinstance(x, Mapping) else {"x": x}
    num_examples(batch)
    batch = {**batch, "x": as_float(batch["x"])}
    if other is not None and other.shape != batch["x"].shape:
        raise ValueError(f"other has x's shape, {batch['x'].shape}; got {other.shape}.")
    return [batch] if other is None else [batch, {**batch, "x": as_float(other)}]


def _prepare(
    encode: Encode,
    params: Params,
    points: Sequence[dict[str, Any]],
    method: str,
    memory_limit: int,
    target: int,
    key: Key | None,
    probes: int,
) -> tuple[Callable[[Any, Any], Array], routes.Work, list[Any], Plan]:
    """What gives the norm of one example, its work, a column for each point, and the plan."""
    traced = routes.trace(encode, params, points[0])
    plan = _plan(traced, points[0], method, memory_limit, target, probes, len(points))
    if plan.method == "hutchinson":
        if key is None:
            raise ValueError('method="hutchinson" draws random probes; give it a key.')
        keys = jax.random.split(key, num_examples(points[0]))
        points = [{**point, routes.PROBES: keys} for point in points]
    route = _ROUTES.get(plan.method) or routes.estimate(probes)
    work, *others = (route(traced, point) for point in points)

    def one(shared: Any, rows: Any) -> Array:
        factor, *rest = (work.factor(shared, row) for row in rows)
        return factors.squared_norm(factors.minus(factor, rest[0]) if rest else factor)

    return one, work, [work.columns, *(other.columns for other in others)], plan


def _plan(
    traced: routes.Traced,
    batch: Batch,
    method: str,
    memory_limit: int,
    target: int,
    probes: int,
    points: int,
) -> Plan:
    if method not in METHODS:
        raise ValueError(f"method is one of {METHODS}; got {method!r}.")
    check_range("probes", probes, 1)
    check_range("memory_limit", memory_limit, 0, open_low=True)
    row = {name: routes.like(a, a.shape[1:]) for name, a in batch.items()}
    costs = routes.costs(traced, row, probes)
    width = max(4, batch["x"].dtype.itemsize)
    size = {name: points * width * entries for name, (_, entries) in costs.items()}
    exact = [name for name in costs if name != "hutchinson" and size[name] <= memory_limit]
    if method == "auto":
        if not exact:
            raise ValueError(
                f"No exact method takes less than memory_limit={memory_limit:,} bytes for one "
                f'example, but {size}. Raise it, or take method="hutchinson", an estimate.'
            )
        method = min(exact, key=lambda name: costs[name][0])
    if method not in costs:
        raise ValueError(
            f"method={method!r} does not suit this encoder; {sorted(costs)} and 'auto' do."
        )
    if size[method] > memory_limit:
        raise ValueError(
            f"method={method!r} takes about {size[method]:,} bytes for one example, more than "
            f'memory_limit={memory_limit:,}. Raise it, or take "auto" or another of {exact}.'
        )
    chunk = min(num_examples(batch), max(1, target // size[method]))
    operations = {name: n for name, (n, _) in costs.items()}
    return Plan(method, operations, chunk, chunk * size[method], method != "hutchinson")
