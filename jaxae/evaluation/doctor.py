"""What is wrong with a generative model, in words."""

from typing import Any

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
    num_examples,
    where_observed,
)
from jaxae.evaluation.arrays import subsample
from jaxae.evaluation.findings import codebook_of as codebook_of
from jaxae.evaluation.findings import codebook_usage as codebook_usage
from jaxae.evaluation.findings import grey_floor as grey_floor
from jaxae.evaluation.findings import levels_of as levels_of
from jaxae.evaluation.latent import latent_of
from jaxae.evaluation.metrics import codes

ACTIVE = 0.01
"""Variance of a posterior mean over the data above which a unit is active (Burda et al., 2016)."""
FEW, SAID, ODD = 0.5, 0.1, 0.02
"""Share of active units, nats of a rate, and a relative gap that are worth a warning."""


def diagnose(
    model: Autoencoder,
    params: Params,
    key: Key,
    data: Batch,
    *,
    beta: float | None = None,
    bits: bool = False,
    max_examples: int = 1000,
) -> list[str]:
    """What a reader of a model's numbers should know, a sentence or two each; empty if nothing.

    It looks for posterior collapse; grey values under a Bernoulli likelihood, whose
    cross-entropy has a floor and is no likelihood; values beside the levels of a discrete one;
    a loss that is no evidence lower bound in nats per example (a weighted or clipped rate,
    penalties, means over entries); a codebook of which little is used; bits that never change.

    Args:
        model: with `latent`; what it does not have is not looked for.
        params: of the model.
        key: of codes and of the loss.
        data: as the model takes it; held out, if it is to tell of others.
        beta: the weight of the rate in the loss, by default what the loss itself shows. A loss
            that shows a weight below 1 and yet bounds the likelihood, as an
            importance-weighted one does, passes.
        bits: whether codes are to be rounded at a half.
        max_examples: rows that are looked at, drawn where there are more.

    Raises:
        ValueError: a model without `latent`, or fewer than 2 rows.

    >>> import jaxae
    >>> model = jaxae.vae(6, 2)
    >>> data = {"x": jax.random.uniform(jax.random.key(0), (20, 6))}
    >>> params = model.init(jax.random.key(1), data)
    >>> for note in diagnose(model, params, jax.random.key(2), data):
    ...     print(note.partition(":")[0])
    Grey values under a Bernoulli likelihood
    """
    latent, n = latent_of(model), num_examples(data)
    check_range("max_examples", max_examples, 2)
    check_range("the number of rows", n, 2)
    rows = subsample(n, max_examples, 0)
    few = {name: jnp.asarray(np.asarray(a)[rows]) for name, a in data.items()}
    draw_key, loss_key = jax.random.split(key)
    drawn = latent.draw(params, draw_key, few, 20)
    found = {"distortion": drawn.distortion, "rate": drawn.rate}
    total, metrics = jax.jit(model.loss)(params, loss_key, few)
    notes = _collapse(model, params, few, float(drawn.rate.mean()))
    notes += _values(model, params, few)
    if codebook_of(params) is None:  # of quantised codes the rate is a constant
        notes += _objective(float(total), metrics, found, beta, np.prod(few["x"].shape[1:]))
    notes += _codebook(model, params, few)
    return notes + (_bits(codes(model, params, few)) if bits else [])


def _collapse(model: Autoencoder, params: Params, data: Batch, rate: float) -> list[str]:
    try:
        mean = np.asarray(latent_of(model).posterior(params, data)[0])
    except ValueError:  # codes without a spread
        return []
    active, units = int((mean.var(axis=0) > ACTIVE).sum()), mean.shape[1]
    if rate < SAID:
        return [
            f"Posterior collapse: codes say {rate:.3f} nats about x, {active} of {units} units are "
            "active, and the decoder ignores them. Warm beta up from 0, lower it, give units free "
            "bits, or take a likelihood with a smaller or learned scale."
        ]
    if active < FEW * units:
        return [
            f"Posterior collapse of some units: {active} of {units} are active, the others are as "
            "the prior whatever x is. Fewer would do; warming beta up from 0 or free bits use more."
        ]
    return []


def _values(model: Autoencoder, params: Params, data: Batch) -> list[str]:
    """Data that a likelihood over levels does not have."""
    levels = levels_of(model, params, data)
    if levels is None:
        return []
    x = np.asarray(where_observed(data, as_float(data["x"])), np.float64) * (levels - 1)
    beside = np.abs(x - np.round(x)) > 1e-3
    if not beside.any():
        return []
    if levels == 2:
        floor = float(jnp.mean(grey_floor(data["x"], data.get("mask"))))
        return [
            f"Grey values under a Bernoulli likelihood: {beside.mean():.0%} of the entries lie "
            f"between 0 and 1, so the distortion is a cross-entropy with a floor of {floor:.2f} "
            "nats, and neither ELBO nor NLL are likelihoods. Draw them as 0 or 1, or take "
            "likelihoods.discretised_logistic() or gaussian()."
        ]
    return [
        f"Values beside the levels: {beside.mean():.0%} of the entries are no multiple of "
        f"1 / {levels - 1}, to which alone the likelihood gives probability. Round them, or "
        "give it as many levels as the data has."
    ]


def _objective(
    total: float, metrics: Metrics, found: dict[str, Array], beta: float | None, entries: Any
) -> list[str]:
    """Whether the loss is the negative evidence lower bound in nats per example."""
    distortion, rate = (float(found[name].mean()) for name in ("distortion", "rate"))
    bound, n = distortion + rate, found["rate"].shape[1]
    for count, how in ((entries, "the mean over entries"), (n, "the sum over examples")):
        scale = bound / count if count is entries else bound * count
        if count > 1 and np.isclose(total, scale, rtol=0.1) and not np.isclose(total, bound, 0.1):
            return [
                f"The loss is no ELBO: {total:.4g} is about {how} of the {bound:.4g} nats per "
                "example that codes cost, so the rate does not weigh 1 against it. Sum over "
                "entries, and take the mean over examples."
            ]
    if not {"distortion", "rate", "penalty"} <= metrics.keys() or not np.any(found["rate"]):
        return []
    counted, penalty = float(metrics["rate"]), float(metrics["penalty"])
    notes, nats = [], abs(bound) + 1.0
    if beta is None:
        shown = (total - penalty - float(metrics["distortion"])) / counted if counted else 1.0
        costs = found["distortion"] + found["rate"]
        weights = jax.nn.logsumexp(-costs, axis=0) - np.log(len(costs))
        tighter = shown < 1 and total - penalty > -float(weights.mean()) - ODD * nats
        beta = 1.0 if tighter else shown
    if abs(beta - 1.0) > ODD:
        notes.append(
            f"The loss is no ELBO: the rate weighs {beta:.3g} in it. Compare models by "
            "evaluation.elbo or nll, which weigh it 1."
        )
    spread = 4 * float(jnp.mean(jnp.std(found["rate"], axis=0))) / np.sqrt(n)
    if abs(counted - rate) > spread + ODD * (1.0 + abs(rate)):
        notes.append(
            f"The loss is no ELBO: it counts a rate of {counted:.4g} nats where the codes cost "
            f"{rate:.4g} (free bits, a capacity, or another code)."
        )
    if abs(penalty) > ODD * nats:
        notes.append(f"The loss is no ELBO: it has penalties of {penalty:.4g} nats besides.")
    return notes


def _codebook(model: Autoencoder, params: Params, data: Batch) -> list[str]:
    if codebook_of(params) is None:
        return []
    usage = {name: float(v) for name, v in codebook_usage(model)(params, data).items()}
    most = min(usage["num_embeddings"], num_examples(data))
    if usage["perplexity"] >= 0.1 * most:
        return []
    return [
        f"Codebook collapse: {usage['used']:.0f} of {usage['num_embeddings']:.0f} embeddings are "
        f"in use, with a perplexity of {usage['perplexity']:.1f}. Restart unused ones sooner, take "
        "fewer, or a lower commitment."
    ]


def _bits(z: np.ndarray) -> list[str]:
    ones = (z > 0.5).mean(axis=0)
    dead = int(((ones == 0) | (ones == 1)).sum())
    if not dead:
        return []
    return [
        f"Dead bits: {dead} of {len(ones)} are the same in all {len(z)} rows and tell nothing "
        "apart. Less noise on the codes uses more, or take fewer."
    ]
