"""Figures of what a model makes: interpolations, traversals, samples, draws and chains.

They take the arrays that `generation` returns. In all of them `shape` is `(H, W)` or `(H, W, C)`
of an image, C 1 or 3, by default what the array has, or a grey square where d is a square;
`(d,)` asks for lines: what is no image is drawn over its features, a panel for each row. Images
are drawn in [0, 1] where all of `like` lies there, by default the array itself, and clipped; else
symmetrically about zero, with a colour bar. Give data as `like`: the means and samples of a
Gaussian likelihood leave its range.
"""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from jaxae.base import Array, as_float
from jaxae.evaluation.arrays import features, image_shape
from jaxae.evaluation.drawing import short
from jaxae.evaluation.grids import Shape, grid, grid_of, images_in_rows, lines_in_panels, own_shape
from jaxae.evaluation.plots import image_rows

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def interpolations(
    images: Array, shape: Shape = None, *, like: Array | None = None, title: str | None = None
) -> "Figure":
    """A row for each pair of examples, a column for each step t from the one to the other.

    Args:
        images: `(n, steps, *shape)` or `(n, steps, d)`, of `interpolate`.
        shape: Of an image, or `(d,)`.
        like: Data whose range the colours take.
        title: Of the figure.

    Raises:
        ValueError: `images` has fewer than three axes, or `shape` does not fit.

    >>> figure = interpolations(np.full((2, 5, 16), 0.5))
    >>> [label.get_text() for label in figure.axes[0].get_xticklabels()]
    ['0', '0.25', '0.5', '0.75', '1']
    """
    array, size = grid_of(images, shape)
    columns = [f"{t:.2g}" for t in np.linspace(0, 1, array.shape[1])]
    return grid(array, size, _numbered("pair", len(array)), columns, "t", like, title)


def traversals(
    images: Array,
    units: Sequence[int],
    values: npt.ArrayLike,
    shape: Shape = None,
    *,
    like: Array | None = None,
    title: str | None = None,
) -> "Figure":
    """A row for each unit of one example's code, a column for each value that it was set to.

    Args:
        images: `(units, k, *shape)` or `(units, k, d)`, one row of `traverse`.
        units: As given to `traverse`, to name the rows.
        values: Likewise: `(k,)` name the columns, of `(units, k)` the ends name the rows.
        shape: Of an image, or `(d,)`.
        like: Data whose range the colours take.
        title: Of the figure.

    Raises:
        ValueError: `units`, `values` or `shape` do not fit `images`.

    >>> figure = traversals(np.full((2, 3, 16), 0.5), [4, 7], [-2.0, 0.0, 2.0])
    >>> [label.get_text() for label in figure.axes[0].get_yticklabels()]
    ['unit 4', 'unit 7']
    """
    array, size = grid_of(images, shape)
    at, (n, k) = np.asarray(values, np.float64), array.shape[:2]
    if len(units) != n or at.shape not in ((k,), (n, k)):
        raise ValueError(
            f"images show {n} units at {k} values each; got {len(units)} units and values of "
            f"shape {at.shape}. Give one row of traverse, such as [0], with its own arguments."
        )
    names = [f"unit {unit}" for unit in units]
    if at.ndim == 1:
        return grid(array, size, names, [short(v) for v in at], "value of the unit", like, title)
    ends = [f"{name}: {short(v[0])} to {short(v[-1])}" for name, v in zip(names, at, strict=True)]
    return grid(array, size, ends, [""] * k, "", like, title)


def manifold(
    images: Array,
    values: npt.ArrayLike,
    shape: Shape = None,
    *,
    like: Array | None = None,
    title: str | None = None,
) -> "Figure":
    """The plane of a code of two units, decoded: code 1 rises to the right, code 2 upwards.

    Args:
        images: `(side, side, *shape)` or `(side, side, d)`, of `manifold_grid`.
        values: The `grid_values` of both units, `(side,)`, to label the axes.
        shape: Of an image, or `(d,)`.
        like: Data whose range the colours take.
        title: Of the figure.

    Raises:
        ValueError: `values` or `shape` do not fit `images`.

    >>> figure = manifold(np.full((3, 3, 16), 0.5), [-1.0, 0.0, 1.0])
    >>> [label.get_text() for label in figure.axes[0].get_yticklabels()]
    ['1', '0', '-1']
    """
    array, size = grid_of(images, shape)
    at = np.asarray(values, np.float64)
    if array.shape[:2] != at.shape * 2:
        raise ValueError(
            f"images must be (side, side, ...), values (side,); got {array.shape[:2]}"
            f" and {at.shape}."
        )
    names = [f"{v:.2g}" for v in at]
    if size is None:
        rows = [f"code 2 = {name}" for name in names[::-1]]
        return grid(array, size, rows, names, "code 1", like, title)
    figure = grid(array, size, names[::-1], names, "code 1", like, title)
    figure.axes[0].set_ylabel("code 2")
    return figure


def samples(
    images: Array,
    shape: Shape = None,
    *,
    columns: int | None = None,
    like: Array | None = None,
    title: str | None = None,
) -> "Figure":
    """A grid of images, such as what `model.sample` draws, or the last states of chains.

    Args:
        images: `(n, *shape)` or `(n, d)`.
        shape: Of an image, or `(d,)`.
        columns: Images in a row; by default about as many as rows.
        like: Data whose range the colours take.
        title: Of the figure.

    Raises:
        ValueError: `images` has fewer than two axes, or `shape` or `columns` do not fit.

    >>> figure = samples(np.full((10, 16), 0.5))
    >>> figure.axes[0].get_images()[0].get_array().shape  # 3 rows of 4, with gaps
    (14, 19)
    """
    flat = features("images", as_float(images))
    columns = math.ceil(math.sqrt(len(flat))) if columns is None else columns
    if columns < 1:
        raise ValueError(f"columns must be at least 1; got {columns}.")
    size = image_shape(flat.shape[1], own_shape(np.shape(images)[1:], shape))
    if size is None:
        return lines_in_panels(flat[:, None], _numbered("sample", len(flat)), [""], title)
    return images_in_rows(flat.reshape(-1, *size), min(columns, len(flat)), like, title)


def draws(
    x: Array,
    drawn: Array,
    mean: Array | None = None,
    shape: Shape = None,
    *,
    title: str | None = None,
) -> "Figure":
    """A column for each example: the input, its mean reconstruction and draws of it.

    Args:
        x: `(n, *shape)` or `(n, d)`, whose range the colours take.
        drawn: `(n, samples, *shape)`, of `reconstruct` with a key.
        mean: `(n, *shape)`, of `reconstruct` without.
        shape: Of an image, or `(d,)`.
        title: Of the figure.

    Raises:
        ValueError: The shapes do not agree, or `shape` does not fit.

    >>> figure = draws(np.ones((3, 16)), np.zeros((3, 2, 16)))
    >>> [label.get_text() for label in figure.axes[0].get_yticklabels()]
    ['input', 'draw 1', 'draw 2']
    """
    if np.ndim(drawn) < 2:
        raise ValueError(f"drawn must have the axes (n, samples, *shape); got {np.shape(drawn)}.")
    each = np.moveaxis(np.asarray(drawn), 1, 0)
    rows = {"input": x} if mean is None else {"input": x, "mean": mean}
    rows |= dict(zip(_numbered("draw", len(each)), each, strict=True))
    return image_rows(rows, shape, max_columns=len(x), title=title)


def chain(
    states: Array,
    start: Array,
    shape: Shape = None,
    *,
    every: int = 1,
    like: Array | None = None,
    title: str | None = None,
) -> "Figure":
    """A row for each chain, a column for each look at it, by the number of steps.

    Args:
        states: `(n, looks, *shape)` or `(n, looks, d)`, of `markov_chain` or `tangent_walk`.
        start: `(n, *shape)`, where the chains began: the column of step 0.
        shape: Of an image, or `(d,)`.
        every: Steps between looks.
        like: Data whose range the colours take, by default that of `start`.
        title: Of the figure.

    Raises:
        ValueError: `start` or `shape` does not fit `states`.

    >>> figure = chain(np.zeros((2, 3, 16)), np.ones((2, 16)), every=1000)
    >>> [label.get_text() for label in figure.axes[0].get_xticklabels()]
    ['0', '1,000', '2,000', '3,000']
    """
    begin, then = np.asarray(as_float(start))[:, None], np.asarray(states)
    if begin.shape != (*then.shape[:1], 1, *then.shape[2:]):
        raise ValueError(
            f"start must be (n, *shape) of states {then.shape}; got {np.shape(start)}."
        )
    array, size = grid_of(np.concatenate([begin, then], 1), shape)
    columns = [f"{i * every:,}" for i in range(array.shape[1])]
    rows, like = _numbered("chain", len(array)), start if like is None else like
    return grid(array, size, rows, columns, "steps of the chain", like, title)


def _numbered(name: str, n: int) -> list[str]:
    return [f"{name} {i + 1}" for i in range(n)]
