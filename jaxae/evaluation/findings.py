"""What a likelihood and a codebook are, and what data does to them."""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp

from jaxae.base import (
    Array,
    Autoencoder,
    Batch,
    Metrics,
    Params,
    as_float,
    map_batches,
    where_observed,
)
from jaxae.evaluation.latent import latent_of


def grey_floor(x: Array, mask: Array | None = None) -> Array:
    """The least cross-entropy that a Bernoulli likelihood can have of each row: x's own entropy.

    -Σ x log x + (1 - x) log(1 - x) over (observed) entries, in nats, `(batch,)`; 0 for binary x.

    >>> print(f"{grey_floor(jnp.array([[0.5, 1.0]]))[0]:.4f}")
    0.6931
    """
    x = as_float(x)
    each = jax.scipy.special.entr(x) + jax.scipy.special.entr(1.0 - x)
    seen = where_observed({} if mask is None else {"mask": mask}, each)
    return jnp.sum(seen.reshape(len(x), -1), axis=1)


def codebook_usage(
    model: Autoencoder, batch_size: int = 1000
) -> Callable[[Params, Batch], Metrics]:
    """How a data set uses the embeddings of `codes.VectorQuantised`.

    Returns:
        `(params, data) -> metrics`, pure: `perplexity`, e to the entropy of which embedding is
        chosen, at most `num_embeddings`; `used`, how many are chosen at all; `num_embeddings`.

    Raises:
        ValueError: parameters without a codebook.

    >>> import jaxae
    >>> model = jaxae.vq_vae(6, 4, num_embeddings=8, embedding_dim=2)
    >>> data = {"x": jax.random.normal(jax.random.key(0), (20, 6))}
    >>> usage = codebook_usage(model)(model.init(jax.random.key(1), data), data)
    >>> bool(1 <= usage["perplexity"] <= usage["used"] <= 8), int(usage["num_embeddings"])
    (True, 8)
    """

    def measure(params: Params, data: Batch) -> Metrics:
        book = codebook_of(params)
        if book is None:
            raise ValueError("These parameters have no codebook; take codes.VectorQuantised.")
        size = len(book)

        def chosen(batch: Batch) -> Array:
            v = model.encode(params, batch).reshape(-1, book.shape[1])
            gaps = jnp.sum(jnp.square(v[:, None] - book.astype(v.dtype)), axis=-1)
            index = jnp.argmin(gaps, axis=1).reshape(len(batch["x"]), -1)
            return jnp.sum(jax.nn.one_hot(index, size), axis=1)

        counts = jnp.sum(map_batches(chosen, data, batch_size), axis=0)
        share = counts / jnp.sum(counts)
        return {
            "perplexity": jnp.exp(jnp.sum(jax.scipy.special.entr(share))),
            "used": jnp.sum(counts > 0),
            "num_embeddings": jnp.asarray(size),
        }

    return measure


def codebook_of(params: Params) -> Array | None:
    """The embeddings in a model's parameters, learned or carried; None where there are none."""
    for tree in (params, params.get("carried", {})):
        code = tree.get("code", {})
        if isinstance(code, Mapping) and "codebook" in code:
            return code["codebook"]
    return None


def levels_of(model: Autoencoder, params: Params, data: Batch) -> int | None:
    """How many values the model's likelihood gives an entry; None where it is continuous."""
    latent, row = latent_of(model), {name: a[:1] for name, a in data.items()}

    def masses(params: Params) -> Array:
        return latent.masses(params, model.encode(params, row), model.context(row))

    try:
        return int(jax.eval_shape(masses, params).shape[-1])
    except ValueError:
        return None
