"""Corruption, encoder, code, decoder, likelihood and penalties, composed: the one loss."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import chex
import flax.linen as nn
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
    is_traced,
    num_examples,
)
from jaxae.models.codes import Deterministic
from jaxae.models.corruptions import Corruption, none
from jaxae.models.likelihoods import Likelihood, gaussian
from jaxae.models.penalties import Forward, Penalty


class _Network(nn.Module):
    encoder: nn.Module
    decoder: nn.Module
    code: nn.Module
    head: nn.Module | None

    def __call__(self, batch: Batch) -> tuple[Any, Array, Array]:
        z, rate = self.code(self.encoder(batch["x"], **_extras(batch, "mask", "context")))
        return self.decode(z, batch.get("context")), z, rate

    def encode(self, batch: Batch) -> Array:
        h = self.encoder(batch["x"], **_extras(batch, "mask", "context"))
        return self.code(h, train=False)[0]

    def decode(self, z: Array, context: Array | None = None) -> Any:
        out = self.decoder(z, **_extras({"context": context}, "context"))
        return out if self.head is None else self.head(out)

    def prior(self, key: Key, n: int) -> Array:
        return self.code.prior(key, n)


def autoencoder(
    encoder: nn.Module,
    decoder: nn.Module,
    likelihood: Likelihood | None = None,
    *,
    code: nn.Module | None = None,
    corrupt: Corruption = none,
    penalties: Sequence[Penalty] = (),
    beta: chex.Numeric = 1.0,
) -> Autoencoder:
    """Composes parts into an autoencoder whose loss is distortion + beta * rate + penalties.

        z, rate = code(encoder(corrupt(x)));  out = decoder(z)
        loss = E[ -sum over observed entries of log p(x | out) ] + beta * E[rate] + penalties

    The distortion is summed over the entries of an example and averaged over examples,
    in nats. Parts combine freely.

    Args:
        encoder: a Linen module, `(batch, *shape) -> h`.
        decoder: a Linen module, `z -> (batch, *shape)`, whose last axis is
            `likelihood.outputs` times as wide.
        likelihood: p(x | out), by default a Gaussian of scale 1 (squared error).
        code: a Linen module `h -> (z, rate)`, by default deterministic.
        corrupt: `(key, x) -> x_tilde`, what the encoder sees in training.
        penalties: functions of the forward pass that add to the loss.
        beta: the weight of the rate.

    >>> import optax, jaxae
    >>> parts = jaxae.mlp(8, 3)
    >>> model = autoencoder(*parts, corrupt=jaxae.corruptions.masking(0.2))
    >>> batch = {"x": jnp.ones((5, 8))}
    >>> params = model.init(jax.random.key(0), batch)
    >>> model.encode(params, batch).shape
    (5, 3)

    Raises:
        ValueError: a concrete beta below 0; at `init`, data that the likelihood does
            not allow, or a decoder whose output does not match x.
    """
    check_range("beta", beta, 0.0)
    likelihood = gaussian() if likelihood is None else likelihood
    net = _Network(encoder, decoder, Deterministic() if code is None else code, likelihood.head)

    @jax.jit
    def init_network(key: Key, batch: Batch) -> Params:
        params_key, code_key = jax.random.split(key)
        variables = net.init({"params": params_key, "code": code_key}, _observed(batch))
        return variables.get("params", {})

    def init(key: Key, batch: Batch) -> Params:
        num_examples(batch)
        _check_support(likelihood, batch)
        row = jax.tree.map(lambda a: a[:1], dict(batch))
        params = init_network(key, row)
        _check_output(likelihood, jax.eval_shape(forward, params, key, row)[0], row["x"])
        return params

    def forward(params: Params, key: Key, batch: Batch) -> tuple[Any, Array, Array]:
        batch = _observed(batch)
        outputs: Any = net.apply({"params": params}, batch, rngs={"code": key})
        out, z, rate = outputs
        out, rate = jax.tree.map(lambda a: a.astype(batch["x"].dtype), (out, rate))
        return out, z, rate

    def loss(params: Params, key: Key, batch: Batch) -> tuple[Array, Metrics]:
        batch = _observed(batch)
        corrupt_key, code_key, *penalty_keys = jax.random.split(key, 2 + len(penalties))
        noisy = {**batch, "x": corrupt(corrupt_key, batch["x"])}
        out, z, rates = forward(params, code_key, noisy)
        log_prob = _where_observed(batch, likelihood.log_prob(out, batch["x"]))
        distortion = -jnp.mean(jnp.sum(log_prob, axis=range(1, log_prob.ndim)))
        rate = jnp.mean(rates)
        terms = [
            penalty(Forward(params, k, batch, z, encode))
            for penalty, k in zip(penalties, penalty_keys, strict=True)
        ]
        penalty = sum(terms, jnp.zeros((), distortion.dtype))
        total = distortion + beta * rate + penalty
        metrics = {"loss": total, "distortion": distortion, "rate": rate, "penalty": penalty}
        return total, metrics

    @jax.jit
    def encode(params: Params, batch: Batch) -> Array:
        z: Any = net.apply({"params": params}, _observed(batch), method="encode")
        return z

    def natural(params: Params, z: Array, context: Array | None) -> Any:
        return net.apply({"params": params}, z, context, method="decode")

    @jax.jit
    def decode(params: Params, z: Array, context: Array | None = None) -> Array:
        return likelihood.mean(natural(params, z, context))

    @partial(jax.jit, static_argnums=2)
    def sample(params: Params, key: Key, n: int) -> Array:
        prior_key, sample_key = jax.random.split(key)
        z: Any = net.apply({"params": params}, prior_key, n, method="prior")
        return likelihood.sample(sample_key, natural(params, z, None))

    return Autoencoder(init, loss, encode, decode, sample)


def _extras(batch: Batch, *names: str) -> dict[str, Array]:
    return {name: batch[name] for name in names if batch.get(name) is not None}


def _observed(batch: Batch) -> dict[str, Array]:
    """The batch with x as floats and its unobserved entries, whatever they hold, as zeros."""
    num_examples(batch)
    return {**batch, "x": _where_observed(batch, as_float(batch["x"]))}


def _where_observed(batch: Batch, values: Array) -> Array:
    """`values` where the mask is 1, else 0; the mask is broadcast from the left."""
    mask = batch.get("mask")
    if mask is None:
        return values
    wanted = np.shape(mask)
    if wanted != values.shape[: len(wanted)]:
        raise ValueError(
            f"mask has shape {wanted}; it must be the shape of x or its first axes, {values.shape}."
        )
    mask = jnp.reshape(mask, wanted + (1,) * (values.ndim - len(wanted)))
    return jnp.where(mask != 0, values, 0)


def _check_support(likelihood: Likelihood, batch: Batch) -> None:
    x = batch["x"]
    if is_traced(x) or x.dtype in (np.uint8, np.bool_):
        return
    x = _where_observed(batch, x)
    low, high = likelihood.support
    least, greatest = float(x.min()), float(x.max())
    if not (np.isfinite(least) and np.isfinite(greatest)):
        raise ValueError(
            "x has NaN or infinite entries; drop or impute them, or mark them in mask."
        )
    if least < low or greatest > high:
        raise ValueError(
            f"This likelihood needs x in [{low}, {high}]; got values from {least} to {greatest}. "
            "Scale x to that range, or take likelihoods.gaussian()."
        )


def _check_output(likelihood: Likelihood, out: Any, x: Array) -> None:
    shape = jax.eval_shape(likelihood.mean, out).shape
    if shape != x.shape:
        raise ValueError(
            f"The decoder's mean has shape {shape[1:]} for one example, x has {x.shape[1:]}. "
            "Build the networks with shape=x.shape[1:]; likelihoods with several outputs "
            "for an entry widen the last axis."
        )
