"""How likely data are under restricted Boltzmann machines: exactly, and by estimates."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.nn import relu, sigmoid, softplus
from jax.scipy.special import logit, logsumexp

from jaxae.base import (
    Array,
    Batch,
    Key,
    Metrics,
    Params,
    as_float,
    check_range,
    map_batches,
    where_observed,
)
from jaxae.models.boltzmann import Energy, Units, rbm_energy, weights


class PartitionEstimate(NamedTuple):
    """What the chains of annealed importance sampling say of log Z, in nats.

    Attributes:
        log_partition: the log of the mean weight.
        low: the log of the mean less three standard errors, -inf where that is not positive.
            A standard error is the weights' sample standard deviation over √chains; it is too
            small where the chains miss what is rare and heavy.
        high: the log of the mean plus three standard errors.
        log_weights: `(chains,)`; the exponential of each estimates Z without bias.
        effective_sample_size: (Σ w)² / Σ w², from 1 to the number of chains.
    """

    log_partition: Array
    low: Array
    high: Array
    log_weights: Array
    effective_sample_size: Array


def log_partition(
    params: Params, *, visible: Units = "bernoulli", hidden: Units = "bernoulli"
) -> Array:
    """The exact log Z, in nats, of an `rbm` with these units: log p(v) = -F(v) - log Z.

    The units of the smaller binary side are enumerated, 4,096 states at a time; those of the
    other are summed, Gaussian ones integrated, in closed form.

    >>> params = {"encoder": {"layer_0": {"kernel": jnp.zeros((4, 3)), "bias": jnp.zeros(3)}}}
    >>> params["decoder"] = {"bias_0": jnp.zeros(4)}
    >>> print(f"{log_partition(params) / jnp.log(2):.4f}")
    7.0000

    Raises:
        ValueError: over 20 units on each binary side, parameters of no `rbm`, wrong units.
    """
    rbm_energy(visible, hidden)
    w, c, b = weights(params)
    mirrored = {"encoder": {"layer_0": {"kernel": w.T, "bias": b}}, "decoder": {"bias_0": c}}
    sides = [(b.size, params, visible, hidden), (c.size, mirrored, hidden, visible)]
    binary = [side for side in sides if side[2] == "bernoulli"]
    count, machine, *units = min(binary, key=lambda side: side[0])
    if count > 20:
        raise ValueError(
            f"At most 20 binary units are enumerated; the machine has {b.size} {visible} visible "
            f"and {c.size} {hidden} hidden units. Take annealed_importance_sampling."
        )
    return _enumerate(machine, *units)


def annealed_importance_sampling(
    params: Params,
    key: Key,
    data: Batch | None = None,
    *,
    temperatures: int = 14_500,
    chains: int = 100,
) -> PartitionEstimate:
    """Estimates log Z of a binary `rbm` by annealed importance sampling (Neal, 2001).

    Chains go from a machine of known Z, without weights and with the visible biases a, to the
    given one, through the unnormalised (Salakhutdinov & Murray, 2008)

        p*(v; β) = exp((1 - β) v·a + β v·b) Π_j (1 + exp(β (v W + c)_j)).

    At each β the weight is multiplied by p*(v; β) / p*(v; previous β), and a step of Gibbs
    sampling follows. The 14,500 β are theirs, evenly spaced: 500 to 0.5, 4,000 to 0.9 and
    10,000 to 1; other numbers are in proportion.

    Args:
        params: of an `rbm` with Bernoulli units on both sides.
        key: of the chains.
        data: such as the training data; a are the log-odds of their pixels' means m smoothed
            to (m + 0.05) / 1.1, which narrows the interval. Without data a is 0.
        temperatures: the number of β, from 0 to 1, both of which count.
        chains: independent ones; more give a narrower interval.

    >>> params = {"encoder": {"layer_0": {"kernel": jnp.zeros((4, 3)), "bias": jnp.zeros(3)}}}
    >>> params["decoder"] = {"bias_0": jnp.zeros(4)}
    >>> found = annealed_importance_sampling(params, jax.random.key(0), temperatures=10)
    >>> print(f"{found.log_partition / jnp.log(2):.4f} {found.effective_sample_size:.1f}")
    7.0000 100.0

    Raises:
        ValueError: fewer than 2 temperatures or chains, no `rbm`, or data that do not fit it.
    """
    check_range("temperatures", temperatures, 2)
    check_range("chains", chains, 2)
    b = weights(params)[2]
    a = jnp.zeros_like(b) if data is None else _log_odds(data, b)
    share = np.linspace(0.0, 1.0, temperatures)
    betas = np.interp(share, [0, 500 / 14_500, 4_500 / 14_500, 1], [0, 0.5, 0.9, 1])
    return _anneal(params, key, a, jnp.asarray(betas, b.dtype), chains)


def log_likelihood(
    energy: Energy, batch_size: int = 1000
) -> Callable[[Params, Batch, Array], Array]:
    """The mean of log p(x) = -F(x) - log Z over a data set, in nats per example.

    Returns:
        A pure function `(params, data, log_partition) -> log_likelihood`. A log partition
        too small makes it too large. Grey pixels have no likelihood under binary units.

    >>> params = {"encoder": {"layer_0": {"kernel": jnp.zeros((4, 3)), "bias": jnp.zeros(3)}}}
    >>> params["decoder"] = {"bias_0": jnp.zeros(4)}
    >>> found = log_likelihood(rbm_energy())(params, {"x": jnp.eye(4)}, log_partition(params))
    >>> print(f"{found / jnp.log(2):.4f}")
    -4.0000

    Raises:
        ValueError: when called, data with a mask: what it hides would have to be summed out.
    """

    def evaluate(params: Params, data: Batch, log_partition: Array) -> Array:
        rows = {"x": _whole(data)}
        free = map_batches(functools.partial(energy.free_energy, params), rows, batch_size)
        return -jnp.mean(free) - log_partition

    return evaluate


def pseudo_log_likelihood(
    energy: Energy, batch_size: int = 1000
) -> Callable[[Params, Key, Batch], Metrics]:
    """An estimate of Σ_i log p(x_i | the other x), which needs no Z (Besag, 1975).

        d · log σ(F(x with bit i flipped) - F(x)), of one random bit i for each example,

    as `score_samples` of scikit-learn's BernoulliRBM has it; the mean over a data set, in
    nats per example. It needs binary visible units.

    Returns:
        A pure function `(params, key, data) -> {"pseudo_log_likelihood"}`.

    >>> params = {"encoder": {"layer_0": {"kernel": jnp.zeros((4, 3)), "bias": jnp.zeros(3)}}}
    >>> params["decoder"] = {"bias_0": jnp.zeros(4)}
    >>> found = pseudo_log_likelihood(rbm_energy())(params, jax.random.key(0), {"x": jnp.eye(4)})
    >>> print(f"{found['pseudo_log_likelihood'] / jnp.log(2):.4f}")
    -4.0000

    Raises:
        ValueError: when called, concrete data that are not 0 or 1, or data with a mask.
    """

    def evaluate(params: Params, key: Key, data: Batch) -> Metrics:
        d, x = weights(params)[2].size, _whole(data, binary=True)

        def gap(batch: Batch) -> Array:
            x = as_float(batch["x"]).reshape(-1, d)
            flipped = jnp.where(jnp.arange(d) == batch["bit"][:, None], 1 - x, x)
            return energy.free_energy(params, {"x": flipped}) - energy.free_energy(params, {"x": x})

        rows = {"x": x, "bit": jax.random.randint(key, (len(x),), 0, d)}
        scores = d * jax.nn.log_sigmoid(map_batches(gap, rows, batch_size))
        return {"pseudo_log_likelihood": jnp.mean(scores)}

    return evaluate


@functools.partial(jax.jit, static_argnums=(1, 2))
def _enumerate(params: Params, visible: Units, hidden: Units) -> Array:
    """The log of Σ exp(-F) over all states of the binary visible units."""
    b = weights(params)[2]
    inner = min(b.size, 12)
    outer = b.size - inner
    free_energy = rbm_energy(visible, hidden).free_energy

    def bits(numbers: Array, count: int) -> Array:
        return (numbers[:, None] >> jnp.arange(count) & 1).astype(b.dtype)

    low = bits(jnp.arange(2**inner), inner)

    def chunk(number: Array) -> Array:
        high = jnp.broadcast_to(bits(number[None], outer), (len(low), outer))
        return logsumexp(-free_energy(params, {"x": jnp.concatenate([low, high], axis=1)}))

    return logsumexp(jax.lax.map(chunk, jnp.arange(2**outer)))


@functools.partial(jax.jit, static_argnums=4)
def _anneal(params: Params, key: Key, a: Array, betas: Array, chains: int) -> PartitionEstimate:
    w, c, b = weights(params)
    start_key, chain_key = jax.random.split(key)

    def draw(key: Key, inputs: Array) -> Array:
        return jax.random.bernoulli(key, sigmoid(inputs)).astype(w.dtype)

    def step(now: tuple[Array, Array, Array], xs: tuple[Array, ...]) -> tuple[tuple, None]:
        # small differences of softplus to full precision, and Kahan's sum of thousands of them
        (v, total, lost), (before, beta, h_key, v_key) = now, xs
        inputs = v @ w + c
        moved = (beta - before) * inputs
        gain = relu(moved) + jnp.log1p(sigmoid(-before * abs(inputs)) * jnp.expm1(-abs(moved)))
        gain = jnp.sum(gain, axis=1) + (beta - before) * (v @ (b - a)) - lost
        v = draw(v_key, (1 - beta) * a + beta * (draw(h_key, beta * inputs) @ w.T + b))
        return (v, total + gain, total + gain - total - gain), None

    known = jnp.full(chains, jnp.sum(softplus(a)) + c.size * softplus(jnp.zeros((), a.dtype)))
    start = draw(start_key, jnp.broadcast_to(a, (chains, a.size))), known, jnp.zeros_like(known)
    keys = jax.random.split(chain_key, (2, len(betas) - 1))
    (_, log_weights, _), _ = jax.lax.scan(step, start, (betas[:-1], betas[1:], *keys))
    largest = jnp.max(log_weights)
    w = jnp.exp(log_weights - largest)
    margin = 3 * jnp.std(w, ddof=1) / jnp.sqrt(chains).astype(w.dtype)
    middle, low, high = (largest + jnp.log((w.mean() + e).clip(0)) for e in (0, -margin, margin))
    return PartitionEstimate(middle, low, high, log_weights, w.sum() ** 2 / (w**2).sum())


def _log_odds(data: Batch, b: Array) -> Array:
    """The base machine's visible biases."""
    x = as_float(data["x"])
    count = jnp.sum(where_observed(data, jnp.ones_like(x)), axis=0)
    m = (jnp.sum(where_observed(data, x), axis=0) / jnp.maximum(count, 1)).ravel()
    if m.shape != b.shape:
        raise ValueError(f"The machine has {b.size} visible units; the data have {m.size}.")
    check_range("Means of binary data", m, 0.0, 1.0)
    return logit((m + 0.05) / 1.1).astype(b.dtype)


def _whole(data: Batch, binary: bool = False) -> Array:
    """The x of `data`, without a mask and where so wanted binary."""
    x = data["x"]
    if data.get("mask") is not None:
        raise ValueError("Likelihoods are those of whole examples; leave the mask out.")
    top = 255 if x.dtype == np.uint8 else 1
    if binary and not isinstance(x, jax.core.Tracer) and not jnp.all((x == 0) | (x == top)):
        raise ValueError(
            f"A pseudo-likelihood needs binary data, 0 or {top} as {x.dtype}; got values in "
            f"[{x.min()}, {x.max()}]. Binarise them, such as by x > threshold."
        )
    return x
