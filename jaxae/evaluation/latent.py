"""How likely data are under a model with codes that are random, and how it uses its codes."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxae.base import (
    Array,
    Autoencoder,
    Batch,
    Key,
    Latent,
    Metrics,
    Params,
    check_range,
    map_batches,
    num_examples,
)

ENTRIES = 2**21
"""Decoded entries that live at once, by default."""


def elbo(
    model: Autoencoder, samples: int = 1, batch_size: int = 100
) -> Callable[[Params, Key, Batch], Metrics]:
    """The evidence lower bound of a data set, by `samples` draws of each row's code.

    Returns:
        `(params, key, data) -> metrics`, pure: `elbo` = -(`distortion` + `rate`), in nats per
        example, whatever beta, free bits or bound the model was trained with.

    Raises:
        ValueError: samples below 1, or a model without random codes.

    >>> import jaxae
    >>> model = jaxae.vae(6, 2)
    >>> data = {"x": jnp.ones((20, 6))}
    >>> params = model.init(jax.random.key(0), data)
    >>> sorted(elbo(model, samples=5)(params, jax.random.key(1), data))
    ['distortion', 'elbo', 'rate']
    """
    check_range("samples", samples, 1)
    draw = latent_of(model, random=True).draw

    def measure(params: Params, key: Key, data: Batch) -> Metrics:
        def costs(batch: Batch) -> tuple[Array, Array]:
            drawn = draw(params, batch["key"][0], without_key(batch), samples)
            return jnp.mean(drawn.distortion, axis=0), jnp.mean(drawn.rate, axis=0)

        distortion, rate = map(jnp.mean, map_batches(costs, with_keys(key, data), batch_size))
        return {"elbo": -(distortion + rate), "distortion": distortion, "rate": rate}

    return measure


def nll(
    model: Autoencoder,
    samples: int = 5000,
    *,
    batch_size: int = 20,
    chunk: int | None = None,
) -> Callable[[Params, Key, Batch], Array]:
    """-log p(x) of each row by importance sampling, log (1/k) Σ p(x, z_i) / q(z_i | x).

    The negative of a lower bound in expectation, which tightens as `samples` grows (Burda et al.,
    2016). The codes are drawn chunk by chunk, so memory is bounded whatever their number.

    Args:
        model: with random codes, such as `vae`.
        samples: k, codes for each row.
        batch_size: rows at a time.
        chunk: codes of each of these rows at a time; by default so many that about
            2 million decoded entries live at once.

    Returns:
        `(params, key, data) -> (n,)` nats, pure: jit it. `bits_per_dim` divides.

    Raises:
        ValueError: a number below 1, or a model without random codes.

    >>> import jaxae
    >>> model = jaxae.vae(6, 2)
    >>> data = {"x": jnp.ones((20, 6))}
    >>> params = model.init(jax.random.key(0), data)
    >>> nll(model, samples=10)(params, jax.random.key(1), data).shape
    (20,)
    """
    for name, value in {"samples": samples, "batch_size": batch_size}.items():
        check_range(name, value, 1)
    if chunk is not None:
        check_range("chunk", chunk, 1)
    draw = latent_of(model, random=True).draw

    def measure(params: Params, key: Key, data: Batch) -> Array:
        rows = min(batch_size, num_examples(data))
        entries = rows * math.prod(np.shape(data["x"])[1:])
        turns = -(-samples // (chunk or max(1, ENTRIES // entries)))
        size = -(-samples // turns)

        def of_batch(batch: Batch) -> Array:
            plain = without_key(batch)

            def turn(total: Array, i: Array) -> tuple[Array, None]:
                drawn = draw(params, jax.random.fold_in(batch["key"][0], i), plain, size)
                counted = i * size + jnp.arange(size) < samples
                weights = jnp.where(counted[:, None], -(drawn.distortion + drawn.rate), -jnp.inf)
                return jnp.logaddexp(total, jax.nn.logsumexp(weights, axis=0)), None

            start = jnp.full(plain["x"].shape[0], -jnp.inf)
            return np.log(samples) - jax.lax.scan(turn, start, jnp.arange(turns))[0]

        return map_batches(of_batch, with_keys(key, data), batch_size)

    return measure


def bits_per_dim(nats: Any, dims: int) -> Any:
    """Nats per example as bits for each of its entries.

    >>> print(f"{bits_per_dim(86.76, 784):.3f}")
    0.160
    """
    return nats / (dims * math.log(2.0))


def unit_usage(model: Autoencoder, batch_size: int = 1000) -> Callable[[Params, Batch], Metrics]:
    """How much each unit of a Gaussian code is used, over a data set.

    Returns:
        `(params, data) -> metrics`, arrays of `(latent_dim,)`: `kl`, the mean of the unit's
        KL(q(z_j | x) ‖ N(0, 1)) in nats; `variance`, that over x of its posterior mean, which
        exceeds 0.01 where the unit is active (Burda et al., 2016); `scale`, the mean posterior
        standard deviation.

    Raises:
        ValueError: a model whose codes are not Gaussian.

    >>> import jaxae
    >>> model = jaxae.vae(6, 2)
    >>> data = {"x": jnp.ones((20, 6))}
    >>> params = model.init(jax.random.key(0), data)
    >>> usage = unit_usage(model)(params, data)
    >>> usage["kl"].shape, int((usage["variance"] > 0.01).sum())
    ((2,), 0)
    """
    posterior = latent_of(model).posterior

    def measure(params: Params, data: Batch) -> Metrics:
        mean, scale = map_batches(partial(posterior, params), data, batch_size)
        kl = 0.5 * (jnp.square(mean) + jnp.square(scale) - 1.0) - jnp.log(scale)
        return {"kl": jnp.mean(kl, 0), "variance": jnp.var(mean, 0), "scale": jnp.mean(scale, 0)}

    return measure


def aggregate_posterior(
    model: Autoencoder, batch_size: int = 1000
) -> Callable[[Params, Key, Batch], Array]:
    """One code drawn for each row: a sample of the mean over the data of q(z | x).

    Returns:
        `(params, key, data) -> (n, latent_dim)`.

    >>> import jaxae
    >>> model = jaxae.vae(6, 2)
    >>> data = {"x": jnp.ones((20, 6))}
    >>> params = model.init(jax.random.key(0), data)
    >>> aggregate_posterior(model)(params, jax.random.key(1), data).shape
    (20, 2)
    """
    draw = latent_of(model).draw

    def measure(params: Params, key: Key, data: Batch) -> Array:
        def codes(batch: Batch) -> Array:
            return draw(params, batch["key"][0], without_key(batch)).z[0]

        return map_batches(codes, with_keys(key, data), batch_size)

    return measure


def latent_of(model: Autoencoder, random: bool = False) -> Latent:
    """What `model.latent` has, or `ValueError` where it is None, or its codes are not `random`."""
    if model.latent is None:
        raise ValueError(
            "This model has no likelihood to draw from (its latent is None). Build it with "
            "jaxae.autoencoder or a preset of it; an RBM draws by its own sample."
        )
    if random and not model.latent.random:
        raise ValueError(
            "The codes of this model are deterministic, so it gives no likelihood of x. Take "
            "a model with random codes, such as jaxae.vae."
        )
    return model.latent


def with_keys(key: Key, data: Batch) -> dict[str, Any]:
    """The data with a key for each row, of which `map_batches` gives each batch its own."""
    return {**data, "key": jax.random.split(key, num_examples(data))}


def without_key(batch: Batch) -> dict[str, Any]:
    """The batch as a model is to see it."""
    return {name: a for name, a in batch.items() if name != "key"}
