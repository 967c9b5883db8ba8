"""Figures of sweeps: a metric against what was varied, and what filters became of it."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from jaxae.evaluation.arrays import features, image_shape
from jaxae.evaluation.drawing import (
    decades,
    finish_curves,
    gap,
    heat_map,
    panels,
    show,
    single,
    tile,
)
from jaxae.evaluation.metrics import mean_interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def response(
    x: npt.ArrayLike,
    metrics: Mapping[str, npt.ArrayLike],
    *,
    xlabel: str,
    title: str | None = None,
) -> "Figure":
    """Each metric against one axis of a sweep: the mean of its members, and a band.

    The band is the 95 % interval of the mean over the members of one value of x, which
    differ by seed or by other axes. Where no value has two members, as of random search,
    the members themselves are shown. Members whose metric is no finite number are left out.

    Args:
        x: `(members,)`; logarithmic where all are positive and span more than a decade.
        metrics: `(members,)` by name, a panel each.
        xlabel: the name of the axis.
        title: of the figure.

    Raises:
        ValueError: no metrics, or lengths differ.

    >>> figure = response([0, 0, 1, 1], {"mse": [3.0, 3.2, 2.0, 2.2]}, xlabel="noise_level")
    >>> figure.axes[0].get_lines()[0].get_ydata().tolist()
    [3.1, 2.1]
    """
    at = np.asarray(x, np.float64)
    values = {name: np.asarray(y, np.float64) for name, y in metrics.items()}
    if not values or at.ndim != 1 or any(y.shape != at.shape for y in values.values()):
        shapes = {name: y.shape for name, y in values.items()}
        raise ValueError(f"x and all metrics must be (members,); got {at.shape} and {shapes}.")
    figure, axes = panels(len(values), 3, 4.4, 3.4)
    for ax, (name, y) in zip(axes, values.items(), strict=True):
        _panel(ax, at[np.isfinite(y)], y[np.isfinite(y)])
        if at.min() > 0 and at.max() > 10 * at.min():
            decades(ax, at)
        ax.set(xlabel=xlabel, ylabel=name)
        ax.grid(alpha=0.3)
    if title:
        figure.suptitle(title)
    return figure


def member_curves(
    lines: Mapping[str, npt.ArrayLike], metric: str, *, title: str | None = None
) -> "Figure":
    """One metric by epoch, a line for each member or group of members; NaN leaves a gap.

    Args:
        lines: `(epochs,)` by label, all of one length.
        metric: its name.
        title: of the figure.

    Raises:
        ValueError: there is nothing to draw, or lengths differ.

    >>> figure = member_curves({"noise 0": [3.0, 2.0], "noise 0.2": [4.0, 3.0]}, "loss")
    >>> figure.axes[0].get_ylabel()
    'loss (nats per example)'
    """
    values = {name: np.asarray(line, np.float64) for name, line in lines.items()}
    shapes = {name: a.shape for name, a in values.items()}
    if len(set(shapes.values())) != 1 or any(len(shape) != 1 for shape in shapes.values()):
        raise ValueError(f"lines must be (epochs,), all of one length; got {shapes}.")
    figure, axes = single(5.6, 3.8)
    for name, line in values.items():
        marker = "." if len(line) <= 30 else None
        axes.plot(np.arange(1, len(line) + 1), line, marker=marker, linewidth=1.4, label=name)
    finish_curves(axes, metric, np.concatenate(list(values.values())))
    if title:
        axes.set_title(title, fontsize="medium")
    return figure


def filter_rows(
    kernels: Mapping[str, npt.ArrayLike],
    shape: tuple[int, ...] | None = None,
    *,
    max_columns: int = 16,
    title: str | None = None,
) -> "Figure":
    """First-layer filters of several models, a labelled row each, the largest norm first.

    Each is scaled symmetrically about zero by its own largest weight. Where inputs are no
    images, the weights of the first model are a heat map.

    Args:
        kernels: `(d, units)` by label.
        shape: `(H, W)` or `(H, W, C)` of an input; by default a grey square where d is one.
        max_columns: the most filters of a model.
        title: of the figure.

    Raises:
        ValueError: no kernels, or of different inputs.

    >>> figure = filter_rows({"noise 0": np.eye(16), "noise 0.2": np.eye(16)})
    >>> [label.get_text() for label in figure.axes[0].get_yticklabels()]
    ['noise 0', 'noise 0.2']
    """
    arrays = {name: features("kernel", kernel) for name, kernel in kernels.items()}
    if len({a.shape for a in arrays.values()}) != 1:
        shapes = {name: a.shape for name, a in arrays.items()}
        raise ValueError(f"kernels must be (d, units), all of one shape; got {shapes}.")
    d, units = next(iter(arrays.values())).shape
    size, columns = image_shape(d, shape), min(units, max_columns)
    rows = []
    for a in arrays.values():
        largest = a[:, np.argsort(-np.linalg.norm(a, axis=0), kind="stable")[:columns]]
        peak = np.abs(largest).max(0)
        rows.append((largest / np.where(peak > 0, peak, 1.0)).T)
    if size is None:
        name = next(iter(arrays))
        return heat_map(rows[0].T, title or name, "unit, by norm")
    pixels = tile(np.concatenate(rows).reshape(-1, *size), columns)
    step = size[0] + gap(size[0])
    width = 0.5 * columns + 0.1 * max(map(len, arrays)) + 0.3
    figure, axes = single(max(4.0, width), 0.5 * len(arrays) * step / size[0] + 0.4)
    show(axes, pixels, -1.0, 1.0, "RdBu_r", blank="0.75")
    axes.set_yticks([i * step + (size[0] - 1) / 2 for i in range(len(arrays))], list(arrays))
    axes.set_title(title or "Filters by norm, each scaled to its largest weight", fontsize="medium")
    return figure


def _panel(axes: "Axes", x: np.ndarray, y: np.ndarray) -> None:
    levels, counts = np.unique(x, return_counts=True)
    if len(x) == 0 or counts.max() == 1:
        axes.plot(x, y, "o", markersize=4, alpha=0.7)
        return
    groups = [y[x == level].tolist() for level in levels]
    bands = [mean_interval(g) if len(g) > 1 else (g[0], 0.0) for g in groups]
    means, widths = np.array(bands).T
    axes.plot(levels, means, marker="o", markersize=4, linewidth=1.4)
    axes.fill_between(levels, means - widths, means + widths, alpha=0.2, linewidth=0)
