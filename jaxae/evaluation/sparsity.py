"""How sparse codes are and what that costs, over whole data sets in bounded memory."""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxae.base import Array, Autoencoder, Batch, Metrics, Params, as_float, num_examples
from jaxae.evaluation.arrays import expand_mask
from jaxae.evaluation.metrics import squared_error


def sparsity(model: Autoencoder, batch_size: int = 1000) -> Callable[[Params, Batch], Metrics]:
    """How few codes `model` uses, and what is lost by that, without noise.

    A unit fires on an example where its code is not exactly 0. With sums over the
    observed entries of the whole set, and means over its rows:

        fvu = sum |x - x_hat|^2 / sum |x - mean x|^2
        relative_reconstruction_bias = E |x_hat|^2 / E[x_hat . x]

    The mean of x is each feature's over the set, so that neither the unit nor the
    origin of x nor `batch_size` changes `fvu`. The bias does depend on the origin
    (Rajamanoharan et al., 2024): it is the number that x_hat must be divided by for the
    least squared error, below 1 where reconstructions are shrunk.

    Args:
        model: Its `encode` and `decode` are used.
        batch_size: Rows at a time; only their codes and reconstructions are in memory.

    Returns:
        A pure function `(params, data) -> metrics` to jit, vmap or call in a training
        loop. Its metrics: `l0`, the mean number of units that fire on an example; `fvu`,
        the fraction of variance unexplained, and `explained_variance`, 1 - fvu (neither
        is finite where x does not vary); `relative_reconstruction_bias`;
        `dead_fraction`, the share of units that fire on no example of the set;
        `mean_activation`, the mean code over units and examples. A mask hides entries
        from error, variance and bias; the codes of all rows count.

    >>> def relu(params, batch): return jnp.maximum(batch["x"], 0.0)
    >>> def scale(params, z, context=None): return params * z
    >>> model = Autoencoder(None, None, relu, scale, None)
    >>> x = jnp.array([[4.0, 0.0, -2.0], [0.0, 0.0, 0.0]])
    >>> metrics = jax.jit(sparsity(model))(0.5, {"x": x})
    >>> {name: round(float(value), 3) for name, value in metrics.items()}  # doctest: +ELLIPSIS
    {'dead_fraction': 0.667, ..., 'l0': 0.5, ..., 'relative_reconstruction_bias': 0.5}
    """

    def evaluate(params: Params, data: Batch) -> Metrics:
        n, units = num_examples(data), num_units(model, params, data)
        x = jax.eval_shape(as_float, data["x"])
        zeros = jnp.zeros(x.shape[1:], jnp.promote_types(x.dtype, jnp.float32))
        carry = jnp.zeros(units, jnp.int32), _Moments(zeros, zeros, zeros)
        step = functools.partial(_sums, model, params)
        (fired, _), sums = scan_batches(step, carry, data, batch_size)
        total = jax.tree.map(jnp.sum, sums)
        fvu = total["error"] / total["variation"]
        return {
            "l0": (fired / n).sum(),
            "fvu": fvu,
            "explained_variance": 1.0 - fvu,
            "relative_reconstruction_bias": total["norm"] / total["product"],
            "dead_fraction": (fired == 0).mean(),
            "mean_activation": total["activation"] / (n * units),
        }

    return evaluate


def firing_density(
    model: Autoencoder, batch_size: int = 1000
) -> Callable[[Params, Batch], jax.Array]:
    """The share of examples on which each unit fires: its code is not exactly 0.

    Args:
        model: Its `encode` is used.
        batch_size: Rows at a time; only their codes are in memory.

    Returns:
        A pure function `(params, data) -> density`, `(units,)`, in [0, 1].

    >>> def relu(params, batch): return jnp.maximum(batch["x"], 0.0)
    >>> density = firing_density(Autoencoder(None, None, relu, None, None))
    >>> density(None, {"x": jnp.array([[1.0, -1.0], [2.0, 3.0]])}).tolist()
    [1.0, 0.5]
    """

    def evaluate(params: Params, data: Batch) -> jax.Array:
        def count(fired: Array, batch: Batch, rows: Array, fresh: Array) -> tuple[Array, None]:
            return fired + _fired(flat(model.encode(params, batch)), fresh), None

        start = jnp.zeros(num_units(model, params, data), jnp.int32)
        return scan_batches(count, start, data, batch_size)[0] / num_examples(data)

    return evaluate


def scan_batches(
    function: Callable[..., tuple[Any, Any]], carry: Any, data: Batch, batch_size: int
) -> tuple[Any, Any]:
    """Scans `function` over batches of `data`; as `map_batches`, but to sum up.

    The last batch reaches back to be full. `function` is `(carry, batch, rows, fresh) ->
    (carry, out)`, with the rows' indices and whether each is seen for the first time.
    """
    n = num_examples(data)
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1; got {batch_size}.")
    size = min(n, batch_size)
    arrays = {name: jnp.asarray(array) for name, array in data.items()}

    def step(carry: Any, start: jax.Array) -> tuple[Any, Any]:
        first = jnp.minimum(start, n - size)
        rows = first + jnp.arange(size)
        batch = {k: jax.lax.dynamic_slice_in_dim(a, first, size) for k, a in arrays.items()}
        return function(carry, batch, rows, rows >= start)

    return jax.lax.scan(step, carry, jnp.arange(0, n, size))


def num_units(model: Autoencoder, params: Params, data: Batch) -> int:
    """The number of codes of an example; computes none of them."""
    num_examples(data)
    row = {name: a[:1] for name, a in data.items()}
    return math.prod(jax.eval_shape(model.encode, params, row).shape[1:])


def flat(a: Array) -> jax.Array:
    """One axis of rows and one of everything else."""
    return a.reshape(len(a), -1)


class _Moments(NamedTuple):
    """Of each feature: entries seen, a fixed point near them, their mean seen from there."""

    seen: Array
    origin: Array
    mean: Array


def _sums(
    model: Autoencoder,
    params: Params,
    carry: tuple[Array, _Moments],
    batch: Batch,
    rows: Array,
    fresh: Array,
) -> tuple[tuple[Array, _Moments], Metrics]:
    """One batch's sums of all that `sparsity` is made of."""
    fired, moments = carry
    codes = model.encode(params, batch)
    x_hat = model.decode(params, codes, model.context(batch))
    seen = expand_mask(fresh, batch["x"].shape)
    if batch.get("mask") is not None:
        seen &= expand_mask(batch["mask"], batch["x"].shape) != 0
    seen = jnp.broadcast_to(seen, batch["x"].shape)
    error = squared_error(batch["x"], x_hat, seen).sum()
    x, x_hat = (
        jnp.where(seen, as_float(a), 0).astype(moments.origin.dtype) for a in (batch["x"], x_hat)
    )
    z = flat(codes)
    moments, variation = _update(moments, x, seen)
    return (fired + _fired(z, fresh), moments), {
        "error": error,
        "variation": variation,
        "norm": flat(x_hat**2).sum(1).sum(),
        "product": flat(x_hat * x).sum(1).sum(),
        "activation": jnp.where(fresh, z.astype(x.dtype).sum(1), 0).sum(),
    }


def _update(moments: _Moments, x: Array, seen: Array) -> tuple[_Moments, Array]:
    """Adds a batch to the moments; also returns by how much sum |x - mean x|^2 grew.

    As of two samples merged (Chan et al., 1979). All is counted from the mean of the
    batch that first shows a feature, lest data far from 0 be lost in rounding.
    """
    new = seen.sum(0, dtype=x.dtype)
    count = moments.seen + new
    share = new / jnp.maximum(count, 1)
    origin = jnp.where(moments.seen == 0, x.sum(0) / jnp.maximum(new, 1), moments.origin)
    x = jnp.where(seen, x - origin, 0)
    mean = x.sum(0) / jnp.maximum(new, 1)
    within = jnp.where(seen, (x - mean) ** 2, 0).sum(0)
    shift = mean - moments.mean
    between = shift**2 * moments.seen * share
    return _Moments(count, origin, moments.mean + shift * share), (within + between).sum()


def _fired(z: Array, fresh: Array) -> jax.Array:
    """On how many fresh rows of `z`, `(batch, units)`, each unit fires, `(units,)`."""
    return ((z != 0) & fresh[:, None]).sum(0, dtype=jnp.int32)
