"""What the scripts load, measure and print about a run."""

import glob
import json
from pathlib import Path
from typing import Any, NamedTuple, cast

import jax
import numpy as np

import jaxae
import latent_reports
from boltzmann_configs import RBM
from figures import draw
from jaxae import evaluation
from jaxae.base import Autoencoder, Batch, Key, Params
from jaxae.data import Scaler, Shards
from jaxae.data.files import SUFFIXES
from jaxae.data.images import is_image_folder
from jaxae.evaluation.sparsity import num_units
from jaxae.training.folders import write_text
from options import Variant

MOST = 10_000
"""Rows of shards in memory for each of validation, test, and what is fitted beside the model."""
BLOCKS = 16
DPI = 150
BITS = 10
"""Of a row, for its pseudo-likelihood."""
ENUMERATED = 20
"""Binary units on one side up to which log Z is summed exactly."""
LINEAR_PARTS = {"sigmoid": (0.05, 0.95), "tanh": (-0.9, 0.9)}
"""Between which codes a bounded activation is not saturated."""
SPARSITY = ("l0", "fvu", "dead_fraction", "mean_activation", "relative_reconstruction_bias")

Table = list[dict[str, Any]]


class Splits(NamedTuple):
    """The rows of a run.

    Attributes:
        train: all of them, in memory or as `Shards`.
        validation: in memory.
        test: in memory.
        sample: training rows in memory: all, or of shards at most 10,000.
        scaler: what has scaled all rows in memory, and is yet to scale those of shards.
        note: what else was done to them, in words that go on a sentence.
    """

    train: Batch
    validation: Batch
    test: Batch
    sample: Batch
    scaler: Scaler | None
    note: str

    def describe(self) -> str:
        """The sizes in words."""
        parts = {"train": self.train, "validation": self.validation, "test": self.test}
        sizes = ", ".join(f"{len(part['x']):,} {name}" for name, part in parts.items())
        return f"{sizes} examples of shape {self.train['x'].shape[1:]}{self.note}"

    def scaled(self, x: np.ndarray) -> np.ndarray:
        """Rows of shards as the others are."""
        return x if self.scaler is None else self.scaler.apply(x)


def load_splits(config: Variant) -> Splits:
    """Loads, splits and scales the data of a configuration; leaves shards in their files."""
    path = Path(config.data).expanduser()
    many = path.is_dir() or (glob.has_magic(config.data) and not path.is_file())
    if many and not is_image_folder(path):
        train, validation, test = _open(config)
        sample: Batch = {"x": _some(train["x"], MOST)}
    else:
        train, validation, test = _load(config)
        sample = train
    scaler = None if config.scale == "none" else jaxae.fit_scaler(sample["x"], config.scale)

    def seen(part: Batch, number: int) -> Batch:
        x = part["x"]
        if scaler is not None and not isinstance(x, Shards):
            x = scaler.apply(x)
        return {**part, "x": config.prepare(x, number)}

    rows = seen(train, 0)
    few = rows
    if train is not sample or config.redraws:
        few = seen(sample, 3 if config.redraws else 0)
    rows, validation, test, few = config.complete(rows, seen(validation, 1), seen(test, 2), few)
    return Splits(rows, validation, test, few, scaler, config.note)


def _load(config: Variant) -> tuple[Batch, Batch, Batch]:
    """Training, validation and test rows, in memory."""
    path = Path(config.data).expanduser()
    is_folder = is_image_folder(path)
    if config.image_size is not None and not is_folder:
        raise ValueError(f"--image-size is for a folder of images; --data is {config.data}.")
    if path.suffix.lower() in SUFFIXES or is_folder:
        source: Any = jaxae.load_images(path, config.image_size) if is_folder else config.data
        rows = jaxae.load(source, config.train_split, label=config.label)
        rest, test = jaxae.split(rows, 0.2, seed=config.seed)
    else:
        rest = jaxae.load(config.data, config.train_split, data_dir=config.data_dir)
        test = jaxae.load(config.data, config.test_split, data_dir=config.data_dir)
    train, validation = jaxae.split(rest, config.validation_fraction, seed=config.seed)
    return train, validation, test


def _open(config: Variant) -> tuple[Batch, Batch, Batch]:
    """Training rows in their files, and validation and test rows of the last files.

    Held out are as few files as have a fifth of all rows, or twice `MOST`.
    """
    if config.label is not None or config.train_split != "train":
        raise ValueError("Shards have neither labels nor splits; leave --label and --train-split.")
    every = jaxae.open_shards(config.data)
    if len(every.files) < 2:
        raise ValueError(
            f"{config.data} is one file, and the last file is held out for validation and test; "
            "put the rows into several."
        )
    first = len(every.files) - 1
    while first > 1 and len(every) - every.ends[first - 1] < min(len(every) // 5, 2 * MOST):
        first -= 1
    rows = _some(jaxae.open_shards(every.files[first:]), 2 * MOST)
    half = len(rows) // 2
    train = jaxae.open_shards(every.files[:first])
    return {"x": train}, {"x": rows[:half]}, {"x": rows[half:]}


def _some(shards: Shards, most: int) -> np.ndarray:
    """At most so many rows: all, or blocks of them spread evenly."""
    if len(shards) <= most:
        return shards[:]
    size = most // BLOCKS
    starts = np.linspace(0, len(shards) - size, BLOCKS).astype(int).tolist()
    return np.concatenate([shards[start : start + size] for start in starts])


def report(
    folder: Path, config: Variant, model: Autoencoder, params: Params, splits: Splits
) -> str:
    """Measures the parameters on the test rows, writes `summary.json` and `figures/`.

    Returns:
        The tables to print.
    """
    codes = config.latent_dim
    if getattr(config, "maps", False):
        codes = num_units(model, params, splits.sample)
    rows = evaluation.summarize(
        model, params, splits.sample, splits.test, latent_dim=codes, seed=config.seed
    )
    tables, notes = [rows, _measured(config, model, params, splits)], list[str]()
    if config.MEASURES in latent_reports.MEASURED:
        found, notes = latent_reports.measure(config, model, params, splits.test)
        tables = [rows, *found]
    if tables[1] and (k := round(tables[1][0].get("l0", 0))) and k < rows[1]["codes"]:
        rows.insert(2, _pca(splits, k))
    every = [row for table in tables for row in table]
    every += [{"name": "notes", "notes": notes}] if notes else []
    write_text(folder / "summary.json", json.dumps(every, indent=2) + "\n")
    figures = folder / "figures"
    figures.mkdir(exist_ok=True)
    drawn = draw(folder, config, model, params, splits.sample, splits.test)
    for name, figure in drawn.items():
        figure.savefig(figures / f"{name}.png", dpi=DPI)
    texts = [evaluation.format_table(table) for table in tables if table]
    return "\n\n".join([*texts, *([latent_reports.in_words(notes)] if notes else [])])


def _measured(config: Variant, model: Autoencoder, params: Params, splits: Splits) -> Table:
    """The rows of what is measured of this kind of variant, if anything."""
    test = splits.test
    if config.MEASURES == "boltzmann":
        return _likelihoods(cast(RBM, config), params, splits)
    if config.MEASURES == "contraction":
        values = jax.jit(evaluation.mean_jacobian_norm(model))(params, test)
        row = {name: float(value) for name, value in values.items()}
        name = getattr(config, "latent_activation", None) or getattr(config, "activation", "")
        if name in LINEAR_PARTS:
            low, high = LINEAR_PARTS[name]
            row["saturation"] = evaluation.saturation(model, params, test, low=low, high=high)
        return [{"name": "Jacobian", **row}]
    if config.MEASURES == "sparsity":
        values = jax.jit(evaluation.sparsity(model))(params, test)
        return [{"name": "codes", **{name: float(values[name]) for name in SPARSITY}}]
    return []


def _likelihoods(config: RBM, params: Params, splits: Splits) -> Table:
    """How likely rows are under a Boltzmann machine, in nats per example."""
    keys = jax.random.split(jax.random.key(config.seed))
    train, test = {"x": splits.sample["x"]}, {"x": splits.test["x"]}
    likely = jax.jit(evaluation.log_likelihood(config.energy()))
    means = [-float(likely(params, part, 0.0)) for part in (train, test)]
    rows: Table = [
        {"name": "mean free energy, training rows", "nats": means[0]},
        {"name": "mean free energy, test rows", "nats": means[1]},
        {"name": "their gap, which grows with overfitting", "nats": means[1] - means[0]},
    ]
    binary = config.visible == "bernoulli" and _is_binary(test)
    rows.append(_pseudo(config, params, keys[0], test, binary))
    how, partitions = "needs binary data", list[Any]()
    if binary or config.visible == "gaussian":
        how, partitions = _log_partition(config, params, keys[1], train)
    names = zip(("nats", "low", "high"), partitions, strict=False)
    values = {name: float(likely(params, test, z)) for name, z in names}
    kept = {name: value if np.isfinite(value) else None for name, value in values.items()}
    return [*rows, {"name": f"log-likelihood, test rows ({how})", "nats": None, **kept}]


def _pseudo(config: RBM, params: Params, key: Key, test: Batch, binary: bool) -> dict[str, Any]:
    """The row of the pseudo-likelihood, which binary data alone have."""
    name = "pseudo-log-likelihood, test rows"
    if not binary:
        return {"name": f"{name} (needs binary data)", "nats": None}
    score, draws = evaluation.pseudo_log_likelihood(config.energy()), jax.random.split(key, BITS)
    found = jax.vmap(lambda key: score(params, key, test)["pseudo_log_likelihood"])(draws)
    return {"name": f"{name} ({BITS} random bits of each)", "nats": float(found.mean())}


def _log_partition(config: RBM, params: Params, key: Key, train: Batch) -> tuple[str, list[Any]]:
    """How log Z was found, and its value; of an estimate also what lies above and below."""
    units = {"visible": config.visible, "hidden": config.hidden}
    sizes = {"visible": train["x"][0].size, "hidden": config.latent_dim}
    if min(sizes[side] for side in units if units[side] == "bernoulli") <= ENUMERATED:
        return "exact", [evaluation.log_partition(params, **units)]
    if "gaussian" in units.values():
        return f"needs Bernoulli units on both sides, or at most {ENUMERATED}", []
    found = evaluation.annealed_importance_sampling(
        params, key, train, temperatures=config.temperatures
    )
    how = f"AIS: {config.temperatures:,} temperatures, {len(found.log_weights)} chains, ± 3 SE"
    return how, [found.log_partition, found.high, found.low]


def _is_binary(data: Batch) -> bool:
    x = data["x"]
    return bool(((x == 0) | (x == (255 if x.dtype == np.uint8 else 1))).all())


def _pca(splits: Splits, k: int) -> dict[str, Any]:
    """The row of PCA with as many codes as are active on an example."""
    pca = evaluation.pca_baseline(splits.sample, splits.test, k)
    errors = {name: pca[name] for name in ("mse", "squared_error")}
    return {"name": f"PCA-{k}", "codes": k, **errors, "knn_accuracy": None, "linear_accuracy": None}
