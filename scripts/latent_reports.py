"""What the scripts measure of generative models, and what they say about it."""

import math
import textwrap
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxae import evaluation
from jaxae.base import Array, Autoencoder, Batch, Key, Metrics, Params
from jaxae.evaluation import doctor
from jaxae.evaluation.latent import latent_of
from options import Variant

MEASURED = ("variational", "codebook", "mmd", "bits")
ROWS = 2_000
"""Test rows whose codes are compared with the prior, at most."""
UNDECIDED = 0.1
"""Codes between this and 1 less this are neither 0 nor 1."""

Table = list[dict[str, Any]]


def measure(
    config: Any, model: Autoencoder, params: Params, test: Batch
) -> tuple[list[Table], list[str]]:
    """Tables of test rows by the kind of code, and the notes of `evaluation.diagnose`."""
    seen = config.seen(test)
    keys = jax.random.split(jax.random.key(config.seed), 4)
    tables = [_likelihoods(config, model, params, keys[0], seen)]
    if config.MEASURES == "variational":
        tables.append([_units(model, params, seen)])
    elif config.MEASURES == "codebook":
        tables.append([_codebook(model, params, seen)])
    elif config.MEASURES == "mmd":
        tables.append([_against_prior(model, params, keys[1], keys[2], seen)])
    else:
        tables.append([_bits(model, params, seen)])
    notes = doctor.diagnose(
        model,
        params,
        keys[3],
        seen,
        beta=1.0 - config.information
        if hasattr(config, "information")
        else getattr(config, "beta", None),
        bits=config.MEASURES == "bits",
    )
    return tables, notes


def in_words(notes: list[str]) -> str:
    """The notes as they are printed."""
    lines = (textwrap.fill(note, 98, initial_indent="- ", subsequent_indent="  ") for note in notes)
    return "Notes\n" + "\n".join(lines)


def _likelihoods(
    config: Variant, model: Autoencoder, params: Params, key: Key, test: Batch
) -> Table:
    """Distortion and rate and, where these are of a likelihood, its bounds."""
    levels = doctor.levels_of(model, params, test)
    floor = _floor(test) if levels == 2 else 0.0
    if config.MEASURES in ("mmd", "bits"):  # codes that are no random variables
        nats = {"distortion": _distortion(model, params, key, test)}
    else:
        costs = jax.jit(evaluation.elbo(model, samples=10))(params, key, test)
        nats = {name: float(value) for name, value in costs.items()}
    dims = math.prod(test["x"].shape[1:])

    def row(name: str, value: float) -> dict[str, Any]:
        each = {"bits_per_dim": evaluation.bits_per_dim(value, dims)} if levels else {}
        return {"name": name, "nats": value, **each}

    what = "-log p(x | z)"
    if floor:
        rows = [row("distortion, a cross-entropy", nats["distortion"])]
        rows.append(row("its floor, the entropy of the grey values", floor))
    else:
        rows = [row(f"distortion, {what}", nats["distortion"])]
    if config.MEASURES in ("mmd", "bits"):
        return rows
    rows.append(row("rate", nats["rate"]))
    if floor:
        return rows
    rows.append(row("negative ELBO, their sum", -nats["elbo"]))
    samples = getattr(config, "nll_samples", 0)
    if config.MEASURES == "variational" and samples:
        each = jax.jit(evaluation.nll(model, samples))(params, key, test)
        rows.append(row(f"NLL, {samples:,} importance samples", float(each.mean())))
    return rows


def _distortion(model: Autoencoder, params: Params, key: Key, test: Batch) -> float:
    """-log p(x | z) at the code of each row, in nats per example."""
    latent = latent_of(model)

    def costs(batch: Batch) -> Array:
        return latent.draw(params, key, batch).distortion[0]

    return float(jax.jit(lambda data: jnp.mean(evaluation.map_batches(costs, data)))(test))


def _floor(test: Batch) -> float:
    """The least cross-entropy of these values, 0 where all are 0 or 1."""
    return float(np.mean(doctor.grey_floor(test["x"], test.get("mask"))))


def _units(model: Autoencoder, params: Params, test: Batch) -> dict[str, Any]:
    """How many units the code uses, and how much."""
    usage = usage_of(model, params, test)
    kl = np.sort(usage["kl"])
    return {
        "name": "units",
        "active": int((usage["variance"] > doctor.ACTIVE).sum()),
        "units": len(kl),
        "kl_least": float(kl[0]),
        "kl_median": float(np.median(kl)),
        "kl_most": float(kl[-1]),
        "mean_scale": float(usage["scale"].mean()),
    }


def usage_of(model: Autoencoder, params: Params, data: Batch) -> dict[str, np.ndarray]:
    """`evaluation.unit_usage`, on the host."""
    found: Metrics = jax.jit(evaluation.unit_usage(model))(params, data)
    return {name: np.asarray(value) for name, value in found.items()}


def _codebook(model: Autoencoder, params: Params, test: Batch) -> dict[str, Any]:
    """How many embeddings the codes use, and how evenly."""
    found = jax.jit(doctor.codebook_usage(model))(params, test)
    counts = {name: int(found[name]) for name in ("used", "num_embeddings")}
    return {"name": "codebook", **counts, "perplexity": float(found["perplexity"])}


def _against_prior(
    model: Autoencoder, params: Params, key: Key, test_key: Key, test: Batch
) -> dict[str, Any]:
    """Whether codes are distributed as the prior."""
    z = evaluation.codes(model, params, {name: a[:ROWS] for name, a in test.items()})
    drawn: Array = latent_of(model).prior(params, key, len(z))
    found = evaluation.two_sample_test(test_key, jnp.asarray(z), drawn)
    return {"name": "codes beside the prior", **found._asdict(), "std": float(z.std())}


def _bits(model: Autoencoder, params: Params, test: Batch) -> dict[str, Any]:
    """How near codes are to bits, and what these say."""
    z = evaluation.codes(model, params, test)
    bits = (z > 0.5).astype(z.dtype)
    x_hat = model.decode(params, bits, model.context(test))
    ones = bits.mean(0)
    squares = evaluation.squared_error(test["x"], x_hat, test.get("mask"))
    return {
        "name": "bits",
        "bits": len(ones),
        "constant": int(((ones == 0) | (ones == 1)).sum()),
        "distinct_codes": len(np.unique(bits, axis=0)),
        "undecided": float(((z > UNDECIDED) & (z < 1 - UNDECIDED)).mean()),
        "squared_error_of_bits": float(squares.mean()),
    }
