"""What the scripts load, measure, draw and print about a run."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

import jaxae
from configs import CORRUPTIONS, Common, Denoising
from jaxae import evaluation
from jaxae.base import Autoencoder, Batch, Params, as_float
from jaxae.training.folders import read_rows, write_text

FILES = (".npy", ".npz", ".csv", ".parquet")


class Splits(NamedTuple):
    """The rows of a run."""

    train: Batch
    validation: Batch
    test: Batch

    def describe(self) -> str:
        """The sizes in words."""
        sizes = ", ".join(f"{len(part['x']):,} {name}" for name, part in self._asdict().items())
        return f"{sizes} examples of shape {self.train['x'].shape[1:]}"


def load_splits(config: Common) -> Splits:
    """Loads, splits and scales the data of a configuration."""
    if Path(config.data).suffix in FILES:
        rows = jaxae.load(config.data, config.train_split, label=config.label)
        rest, test = jaxae.split(rows, 0.2, seed=config.seed)
    else:
        rest = jaxae.load(config.data, config.train_split, data_dir=config.data_dir)
        test = jaxae.load(config.data, config.test_split, data_dir=config.data_dir)
    train, validation = jaxae.split(rest, config.validation_fraction, seed=config.seed)
    parts = Splits(train, validation, test)
    if config.scale == "none":
        return parts
    scaler = jaxae.fit_scaler(train["x"], config.scale)
    return Splits(*({**part, "x": scaler.apply(part["x"])} for part in parts))


def report(
    folder: Path, config: Common, model: Autoencoder, params: Params, splits: Splits
) -> list[dict[str, Any]]:
    """Measures the parameters on the test rows, writes `summary.json` and `figures/`."""
    rows = evaluation.summarize(
        model, params, splits.train, splits.test, latent_dim=config.latent_dim, seed=config.seed
    )
    write_text(folder / "summary.json", json.dumps(rows, indent=2) + "\n")
    figures = folder / "figures"
    figures.mkdir(exist_ok=True)
    for name, figure in _figures(folder, config, model, params, splits).items():
        figure.savefig(figures / f"{name}.png", dpi=150)
    return rows


def _figures(
    folder: Path, config: Common, model: Autoencoder, params: Params, splits: Splits
) -> dict[str, Any]:
    test, shape = splits.test, splits.test["x"].shape[1:]
    few = {name: a[:10] for name, a in test.items()}
    images: dict[str, Any] = {"original": np.asarray(as_float(few["x"]))}
    seen = few
    if isinstance(config, Denoising):
        corrupt = CORRUPTIONS[config.corruption](config.noise_level)
        seen = {**few, "x": corrupt(jax.random.key(config.seed), as_float(few["x"]))}
        images["corrupted"] = np.asarray(seen["x"])
    images["reconstruction"] = np.asarray(model.decode(params, model.encode(params, seen)))
    history = _history(read_rows(folder / "metrics.jsonl"))
    kernel = params["encoder"]["layer_0"]["kernel"]
    z = evaluation.codes(model, params, test)
    return {
        "reconstructions": evaluation.image_rows(images, shape),
        "filters": evaluation.filters(kernel, shape),
        "curves": evaluation.curves(history),
        "codes": evaluation.codes_2d(z, test.get("y")),
    }


def _history(rows: list[dict[str, float]]) -> dict[str, list[float]]:
    """The curves worth drawing: neither times, nor zeros, nor a part that is all of the loss."""
    history = {name: [row[name] for row in rows] for name in rows[0] if name != "seconds"}
    return {
        name: values
        for name, values in history.items()
        if any(values) and (name == "loss" or values != history["loss"])
    }
