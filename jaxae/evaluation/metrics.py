"""Errors of reconstruction, codes and intervals, over whole data sets in bounded memory."""

import functools
import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from jaxae.base import (
    Array,
    Autoencoder,
    Batch,
    Key,
    Metrics,
    Params,
    as_float,
    map_batches,
    num_examples,
)
from jaxae.evaluation.arrays import expand_mask


def squared_error(x: Array, x_hat: Array, mask: Array | None = None) -> jax.Array:
    """The squared error of each example, summed over its (observed) entries.

    Args:
        x: `(batch, ...)`; uint8 stands for x / 255. Unobserved entries may be NaN.
        x_hat: The reconstruction, of x's shape.
        mask: 1 = observed; x's shape or a left prefix of it.

    Returns:
        `(batch,)`, in squared units of x (as floats).

    Raises:
        ValueError: The shapes do not agree.

    >>> squared_error(jnp.array([[1.0, 2.0], [3.0, 4.0]]), jnp.zeros((2, 2))).tolist()
    [5.0, 25.0]
    """
    if np.shape(x) != np.shape(x_hat):
        raise ValueError(
            f"The reconstruction must have x's shape {np.shape(x)}; got {np.shape(x_hat)}. "
            "Let decode return x's shape."
        )
    x, x_hat = as_float(x), as_float(x_hat)
    wide = jnp.promote_types(jnp.promote_types(x.dtype, x_hat.dtype), jnp.float32)
    squares = (x.astype(wide) - x_hat.astype(wide)) ** 2
    if mask is not None:
        squares = jnp.where(expand_mask(jnp.asarray(mask), x.shape) != 0, squares, 0.0)
    return squares.reshape(len(x), -1).sum(1)


def reconstruction(
    model: Autoencoder, batch_size: int = 1000
) -> Callable[[Params, Batch], Metrics]:
    """How well `model` reconstructs a data set, without noise.

    Args:
        model: Its `encode` and `decode` are used.
        batch_size: Rows at a time; only their reconstructions are in memory.

    Returns:
        A pure function `(params, data) -> metrics` to jit, vmap or call in a training
        loop. Its metrics: `squared_error`, summed over the observed entries of an
        example, mean over examples; `mse`, mean over all observed entries (NaN where
        there are none). Of models of tokens, which decode to a probability of each, instead
        `token_accuracy`, the share of observed tokens that are the most probable ones.

    >>> def scale(params, batch): return params * batch["x"]
    >>> def identity(params, z, context=None): return z
    >>> model = Autoencoder(None, None, scale, identity, None)
    >>> metrics = jax.jit(reconstruction(model))(0.5, {"x": jnp.ones((3, 4))})
    >>> {name: float(value) for name, value in metrics.items()}
    {'mse': 0.25, 'squared_error': 1.0}
    """

    def errors(params: Params, batch: Batch) -> tuple[dict[str, jax.Array], jax.Array]:
        x, mask = batch["x"], batch.get("mask")
        x_hat = model.decode(params, model.encode(params, batch), model.context(batch))
        count = _observed(x.shape, mask)
        if x_hat.shape[:-1] == x.shape:
            right = jnp.argmax(x_hat, axis=-1) == x
            return {"right": squared_error(right, jnp.zeros(x.shape), mask)}, count
        return {"squares": squared_error(x, x_hat, mask)}, count

    def evaluate(params: Params, data: Batch) -> Metrics:
        sums, counts = map_batches(functools.partial(errors, params), data, batch_size)
        total = {name: values.mean() for name, values in sums.items()}
        if "right" in total:
            return {"token_accuracy": total["right"] / counts.mean()}
        return {"mse": total["squares"] / counts.mean(), "squared_error": total["squares"]}

    return evaluate


def validation(
    model: Autoencoder, key: Key, batch_size: int = 1000
) -> Callable[[Params, Batch], Metrics]:
    """The loss and the errors of held-out data, to watch while training.

    Args:
        model: Its `loss`, `encode` and `decode` are used.
        key: The noise and samples of the loss, the same at each call, so that changes
            are the parameters' own.
        batch_size: Rows at a time.

    Returns:
        A pure function `(params, data) -> metrics` with `validation_loss`, the mean over
        examples in nats, with noise as in training, and `validation_mse` (of tokens
        `validation_token_accuracy`), without.

    >>> import jaxae
    >>> model, data = jaxae.undercomplete(4, 2), {"x": jnp.ones((5, 4))}
    >>> params = model.init(jax.random.key(0), data)
    >>> sorted(validation(model, jax.random.key(1))(params, data))
    ['validation_loss', 'validation_mse']
    """
    errors = reconstruction(model, batch_size)

    def evaluate(params: Params, data: Batch) -> Metrics:
        n = num_examples(data)
        size = min(n, batch_size)
        count = n // size

        def loss(i: Array, start: Array, rows: int) -> Array:
            batch = {k: jax.lax.dynamic_slice_in_dim(a, start, rows) for k, a in arrays.items()}
            return model.loss(params, jax.random.fold_in(key, i), batch)[0]

        arrays = {name: jnp.asarray(array) for name, array in data.items()}
        total = size * jax.lax.map(lambda i: loss(i, i * size, size), jnp.arange(count)).sum()
        if rest := n - count * size:
            total += rest * loss(jnp.asarray(count), jnp.asarray(n - rest), rest)
        found = {f"validation_{name}": value for name, value in errors(params, data).items()}
        found.pop("validation_squared_error", None)
        return {"validation_loss": total / n, **found}

    return evaluate


def codes(model: Autoencoder, params: Params, data: Batch, batch_size: int = 1000) -> np.ndarray:
    """The codes of all rows of `data`, `(n, latent_dim)`, on the host; maps are flattened.

    Compiled once for each model, batch size and shape of data.

    >>> def encode(params, batch): return batch["x"] @ params
    >>> model = Autoencoder(None, None, encode, None, None)
    >>> codes(model, jnp.ones((2, 1)), {"x": jnp.ones((3, 2))}).tolist()
    [[2.0], [2.0], [2.0]]
    """
    return np.asarray(_codes(model.encode, batch_size, params, dict(data)))


def mean_interval(values: Sequence[float] | Array, level: float = 0.95) -> tuple[float, float]:
    """Mean of a metric over seeds, and half the width of its confidence interval.

    mean ± t((1 + level) / 2; n - 1) · s / √n, by Student's t (Student, 1908): the
    values are taken as independent and about normal. NaN among them stays visible.

    Raises:
        ValueError: Fewer than 2 values, not one axis, or `level` not between 0 and 1.

    >>> mean, half_width = mean_interval([1.0, 2.0, 3.0])
    >>> print(f"{mean:.2f} ± {half_width:.2f}")
    2.00 ± 2.48
    """
    a = np.asarray(values, np.float64)
    if a.ndim != 1 or a.size < 2:
        raise ValueError(
            f"An interval needs at least 2 values on one axis; got shape {a.shape}. Run more seeds."
        )
    if not 0.0 < level < 1.0:
        raise ValueError(f"level must lie between 0 and 1, such as 0.95; got {level}.")
    from scipy import stats

    quantile = stats.t.ppf((1.0 + level) / 2.0, a.size - 1)
    return float(a.mean()), float(quantile * a.std(ddof=1) / math.sqrt(a.size))


@functools.partial(jax.jit, static_argnums=(0, 1))
def _codes(
    encode: Callable[[Params, Batch], Array], batch_size: int, params: Params, data: Batch
) -> Array:
    z = map_batches(functools.partial(encode, params), data, batch_size)
    return z.reshape(z.shape[0], -1)


def _observed(shape: tuple[int, ...], mask: Array | None) -> jax.Array:
    """The number of observed entries of each example, `(batch,)`."""
    each = jnp.full(shape[:1], math.prod(shape[1:]), jnp.float32)
    if mask is None:
        return each
    seen = (expand_mask(mask, shape) != 0).reshape(shape[0], -1)
    return seen.mean(1, dtype=jnp.float32) * each
