"""What the scripts draw of a run."""

from pathlib import Path
from typing import Any, cast

import jax
import numpy as np

import jaxae
import latent_figures
import latent_reports
import network_figures
from boltzmann_configs import RBM
from configs import Denoising
from jaxae import evaluation
from jaxae.base import Array, Autoencoder, Batch, Params, as_float, where_observed
from jaxae.evaluation import generation
from jaxae.evaluation.arrays import image_shape
from jaxae.training.folders import read_rows
from options import CORRUPTIONS, Variant
from sparse_configs import Sparse

UNITS, INPUTS, LINES, DIRECTIONS = 10, 9, 3, 6
"""How many units a figure shows, of each so many images or else lines; directions of a kind."""
CHAINS, LOOKS = 8, 8
"""Chains of Gibbs sampling, and how often each is looked at."""
SPECTRUM_ROWS = 500
COMPONENTS = 32
"""Principal components whose span holds the directions."""


def draw(
    folder: Path, config: Variant, model: Autoencoder, params: Params, sample: Batch, test: Batch
) -> dict[str, Any]:
    """The figures by name: those of every variant, and those of the kind."""
    every = _figures(folder, config, model, params, test)
    if config.MEASURES == "sparsity":
        return every | _sparse(config, model, params, test)
    if config.MEASURES == "contraction":
        return every | _contraction(config, model, params, sample, test)
    if config.MEASURES == "boltzmann":
        return every | _boltzmann(cast(RBM, config), params, test)
    if config.MEASURES in latent_reports.MEASURED:
        return every | latent_figures.draw(config, model, params, test)
    return every


def _figures(
    folder: Path, config: Variant, model: Autoencoder, params: Params, test: Batch
) -> dict[str, Any]:
    shape = test["x"].shape[1:]
    few = {name: a[:10] for name, a in test.items()}
    images: dict[str, Any] = {"original": np.asarray(as_float(few["x"]))}
    seen = few
    if isinstance(config, Denoising):
        corrupt = CORRUPTIONS[config.corruption](config.noise_level)
        seen = {**few, "x": corrupt(jax.random.key(config.seed), as_float(few["x"]))}
        images["corrupted"] = np.asarray(seen["x"])
    x_hat = where_observed(few, generation.reconstruct(model, params, seen))
    images["reconstruction"] = np.asarray(x_hat)
    z = evaluation.codes(model, params, test)
    history = history_of(read_rows(folder / "metrics.jsonl"))
    if config.MEASURES == "boltzmann":  # the value of contrastive divergence misleads
        history = {name: row for name, row in history.items() if not name.endswith("loss")}
    return {
        "reconstructions": evaluation.image_rows(images, shape),
        **network_figures.draw(config, params, test),
        "curves": evaluation.curves(history),
        "codes": evaluation.codes_2d(z, test.get("y")),
    }


def _sparse(config: Variant, model: Autoencoder, params: Params, test: Batch) -> dict[str, Any]:
    """How active units are, and of the most active ones the atoms and the inputs."""
    shape = test["x"].shape[1:]
    z = evaluation.codes(model, params, test)
    activity = z.mean(0) if isinstance(config, Sparse) else (z != 0).mean(0)
    order = np.argsort(-activity, kind="stable")
    units = order[:UNITS].tolist()
    n = min(INPUTS if len(shape) > 1 else LINES, len(z))
    top = evaluation.top_examples(model, params, test, units, n)
    title = "Test inputs with the largest codes, most active units first"
    figures = {
        "density": evaluation.density_histogram(activity),
        "top_inputs": evaluation.top_inputs(test["x"], *top, shape, units=units, title=title),
    }
    if isinstance(config, Sparse):  # sigmoid units always fire
        axes = figures["density"].axes[0]
        axes.set_xlabel("log10 of mean activation (each code lies in 0 to 1)")
        axes.set_title(f"Target {config.sparsity_target:g}, mean {z.mean():.3g}", fontsize="medium")
    if not getattr(config, "hidden_dims", ()) and getattr(config, "networks", "mlp") == "mlp":
        atoms = np.asarray(jaxae.atoms(params))[order].T
        figures["atoms"] = evaluation.filters(atoms, shape, order="given")
        axes = figures["atoms"].axes[0]
        name = axes.get_title().replace("filters", "atoms, most active units first")
        axes.set_title(name.replace(", each", "\neach"), fontsize="medium")
    return figures


def _contraction(
    config: Variant, model: Autoencoder, params: Params, sample: Batch, test: Batch
) -> dict[str, Any]:
    """What the encoder contracts, beside itself before training."""
    test, key = {"x": test["x"]}, jax.random.key(config.seed)
    each = {"untrained": model.init(key, {"x": sample["x"]}), "trained": params}
    rows = {"x": test["x"][:SPECTRUM_ROWS]}
    x = np.asarray(as_float(test["x"])).reshape(len(test["x"]), -1)
    spread = float(np.linalg.norm(x - x.mean(0), axis=1).mean())
    radii = (np.geomspace(0.01, 2.0, 24) * spread).tolist()
    ratios = {
        name: evaluation.contraction_ratio(model, p, test, key, radii) for name, p in each.items()
    }
    spectra = {name: evaluation.singular_values(model, p, rows) for name, p in each.items()}
    figures = {
        "spectrum": evaluation.singular_spectrum(spectra),
        "contraction": evaluation.contraction_curve(radii, ratios),
    }
    is_image = image_shape(x.shape[1], test["x"].shape[1:]) is not None
    if is_image and spectra["trained"][0].any():
        figures["directions"] = _directions(model, params, sample, as_float(test["x"][0]))
    return figures


def _boltzmann(config: RBM, params: Params, test: Batch) -> dict[str, Any]:
    """What chains show that start at random units."""
    key, steps = jax.random.key(config.seed), config.sample_steps
    seen = evaluation.fantasies(config.energy(), params, key, CHAINS, LOOKS, steps_between=steps)
    title = "Means of the visible units along chains that start at random"
    grid = evaluation.fantasy_grid(seen, test["x"].shape[1:], steps_between=steps, title=title)
    return {"fantasies": grid}


def _directions(model: Autoencoder, params: Params, sample: Batch, x: Array) -> Any:
    """Of the directions in which the data varies, those that the code follows most and least."""
    k = min(COMPONENTS, *np.asarray(sample["x"]).reshape(len(sample["x"]), -1).shape)
    basis = evaluation.pca_baseline(sample, sample, k)["components"]
    rank = len(evaluation.directions(model, params, x, 1, basis=basis).singular_values)
    found = evaluation.directions(model, params, x, min(DIRECTIONS, rank), basis=basis)
    title = f"Directions in the span of the first {k} principal components of the data\n"
    return evaluation.direction_images(
        x,
        *found[:2],
        singular_values=found.singular_values,
        title=f"{title}numbers: singular values of the encoder's Jacobian",
    )


def history_of(rows: list[dict[str, float]]) -> dict[str, list[float]]:
    """The curves worth drawing: neither times, nor zeros, nor a part that is all of the loss."""
    history = {name: [row[name] for row in rows] for name in rows[0] if name != "seconds"}
    return {
        name: values
        for name, values in history.items()
        if any(values) and (name == "loss" or values != history["loss"])
    }
