"""Conditional models: the class, or any context, is given to encoder and decoder."""

from collections.abc import Mapping
from numbers import Integral
from typing import Any

import jax
import jax.numpy as jnp

from jaxae.base import Array, Autoencoder, Batch, Key, Latent, Metrics, Params, is_traced
from jaxae.models.networks import Shape
from jaxae.models.variational import vae


def conditional(model: Autoencoder, num_classes: int) -> Autoencoder:
    """Any model, given the class "y" of each example as a one-hot context.

    Encoder and decoder of a composition see a batch's `context` as it is; this makes it of
    labels. `decode` takes integers or one-hot rows for its context, as `latent.emit` does, and
    `sample` draws the classes in turn unless told which.

    Args:
        model: whose networks take a context, as `MLP` does.
        num_classes: labels are integers in [0, num_classes).

    >>> import numpy as np
    >>> model = conditional(vae(64, 8), 10)
    >>> batch = {"x": np.zeros((4, 64), np.float32), "y": np.arange(4)}
    >>> params = model.init(jax.random.key(0), batch)
    >>> model.decode(params, model.encode(params, batch), np.array([3, 3, 3, 3])).shape
    (4, 64)

    Raises:
        ValueError: num_classes below 2; a batch without labels, or labels out of range.
    """
    if not isinstance(num_classes, Integral) or num_classes < 2:
        raise ValueError(f"num_classes is an integer of at least 2; got {num_classes!r}.")

    def one_hot(context: Any, rows: int) -> Any:
        if isinstance(context, Mapping):
            return {**context, "context": one_hot(context.get("context"), rows)}
        if context is None:
            raise ValueError(
                "A conditional model needs the classes as context: integers, or one-hot rows."
            )
        given = jnp.asarray(context)
        if given.shape == (rows, num_classes):
            return given
        if given.shape != (rows,) or not jnp.issubdtype(given.dtype, jnp.integer):
            raise ValueError(
                f"The labels y, or the context, of {rows} rows are integers of shape ({rows},) or "
                f"rows of shape ({rows}, {num_classes}); got {given.dtype} of shape {given.shape}."
            )
        if not is_traced(given) and not 0 <= int(given.min()) <= int(given.max()) < num_classes:
            raise ValueError(
                f"Classes lie in [0, {num_classes}); got {int(given.min())} to {int(given.max())}."
            )
        return jax.nn.one_hot(given, num_classes)

    def seen(batch: Batch) -> dict[str, Any]:
        if "context" not in batch and "y" not in batch:
            raise ValueError('A conditional model needs the labels "y" in each batch.')
        given = batch.get("context", batch.get("y"))
        return {**batch, "context": one_hot(given, len(batch["x"]))}

    def context_of(batch: Batch) -> Any:
        return model.context(seen(batch))

    def init(key: Key, batch: Batch) -> Params:
        return model.init(key, seen(batch))

    def loss(params: Params, key: Key, batch: Batch) -> tuple[Array, Metrics]:
        return model.loss(params, key, seen(batch))

    def encode(params: Params, batch: Batch) -> Array:
        return model.encode(params, seen(batch))

    def decode(params: Params, z: Array, context: Any = None) -> Array:
        return model.decode(params, z, one_hot(context, len(z)))

    def sample(params: Params, key: Key, n: int, context: Any = None) -> Array:
        context = jnp.arange(n) % num_classes if context is None else context
        return model.sample(params, key, n, one_hot(context, n))

    inner = model.latent
    if inner is None:
        return Autoencoder(init, loss, encode, decode, sample, None, context_of)
    logistic = inner.logistic
    latent = Latent(
        lambda params, key, batch, samples=1: inner.draw(params, key, seen(batch), samples),
        lambda params, batch: inner.posterior(params, seen(batch)),
        inner.prior,
        lambda params, key, z, c=None: inner.emit(params, key, z, one_hot(c, len(z))),
        lambda params, z, context=None: inner.masses(params, z, one_hot(context, len(z))),
        inner.random,
        None
        if logistic is None
        else lambda params, z, c=None: logistic(params, z, one_hot(c, len(z))),
    )
    return Autoencoder(init, loss, encode, decode, sample, latent, context_of)


def conditional_vae(
    shape: Shape, latent_dim: int, *, num_classes: int = 10, **parts: Any
) -> Autoencoder:
    """A `vae` that is given the class of each example (Sohn et al., 2015).

    Args:
        shape: of one example.
        latent_dim: the width of the code.
        num_classes: labels "y" are integers in [0, num_classes).
        **parts: of `vae`.

    >>> model = conditional_vae(64, 8, num_classes=10)
    """
    return conditional(vae(shape, latent_dim, **parts), num_classes)
