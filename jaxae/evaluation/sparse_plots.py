"""Figures of sparse codes: how often units fire, on what, and at which cost.

As of `plots`, each function returns a `matplotlib.figure.Figure` of its own.
"""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from jaxae.base import Array, as_float
from jaxae.evaluation.arrays import features, image_shape
from jaxae.evaluation.drawing import (
    decades,
    gap,
    panels,
    short,
    show_inputs,
    single,
    tile,
    whole_numbers,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MARKERS = "os^Dv<>Ph*"


def density_histogram(density: npt.ArrayLike, *, title: str | None = None) -> "Figure":
    """How often units fire: a histogram of log10 of their firing densities.

    Dead units, which fire on no example, have no logarithm; the line above the
    histogram counts them.

    Args:
        density: The share of examples on which each unit fires, `(units,)`, as of
            `firing_density`.
        title: Of the figure.

    Raises:
        ValueError: `density` has not one axis, is empty, or leaves [0, 1].

    >>> figure = density_histogram([0.0, 0.01, 0.1, 0.1])
    >>> figure.axes[0].get_title()
    '1 of 4 units (25.0%) is dead: it fires on no example'
    """
    shares = np.asarray(density, np.float64)
    if shares.ndim != 1 or not shares.size or not ((shares >= 0) & (shares <= 1)).all():
        raise ValueError(
            "density must be one share in [0, 1] for each unit, shape (units,); got shape "
            f"{shares.shape}{_extremes(shares)}. Divide counts by the number of examples."
        )
    from matplotlib.ticker import MaxNLocator

    alive = np.log10(shares[shares > 0])
    dead, units = len(shares) - len(alive), len(shares)
    figure, axes = single(5.6, 3.6)
    if alive.size:
        axes.hist(alive, bins=min(50, max(10, math.isqrt(alive.size))), edgecolor="white")
        axes.yaxis.set_major_locator(MaxNLocator("auto", integer=True, steps=[1, 2, 5, 10]))
    else:
        axes.set(xticks=[], yticks=[])
        axes.text(0.5, 0.5, "no unit fires", ha="center", transform=axes.transAxes)
    axes.set(xlabel="log10 of firing density (share of examples)", ylabel="units")
    words = "is dead: it fires" if dead == 1 else "are dead: they fire"
    count = f"{dead:,} of {units:,} units ({dead / units:.1%}) {words} on no example"
    axes.set_title(count if dead else f"no dead unit: all {units:,} fire", fontsize="medium")
    if title:
        figure.suptitle(title)
    return figure


def top_inputs(
    x: Array,
    indices: npt.ArrayLike,
    activations: npt.ArrayLike,
    shape: tuple[int, ...] | None = None,
    *,
    units: Sequence[int] | npt.NDArray[np.integer] | None = None,
    title: str | None = None,
) -> "Figure":
    """The inputs that excite each unit most: a row of images for each, with its codes.

    Under each image stands the unit's code; where that is 0, the unit does not fire and
    the place is blank. What is no image is drawn as lines over its features, a panel
    a unit. Colours are those of `image_rows`.

    Args:
        x: The examples, `(examples, ...)`; uint8 stands for x / 255.
        indices: Rows of `x`, `(k, n)`, as of `top_examples`.
        activations: The units' codes of these rows, `(k, n)`, likewise.
        shape: `(H, W)` or `(H, W, C)` of an image, C 1 or 3; `(d,)` for lines. By
            default what x has, or a grey square where d is a square.
        units: The numbers of the units, `(k,)`; by default 0 to k - 1.
        title: Of the figure.

    Raises:
        ValueError: The arrays do not match, `indices` are no rows of `x`, or `shape` does
            not fit.

    >>> x = np.linspace(0.0, 1.0, 3 * 64).reshape(3, 64)
    >>> figure = top_inputs(x, [[2, 1]], [[3.0, 1.5]], units=[7])
    >>> [text.get_text() for text in figure.axes[0].texts]
    ['3', '1.5']
    """
    codes, rows = features("activations", activations), np.asarray(indices)
    if np.ndim(activations) != 2 or rows.shape != codes.shape or rows.dtype.kind not in "iu":
        raise ValueError(
            "indices must be integers, and activations numbers, both (units, n); got shapes "
            f"{rows.shape} of {rows.dtype} and {np.shape(activations)}. Take them of top_examples."
        )
    if rows.min() < 0 or rows.max() >= len(x):
        raise ValueError(
            f"indices must be rows of x, from 0 to {len(x) - 1}; got {rows.min()} to {rows.max()}."
        )
    numbers = range(len(rows)) if units is None else units
    if len(numbers) != len(rows):
        raise ValueError(f"units must name {len(rows)} units; got {len(numbers)}.")
    inner = tuple(np.shape(x)[1:])
    inputs = features("x", np.asarray(as_float(np.asarray(x)[rows.ravel()])))
    size = image_shape(math.prod(inner), inner if shape is None and len(inner) > 1 else shape)
    names = [f"unit {number}" for number in numbers]
    if size is None:
        return _lines(inputs.reshape(*rows.shape, -1), codes, names, title)
    return _images(inputs.reshape(*rows.shape, *size), codes, names, title)


def pareto(
    points: Mapping[str, Sequence[tuple[float, float]] | npt.ArrayLike], *, title: str | None = None
) -> "Figure":
    """What sparsity costs: FVU over L0, one line a method. Lower left is better.

    Args:
        points: By method, `(l0, fvu)` of its models, as of `sparsity`; in any order.
        title: Of the figure.

    Raises:
        ValueError: There are no points, or one is no finite pair with l0 > 0 and
            fvu >= 0.

    >>> figure = pareto({"TopK": [(32, 0.2), (16, 0.3)], "L1": [(40, 0.25)]})
    >>> figure.axes[0].get_lines()[0].get_xdata().tolist()
    [16.0, 32.0]
    """
    pairs = {name: np.asarray(values, np.float64) for name, values in points.items()}
    for name, a in pairs.items():
        fits = a.ndim == 2 and a.shape[1] == 2 and len(a) and np.isfinite(a).all()
        if not (fits and (a[:, 0] > 0).all() and (a[:, 1] >= 0).all()):
            raise ValueError(
                f"Each method needs finite pairs (l0, fvu) with l0 > 0 and fvu >= 0; got for "
                f"{name!r} {a.tolist()}. Leave out models that fire on nothing."
            )
    if not pairs:
        raise ValueError("points must hold at least one method; got none.")
    figure, axes = single(5.6, 4.2)
    for i, (name, a) in enumerate(pairs.items()):
        a = a[np.lexsort((a[:, 1], a[:, 0]))]
        marker = MARKERS[i % len(MARKERS)]
        axes.plot(a[:, 0], a[:, 1], marker=marker, markersize=5, linewidth=1.4, label=name)
    decades(axes, np.concatenate([a[:, 0] for a in pairs.values()]))
    axes.set(xlabel="L0, mean active units", ylabel="FVU, fraction of variance unexplained")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    if title:
        axes.set_title(title, fontsize="medium")
    return figure


def _images(x: np.ndarray, codes: np.ndarray, names: list[str], title: str | None) -> "Figure":
    """Rows of images, `(k, n, H, W, C)`, with a strip for the codes under each."""
    k, n, height, width, channels = x.shape
    fires = codes != 0
    strip = max(1, round(0.22 * height))
    cells = np.full((k, n, height + strip, width, channels), np.nan)
    cells[:, :, :height] = np.where(fires[..., None, None, None], x, np.nan)
    pixels, space = tile(cells.reshape(k * n, *cells.shape[2:]), n), gap(height + strip)
    down, right, inch = height + strip + space, width + space, 0.75 / height
    size = right * n * inch + 0.1 * max(map(len, names)) + 0.6, down * k * inch
    least = 0.1 * len(title or "")
    figure, axes = single(max(size[0], least), size[1] + (0.6 if title else 0.3))
    show_inputs(figure, axes, pixels, x)
    for row, column in zip(*np.nonzero(fires), strict=True):
        place = right * column + (width - 1) / 2, down * row + 1.05 * height - 0.5
        axes.text(*place, short(codes[row, column]), ha="center", va="top", fontsize="x-small")
    middles = [down * row + (height - 1) / 2 for row in range(k)]
    for row in np.flatnonzero(~fires.any(1)):
        axes.text(0, middles[row], "fires on none", va="center", fontsize="small", color="0.4")
    axes.set_yticks(middles, names)
    if title:
        axes.set_title(title, fontsize="medium")
    return figure


def _lines(x: np.ndarray, codes: np.ndarray, names: list[str], title: str | None) -> "Figure":
    """Inputs `(k, n, d)` over their features, a panel a unit, the largest code darkest."""
    import matplotlib

    k, n, d = x.shape
    columns = math.ceil(k / math.ceil(k / 3))
    figure, axes = panels(k, columns, 4.2, 2.8)
    colours = matplotlib.colormaps["viridis"](np.linspace(0.0, 0.85, n))
    style: dict[str, Any] = {"marker": "." if d <= 30 else None, "linewidth": 1.2}
    for i, ax in enumerate(axes):
        for j in np.flatnonzero(codes[i]):
            ax.plot(x[i, j], color=colours[j], label=short(codes[i, j]), **style)
        ax.set(xlabel="feature" if i >= k - columns else "", ylabel="" if i % columns else "value")
        _finish_lines(ax, names[i])
    if title:
        figure.suptitle(title)
    return figure


def _finish_lines(axes: "Axes", name: str) -> None:
    """Title, ticks and legend of one unit's panel."""
    if not axes.lines:
        axes.set_title(f"{name} fires on none", fontsize="small", color="0.4")
        axes.set_axis_off()
        return
    axes.set_title(name, fontsize="small")
    whole_numbers(axes.xaxis)
    place: dict[str, Any] = {"loc": "center left", "bbox_to_anchor": (1.0, 0.5)}
    axes.legend(title="code", fontsize="x-small", title_fontsize="x-small", **place)


def _extremes(values: np.ndarray) -> str:
    """The range of `values` for an error message."""
    return f", values {values.min():.4g} to {values.max():.4g}" if values.size else ""
