"""Figures of inputs, filters, training and codes.

Each function returns a `matplotlib.figure.Figure` that belongs to no window and no
global state; save it with `figure.savefig("name.png")`, or let a notebook show it.
"""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from jaxae.base import Array, as_float
from jaxae.evaluation.arrays import features, image_shape, labels, subsample
from jaxae.evaluation.drawing import (
    finish_curves,
    heat_map,
    image_panel,
    line_panels,
    panels,
    scatter,
    show,
    single,
    tile,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SPLITS = ("train", "validation", "valid", "val", "test")


def image_rows(
    rows: Mapping[str, Array],
    shape: tuple[int, ...] | None = None,
    *,
    max_columns: int = 10,
    title: str | None = None,
) -> "Figure":
    """One labelled row of images for each array: originals, corrupted, reconstructions.

    Images of which the first array lies in [0, 1] are all shown in that range, clipped;
    any others symmetrically about zero, by the first array's largest magnitude, with a
    colour bar. What is no image is drawn as lines over its features, a panel an example.

    Args:
        rows: Arrays by label, all `(n, H, W, C)`, `(n, H, W)` or `(n, d)`, where row i of
            each shows the same example; uint8 stands for x / 255.
        shape: `(H, W)` or `(H, W, C)` of an image, C 1 or 3; `(d,)` for lines. By
            default what the arrays have, or a grey square where d is a square.
        max_columns: The most examples, taken from the front.
        title: Of the figure.

    Raises:
        ValueError: There are no rows, their shapes differ, or `shape` does not fit.

    >>> digits = np.linspace(0.0, 1.0, 3 * 64).reshape(3, 64)
    >>> figure = image_rows({"input": digits, "reconstruction": 1.0 - digits})
    >>> [label.get_text() for label in figure.axes[0].get_yticklabels()]
    ['input', 'reconstruction']
    """
    arrays = {name: np.asarray(as_float(array), np.float64) for name, array in rows.items()}
    shapes = {name: array.shape for name, array in arrays.items()}
    if not shapes or len(set(shapes.values())) > 1:
        raise ValueError(f"rows must be arrays of one and the same shape; got shapes {shapes}.")
    if max_columns < 1:
        raise ValueError(f"max_columns must be at least 1; got {max_columns}.")
    flat = {name: features(name, array)[:max_columns] for name, array in arrays.items()}
    first = next(iter(arrays.values()))
    if shape is None and first.ndim > 2:
        shape = first.shape[1:]
    size = image_shape(math.prod(first.shape[1:]), shape)
    if size is None:
        return line_panels(flat, title)
    return image_panel({name: a.reshape(-1, *size) for name, a in flat.items()}, title)


def filters(
    kernel: npt.ArrayLike,
    shape: tuple[int, ...] | None = None,
    max_units: int = 100,
    *,
    order: str = "norm",
) -> "Figure":
    """The weights of first-layer units as images, or as a heat map where x is no image.

    Each image is scaled symmetrically about zero by its own largest weight: white is 0,
    red positive, blue negative (three channels: grey is 0). A heat map has one scale.

    Args:
        kernel: `(d, units)`.
        shape: `(H, W)` or `(H, W, C)` of an input, C 1 or 3; `(d,)` for a heat map. By
            default a grey square where d is a square.
        max_units: The most units to show.
        order: "norm", largest first, or "given".

    Raises:
        ValueError: `kernel` is no finite matrix, `shape` does not fit, or an option is
            out of range.

    >>> figure = filters(np.eye(16), max_units=4)
    >>> figure.axes[0].get_title()
    '4 of 16 filters by norm, each scaled to its largest weight'
    """
    weights = features("kernel", kernel)
    if np.ndim(kernel) != 2 or max_units < 1 or order not in ("norm", "given"):
        raise ValueError(
            'kernel must be (d, units), max_units at least 1 and order "norm" or "given"; got '
            f"shape {np.shape(kernel)}, {max_units} and {order!r}."
        )
    d, units = weights.shape
    chosen = np.arange(units)
    if order == "norm":
        chosen = np.argsort(-np.linalg.norm(weights, axis=0), kind="stable")
    weights = weights[:, chosen[:max_units]]
    size = image_shape(d, shape)
    count = f"{weights.shape[1]} of {units}" if units > max_units else f"{units}"
    name = f"{count} filters" + (" by norm" if order == "norm" else "")
    if size is None:
        return heat_map(weights, name, "unit" if order == "given" else "unit, by norm")
    largest = np.abs(weights).max(0)
    images = (weights / np.where(largest > 0, largest, 1.0)).T.reshape(-1, *size)
    columns = math.ceil(math.sqrt(len(images)))
    grid = tile(images, columns)
    side = min(8.0, max(2.5, 0.6 * columns))
    figure, axes = single(max(side, 4.5), side * grid.shape[0] / grid.shape[1] + 0.4)
    show(axes, grid, -1.0, 1.0, "RdBu_r", blank="0.75")
    axes.set_yticks([])
    axes.set_title(f"{name}, each scaled to its largest weight", fontsize="medium")
    return figure


def curves(history: Mapping[str, Sequence[float] | Array], *, title: str | None = None) -> "Figure":
    """Metrics by epoch: one panel for each metric, one line for each split.

    `loss`, `train_loss`, `val_loss` and `val/loss` share the panel "loss". An axis is
    logarithmic where its positive values span more than two decades. NaN leaves a gap.

    Args:
        history: Values by name, `(epochs,)`, all of one length. `epoch`, where present,
            gives the epochs; else they count from 1.
        title: Of the figure.

    Raises:
        ValueError: There is nothing to draw, or lengths or axes differ.

    >>> figure = curves({"loss": [90.0, 80.0], "val_loss": [91.0, 85.0], "mse": [0.2, 0.1]})
    >>> [axes.get_ylabel() for axes in figure.axes]
    ['loss (nats per example)', 'mse']
    """
    lines = {name: np.asarray(values, np.float64) for name, values in history.items()}
    shapes = {name: values.shape for name, values in lines.items()}
    epochs = lines.pop("epoch", None)
    if not lines or len(set(shapes.values())) > 1 or any(len(s) != 1 for s in shapes.values()):
        raise ValueError(
            f"history must be metrics by name, of one axis and one length; got shapes {shapes}. "
            "Give NaN for epochs in which a metric was not computed."
        )
    groups: dict[str, list[str]] = {}
    for name in lines:
        groups.setdefault(_metric(name), []).append(name)
    figure, axes = panels(len(groups), 3, 4.4, 3.4)
    for ax, (metric, names) in zip(axes, groups.items(), strict=True):
        for name in names:
            x = np.arange(1, len(lines[name]) + 1) if epochs is None else epochs
            marker = "." if len(x) <= 30 else None
            ax.plot(x, lines[name], marker=marker, linewidth=1.4, label=name)
        finish_curves(ax, metric, np.concatenate([lines[name] for name in names]))
    if title:
        figure.suptitle(title)
    return figure


def codes_2d(
    z: npt.ArrayLike, y: npt.ArrayLike | None = None, *, max_points: int = 5000, seed: int = 0
) -> "Figure":
    """Codes in the plane, coloured by class.

    Two codes are drawn as they are; more by their first two principal components, with
    the share of variance that each explains; one as a histogram, or as a strip for each
    class. More than 20 classes get a colour bar in place of a legend.

    Args:
        z: `(n, latent_dim)`, finite.
        y: Class labels, `(n,)`.
        max_points: The most points to draw; a seeded draw where there are more.
        seed: Of that draw.

    Raises:
        ValueError: `z` is no finite matrix, or `y` does not match it.

    >>> figure = codes_2d(np.eye(3)[:, :2], [0, 1, 1])
    >>> figure.axes[0].get_xlabel(), len(figure.axes[0].collections)
    ('code 1', 2)
    """
    points = features("z", z)
    classes = None if y is None else labels("y", y, len(points))
    if max_points < 1:
        raise ValueError(f"max_points must be at least 1; got {max_points}.")
    n, chosen = len(points), subsample(len(points), max_points, seed)
    points, names = _plane(points)
    points, classes = points[chosen], None if classes is None else classes[chosen]
    figure, axes = single(6.0, 5.0)
    if points.shape[1] == 1 and classes is None:
        axes.hist(points[:, 0], bins="auto")
        names = (names[0], "examples")
    elif points.shape[1] == 1:
        _, rank = np.unique(np.asarray(classes), return_inverse=True)
        jitter = np.random.default_rng(seed).uniform(-0.3, 0.3, len(points))
        points, names = np.c_[points, rank + jitter], (names[0], "class")
        axes.set_yticks([])
    if points.shape[1] == 2:
        scatter(figure, axes, points, classes)
    shown = f"{len(chosen):,} of {n:,}" if len(chosen) < n else f"{n:,}"
    axes.set(xlabel=names[0], ylabel=names[1], title=f"Codes of {shown} examples")
    return figure


def _metric(name: str) -> str:
    """The name of a metric without its split: "val_loss" and "val/loss" are "loss"."""
    for split in SPLITS:
        for mark in "_/":
            name = name.removeprefix(split + mark).removesuffix(mark + split)
    return name


def _plane(z: np.ndarray) -> tuple[np.ndarray, tuple[str, str]]:
    """At most two columns that show `z`, and the names of their axes."""
    if z.shape[1] <= 2:
        return z, ("code 1", "code 2")
    if len(z) < 2:
        raise ValueError(f"Principal components need at least 2 rows of codes; got {len(z)}.")
    from sklearn.decomposition import PCA

    pca = PCA(2, random_state=0)
    with np.errstate(invalid="ignore"):  # constant codes have no variance to share
        points = pca.fit_transform(z)
    shares = np.nan_to_num(pca.explained_variance_ratio_)
    first, second = (
        f"component {i + 1} ({share:.1%} of variance)" for i, share in enumerate(shares)
    )
    return points, (first, second)
