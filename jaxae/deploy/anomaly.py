"""How strange rows are under a model that was trained on normal ones.

All scores are higher for stranger rows. Those of x are means over the observed entries of a row,
so that rows of which more or less was observed can be compared.
"""

from collections.abc import Callable
from typing import Literal, get_args

import jax.numpy as jnp

from jaxae.base import (
    Array,
    Autoencoder,
    Batch,
    Key,
    Params,
    as_float,
    check_range,
    map_batches,
    where_observed,
)
from jaxae.evaluation.latent import latent_of, nll, with_keys, without_key
from jaxae.models.boltzmann import Energy, rbm_energy

Kind = Literal["reconstruction", "distortion", "elbo", "nll", "free_energy"]


def anomaly_scores(
    model: Autoencoder,
    kind: Kind = "reconstruction",
    *,
    samples: int = 16,
    energy: Energy | None = None,
    batch_size: int = 1000,
) -> Callable[[Params, Key, Batch], Array]:
    """A score for each row, higher for stranger ones.

    "reconstruction" is the squared error of decode(encode(x)), "distortion" -log p(x | z),
    "elbo" -log p(x | z) + log q(z | x) - log p(z), both in the mean over draws of z, and "nll"
    -log p(x) by importance sampling. These four are divided by the number of observed entries
    of the row: squared units of x, or nats, for each; where nothing was observed, a row has 0 by
    reconstruction and distortion. "free_energy" is -log p(x) - log Z of a restricted Boltzmann
    machine, in nats.

    Args:
        model: any for "reconstruction"; with a likelihood for "distortion"; with random codes,
            such as `vae`, for "elbo" and "nll"; an `rbm` for "free_energy".
        kind: of the score.
        samples: codes drawn of each row; by "reconstruction" and "free_energy" not used.
        energy: of the machine, for "free_energy"; by default that of binary units.
        batch_size: rows at a time.

    Returns:
        `(params, key, batch) -> (n,)`, pure: jit it, vmap it. What draws no codes does not use
        the key.

    Raises:
        ValueError: another kind, a number below 1, a model without what the kind needs, or for
            "free_energy" a mask: machines with other units observed have another log Z.

    >>> import jax, jaxae
    >>> model, batch = jaxae.vae(6, 2), {"x": jnp.ones((20, 6))}
    >>> params = model.init(jax.random.key(0), batch)
    >>> anomaly_scores(model, "elbo")(params, jax.random.key(1), batch).shape
    (20,)
    """
    check_range("samples", samples, 1)
    check_range("batch_size", batch_size, 1)
    if kind not in get_args(Kind):
        raise ValueError(f"kind is one of {sorted(get_args(Kind))}; got {kind!r}.")
    if kind == "free_energy":
        return _free_energy(energy or rbm_energy(), batch_size)
    if kind == "reconstruction":
        features = feature_scores(model, batch_size)
        return lambda params, key, batch: jnp.sum(_flat(features(params, batch)), axis=1)
    if kind == "nll":
        nats = nll(model, samples, batch_size=min(batch_size, 100))
        return lambda params, key, batch: nats(params, key, batch) / _observed(batch)
    return _bound(model, kind, samples, max(1, batch_size // samples))


def feature_scores(model: Autoencoder, batch_size: int = 1000) -> Callable[[Params, Batch], Array]:
    """What each entry has of its row's "reconstruction" score: they sum to it.

    The squared error of each entry over the number of observed entries of its row, 0 where it is
    not observed. Sum over the features for scores of time steps, or over time for those of
    features.

    Returns:
        `(params, batch) -> (n, *shape)`, pure.

    Raises:
        ValueError: batch_size below 1.

    >>> def zero(params, *_): return jnp.zeros((1, 2))
    >>> model = Autoencoder(None, None, zero, zero, None)
    >>> feature_scores(model)(None, {"x": jnp.array([[2.0, 4.0]])}).tolist()
    [[2.0, 8.0]]
    """
    check_range("batch_size", batch_size, 1)

    def measure(params: Params, data: Batch) -> Array:
        def errors(batch: Batch) -> Array:
            x = as_float(batch["x"])
            x_hat = model.decode(params, model.encode(params, batch), model.context(batch))
            wide = jnp.promote_types(x.dtype, jnp.float32)
            squares = jnp.square(x.astype(wide) - x_hat.astype(wide))
            each = _observed(batch).reshape(-1, *(1,) * (x.ndim - 1))
            return where_observed(batch, squares) / each.astype(wide)

        return map_batches(errors, data, batch_size)

    return measure


def _bound(
    model: Autoencoder, kind: str, samples: int, batch_size: int
) -> Callable[[Params, Key, Batch], Array]:
    """The negative ELBO, or its distortion, of each row for each observed entry."""
    draw = latent_of(model, random=kind == "elbo").draw

    def measure(params: Params, key: Key, data: Batch) -> Array:
        def costs(batch: Batch) -> Array:
            plain = without_key(batch)
            drawn = draw(params, batch["key"][0], plain, samples)
            nats = drawn.distortion + drawn.rate if kind == "elbo" else drawn.distortion
            return jnp.mean(nats, axis=0) / _observed(plain)

        return map_batches(costs, with_keys(key, data), batch_size)

    return measure


def _free_energy(energy: Energy, batch_size: int) -> Callable[[Params, Key, Batch], Array]:
    def measure(params: Params, key: Key, data: Batch) -> Array:
        if data.get("mask") is not None:
            raise ValueError(
                "Free energies of machines with other units observed cannot be compared, as their "
                "log Z differ. Leave mask out, or take kind='reconstruction'."
            )
        return map_batches(lambda batch: energy.free_energy(params, batch), data, batch_size)

    return measure


def _observed(batch: Batch) -> Array:
    """The number of observed entries of each row, at least 1, `(n,)`."""
    x = batch["x"]
    if batch.get("mask") is None:
        return jnp.full(x.shape[:1], max(1, x[0].size), jnp.float32)
    seen = where_observed(batch, jnp.ones(x.shape, jnp.float32))
    return jnp.maximum(jnp.sum(_flat(seen), axis=1), 1.0)


def _flat(a: Array) -> Array:
    return a.reshape(a.shape[0], -1)
