"""Data that a model makes between and around codes, and redrawn.

All functions are pure, and rows come first: image j made for row i of a batch is `[i, j]`.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from jaxae.base import Array, Autoencoder, Batch, Key, Params, check_range, num_examples
from jaxae.evaluation.latent import latent_of
from jaxae.evaluation.paths import PATHS


def interpolate(
    model: Autoencoder,
    params: Params,
    a: Batch,
    b: Batch,
    steps: int,
    *,
    method: str = "linear",
    context: Array | None = None,
) -> jax.Array:
    """Decodes `steps` codes from that of each row of `a` to that of `b`'s, both ends included.

    Args:
        model: Its `encode` and `decode` are used.
        params: Of the model.
        a: Batch of n rows.
        b: Another.
        steps: At least 2.
        method: "linear", by `lerp`, or "spherical", by `slerp`.
        context: `(n, ...)`, of the decoder; by default that of `a`, where it has one.

    Returns:
        The means of the likelihood, `(n, steps, *shape)`.

    Raises:
        ValueError: Another method, too few steps, or numbers of rows that differ.

    >>> model = Autoencoder(None, None, lambda p, batch: batch["x"], lambda p, z, c: p * z, None)
    >>> interpolate(model, 2.0, {"x": jnp.zeros((1, 1))}, {"x": jnp.ones((1, 1))}, 3).tolist()
    [[[0.0], [1.0], [2.0]]]
    """
    if method not in PATHS:
        raise ValueError(f"method is one of {sorted(PATHS)}; got {method!r}.")
    check_range("steps", steps, 2)
    if num_examples(a) != num_examples(b):
        raise ValueError(f"a and b pair rows; got {num_examples(a)} and {num_examples(b)} rows.")
    ends = model.encode(params, a), model.encode(params, b)
    path = PATHS[method](*ends, jnp.linspace(0.0, 1.0, steps))
    return _decode(model, params, path, model.context(a) if context is None else context)


def code_quantiles(z: Array, units: Sequence[int], q: Array) -> jax.Array:
    """The `q` quantiles of units over codes `(n, latent_dim)` of data: `values` to `traverse`.

    Returns:
        `(len(units), len(q))`.

    >>> code_quantiles(jnp.arange(10.0).reshape(5, 2), [1], jnp.array([0.0, 0.5])).tolist()
    [[1.0, 5.0]]
    """
    return jnp.quantile(jnp.asarray(z)[:, np.asarray(units)], jnp.asarray(q), axis=0).T


def traverse(
    model: Autoencoder, params: Params, batch: Batch, *, units: Sequence[int], values: Array
) -> jax.Array:
    """Decodes the code of each row with one unit set to each value, the others left alone.

    Args:
        model: Its `encode` and `decode` are used.
        params: Of the model.
        batch: n rows, with the `context` of the decoder where it has one.
        units: Which units, from 0.
        values: Codes to set, `(k,)` for all units or `(len(units), k)`.

    Returns:
        The means of the likelihood, `(n, len(units), k, *shape)`.

    Raises:
        ValueError: A unit that is none of the code's, or values of another shape.

    >>> model = Autoencoder(None, None, lambda p, batch: batch["x"], lambda p, z, c: z, None)
    >>> traverse(model, None, {"x": jnp.ones((1, 2))}, units=[1], values=jnp.array([5, 7])).tolist()
    [[[[1.0, 5.0], [1.0, 7.0]]]]
    """
    z = jnp.asarray(model.encode(params, batch))
    chosen, values = np.asarray(units), jnp.asarray(values, z.dtype)
    if chosen.ndim != 1 or not chosen.size or chosen.dtype.kind not in "iu" or z.ndim != 2:
        raise ValueError(f"units are integers of codes (n, latent_dim); got {units}, {z.shape}.")
    check_range("units", chosen, 0, z.shape[1] - 1)
    if values.ndim not in (1, 2) or values.shape[:-1] not in ((), chosen.shape):
        raise ValueError(f"values must be (k,) or ({len(chosen)}, k); got {values.shape}.")
    values = jnp.broadcast_to(values, (len(chosen), values.shape[-1]))
    hit = jnp.asarray(chosen[:, None] == np.arange(z.shape[1]))
    moved = jnp.where(hit[:, None], values[..., None], z[:, None, None])
    x_hat = _decode(model, params, moved.reshape(len(z), -1, z.shape[1]), model.context(batch))
    return x_hat.reshape(*moved.shape[:3], *x_hat.shape[2:])


def grid_values(side: int, low_high: tuple[float, float] | None = None) -> jax.Array:
    """`side` codes: evenly from low to high, or the quantiles (i + 1/2) / side of N(0, 1).

    >>> grid_values(3, (-1.0, 1.0)).tolist(), f"{grid_values(3)[2]:.2f}"
    ([-1.0, 0.0, 1.0], '0.97')
    """
    check_range("side", side, 1)
    if low_high is not None:
        return jnp.linspace(*low_high, side)
    return jax.scipy.special.ndtri((jnp.arange(side) + 0.5) / side)


def manifold_grid(
    model: Autoencoder,
    params: Params,
    *,
    side: int = 15,
    low_high: tuple[float, float] | None = None,
    context: Array | None = None,
) -> jax.Array:
    """Decodes a square grid of codes of two units (Kingma & Welling, 2014, figure 4).

    Both units take the `grid_values`, unit 0 rising to the right and unit 1 upwards, as
    `codes_2d` draws them. `context`, one row `(...)`, is given to all.

    Returns:
        The means of the likelihood, `(side, side, *shape)`, the upper row first.

    Raises:
        ValueError: `decode` takes no codes of two units, or `side` is below 1.

    >>> model = Autoencoder(None, None, None, lambda p, z, c: z @ p, None)
    >>> manifold_grid(model, jnp.eye(2), side=2, low_high=(0.0, 1.0)).tolist()
    [[[0.0, 1.0], [1.0, 1.0]], [[0.0, 0.0], [1.0, 0.0]]]
    """
    values = grid_values(side, low_high)
    z = jnp.stack(jnp.meshgrid(values, values[::-1]), -1).reshape(-1, 2)
    if context is not None:
        context = jnp.broadcast_to(context, (len(z), *np.shape(context)))
    try:
        x_hat = model.decode(params, z, context)
    except Exception as error:  # networks refuse a wrong width each in its own way
        why = f"decode takes no codes of shape {z.shape}: {error}"
        raise ValueError(f"manifold_grid needs a model of latent_dim 2; its {why}") from error
    return x_hat.reshape(side, side, *x_hat.shape[1:])


def reconstruct(
    model: Autoencoder, params: Params, batch: Batch, key: Key | None = None, *, samples: int = 1
) -> jax.Array:
    """The mean reconstruction of each row, decode(encode(x)), or with a key draws of it.

    A draw is x' ~ p(x | z) of a z ~ q(z | x), each with randomness of its own: one input gives
    differing outputs.

    Returns:
        `(n, *shape)`; with a key `(n, samples, *shape)`.

    Raises:
        ValueError: `samples` below 1 or without a key, or a model without a likelihood.

    >>> import jaxae
    >>> model, batch = jaxae.undercomplete(4, 2), {"x": jnp.ones((5, 4))}
    >>> params = model.init(jax.random.key(0), batch)
    >>> reconstruct(model, params, batch).shape
    (5, 4)
    >>> reconstruct(model, params, batch, jax.random.key(1), samples=3).shape
    (5, 3, 4)
    """
    context = model.context(batch)
    if key is None and samples != 1:
        raise ValueError(f"samples={samples} needs a key: there is but one mean reconstruction.")
    if key is None:
        return model.decode(params, model.encode(params, batch), context)
    check_range("samples", samples, 1)
    latent, (z_key, x_key) = latent_of(model), jax.random.split(key)
    z = latent.draw(params, z_key, batch, samples).z

    def emit(key: Key, z: jax.Array) -> Array:
        return latent.emit(params, key, z, context)

    return jax.vmap(emit, out_axes=1)(jax.random.split(x_key, samples), z)


def _decode(model: Autoencoder, params: Params, z: Array, context: Array | None) -> jax.Array:
    """Decodes codes `(n, k, ...)` into `(n, k, *shape)`."""
    return jax.vmap(lambda z: model.decode(params, z, context), 1, 1)(z)
