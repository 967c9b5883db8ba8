"""Grids of images, or panels of lines, with names for rows and columns."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxae.base import Array, as_float
from jaxae.evaluation.arrays import features, image_shape
from jaxae.evaluation.drawing import gap, line_panels, show_inputs, single, tile

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Shape = tuple[int, ...] | None


def own_shape(own: tuple[int, ...], shape: Shape) -> Shape:
    """`shape`, or the array's own where that has more than one axis."""
    return own if shape is None and len(own) > 1 else shape


def grid_of(images: Any, shape: Shape) -> tuple[np.ndarray, tuple[int, int, int] | None]:
    """Finite floats `(rows, columns, d)`, and `(H, W, C)` of an image, None for lines."""
    array = np.asarray(as_float(images))
    if array.ndim < 3:
        raise ValueError(f"Rows, columns and the axes of an example are needed; got {array.shape}.")
    flat = features("images", array.reshape(math.prod(array.shape[:2]), -1))
    size = image_shape(flat.shape[1], own_shape(array.shape[2:], shape))
    return flat.reshape(*array.shape[:2], -1), size


def grid(
    array: np.ndarray,
    size: tuple[int, int, int] | None,
    rows: Sequence[str],
    columns: Sequence[str],
    xlabel: str,
    like: Array | None,
    title: str | None,
) -> "Figure":
    """Images with a name for each row and column, or lines of them."""
    if size is None:
        return lines_in_panels(array, rows, columns, title)
    n, (height, width) = len(columns), size[:2]
    margins = 0.075 * max(map(len, rows)), 0.2 * any(columns) + 0.2 * bool(xlabel)
    figure = images_in_rows(array.reshape(-1, *size), n, like, title, margins)
    axes, down, across = figure.axes[0], height + gap(height), width + gap(height)
    every = math.ceil(n / 10) if len(rows) > 10 else 1
    axes.set_yticks(np.arange(len(rows))[::every] * down + (height - 1) / 2, rows[::every])
    letters = max(map(len, columns)) * n  # labels wider than their images are thinned out
    every = max(every, math.ceil(letters * 0.1 / figure.get_figwidth()))
    places = np.arange(n)[::every] * across + (width - 1) / 2
    axes.set_xticks(places, columns[::every], fontsize="small")
    axes.set_anchor("E")  # what width is too much leaves room for the names
    axes.set_xlabel("\n".join(filter(None, (xlabel, axes.get_xlabel()))))
    return figure


def images_in_rows(
    images: np.ndarray,
    columns: int,
    like: Array | None,
    title: str | None,
    margins: tuple[float, float] = (0.0, 0.0),
) -> "Figure":
    """Images `(n, H, W, C)` in rows of `columns`, with room in inches for names."""
    pixels = tile(images, columns)
    cell = min(0.8 if columns > 3 else 1.2, 9.0 / columns)
    scale, (left, below) = cell / (images.shape[1] + gap(images.shape[1])), margins
    height, width = (scale * side for side in pixels.shape[:2])
    figure, axes = single(width + left + 0.3, height + below + (0.42 if title else 0.17))
    show_inputs(figure, axes, pixels, images if like is None else np.asarray(as_float(like)))
    axes.set_yticks([])
    if title:
        axes.set_title(title, fontsize="medium")
    return figure


def lines_in_panels(
    values: np.ndarray, rows: Sequence[str], columns: Sequence[str], title: str | None
) -> "Figure":
    """A panel for each of the rows of values `(rows, columns, d)`, a line for each column."""
    import matplotlib

    figure = line_panels({str(j): values[:, j] for j in range(len(columns))}, title)
    figure.legends[0].remove()
    colours = matplotlib.colormaps["viridis"](np.linspace(0.0, 0.9, len(columns)))
    for axes, name in zip(figure.axes, rows, strict=True):
        axes.set_title(name, fontsize="small")
        for line, colour in zip(axes.get_lines(), colours, strict=True):
            line.set(color=colour, linestyle="-")
    if any(columns):
        few = np.unique(np.linspace(0, len(columns) - 1, min(len(columns), 10)).astype(int))
        shown: Any = [figure.axes[0].get_lines()[j] for j in few], [columns[j] for j in few]
        fit = int(figure.get_figwidth() / (0.7 + 0.09 * max(map(len, columns))))
        figure.legend(*shown, loc="outside lower center", ncols=max(1, min(fit, len(few))))
    return figure
