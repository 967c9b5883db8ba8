"""The parts that figures are drawn from; `plots` holds the figures themselves."""

import itertools
import math
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

MAX_LEGEND_CLASSES = 20
NATS = ("loss", "distortion", "rate", "elbo", "nll")


def single(width: float, height: float) -> "tuple[Figure, Axes]":
    """A figure of that size in inches with one pair of axes."""
    figure, axes = panels(1, 1, width, height)
    return figure, axes[0]


def panels(n: int, columns: int, width: float, height: float) -> "tuple[Figure, list[Axes]]":
    """A figure of `n` axes in rows of at most `columns`, each of that size in inches."""
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    columns = min(n, columns)
    rows = math.ceil(n / columns)
    layout = ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.08)
    figure = Figure(figsize=(width * columns, height * rows), layout=layout, dpi=120)
    return figure, [figure.add_subplot(rows, columns, i + 1) for i in range(n)]


def tile(images: np.ndarray, columns: int) -> np.ndarray:
    """Lays `(n, H, W, C)` out in rows of `columns`, with a gap of NaN between images.

    Returns:
        `(rows * (H + gap) - gap, columns * (W + gap) - gap, C)`; missing images are NaN.
    """
    n, height, width, channels = images.shape
    rows, space = math.ceil(n / columns), gap(height)
    grid = np.full((rows * columns, height + space, width + space, channels), np.nan)
    grid[:n, :height, :width] = images
    grid = grid.reshape(rows, columns, height + space, width + space, channels)
    grid = grid.swapaxes(1, 2).reshape(rows * (height + space), -1, channels)
    return grid[:-space, :-space]


def gap(height: int) -> int:
    """Pixels between images of that height."""
    return max(1, round(height / 14))


def show(
    axes: "Axes", pixels: np.ndarray, low: float, high: float, cmap: str, blank: str = "white"
) -> Any:
    """Draws `(H, W, C)` between `low` and `high`, NaN as `blank`; returns what was drawn."""
    import matplotlib

    scaled = np.clip((pixels - low) / (high - low), 0.0, 1.0)
    if pixels.shape[2] == 3:
        drawn = axes.imshow(np.where(np.isnan(scaled), 1.0, scaled), interpolation="nearest")
    else:
        colours = matplotlib.colormaps[cmap].with_extremes(bad=blank)
        options: dict[str, Any] = {"cmap": colours, "vmin": low, "vmax": high}
        drawn = axes.imshow(pixels[..., 0], interpolation="nearest", **options)
    axes.set_xticks([])
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    return drawn


def show_inputs(figure: "Figure", axes: "Axes", pixels: np.ndarray, range_of: np.ndarray) -> None:
    """Draws `(H, W, C)` in [0, 1] where `range_of` lies there, else symmetrically about 0."""
    if range_of.min() >= 0.0 and range_of.max() <= 1.0:
        show(axes, pixels, 0.0, 1.0, "gray")
        return
    most = float(np.abs(range_of).max())
    drawn = show(axes, pixels, -most, most, "RdBu_r")
    if pixels.shape[2] == 1:
        figure.colorbar(drawn, ax=axes, shrink=0.9, label="value (clipped)")
    else:
        axes.set_xlabel(f"black = {-most:.3g}, white = {most:.3g}")


def image_panel(rows: dict[str, np.ndarray], title: str | None) -> "Figure":
    """Labelled rows of images `(n, H, W, C)`, in [0, 1] where the first row lies there."""
    first = next(iter(rows.values()))
    n, height = first.shape[:2]
    pixels = tile(np.concatenate(list(rows.values())), n)
    cell = 0.8 if n > 3 else 1.2
    size = cell * pixels.shape[1] / (height + gap(height)), cell * len(rows)
    figure, axes = single(size[0] + 0.1 * max(map(len, rows)) + 0.3, size[1] + 0.3)
    show_inputs(figure, axes, pixels, first)
    step = height + gap(height)
    axes.set_yticks([i * step + (height - 1) / 2 for i in range(len(rows))], list(rows))
    if title:
        axes.set_title(title, fontsize="medium")
    return figure


def line_panels(rows: dict[str, np.ndarray], title: str | None) -> "Figure":
    """The values `(n, d)` of each example over its features, the rows overlaid."""
    n, d = next(iter(rows.values())).shape
    columns = math.ceil(n / math.ceil(n / 5))
    figure, axes = panels(n, columns, 3.2 if n > 1 else 5.0, 2.5)
    for i, ax in enumerate(axes):
        styles = itertools.cycle(["-", "--", ":", "-."])
        for (name, values), style in zip(rows.items(), styles, strict=False):
            marker = "." if d <= 30 else None
            ax.plot(values[i], style, marker=marker, linewidth=1.3, label=name)
        ax.set_title(f"example {i + 1}", fontsize="small")
        whole_numbers(ax.xaxis)
        ax.set_xlabel("feature" if i >= n - columns else "")
        ax.set_ylabel("" if i % columns else "value")
    handles, names = axes[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=len(rows))
    if title:
        figure.suptitle(title)
    return figure


def heat_map(weights: np.ndarray, title: str, xlabel: str) -> "Figure":
    """Weights `(d, units)` in colours, on one scale about zero."""
    d, units = weights.shape
    size = min(9.0, max(4.0, 0.22 * units)) + 1.0, min(8.0, max(2.5, 0.22 * d))
    figure, axes = single(*size)
    most = float(np.abs(weights).max()) or 1.0
    options: dict[str, Any] = {"aspect": "auto", "interpolation": "nearest", "cmap": "RdBu_r"}
    drawn = axes.imshow(weights, vmin=-most, vmax=most, **options)
    figure.colorbar(drawn, ax=axes, label="weight")
    axes.set(xlabel=xlabel, ylabel="feature")
    axes.set_title(title, fontsize="medium")
    whole_numbers(axes.xaxis)
    whole_numbers(axes.yaxis)
    return figure


def finish_curves(axes: "Axes", metric: str, values: np.ndarray) -> None:
    """Labels, legend and scale of one panel that shows `values`."""
    unit = " (nats per example)" if metric in NATS else ""
    axes.set(xlabel="epoch", ylabel=f"{metric}{unit}")
    whole_numbers(axes.xaxis)
    values = values[np.isfinite(values)]
    if values.size and values.min() > 0 and values.max() > 100 * values.min():
        axes.set_yscale("log")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)


def scatter(figure: "Figure", axes: "Axes", points: np.ndarray, classes: np.ndarray | None) -> None:
    """Points `(n, 2)` by class, with a legend; with a colour bar for many classes."""
    style: dict[str, Any] = {"s": 14 if len(points) < 1500 else 6, "alpha": 0.7, "linewidths": 0}
    if classes is None:
        axes.scatter(points[:, 0], points[:, 1], **style)
        return
    values, rank = np.unique(classes, return_inverse=True)
    if len(values) > MAX_LEGEND_CLASSES:
        numbers = classes if classes.dtype.kind in "iubf" else rank
        drawn = axes.scatter(points[:, 0], points[:, 1], c=numbers, cmap="viridis", **style)
        bar = figure.colorbar(drawn, ax=axes, label="class")
        if bar.solids is not None:
            bar.solids.set_alpha(1.0)
        return
    import matplotlib

    colours = matplotlib.colormaps["tab10" if len(values) <= 10 else "tab20"]
    for i, value in enumerate(values):
        axes.scatter(
            points[rank == i, 0], points[rank == i, 1], color=colours(i), label=str(value), **style
        )
    legend = figure.legend(loc="outside right center", title="class", markerscale=2.5)
    for handle in legend.legend_handles:
        if handle is not None:
            handle.set_alpha(1.0)


def whole_numbers(axis: "Axis") -> None:
    """Places ticks at whole numbers only."""
    from matplotlib.ticker import MaxNLocator

    axis.set_major_locator(MaxNLocator("auto", integer=True))


def decades(axes: "Axes", values: np.ndarray) -> None:
    """Makes x logarithmic for positive `values`, with round numbers written out as ticks."""
    from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator, StrMethodFormatter

    axes.set_xscale("log")
    span = values.max() / values.min()
    steps = (1.0, 2.0, 5.0) if span < 1000 else (1.0,)
    few = MaxNLocator(6, steps=[1, 2, 5, 10])
    axes.xaxis.set_major_locator(LogLocator(subs=steps) if span > 8 else few)
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,g}"))


def short(value: float) -> str:
    """A number in three digits or so, without powers of ten where it is large."""
    return f"{value:.3g}" if abs(value) < 999.5 or abs(value) >= 1e6 else f"{value:,.0f}"
