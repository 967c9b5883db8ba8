"""What restricted Boltzmann machines draw of themselves, and its figure."""

import functools
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from jaxae.base import Array, Key, Params, as_float, check_range
from jaxae.evaluation.arrays import image_shape
from jaxae.evaluation.drawing import gap
from jaxae.evaluation.plots import image_rows
from jaxae.models.boltzmann import Energy, weights

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def fantasies(
    energy: Energy,
    params: Params,
    key: Key,
    rows: int = 10,
    columns: int = 10,
    steps_between: int = 1000,
    *,
    start: Array | None = None,
) -> Array:
    """What chains of Gibbs sampling show after each `steps_between` steps.

    Args:
        energy: of the machine.
        params: of the machine.
        key: of the chains.
        rows: the number of chains.
        columns: how often each chain is looked at.
        steps_between: steps before each look.
        start: visible units `(rows, d)` to begin with, such as data or the `chains` of
            `persistent`; by default random ones.

    Returns:
        The means of the visible units before these were sampled, `(rows, columns, d)`.

    Raises:
        ValueError: a number below 1, or a `start` of another shape.

    >>> import jaxae
    >>> params = jaxae.rbm(6, 3).init(jax.random.key(0), {"x": jnp.ones((1, 6))})
    >>> fantasies(jaxae.rbm_energy(), params, jax.random.key(1), 4, 5, 10).shape
    (4, 5, 6)
    """
    numbers = {"rows": rows, "columns": columns, "steps_between": steps_between}
    for name, number in numbers.items():
        check_range(name, number, 1)
    start_key, chain_key = jax.random.split(key)
    v = energy.start(params, start_key, rows) if start is None else as_float(start)
    if v.shape != (wanted := (rows, weights(params)[2].size)):
        raise ValueError(f"start must have shape (rows, d), here {wanted}; got {v.shape}.")
    return _fantasies(energy, steps_between, params, jax.random.split(chain_key, columns), v)


def fantasy_grid(
    fantasies: npt.ArrayLike,
    shape: tuple[int, ...] | None = None,
    *,
    steps_between: int | None = None,
    title: str | None = None,
) -> "Figure":
    """A row for each chain, a column for each look at it; the colours are those of `image_rows`.

    Args:
        fantasies: `(rows, columns, d)`, of the function `fantasies`.
        shape: `(H, W)` or `(H, W, C)` of an image, C 1 or 3; `(d,)` for lines. By default a
            grey square where d is a square.
        steps_between: steps between columns, to label them by the steps since the start.
        title: Of the figure.

    Raises:
        ValueError: `fantasies` has not three axes, or `shape` does not fit.

    >>> figure = fantasy_grid(np.full((2, 3, 16), 0.5), steps_between=1000)
    >>> [label.get_text() for label in figure.axes[0].get_xticklabels()]
    ['1,000', '2,000', '3,000']
    """
    images = np.asarray(fantasies)
    if images.ndim != 3 or not images.size:
        raise ValueError(f"fantasies must be (rows, columns, d); got shape {images.shape}.")
    columns, d = images.shape[1:]
    rows = {f"chain {i + 1}": chain for i, chain in enumerate(images)}
    figure = image_rows(rows, shape, max_columns=columns, title=title)
    if steps_between is None:
        return figure
    labels = [f"{(i + 1) * steps_between:,}" for i in range(columns)]
    size = image_shape(d, shape)
    if size is None:
        for axes, label in zip(figure.axes, labels, strict=True):
            axes.set_title(f"after {label} steps", fontsize="small")
        return figure
    height, width = size[:2]
    places = np.arange(columns) * (width + gap(height)) + (width - 1) / 2
    figure.axes[0].set_xticks(places, labels, fontsize="small")
    figure.axes[0].set_xlabel("steps of Gibbs sampling")
    return figure


@functools.partial(jax.jit, static_argnums=(0, 1))
def _fantasies(energy: Energy, steps: int, params: Params, keys: Key, v: Array) -> Array:
    def look(v: Array, key: Key) -> tuple[Array, Array]:
        mean, v = energy.gibbs(params, key, v, steps)
        return v, mean

    return jnp.swapaxes(jax.lax.scan(look, v, keys)[1], 0, 1)
