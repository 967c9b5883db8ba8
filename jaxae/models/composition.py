"""Corruption, encoder, code, decoder, likelihood and penalties, composed: the one loss."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxae.base import (
    Array,
    Autoencoder,
    Batch,
    Draw,
    Key,
    Latent,
    Metrics,
    Params,
    as_float,
    check_range,
    num_examples,
    where_observed,
)
from jaxae.models import bounds
from jaxae.models.assembly import (
    Network,
    Weight,
    given_to,
    joined,
    merged,
    reported,
    several,
    variables_of,
)
from jaxae.models.bounds import Bound
from jaxae.models.carrying import Scheduled
from jaxae.models.checking import check_output, check_support
from jaxae.models.codes import Deterministic
from jaxae.models.corruptions import Corruption, corrupted, none
from jaxae.models.likelihoods import Likelihood, gaussian
from jaxae.models.penalties import Forward, Penalty


def autoencoder(
    encoder: nn.Module,
    decoder: nn.Module,
    likelihood: Likelihood | None = None,
    *,
    code: nn.Module | None = None,
    corrupt: Corruption = none,
    penalties: Sequence[Penalty] = (),
    beta: Scheduled = 1.0,
    samples: int = 1,
    bound: Bound = bounds.elbo,
) -> Autoencoder:
    """Composes parts into an autoencoder whose loss is distortion + beta * rate + penalties.

        z, rate = code(encoder(corrupt(x)));  out = decoder(z)
        loss = E[ -sum over observed entries of log p(x | out) ] + beta * E[rate] + penalties

    The distortion is summed over the entries of an example and averaged over examples,
    in nats. Parts combine freely.

    Args:
        encoder: a Linen module, `(batch, *shape) -> h`.
        decoder: a Linen module, `z -> (batch, *shape)`, whose last axis is
            `likelihood.outputs` times as wide. Its method `given`, if it has one, says what
            of a batch is its context (`assembly.given_to`).
        likelihood: p(x | out), by default a Gaussian of scale 1 (squared error).
        code: a Linen module `h -> (z, rate)`, by default deterministic.
        corrupt: `(key, x) -> x_tilde`, what the encoder sees in training.
        penalties: functions of the forward pass that add to the loss; Linen modules where
            they have parameters, or carry something from step to step.
        beta: the weight of the rate; a schedule, a function of the number of steps, warms up.
        samples: codes that are drawn for each example.
        bound: how the costs of these draws join, of `bounds`; by default by their mean.

    >>> import optax, jaxae
    >>> parts = jaxae.mlp(8, 3)
    >>> model = autoencoder(*parts, corrupt=jaxae.corruptions.masking(0.2))
    >>> batch = {"x": jnp.ones((5, 8))}
    >>> params = model.init(jax.random.key(0), batch)
    >>> model.encode(params, batch).shape
    (5, 3)

    Raises:
        ValueError: a concrete beta below 0, or samples below 1; at `init`, data that the
            likelihood does not allow, or a decoder whose output does not match x.
    """
    if not callable(beta):
        check_range("beta", beta, 0.0)
    check_range("samples", samples, 1)
    likelihood = gaussian() if likelihood is None else likelihood
    code = Deterministic() if code is None else code
    weight = Weight(beta) if callable(beta) else None
    net = Network(encoder, decoder, code, likelihood.head, tuple(penalties), weight)
    mutable = ["carried", "metrics"]

    @jax.jit
    def init_network(key: Key, batch: Batch) -> Params:
        params_key, code_key, penalty_key = jax.random.split(key, 3)
        batch = _observed(batch)
        variables = net.init({"params": params_key, "code": code_key}, batch)
        h, _, z, _, _ = forward(joined(variables), code_key, batch, batch, 1)
        given = [seen(joined(variables), code_key, batch, h, z[0])] * len(penalties)
        own = net.init({"params": penalty_key}, given, method="penalise")
        names = {*variables, *own}
        return joined({name: {**variables.get(name, {}), **own.get(name, {})} for name in names})

    def init(key: Key, batch: Batch) -> Params:
        num_examples(batch)
        check_support(likelihood, batch)
        row = jax.tree.map(lambda a: a[:1], dict(batch))
        params = init_network(key, row)
        z = jax.eval_shape(encode, params, row)
        out = jax.eval_shape(natural, params, z, context(row))
        check_output(likelihood, out, row["x"])
        return params

    def context(batch: Batch) -> Any:
        return given_to(decoder, batch, known=False)

    def forward(
        params: Params, key: Key, noisy: Batch, batch: Batch, count: int, method: str = "rebuild"
    ) -> tuple[Array, Any, Array, Array, Any]:
        """h; for each draw natural parameters, z and rate; the collections that changed."""
        how: Any = {"rngs": {"code": key}, "mutable": mutable}
        h, first = net.apply(variables_of(params), noisy, method="look", **how)
        variables = {**variables_of(params), "carried": first.get("carried", {})}

        def one(key: Key) -> Any:
            how["rngs"] = {"code": key}
            return net.apply(variables, h, batch, method=method, **how)

        keys = jax.random.split(key, count) if count > 1 else key[None]
        (out, z, rate), changed = several(one, keys)
        out, rate = jax.tree.map(lambda a: a.astype(batch["x"].dtype), (out, rate))
        return h, out, z, rate, merged(first, changed)

    def costs(out: Any, batch: Batch) -> Array:
        """-log p(x | out) of each example, on rows: XLA is slow where the last axis is short."""
        x = batch["x"]
        entries = x.shape[: x.ndim - likelihood.event_axes]
        out = jax.tree.map(lambda a: _rows(a, len(entries)) if a.ndim == x.ndim else a, out)
        log_prob = likelihood.log_prob(out, _rows(x, len(entries)))
        if batch.get("mask") is not None:
            seen = where_observed(batch, jnp.ones(x.shape, bool))
            seen = jnp.any(seen, axis=tuple(range(len(entries), x.ndim)))
            log_prob = jnp.where(_rows(seen, len(entries)), log_prob, 0)
        return -jnp.sum(log_prob, axis=1)

    def seen(params: Params, key: Key, batch: Batch, h: Array, z: Array) -> Forward:
        def to_mean(params: Params, z: Array) -> Array:
            return likelihood.mean(natural(params, z, context(batch)))

        def to_distortion(params: Params, z: Array) -> Array:
            given = given_to(decoder, batch, known=True)
            return jnp.mean(costs(natural(params, z, given), batch))

        return Forward(params, key, batch, h, z, encode, to_mean, to_distortion, prior)

    def loss(params: Params, key: Key, batch: Batch) -> tuple[Array, Metrics]:
        batch = _observed(batch)
        corrupt_key, code_key, *penalty_keys = jax.random.split(key, 2 + len(penalties))
        noisy = corrupted(corrupt, corrupt_key, batch)
        h, out, z, rates, changed = forward(params, code_key, noisy, batch, samples)
        errors = several(lambda out: costs(out, batch), out)
        forwards = [seen(params, k, batch, h, z[0]) for k in penalty_keys]
        variables = {**variables_of(params), "carried": changed.get("carried", {})}
        (now, values), then = net.apply(variables, forwards, method="penalise", mutable=mutable)
        error, rate = jnp.mean(errors), jnp.mean(rates)
        penalty = sum(values, jnp.zeros((), error.dtype))
        total = bound(errors, rates, beta if now is None else now) + penalty
        metrics = {"loss": total, "distortion": error, "rate": rate, "penalty": penalty}
        metrics |= reported(changed) | reported(then)
        if "carried" in params:
            metrics["carried"] = then["carried"]
        return total, metrics

    @jax.jit
    def encode(params: Params, batch: Batch) -> Array:
        z: Any = net.apply(variables_of(params), _observed(batch), method="encode")
        return z

    def natural(params: Params, z: Array, context: Any = None) -> Any:
        return net.apply(variables_of(params), z, context, method="decode")

    @jax.jit
    def decode(params: Params, z: Array, context: Any = None) -> Array:
        return likelihood.mean(natural(params, z, context))

    @partial(jax.jit, static_argnums=2)
    def sample(params: Params, key: Key, n: int, context: Any = None) -> Array:
        prior_key, sample_key = jax.random.split(key)
        return emit(params, sample_key, prior(params, prior_key, n), context)

    @partial(jax.jit, static_argnums=3)
    def draw(params: Params, key: Key, batch: Batch, samples: int = 1) -> Draw:
        batch = _observed(batch)
        _, out, z, rates, _ = forward(params, key, batch, batch, samples, "draw")
        return Draw(z, several(lambda out: costs(out, batch), out), rates)

    @jax.jit
    def posterior(params: Params, batch: Batch) -> Any:
        return net.apply(variables_of(params), _observed(batch), method="posterior")

    def prior(params: Params, key: Key, n: int) -> Any:
        return net.apply(variables_of(params), key, n, method="prior")

    @jax.jit
    def emit(params: Params, key: Key, z: Array, context: Any = None) -> Array:
        return likelihood.sample(key, natural(params, z, context))

    @jax.jit
    def masses(params: Params, z: Array, context: Any = None) -> Array:
        return likelihood.masses(natural(params, z, context))

    @jax.jit
    def logistic(params: Params, z: Array, context: Any = None) -> Any:
        assert likelihood.logistic is not None
        return likelihood.logistic(natural(params, z, context))

    random = not isinstance(code, Deterministic)
    numbers = None if likelihood.logistic is None else logistic
    latent = Latent(draw, posterior, prior, emit, masses, random, numbers)
    return Autoencoder(init, loss, encode, decode, sample, latent, context)


def _observed(batch: Batch) -> dict[str, Array]:
    """The batch with x as floats and its unobserved entries, whatever they hold, as zeros."""
    num_examples(batch)
    return {**batch, "x": where_observed(batch, as_float(batch["x"]))}


def _rows(a: Array, axes: int) -> Array:
    """The first `axes` axes as two, `(batch, entries, ...)`."""
    return a.reshape(a.shape[0], -1, *a.shape[axes:])
