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
from jaxae.models import routes

Encode = Callable[[Params, Batch], Array]
METHODS = (
    *("auto", "jacfwd", "jacrev", "closed_form", "gram_jacfwd", "gram_jacrev", "chain"),
    "hutchinson",
)
_ROUTES: dict[str, routes.Route] = {
    "jacfwd": routes.by_forward,
    "jacrev": routes.by_reverse,
    "closed_form": routes.closed_form,
    "gram_jacfwd": routes.after_first(jax.jacfwd),
    "gram_jacrev": routes.after_first(jax.jacrev),
    "chain": routes.multiplied,
}
_KEY, _OTHER = "probe key", "other x"


class Plan(NamedTuple):
    """How a norm is to be computed; `str` puts it in words.

    Attributes:
        method: the one taken.
        operations: multiply-adds for an example, value and gradient, of each method that
            suits this encoder.
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
        costs = ", ".join(
            f"{name} {n:.3g}" for name, n in sorted(self.operations.items(), key=lambda i: i[1])
        )
        kind = "exact" if self.exact else "an unbiased estimate"
        return (
            f"{self.method} ({kind}), {self.chunk} examples at a time in about "
            f"{self.bytes / 2**20:.0f} MiB; multiply-adds for an example: {costs}"
        )


def squared_jacobian_norm(
    encode: Encode,
    params: Params,
    x: Batch | Array,
    *,
    method: str = "auto",
    memory_limit: int = 2**28,
    key: Key | None = None,
    probes: int = 1,
) -> jax.Array:
    """‖∂ encode(x) / ∂x‖²_F of each example (Rifai et al., 2011), defined by `jax.jacfwd`.

    The exact methods agree to float rounding:

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
        method: of those above.
        memory_limit: bytes that the Jacobians may take; examples are processed in chunks.
        key: of the probes; only for "hutchinson".
        probes: of "hutchinson".

    Returns:
        `(batch,)`, in squared units of the code over those of x (as floats).

    >>> import jax.numpy as jnp, jaxae
    >>> model = jaxae.undercomplete(6, 2, activation="sigmoid")
    >>> batch = {"x": jnp.ones((3, 6))}
    >>> params = model.init(jax.random.key(0), batch)
    >>> squared_jacobian_norm(model.encode, params, batch).shape
    (3,)

    Raises:
        ValueError: an unknown method, one that does not suit the encoder, a missing key, or
            no exact method within `memory_limit`.
    """
    return _over_examples(encode, params, (x,), method, memory_limit, key, probes)


def squared_jacobian_difference(
    encode: Encode,
    params: Params,
    x: Batch | Array,
    other: Array,
    *,
    method: str = "auto",
    memory_limit: int = 2**28,
    key: Key | None = None,
    probes: int = 1,
) -> jax.Array:
    """‖J(x) - J(other)‖²_F of each example, as in CAE+H (Rifai et al., 2011).

    `other` has x's shape; mask and context are those of x. The rest is as in
    `squared_jacobian_norm`.

    >>> import jax.numpy as jnp, jaxae
    >>> model = jaxae.linear(6, 2)
    >>> x = jnp.ones((3, 6))
    >>> params = model.init(jax.random.key(0), {"x": x})
    >>> squared_jacobian_difference(model.encode, params, x, x + 1).tolist()
    [0.0, 0.0, 0.0]

    Raises:
        ValueError: as `squared_jacobian_norm`.
    """
    return _over_examples(encode, params, (x, other), method, memory_limit, key, probes)


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
    >>> model = jaxae.undercomplete(6, 2, activation="sigmoid")
    >>> batch = {"x": jnp.ones((3, 6))}
    >>> explain(model.encode, model.init(jax.random.key(0), batch), batch).method
    'closed_form'

    Raises:
        ValueError: as `squared_jacobian_norm`.
    """
    batch = _batch(x)
    return _plan(routes.trace(encode, params, batch), batch, method, memory_limit, probes, 1)


def _batch(x: Any) -> dict[str, Any]:
    batch: dict[str, Any] = dict(x) if isinstance(x, Mapping) else {"x": x}
    num_examples(batch)
    return {**batch, "x": as_float(batch["x"])}


def _over_examples(
    encode: Encode,
    params: Params,
    points: Sequence[Batch | Array],
    method: str,
    memory_limit: int,
    key: Key | None,
    probes: int,
) -> jax.Array:
    """‖J‖² at one point, or ‖J - J'‖² at two, of each example."""
    batch = _batch(points[0])
    traced = routes.trace(encode, params, batch)
    plan = _plan(traced, batch, method, memory_limit, probes, len(points))
    route = _ROUTES.get(plan.method) or routes.estimate(_KEY, probes)
    columns = dict(batch)
    if plan.method == "hutchinson":
        if key is None:
            raise ValueError('method="hutchinson" draws random probes; give it a key.')
        columns[_KEY] = jax.random.split(key, num_examples(batch))
    if len(points) == 2:
        other = _batch(points[1])["x"]
        if other.shape != batch["x"].shape:
            raise ValueError(f"other has x's shape, {batch['x'].shape}; got {other.shape}.")
        columns[_OTHER] = other

    def one(row: Mapping[str, Array]) -> Array:
        factor = route(traced, row)
        if _OTHER in row:
            factor = routes.minus(factor, route(traced, {**row, "x": row[_OTHER]}))
        return routes.squared_norm(factor)

    if plan.chunk >= num_examples(batch):
        return jax.vmap(one)(columns)
    return jax.lax.map(jax.checkpoint(one), columns, batch_size=plan.chunk)


def _plan(
    traced: routes.Traced,
    batch: Batch,
    method: str,
    memory_limit: int,
    probes: int,
    points: int,
) -> Plan:
    if method not in METHODS:
        raise ValueError(f"method is one of {METHODS}; got {method!r}.")
    check_range("probes", probes, 1)
    check_range("memory_limit", memory_limit, 0, open_low=True)
    row = {name: jax.ShapeDtypeStruct(a.shape[1:], a.dtype) for name, a in batch.items()}
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
    chunk = min(num_examples(batch), max(1, memory_limit // size[method]))
    operations = {name: n for name, (n, _) in costs.items()}
    return Plan(method, operations, chunk, chunk * size[method], method != "hutchinson")
