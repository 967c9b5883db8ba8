"""Chains of reconstructions, by which deterministic autoencoders generate.

All functions are pure, and rows come first: look j at the chain of row i is `[i, j]`.
"""

import functools
from collections.abc import Callable

import chex
import jax
import jax.numpy as jnp

from jaxae.base import Array, Autoencoder, Batch, Key, Params, as_float, check_range
from jaxae.evaluation.latent import latent_of
from jaxae.models.corruptions import Corruption


def markov_chain(
    model: Autoencoder,
    params: Params,
    key: Key,
    x: Array,
    *,
    steps: int,
    corrupt: Corruption,
    every: int | None = None,
    context: Array | None = None,
) -> jax.Array:
    """The chain of a denoising autoencoder: x_tilde = corrupt(x), then x ~ p(x | x_tilde).

    p is the likelihood at the code of x_tilde without noise. Where `corrupt` is the noise
    that the model was trained with, p is the true posterior of the clean x, and the chain
    forgets its start, its states converge to the distribution of the data (Bengio et al.,
    2013). That needs a likelihood whose scale fits: with `likelihoods.gaussian()`, whose scale is
    1, states are far too noisy; take "shared", or a number such as the root of the test mse.
    A model that is right near the data only may lead a chain away without bound:
    `walkback_corruption` is for that.

    Args:
        model: Its `encode` and `latent.emit` are used.
        params: Of the model.
        key: Of the chain; step i draws from fold_in(key, i), so longer chains begin alike.
        x: `(n, *shape)`, where the n chains start.
        steps: At least 1.
        corrupt: Of `corruptions`, or any `(key, x) -> x_tilde`.
        every: Returns the states after each so many steps, of which `steps` is a multiple.
        context: `(n, ...)`, where the model takes one.

    Returns:
        The last states `(n, *shape)`, or with `every` `(n, steps / every, *shape)`, as floats.

    Raises:
        ValueError: Numbers below 1, `every` that does not divide `steps`, or a model without
            a likelihood.

    >>> import jaxae
    >>> corrupt = jaxae.corruptions.gaussian(0.3)
    >>> model = jaxae.undercomplete(4, 2, likelihood=jaxae.likelihoods.gaussian(0.1))
    >>> params, x = model.init(jax.random.key(0), {"x": jnp.ones((1, 4))}), jnp.ones((5, 4))
    >>> markov_chain(model, params, jax.random.key(1), x, steps=6, every=2, corrupt=corrupt).shape
    (5, 3, 4)
    """
    looks = _looks(steps, every)
    parts = model.encode, latent_of(model).emit, corrupt
    seen = _denoise(parts, looks, params, key, as_float(x), context)
    return seen[:, 0] if every is None else seen


def walkback_corruption(
    model: Autoencoder,
    params: Params,
    corrupt: Corruption,
    steps: int,
    *,
    context: Array | None = None,
) -> Corruption:
    """Where `steps` of `markov_chain` lead from data, corrupted once more: negative examples.

    Walk-back training (Bengio et al., 2013) learns to find the way from there back to the data,
    which removes modes that the model made up. No gradient passes through the walk. A
    loss mixes plain corruption with walks by the parameters of the moment:

        def loss(params, key, batch):
            walk = walkback_corruption(build(), params, corrupt, 2)
            keys = jax.random.split(key)
            near, metrics = build(corrupt=corrupt).loss(params, keys[0], batch)
            return 0.5 * (near + build(corrupt=walk).loss(params, keys[1], batch)[0]), metrics

    with `build` such as `functools.partial(jaxae.undercomplete, shape, latent_dim)`. Then
    `jaxae.gradient(loss, optimiser)` learns it. More terms take walks of 1, 2, ... steps.

    Raises:
        ValueError: `steps` is below 1, or the model has no likelihood.

    >>> import jaxae
    >>> model, x = jaxae.undercomplete(4, 2), jnp.ones((5, 4))
    >>> params = model.init(jax.random.key(0), {"x": x})
    >>> walk = walkback_corruption(model, params, jaxae.corruptions.masking(0.2), 3)
    >>> walk(jax.random.key(1), x).shape
    (5, 4)
    """
    looks, parts = _looks(steps, None), (model.encode, latent_of(model).emit, corrupt)

    def walk(key: Key, x: Array) -> Array:
        walk_key, last_key = jax.random.split(key)
        start = jax.lax.stop_gradient((params, as_float(x), context))
        far = _denoise(parts, looks, start[0], walk_key, *start[1:])[:, 0]
        return jax.lax.stop_gradient(corrupt(last_key, far))

    return walk


def tangent_walk(
    model: Autoencoder,
    params: Params,
    key: Key,
    x: Array,
    *,
    steps: int,
    scale: chex.Numeric,
    every: int | None = None,
    context: Array | None = None,
) -> jax.Array:
    """The walk of a contractive autoencoder: x <- decode(encode(x) + J Jᵀ ε), ε ~ N(0, scale²).

    J is the Jacobian of the code at x, `(latent_dim, d)`: the step follows the few
    directions of x that the code has not contracted, those along the data (Rifai et al.,
    2012). The product is exact, by one derivative in each mode; J is never built. States
    are means of the likelihood.

    Args:
        model: Its `encode` and `decode` are used; `encode` treats every row by itself.
        params: Of the model.
        key: Of the walk; step i draws from fold_in(key, i), so longer walks begin alike.
        x: `(n, *shape)`, where the n walks start.
        steps: At least 1.
        scale: The standard deviation of ε; may be traced.
        every: Returns the states after each so many steps, of which `steps` is a multiple.
        context: `(n, ...)`, where the model takes one.

    Returns:
        The last states `(n, *shape)`, or with `every` `(n, steps / every, *shape)`, as floats.

    Raises:
        ValueError: Numbers below 1, `every` that does not divide `steps`, or a negative scale.

    >>> import jaxae
    >>> model, x = jaxae.contractive(4, 2), jnp.ones((5, 4))
    >>> params = model.init(jax.random.key(0), {"x": x})
    >>> tangent_walk(model, params, jax.random.key(1), x, steps=6, scale=0.5).shape
    (5, 4)
    """
    looks, parts = _looks(steps, every), (model.encode, model.decode)
    check_range("scale", scale, 0.0, open_high=True)
    seen = _wander(parts, looks, params, key, as_float(x), context, scale)
    return seen[:, 0] if every is None else seen


@functools.partial(jax.jit, static_argnums=(0, 1))
def _denoise(
    parts: tuple[Callable[..., Array], ...],
    looks: tuple[int, int],
    params: Params,
    key: Key,
    x: jax.Array,
    context: Array | None,
) -> jax.Array:
    encode, emit, corrupt = parts

    def step(key: Key, x: jax.Array) -> Array:
        noise_key, emit_key = jax.random.split(key)
        z = encode(params, _batch(corrupt(noise_key, x), context))
        return emit(params, emit_key, z, context)

    return _walk(step, looks, key, x)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _wander(
    parts: tuple[Callable[..., Array], ...],
    looks: tuple[int, int],
    params: Params,
    key: Key,
    x: jax.Array,
    context: Array | None,
    scale: Array,
) -> jax.Array:
    encode, decode = parts

    def code(x: jax.Array) -> Array:
        return encode(params, _batch(x, context))

    def step(key: Key, x: jax.Array) -> Array:
        h, pull = jax.vjp(code, x)
        noise = jnp.asarray(scale, h.dtype) * jax.random.normal(key, h.shape, h.dtype)
        return decode(params, h + jax.jvp(code, (x,), pull(noise))[1], context)

    return _walk(step, looks, key, x)


def _walk(
    step: Callable[[Key, jax.Array], Array], looks: tuple[int, int], key: Key, x: jax.Array
) -> jax.Array:
    """The states of a chain at each look, `(n, looks, *shape)`."""

    def advance(x: jax.Array, i: jax.Array) -> tuple[jax.Array, None]:
        return step(jax.random.fold_in(key, i), x).astype(x.dtype), None

    def look(x: jax.Array, indices: jax.Array) -> tuple[jax.Array, jax.Array]:
        x, _ = jax.lax.scan(advance, x, indices)
        return x, x

    indices = jnp.arange(looks[0] * looks[1]).reshape(looks)
    return jnp.moveaxis(jax.lax.scan(look, x, indices)[1], 0, 1)


def _looks(steps: int, every: int | None) -> tuple[int, int]:
    """How often a chain is looked at, and after how many steps each."""
    every = steps if every is None else every
    check_range("steps", steps, 1)
    check_range("every", every, 1)
    if steps % every:
        raise ValueError(f"every must divide steps; got every={every} and steps={steps}.")
    return steps // every, every


def _batch(x: Array, context: Array | None) -> Batch:
    return {"x": x} if context is None else {"x": x, "context": context}
