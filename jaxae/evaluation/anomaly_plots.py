"""Figures of anomaly scores: their distribution, and where the strangest rows are strange."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from jaxae.base import as_float
from jaxae.evaluation.arrays import features, image_shape
from jaxae.evaluation.drawing import panels, short, show, show_inputs, single
from jaxae.evaluation.grids import Shape, own_shape

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def score_histogram(
    normal: npt.ArrayLike,
    anomalous: npt.ArrayLike | None = None,
    threshold: float | None = None,
    *,
    names: tuple[str, str] = ("normal", "anomalies"),
    xlabel: str = "score",
    title: str | None = None,
) -> "Figure":
    """How scores of normal rows and of anomalies are distributed, with the threshold between.

    Shares of each group, so that few anomalies are seen beside many normal rows; the x-axis is
    logarithmic where positive scores span more than two decades.

    Args:
        normal: `(n,)`, scores of normal rows, or of all where none is known.
        anomalous: `(m,)`, of anomalies, where some are known, or of new rows.
        threshold: rows above it are flagged; the legend has their shares.
        names: of the two groups.
        xlabel: what the score is.
        title: of the figure.

    Raises:
        ValueError: scores that are no finite numbers of one axis.

    >>> figure = score_histogram([1.0, 2.0, 3.0], [4.0, 5.0], 3.5)
    >>> [text.get_text() for text in figure.legends[0].get_texts()][:2]
    ['normal: 0.0 % of 3 flagged', 'anomalies: 100.0 % of 2 flagged']
    """
    groups = {names[0]: _scores("normal", normal)}
    if anomalous is not None:
        groups[names[1]] = _scores("anomalous", anomalous)
    both = np.concatenate(list(groups.values()))
    wide = both.min() > 0 and both.max() > 100 * both.min()
    ends = (both.min(), max(both.max(), both.min() + 1e-12))
    count = min(60, max(10, round(math.sqrt(len(groups[names[0]])) * 2)))
    bins = np.geomspace(*ends, count + 1) if wide else np.linspace(*ends, count + 1)
    figure, axes = single(6.4, 4.6)
    for (name, scores), colour in zip(groups.items(), ("tab:blue", "tab:red"), strict=False):
        weights = np.full(len(scores), 100.0 / len(scores))
        label = name
        if threshold is not None:
            label += f": {100 * (scores > threshold).mean():.1f} % of {len(scores):,} flagged"
        axes.hist(scores, bins.tolist(), weights=weights, alpha=0.55, color=colour, label=label)
    if threshold is not None and math.isfinite(threshold):
        line = {"color": "black", "linestyle": "--", "linewidth": 1.2}
        axes.axvline(threshold, label=f"threshold {short(threshold)}", **line)  # type: ignore[arg-type]
    if wide:
        axes.set_xscale("log")
    axes.set(xlabel=xlabel, ylabel="% of the group")
    figure.legend(loc="outside lower center", frameon=False, fontsize="small")
    if title:
        axes.set_title(title, fontsize="medium")
    return figure


def ranked_examples(
    x: npt.ArrayLike,
    x_hat: npt.ArrayLike,
    errors: npt.ArrayLike,
    scores: npt.ArrayLike,
    *,
    shape: Shape = None,
    names: Sequence[str] | None = None,
    feature_names: Sequence[str] | None = None,
    max_examples: int = 10,
    title: str | None = None,
) -> "Figure":
    """The strangest rows, the strangest first, and which of their entries make them so.

    Of images a column each: x, its reconstruction and the error of each pixel. Of other
    rows a heat map of x less its reconstruction, a line for each row, whose features stand where
    the error is largest first.

    Args:
        x: `(n, *shape)`.
        x_hat: likewise, the reconstructions.
        errors: likewise, of `feature_scores`.
        scores: `(n,)`.
        shape: `(H, W)` or `(H, W, C)` of an image; `(d,)` for a heat map. By default what x has.
        names: of the rows, such as their labels or p-values.
        feature_names: of the columns of what is no image.
        max_examples: the most to show.
        title: of the figure.

    Raises:
        ValueError: the shapes do not agree, or max_examples is below 1.

    >>> x = np.zeros((3, 4, 4))
    >>> figure = ranked_examples(x, x, np.ones((3, 4, 4)), [1.0, 3.0, 2.0])
    >>> [axes.get_title() for axes in figure.axes[:3]]
    ['3', '2', '1']
    """
    arrays: list[Any] = [as_float(np.asarray(a)) for a in (x, x_hat, errors)]  # type: ignore[arg-type]
    arrays, ranks = [np.asarray(a) for a in arrays], _scores("scores", scores)
    shapes, count = sorted({a.shape for a in arrays}), len(ranks)
    named = count if names is None else len(names)
    if len(shapes) > 1 or len(arrays[0]) != count or named != count or max_examples < 1:
        raise ValueError(
            "x, x_hat and errors have one shape, each row a score and, where names are given, a "
            f"name, and max_examples is at least 1; got shapes {shapes}, {count} scores, "
            f"{named} names and {max_examples}."
        )
    d = arrays[0][0].size
    if feature_names is not None and len(feature_names) != d:
        raise ValueError(f"feature_names are {d}, one for each; got {len(feature_names)}.")
    order = np.argsort(-ranks, kind="stable")[:max_examples]
    labels = [short(float(ranks[i])) for i in order]
    if names is not None:
        labels = [f"{names[i]}\n{label}" for i, label in zip(order, labels, strict=True)]
    flat = [features("x, x_hat and errors", a)[order] for a in arrays]
    size = image_shape(flat[0].shape[1], own_shape(arrays[0].shape[1:], shape))
    if size is None or (shape is None and arrays[0].ndim == 2):
        return _rows_as_heat_map(flat, labels, feature_names, title)
    return _images(flat, size, labels, features("x", arrays[0]), title)


def _images(
    flat: list[np.ndarray],
    size: tuple[int, int, int],
    labels: list[str],
    like: np.ndarray,
    title: str | None,
) -> "Figure":
    """Columns of x, its reconstruction and the score of each pixel."""
    x, x_hat, errors = (a.reshape(-1, *size) for a in flat)
    heat = errors.sum(-1, keepdims=True)
    n, lines = len(x), 1 + max(label.count("\n") for label in labels)
    figure, axes = panels(3 * n, n, 1.0, 1.0 * size[0] / size[1] + 0.12)
    figure.set_size_inches(max(5.0, n * 1.0 + 1.6), 3 * size[0] / size[1] + 0.5 + 0.2 * lines)
    for i in range(n):
        for row, image in enumerate((x, x_hat)):
            show_inputs(figure, axes[row * n + i], image[i], like)
        drawn = show(axes[2 * n + i], heat[i], 0.0, float(heat.max()) or 1.0, "inferno")
        axes[i].set_title(labels[i], fontsize="small")
    for row, name in enumerate(("x", "reconstruction", "error")):
        axes[row * n].set_ylabel(name, fontsize="small")
        for ax in axes[row * n : (row + 1) * n]:
            ax.set_yticks([])
    figure.colorbar(drawn, ax=axes[2 * n :], shrink=0.9)
    if title:
        figure.suptitle(title, fontsize="medium")
    return figure


def _rows_as_heat_map(
    flat: list[np.ndarray],
    labels: list[str],
    feature_names: Sequence[str] | None,
    title: str | None,
) -> "Figure":
    """A line for each row, signed errors in colours, features with the largest first."""
    x, x_hat, errors = flat
    first = np.argsort(-errors.sum(0), kind="stable")[:40]
    values = np.sign(x - x_hat)[:, first] * np.sqrt(errors[:, first])
    most = float(np.abs(values).max()) or 1.0
    figure, axes = single(min(12.0, 4.5 + 0.3 * len(first)), 1.6 + 0.3 * len(labels))
    options: dict[str, Any] = {"aspect": "auto", "interpolation": "nearest", "cmap": "RdBu_r"}
    drawn = axes.imshow(values, vmin=-most, vmax=most, **options)
    known = feature_names or [str(i) for i in range(x.shape[1])]
    axes.set_xticks(range(len(first)), [known[i] for i in first], rotation=90, fontsize="small")
    rows = [label.replace("\n", ", ") for label in labels]
    axes.set_yticks(range(len(labels)), rows, fontsize="small")
    few = f" ({len(first)} of {x.shape[1]})" if len(first) < x.shape[1] else ""
    axes.set(xlabel=f"feature{few}, largest error first", ylabel="row by score, strangest first")
    figure.colorbar(drawn, ax=axes, label="± √error; red: x above its reconstruction")
    if title:
        axes.set_title(title, fontsize="medium")
    return figure


def _scores(name: str, values: npt.ArrayLike) -> np.ndarray:
    a = np.asarray(values, np.float64)
    if a.ndim != 1 or not a.size or not np.isfinite(a).all():
        raise ValueError(f"{name} are finite numbers of shape (n,), n at least 1; got {a.shape}.")
    return a
