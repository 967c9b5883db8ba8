"""The two types that everything else is built from, and what a batch is."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

Array: TypeAlias = jax.Array
Key: TypeAlias = jax.Array
Params: TypeAlias = Any
Batch: TypeAlias = Mapping[str, Any]
"""`x`, and where they apply `mask` (1 = observed), `context` and `y`; rows are examples."""
Metrics: TypeAlias = dict[str, Array]
"""Scalars by name."""


class Draw(NamedTuple):
    """Codes that were drawn of q(z | x), and what they cost, in nats.

    Attributes:
        z: `(samples, batch, ...)`.
        distortion: -log p(x | z) of the observed entries, `(samples, batch)`.
        rate: log q(z | x) - log p(z), `(samples, batch)`.
    """

    z: Array
    distortion: Array
    rate: Array


class Latent(NamedTuple):
    """What a model offers whose codes are random variables with a prior.

    Where the code is deterministic, a draw is that code at a rate of 0, and what needs a
    distribution is a `ValueError`.

    Attributes:
        draw: `(params, key, batch, samples=1) -> Draw`.
        posterior: `(params, batch) -> (mean, scale)` of a Gaussian q(z | x).
        prior: `(params, key, n) -> z`, drawn from p(z).
        emit: `(params, key, z, context=None) -> x`, drawn from p(x | z).
        masses: `(params, z, context=None) -> (batch, *shape, levels)`, the probabilities of the
            values that an entry may take, where the likelihood has so many; a
            `ValueError` where it is continuous.
        random: whether codes have a distribution, so that rates and likelihoods mean something.
        logistic: `(params, z, context=None) -> (location, log scale, share)`, each
            `(batch, *shape, components)`, where the masses are those of a mixture of logistic
            distributions between the levels' middles; else None.
    """

    draw: Callable[..., Draw]
    posterior: Callable[[Params, Batch], tuple[Array, Array]]
    prior: Callable[[Params, Key, int], Array]
    emit: Callable[..., Array]
    masses: Callable[..., Array]
    random: bool = True
    logistic: Callable[..., tuple[Array, Array, Array]] | None = None


def context_of(batch: Batch) -> Any:
    """The context of a batch, or None."""
    return batch.get("context")


class Autoencoder(NamedTuple):
    """What is learned: pure functions that share one tree of parameters.

    The argument rule is one: what is learned, then randomness, then data.

    Attributes:
        init: `(key, batch) -> params`; only shapes and dtypes of the batch matter.
        loss: `(params, key, batch) -> (loss, metrics)`, scalars, in nats per example. A model
            that carries more than parameters from step to step (running means, thresholds,
            counters) keeps it in `params["carried"]`, and `metrics["carried"]` is what it
            shall be after the step.
        encode: `(params, batch) -> z`, without noise; z is `(batch, latent_dim)`.
        decode: `(params, z, context=None) -> x_hat`, the mean of the likelihood.
        sample: `(params, key, n, context=None) -> x`, from the model's own distribution; a
            `ValueError` where it has none.
        latent: of models that are a likelihood with codes; None for others, such as RBMs.
        context: `batch -> context` for `decode`: what the batch gives the decoder, or None.
    """

    init: Callable[[Key, Batch], Params]
    loss: Callable[[Params, Key, Batch], tuple[Array, Metrics]]
    encode: Callable[[Params, Batch], Array]
    decode: Callable[..., Array]
    sample: Callable[..., Array]
    latent: Latent | None = None
    context: Callable[[Batch], Any] = context_of


class Learner(NamedTuple):
    """How it is learned: a pair of pure functions, as an optax optimizer is.

    Attributes:
        init: `(params, key) -> state`, a pytree that has `.params`; always takes a key.
        step: `(state, key, batch) -> (state, metrics)`.
    """

    init: Callable[[Params, Key], Any]
    step: Callable[[Any, Key, Batch], tuple[Any, Metrics]]


def as_float(x: Array) -> jax.Array:
    """Returns `x` as the floats that a model sees.

    Unsigned 8-bit integers are pixel intensities 0..255 and stand for x / 255, so
    that images stay small on the device and are scaled inside the compiled step.
    Floats pass unchanged; booleans and other integers become float32 of equal value.

    >>> as_float(np.array([0, 255], np.uint8)).tolist(), as_float(np.array([3])).tolist()
    ([0.0, 1.0], [3.0])
    """
    x = jnp.asarray(x)
    if x.dtype == jnp.uint8:
        return x.astype(jnp.float32) * (1.0 / 255.0)
    return x if jnp.issubdtype(x.dtype, jnp.floating) else x.astype(jnp.float32)


def num_examples(data: Batch) -> int:
    """The number of rows that all arrays of `data` share.

    Raises:
        ValueError: `data` is no mapping of arrays with `x`, is empty, or its lengths differ.
    """
    if not isinstance(data, Mapping) or "x" not in data:
        what = f"keys {sorted(data)}" if isinstance(data, Mapping) else type(data).__name__
        raise ValueError(f'A batch is a mapping of arrays that has "x"; got {what}.')
    lengths = {name: np.shape(a)[0] if np.ndim(a) else None for name, a in data.items()}
    if plain := [name for name, a in data.items() if not hasattr(a, "dtype")]:
        raise ValueError(f"A batch holds NumPy or JAX arrays; {plain} are none. Use np.asarray.")
    if len(set(lengths.values())) != 1 or None in lengths.values():
        raise ValueError(f"All arrays of a batch need the same number of rows; got {lengths}.")
    if not lengths["x"]:
        raise ValueError("The data has no examples.")
    return int(np.shape(data["x"])[0])


def map_batches(function: Callable[[Batch], Any], data: Batch, batch_size: int = 1000) -> Any:
    """Applies `function` to all rows of `data`, `batch_size` at a time.

    Pure: jit it, vmap it. The batches are slices taken inside one compiled loop, so the
    data is never copied and only one batch of intermediate values lives at a time. Where
    `batch_size` does not divide the rows, the last batch reaches back to be full, and
    what was computed twice is dropped; so `function` is traced once and must treat every
    row by itself.

    Args:
        function: From a batch to a pytree of arrays whose leading axis is the batch's.
        data: Arrays by name, each with n rows.
        batch_size: Rows at a time; fewer take less memory.

    Returns:
        The pytree of `function`, each array with n rows.

    Raises:
        ValueError: `data` is no batch, or `batch_size` is less than 1.

    >>> data = {"x": jnp.arange(10.0).reshape(5, 2)}
    >>> map_batches(lambda batch: batch["x"].sum(1), data, batch_size=2).tolist()
    [1.0, 5.0, 9.0, 13.0, 17.0]
    """
    n = num_examples(data)
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1; got {batch_size}.")
    arrays = {name: jnp.asarray(array) for name, array in data.items()}
    if n <= batch_size:
        return function(arrays)
    count = -(-n // batch_size)

    def apply(start: jax.Array) -> Any:
        return function(
            {k: jax.lax.dynamic_slice_in_dim(a, start, batch_size) for k, a in arrays.items()}
        )

    def join(out: jax.Array) -> jax.Array:
        last = out[-1, count * batch_size - n :]
        return jnp.concatenate([out[:-1].reshape(-1, *out.shape[2:]), last])

    starts = jnp.minimum(jnp.arange(count) * batch_size, n - batch_size)
    return jax.tree.map(join, jax.lax.map(apply, starts))


def where_observed(batch: Batch, values: Array) -> Array:
    """`values` where the batch's mask is 1, else 0; the mask is broadcast from the left.

    >>> where_observed({"mask": np.array([1, 0])}, jnp.ones((2, 3))).tolist()
    [[1.0, 1.0, 1.0], [0.0, 0.0, 0.0]]

    Raises:
        ValueError: the mask's shape is not that of the first axes of `values`.
    """
    mask = batch.get("mask")
    if mask is None:
        return values
    wanted = np.shape(mask)
    if wanted != values.shape[: len(wanted)]:
        raise ValueError(
            f"mask has shape {wanted}; it must be the shape of x or its first axes, {values.shape}."
        )
    mask = jnp.reshape(mask, wanted + (1,) * (values.ndim - len(wanted)))
    return jnp.where(mask != 0, values, 0)


def is_traced(*values: Any) -> bool:
    """Whether any leaf of `values` is a tracer, whose value no check can see."""
    return any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(values))


def check_range(
    name: str,
    value: Any,
    low: float = -np.inf,
    high: float = np.inf,
    *,
    open_low: bool = False,
    open_high: bool = False,
) -> None:
    """Raises `ValueError` unless low <= value <= high; traced values pass unseen.

    `open_low` and `open_high` exclude the ends themselves. NaN is never in range.
    """
    if is_traced(value):
        return
    a = np.asarray(value)
    above = a > low if open_low else a >= low
    below = a < high if open_high else a <= high
    if not np.all(above & below):
        left = "(" if open_low or low == -np.inf else "["
        right = ")" if open_high or high == np.inf else "]"
        raise ValueError(f"{name} must lie in {left}{low}, {high}{right}; got {value}.")
