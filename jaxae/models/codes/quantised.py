"""Codes of a learned codebook."""

from typing import Any

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxae.base import Array, Key
from jaxae.models.carrying import carried, carry, report


class VectorQuantised(nn.Module):
    """Each group of entries becomes the nearest of `num_embeddings` (van den Oord et al., 2017).

    h, `(batch, ..., d)`, is cut into vectors of `embedding_dim`, each replaced by its nearest
    embedding; the gradient passes straight through. In training the rate is the commitment,
    `commitment` · ‖h - e‖², which holds h near the codebook. The codebook itself follows the
    means of the vectors that chose each embedding, exponentially; with `decay` None it
    descends on ‖h - e‖². An embedding that no vector chose for `restart_after` steps starts
    again as one of the batch's vectors.

    Attributes:
        latent_dim: the width of a whole code.
        num_embeddings: the size of the codebook.
        embedding_dim: the length of a vector; None for the whole of the last axis.
        commitment: its weight; may be traced.
        decay: of the codebook's running means; None for descent.
        restart_after: steps; 0 for never. A codebook that descends is never restarted.
    """

    latent_dim: int
    num_embeddings: int = 512
    embedding_dim: int | None = None
    commitment: chex.Numeric = 0.25
    decay: float | None = 0.99
    restart_after: int = 100
    inputs = 1

    def setup(self) -> None:
        """The codebook, learned or carried."""
        dim = self.embedding_dim or self.latent_dim
        if self.latent_dim % dim:
            raise ValueError(
                f"A code of {self.latent_dim} is cut into vectors of embedding_dim={dim}, which "
                "must divide it."
            )
        shape = (self.num_embeddings, dim)
        if self.decay is None:
            self.codebook = self.param("codebook", nn.initializers.normal(1.0), shape)
            return
        self.means = carried(self, "codebook", shape, self._start)
        self.sums = carried(self, "sums", shape, lambda key, shape: self.means.value)
        self.counts = carried(
            self, "counts", shape[:1], lambda key, shape: jnp.ones(shape, jnp.float32)
        )
        never = lambda key, shape: jnp.full(shape, self.restart_after, jnp.float32)  # noqa: E731
        self.unused = carried(self, "unused", shape[:1], never)
        self.codebook = self.means.value

    def _start(self, key: Key, shape: tuple[int, ...]) -> Array:
        return jax.random.normal(key, shape, jnp.float32)

    def __call__(self, h: Array, train: bool = True) -> tuple[Array, Array]:
        """The quantised codes, and the commitment."""
        v = h.reshape(-1, self.codebook.shape[1])
        index = self.nearest(v)
        z = self.codebook.astype(h.dtype)[index].reshape(h.shape)
        if not train:
            return z, jnp.zeros(h.shape[0], h.dtype)
        if self.decay is not None:
            self._follow(jax.lax.stop_gradient(v), index)
        rate = self.commitment * _squares(h - jax.lax.stop_gradient(z))
        if self.decay is None:
            rate = rate + _squares(jax.lax.stop_gradient(h) - z)
        return h + jax.lax.stop_gradient(z - h), rate.astype(h.dtype)

    def nearest(self, v: Array) -> Array:
        """The number of the embedding next to each vector, `(n, embedding_dim) -> (n,)`."""
        book = self.codebook.astype(v.dtype)
        squares = jnp.sum(jnp.square(book), axis=1) - 2 * v @ book.T
        return jnp.argmin(jax.lax.stop_gradient(squares), axis=1)

    def draw(self, h: Array) -> tuple[Array, Array]:
        """The quantised codes, and the nats of their indices under even odds."""
        nats = h[0].size // self.codebook.shape[1] * np.log(self.num_embeddings)
        return self(h, train=False)[0], jnp.full(h.shape[0], nats, h.dtype)

    def posterior(self, h: Array) -> tuple[Array, Array]:
        """Raises `ValueError`: the codes of an example have no spread."""
        raise ValueError("A quantised code has no Gaussian posterior; take codes.Gaussian.")

    def sample_prior(self, key: Key, n: int) -> Array:
        """Codes of embeddings that are drawn with even odds, `(n, latent_dim)`."""
        shape = (n, self.latent_dim // self.codebook.shape[1])
        index = jax.random.randint(key, shape, 0, self.num_embeddings)
        return self.codebook[index].reshape(n, self.latent_dim)

    def _follow(self, v: Array, index: Array) -> None:
        """Moves the codebook to the means of the vectors, and starts unused embeddings again."""
        chose = jax.nn.one_hot(index, self.num_embeddings, dtype=jnp.float32)
        share = jnp.mean(chose, axis=0)
        report(self, "perplexity", jnp.exp(-jnp.sum(share * jnp.log(share + 1e-10))))
        keep: Any = self.decay
        counts = keep * self.counts.value + (1 - keep) * jnp.sum(chose, axis=0)
        sums = keep * self.sums.value + (1 - keep) * chose.T @ v.astype(jnp.float32)
        unused = jnp.where(share > 0, 0.0, self.unused.value + 1.0)
        if self.restart_after:
            dead = unused > self.restart_after
            report(self, "dead_fraction", jnp.mean(dead.astype(jnp.float32)))
            picked = jax.random.randint(self.make_rng("code"), dead.shape, 0, len(v))
            counts, unused = jnp.where(dead, 1.0, counts), jnp.where(dead, 0.0, unused)
            sums = jnp.where(dead[:, None], v[picked].astype(jnp.float32), sums)
        carry(self, self.counts, lambda _: counts)
        carry(self, self.sums, lambda _: sums)
        carry(self, self.unused, lambda _: unused)
        carry(self, self.means, lambda _: sums / jnp.maximum(counts, 1e-5)[:, None])


def _squares(gap: Array) -> Array:
    return jnp.sum(jnp.square(gap.reshape(gap.shape[0], -1)), axis=-1)
