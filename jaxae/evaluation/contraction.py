"""How an encoder contracts about the data: its Jacobian, its codes at a distance, saturation.

J, `(latent_dim, d)`, is the derivative of the code of one example by the d entries of its x
(as floats, so bytes count as x / 255); columns of unobserved entries are zero. All functions
use the model's `encode` alone, `batch_size` rows at a time; it must treat every row by itself.
"""

import functools
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
    check_range,
    map_batches,
    num_examples,
)
from jaxae.evaluation.arrays import expand_mask
from jaxae.models.jacobians import squared_jacobian_norm

Encode = Callable[[Params, Batch], Array]
ROW = "_row"


def jacobians(model: Autoencoder, params: Params, data: Batch, batch_size: int = 100) -> jax.Array:
    """J of each row of `data`, whose `x` is `(n, ...)`: the derivatives of its code by its x.

    Pure. Reverse mode where the code is no wider than x, else forward mode.

    Returns:
        `(n, latent_dim, d)`: give few rows. The other functions hold one batch of it at most.

    Raises:
        ValueError: `data` is no batch, or `batch_size` is less than 1.

    >>> def encode(params, batch): return batch["x"] ** 2 @ params
    >>> model = Autoencoder(None, None, encode, None, None)
    >>> jacobians(model, jnp.ones((2, 1)), {"x": jnp.array([[1.0, 3.0]])}).tolist()
    [[[2.0, 6.0]]]
    """
    return map_batches(functools.partial(_jacobians, model.encode, params), data, batch_size)


def mean_jacobian_norm(
    model: Autoencoder, batch_size: int = 100
) -> Callable[[Params, Batch], Metrics]:
    """The Frobenius norm of J over a data set: the contraction close to the data.

    Its square is what a contractive autoencoder penalises (Rifai et al., 2011).

    Returns:
        A pure function `(params, data) -> metrics` to jit, vmap or call in a training loop:
        `jacobian_norm`, the mean over examples, and `squared_jacobian_norm`, of its square.

    >>> def encode(params, batch): return params * batch["x"]
    >>> model = Autoencoder(None, None, encode, None, None)
    >>> metrics = jax.jit(mean_jacobian_norm(model))(0.5, {"x": jnp.ones((3, 4))})
    >>> {name: float(value) for name, value in metrics.items()}
    {'jacobian_norm': 1.0, 'squared_jacobian_norm': 1.0}
    """

    def evaluate(params: Params, data: Batch) -> Metrics:
        squares = functools.partial(squared_jacobian_norm, model.encode, params)
        each = _wide(map_batches(squares, data, batch_size))
        return {"jacobian_norm": jnp.sqrt(each).mean(), "squared_jacobian_norm": each.mean()}

    return evaluate


def singular_values(
    model: Autoencoder, params: Params, data: Batch, batch_size: int = 100
) -> np.ndarray:
    """The singular values of J at each example, the largest first.

    A few large ones and a steep fall mean that the codes follow as many directions and
    ignore the others (Rifai et al., 2011). In single precision those below about 1e-6 of the
    largest are rounding.

    Returns:
        `(n, min(latent_dim, d))`, units of the code per unit of x.

    Raises:
        ValueError: `data` is no batch, or `batch_size` is less than 1.

    >>> def encode(params, batch): return batch["x"] @ params
    >>> model = Autoencoder(None, None, encode, None, None)
    >>> singular_values(model, jnp.diag(jnp.array([1.0, 3.0])), {"x": jnp.ones((1, 2))}).tolist()
    [[3.0, 1.0]]
    """
    return np.asarray(_singular_values(model.encode, batch_size, params, dict(data)))


def contraction_ratio(
    model: Autoencoder,
    params: Params,
    data: Batch,
    key: Key,
    radii: Sequence[float] | Array,
    *,
    directions: int = 1,
    batch_size: int = 1000,
) -> np.ndarray:
    """How far apart codes lie, relative to their inputs, at given distances from the data.

    E[ |encode(x + r u) - encode(x)| / |r u| ], u uniform on the unit sphere, over the
    examples x, with `directions` draws of u from `key` for each (Rifai et al., 2011, section
    5.3): below 1 where the encoder contracts. As r tends to 0 it tends to E|J u|, which in
    single precision the rounding of the codes hides at radii below about 1e-5 times the norm
    of x. `radii` are in units of x; x + r u is not clipped. The same u serve all radii,
    whatever `batch_size`. With a `mask`, u lies in the observed entries of its example; one
    without any makes the result NaN.

    Returns:
        `(len(radii),)`, units of the code per unit of x.

    Raises:
        ValueError: `radii` are no positive numbers, a size is below 1, or `data` no batch.

    >>> def encode(params, batch): return params * batch["x"]
    >>> model, data = Autoencoder(None, None, encode, None, None), {"x": jnp.zeros((5, 3))}
    >>> contraction_ratio(model, 0.5, data, jax.random.key(0), [0.1, 1.0]).round(4).tolist()
    [0.5, 0.5]
    """
    r = np.asarray(radii)
    if r.ndim != 1 or not r.size:
        raise ValueError(f"radii must be one axis of at least one number; got shape {r.shape}.")
    check_range("radii", r, 0.0, open_low=True, open_high=True)
    check_range("directions", directions, 1)
    sizes = directions, batch_size
    return np.asarray(_contraction_ratio(model.encode, sizes, params, dict(data), key, r))


def saturation(
    model: Autoencoder,
    params: Params,
    data: Batch,
    *,
    low: float = 0.05,
    high: float = 0.95,
    batch_size: int = 1000,
) -> float:
    """The mean share of code units that are saturated: z < low or z > high.

    For codes that end in a bounded activation. The defaults suit a sigmoid (Rifai et
    al., 2011), whose slope z (1 - z) is below 19 % of its greatest there; the slope of tanh,
    1 - z², falls as far at low=-0.9 and high=0.9. Of an unbounded code it says nothing.

    Returns:
        The share in [0, 1] of all units of all examples; NaN where a code is NaN.

    Raises:
        ValueError: `low` is not below `high`, `data` no batch, or `batch_size` below 1.

    >>> def encode(params, batch): return jax.nn.sigmoid(batch["x"])
    >>> model = Autoencoder(None, None, encode, None, None)
    >>> saturation(model, None, {"x": jnp.array([[-9.0, 0.0], [0.0, 0.0]])})
    0.25
    """
    if not low < high:
        raise ValueError(f"low must be below high, the ends of the linear part; got {low}, {high}.")
    return float(_saturation(model.encode, batch_size, params, dict(data), low, high))


def _jacobians(encode: Encode, params: Params, batch: Batch) -> jax.Array:
    """J of each row of one batch, `(batch, latent_dim, d)`, at least in single precision."""
    x = as_float(batch["x"])
    shape, rest = x.shape[1:], {name: a for name, a in batch.items() if name != "x"}

    def code(x: jax.Array, rest: Batch) -> jax.Array:
        row = {name: a[None] for name, a in {**rest, "x": x.reshape(shape)}.items()}
        return encode(params, row).reshape(-1)

    x = x.reshape(len(x), -1)
    latent_dim = jax.eval_shape(jax.vmap(code), x, rest).shape[1]
    derivative = jax.jacrev if latent_dim <= x.shape[1] else jax.jacfwd
    return _wide(jax.vmap(derivative(code))(x, rest))


@functools.partial(jax.jit, static_argnums=(0, 1))
def _singular_values(encode: Encode, batch_size: int, params: Params, data: Batch) -> jax.Array:
    def spectrum(batch: Batch) -> jax.Array:
        return jnp.linalg.svd(_jacobians(encode, params, batch), compute_uv=False)

    return map_batches(spectrum, data, batch_size)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _contraction_ratio(
    encode: Encode, sizes: tuple[int, int], params: Params, data: Batch, key: Key, radii: Array
) -> jax.Array:
    directions, batch_size = sizes

    def ratios(batch: Batch) -> jax.Array:
        batch = {**batch, "x": _wide(as_float(batch["x"]))}
        keys = jax.vmap(jax.random.fold_in, (None, 0))(key, batch.pop(ROW))
        x, mask = batch["x"], batch.get("mask")
        seen = jnp.ones(x.shape, bool) if mask is None else expand_mask(mask, x.shape) != 0
        x = jnp.where(seen, x, 0.0)
        z = encode(params, {**batch, "x": x})

        def draw(i: jax.Array, key: Key) -> jax.Array:
            return jax.random.normal(jax.random.fold_in(key, i), x.shape[1:], x.dtype)

        def along(i: jax.Array) -> jax.Array:
            u = jnp.where(seen, jax.vmap(functools.partial(draw, i))(keys), 0.0)
            u = u / expand_mask(_norms(u), u.shape)

            def at(r: jax.Array) -> jax.Array:
                moved = x + r.astype(x.dtype) * u
                far = _wide(encode(params, {**batch, "x": moved}))
                return _norms(far - z) / _norms(moved - x)

            return jax.lax.map(at, jnp.asarray(radii))

        return jax.lax.map(along, jnp.arange(directions)).mean(0).T

    rows = jnp.arange(num_examples(data))
    return map_batches(ratios, {**data, ROW: rows}, batch_size).mean(0)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _saturation(
    encode: Encode, batch_size: int, params: Params, data: Batch, low: Array, high: Array
) -> jax.Array:
    def share(batch: Batch) -> jax.Array:
        z = _wide(encode(params, batch))
        each = jnp.where(jnp.isnan(z), z, (z < low) | (z > high))
        return each.reshape(len(z), -1).mean(1)

    return map_batches(share, data, batch_size).mean()


def _wide(a: jax.Array) -> jax.Array:
    """`a` in single precision, or in the higher one that it has."""
    return a.astype(jnp.promote_types(a.dtype, jnp.float32))


def _norms(a: jax.Array) -> jax.Array:
    """The Euclidean norm of each row, `(batch,)`, over all other axes."""
    return jnp.linalg.norm(a.reshape(len(a), -1), axis=1)
