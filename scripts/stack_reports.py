"""What `pretrain.py` measures, prints and draws of its layers and nets."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

import jaxae
import reports
from figures import history_of
from jaxae import evaluation
from jaxae.base import Autoencoder, Batch, Params, as_float
from jaxae.evaluation.classification import accuracy, accuracy_interval
from jaxae.models.classifiers import Classifier
from jaxae.models.stacking import layer_of
from jaxae.training.folders import read_config, read_rows, write_text
from reports import Splits, Table
from stack_configs import Stack

UNITS, INPUTS, LINES, IMAGES = 10, 9, 3, 10
"""How many units a figure shows, of each so many images or else lines; reconstructions."""


class Trained(NamedTuple):
    """What the phases of a pretraining leave.

    Attributes:
        models: the layers.
        stack: their parameters.
        net: the autoencoder to which they unroll.
        nets: its parameters by how they were trained.
        labelling: the rows whose labels were used and the classifier on them, if any.
        heads: its parameters by where they started.
    """

    models: Sequence[Autoencoder]
    stack: Params
    net: Autoencoder
    nets: dict[str, Params]
    labelling: tuple[Batch, Classifier] | None
    heads: dict[str, Params]


def report(folder: Path, config: Stack, trained: Trained, splits: Splits) -> str:
    """Measures on the test rows, writes `summary.json` and `figures/`.

    Returns:
        The tables to print, each below a line that says what it shows.
    """
    train, test = {"x": splits.train["x"]}, {"x": splits.test["x"]}
    x = train["x"].reshape(len(train["x"]), -1)
    pca = evaluation.pca_baseline(train, test, min(config.layers[-1], *x.shape))
    errors, accuracies = _errors(config, trained, train, test, pca), _accuracies(trained, splits)
    write_text(folder / "summary.json", json.dumps(errors + accuracies, indent=2) + "\n")
    figures = folder / "figures"
    figures.mkdir(exist_ok=True)
    for name, figure in draw(folder, trained, splits, pca).items():
        figure.savefig(figures / f"{name}.png", dpi=reports.DPI)
    title = (
        f"Reconstruction of {len(test['x'])} test rows; fine-tuned until the best validation loss"
    )
    text = f"{title}\n\n{evaluation.format_table(errors)}"
    if not accuracies:
        return text
    title = f"Accuracy on them after training on {config.labels} labels, with 95 % intervals"
    return f"{text}\n\n{title}\n\n{evaluation.format_table(accuracies)}"


def _errors(
    config: Stack, trained: Trained, train: Batch, test: Batch, pca: dict[str, Any]
) -> Table:
    score = jax.jit(evaluation.reconstruction(trained.net))
    each: dict[str, tuple[int, Any]] = {
        name: (config.layers[-1], score(params, test)) for name, params in trained.nets.items()
    }
    k = len(pca["components"])
    each |= {f"PCA-{k}": (k, pca), "mean": (0, evaluation.mean_baseline(train, test))}
    return [
        {"name": name, "codes": size, **{m: float(row[m]) for m in ("mse", "squared_error")}}
        for name, (size, row) in each.items()
    ]


def _accuracies(trained: Trained, splits: Splits) -> Table:
    """Test accuracies of what saw the same labels, with 95 % intervals for so many test rows."""
    if trained.labelling is None:
        return []
    few, labeller = trained.labelling
    test, score = splits.test, jax.jit(accuracy(labeller))
    values = {
        f"net, {name}": float(score(params, test)["accuracy"])
        for name, params in trained.heads.items()
    }
    raw = [np.asarray(as_float(part["x"])).reshape(len(part["x"]), -1) for part in (few, test)]
    probe = evaluation.linear_probe(raw[0], few["y"], raw[1], test["y"])
    rows = []
    for name, value in {**values, "logistic regression": probe}.items():
        low, high = accuracy_interval(value, len(test["x"]))
        rows.append({"name": name, "test_accuracy": value, "low": low, "high": high})
    return rows


def draw(folder: Path, trained: Trained, splits: Splits, pca: dict[str, Any]) -> dict[str, Any]:
    """The figures by name."""
    test, shape = splits.test, splits.test["x"].shape[1:]
    figures: dict[str, Any] = {}
    for i, kernel in enumerate(projected_filters(trained.stack, len(trained.models))):
        stack = jaxae.stacked(trained.models[: i + 1])
        figures[f"filters_{i}"] = evaluation.filters(kernel, shape)
        if i:
            _say_below(figures[f"filters_{i}"].axes[0], i)
        figures[f"top_inputs_{i}"] = _top_inputs(stack, trained.stack, {"x": test["x"]}, i)
    figures["reconstructions"] = _reconstructions(trained, splits, pca)
    for name, params in trained.nets.items():
        z = evaluation.codes(trained.net, params, {"x": test["x"]})
        figures[f"codes_{name.replace(' ', '_')}"] = evaluation.codes_2d(z, test.get("y"))
    for path in sorted(folder.glob("*/metrics.jsonl")):
        name, phase = path.parent.name, read_config(path.parent)["phase"]
        history = history_of(read_rows(path))
        figures[f"curves_{name}"] = evaluation.curves(history, title=f"{name} ({phase})")
    return figures


def projected_filters(stack: Params, layers: int) -> list[np.ndarray]:
    """What each layer's units look for in x, had the layers below been linear.

    The product of the encoders' kernels from the input up, `(d, units)` for each layer: a
    linear combination of the filters below (Erhan et al., 2009).
    """
    products: list[np.ndarray] = []
    for i in range(layers):
        kernel = np.asarray(layer_of(stack, i)["encoder"]["layer_0"]["kernel"], np.float64)
        products.append(products[-1] @ kernel if products else kernel)
    return products


def _say_below(axes: Any, i: int) -> None:
    name, *rest = axes.get_title().split(", each")
    name = name.replace("filters", f"units of layer_{i}")
    title = f"{name}, through the\nkernels below" + "".join(f", each{text}" for text in rest)
    axes.set_title(title, fontsize="medium")


def _top_inputs(stack: Autoencoder, params: Params, test: Batch, i: int) -> Any:
    """The inputs with the largest codes, of the units whose codes vary most."""
    shape = test["x"].shape[1:]
    units = np.argsort(-evaluation.codes(stack, params, test).std(0), kind="stable")[:UNITS]
    n = min(INPUTS if len(shape) > 1 else LINES, len(test["x"]))
    top = evaluation.top_examples(stack, params, test, units.tolist(), n)
    title = f"Test inputs with the largest codes of layer_{i},\nunits whose codes vary most first"
    return evaluation.top_inputs(test["x"], *top, shape, units=units.tolist(), title=title)


def _reconstructions(trained: Trained, splits: Splits, pca: dict[str, Any]) -> Any:
    shape, few = splits.test["x"].shape[1:], {"x": splits.test["x"][:IMAGES]}
    x = np.asarray(as_float(few["x"]))
    mean = np.asarray(as_float(splits.train["x"])).reshape(len(splits.train["x"]), -1).mean(0)
    linear = mean + pca["test_codes"][:IMAGES] @ pca["components"]
    rows: dict[str, Any] = {
        "original": x,
        f"PCA-{len(pca['components'])}": linear.reshape(x.shape),
    }
    for name, params in trained.nets.items():
        rows[name] = trained.net.decode(params, trained.net.encode(params, few))
    return evaluation.image_rows(rows, shape)
