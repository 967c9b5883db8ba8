"""Models of token sequences: integers in batches, one-hot rows inside the compiled step."""

from numbers import Integral
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxae.base import Array, Autoencoder, Batch, Key, Latent, Metrics, Params, is_traced


def tokens(model: Autoencoder, num_tokens: int) -> Autoencoder:
    """Any model of one-hot rows, given integers.

    Batches hold x `(batch, time)` of whole numbers in [0, num_tokens); what is unobserved may be
    any number. `decode` gives probabilities `(batch, time, num_tokens)`, of which the greatest is
    the reconstruction: `jnp.argmax(x_hat, axis=-1)`. `sample` and `latent.emit` give integers.

    Args:
        model: built with shape `(time, num_tokens)` and `likelihoods.categorical()`.
        num_tokens: how many tokens there are.

    >>> import jaxae
    >>> from jaxae.models.networks.recurrent_pairs import recurrent
    >>> parts = {"networks": recurrent, "likelihood": jaxae.likelihoods.categorical()}
    >>> model = tokens(jaxae.vae((7, 5), 3, hidden_dims=(8,), **parts), 5)
    >>> batch = {"x": np.array([[1, 4, 0, 2]]), "mask": np.array([[1, 1, 1, 0]])}
    >>> params = model.init(jax.random.key(0), batch)
    >>> model.decode(params, model.encode(params, batch), model.context(batch)).shape
    (1, 4, 5)
    >>> model.sample(params, jax.random.key(1), 2).shape
    (2, 7)

    Raises:
        ValueError: num_tokens below 2; x that is not of whole numbers, or out of range where it
            is observed (traced values pass unseen).
    """
    if not isinstance(num_tokens, Integral) or num_tokens < 2:
        raise ValueError(f"num_tokens is an integer of at least 2; got {num_tokens!r}.")

    def seen(batch: Batch) -> dict[str, Any]:
        return {**batch, "x": one_hot(batch["x"], num_tokens, batch.get("mask"))}

    def init(key: Key, batch: Batch) -> Params:
        return model.init(key, seen(batch))

    def loss(params: Params, key: Key, batch: Batch) -> tuple[Array, Metrics]:
        return model.loss(params, key, seen(batch))

    def encode(params: Params, batch: Batch) -> Array:
        return model.encode(params, seen(batch))

    def sample(params: Params, key: Key, n: int, context: Any = None) -> Array:
        return jnp.argmax(model.sample(params, key, n, context), axis=-1)

    def context_of(batch: Batch) -> Any:
        return model.context(seen(batch))

    latent = None if model.latent is None else _latent(model.latent, seen)
    return Autoencoder(init, loss, encode, model.decode, sample, latent, context_of)


def one_hot(x: Any, num_tokens: int, mask: Any = None) -> jax.Array:
    """Whole numbers `(batch, ...)` as float32 rows `(batch, ..., num_tokens)` with a single 1.

    >>> one_hot(np.array([[0, 2]]), 3).tolist()
    [[[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]]

    Raises:
        ValueError: where the mask is 1, or there is none: fractions, or numbers out of range.
    """
    if np.ndim(x) < 2 or x.dtype == bool:
        raise ValueError(
            f"Tokens are whole numbers of shape (batch, time); got {x.dtype} of shape "
            f"{np.shape(x)}."
        )
    if not is_traced(x, mask):
        _check_tokens(np.asarray(x), num_tokens, mask)
    return jax.nn.one_hot(jnp.asarray(x).astype(jnp.int32), num_tokens, dtype=jnp.float32)


def _check_tokens(x: np.ndarray, num_tokens: int, mask: Any) -> None:
    if mask is not None:
        mask = np.asarray(mask)
        if mask.shape != x.shape[: mask.ndim]:
            raise ValueError(
                f"mask has shape {mask.shape}; it must be the shape of the tokens or its first "
                f"axes, {x.shape}."
            )
        x = x[mask != 0]
    if not x.size:
        return
    if not np.array_equal(x, np.round(x)):
        raise ValueError("Tokens are whole numbers; got fractions, or NaN. Round them, or mask.")
    if x.min() < 0 or x.max() >= num_tokens:
        raise ValueError(
            f"Tokens lie in [0, {num_tokens}); got {int(x.min())} to {int(x.max())}. Raise "
            "num_tokens, or mark what is no token in mask."
        )


def _latent(inner: Latent, seen: Any) -> Latent:
    """The codes of the model of rows, whose draws are integers."""
    return inner._replace(
        draw=lambda params, key, batch, samples=1: inner.draw(params, key, seen(batch), samples),
        posterior=lambda params, batch: inner.posterior(params, seen(batch)),
        emit=lambda params, key, z, c=None: jnp.argmax(inner.emit(params, key, z, c), axis=-1),
    )
