"""What an encoder keeps and what it contracts: directions at one example, and figures."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from jaxae.base import Array, Autoencoder, Params, as_float, check_range
from jaxae.evaluation.arrays import features, image_shape
from jaxae.evaluation.contraction import jacobians
from jaxae.evaluation.drawing import panels, show, single, whole_numbers

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


class Directions(NamedTuple):
    """Directions of input space at one example, as unit vectors of x's shape.

    Attributes:
        preserved: `(n, *shape)`, the most preserved first.
        contracted: `(n, *shape)`, the most contracted first.
        singular_values: `(rank,)`, largest first; `contracted[i]` has the one at -1 - i.
    """

    preserved: np.ndarray
    contracted: np.ndarray
    singular_values: np.ndarray


def directions(
    model: Autoencoder,
    params: Params,
    x: Array,
    n: int,
    *,
    basis: npt.ArrayLike | None = None,
    **extras: Array,
) -> Directions:
    """The directions at one example that its code follows most, and least.

    They are the right singular vectors of the encoder's Jacobian J with the largest and
    with the smallest singular values above rounding, max(J.shape) * eps times the
    largest. Where x has more entries than the code, a whole subspace of directions leaves
    the code as it is; none of it is more telling than another, so none is returned. The
    smallest of the rest say little too, as most of input space holds no data. `basis` asks
    which of the directions in which the data varies are contracted: all come from its span,
    none of which is lost where k <= latent_dim. Signs, which are arbitrary, make the entry
    of largest magnitude positive.

    Args:
        model: Its `encode` is used.
        params: Of the model.
        x: One example, `(*shape)`, d entries.
        n: Directions of each kind; they overlap where 2 n exceeds the rank of J.
        basis: `(k, d)` or `(k, *shape)`, rows that span the directions to take, such as
            the `components_` of scikit-learn's PCA of the data.
        **extras: `mask` and `context` of the example, where its batch has them.

    Raises:
        ValueError: `n` is less than 1 or above the rank of J, or `basis` does not fit.

    >>> def encode(params, batch): return batch["x"] @ params
    >>> model = Autoencoder(None, None, encode, None, None)
    >>> found = directions(model, np.diag([2.0, 1.0, 0.0]), np.zeros(3), 1)
    >>> found.preserved.tolist(), found.contracted.tolist(), found.singular_values.tolist()
    ([[1.0, 0.0, 0.0]], [[0.0, 1.0, 0.0]], [2.0, 1.0])
    """
    check_range("n", n, 1)
    shape = np.shape(x)
    rows = {name: np.asarray(a)[None] for name, a in {**extras, "x": x}.items()}
    j = features("The Jacobian", jacobians(model, params, rows)[0])
    eps = np.finfo(j.dtype).eps * max(j.shape)
    span = np.eye(j.shape[1]) if basis is None else _orthonormal(basis, j.shape[1])
    _, values, right = np.linalg.svd(np.float64(j) @ span, full_matrices=False)
    values = values[values > eps * values[0]]
    if n > len(values):
        raise ValueError(f"n must be at most {len(values)}, the rank of J here; got {n}.")
    found = right[: len(values)] @ span.T
    largest = np.take_along_axis(found, np.abs(found).argmax(1)[:, None], 1)
    found = (found * np.sign(largest)).reshape(-1, *shape)
    return Directions(found[:n], found[::-1][:n], values)


def singular_spectrum(
    spectra: Mapping[str, npt.ArrayLike], *, title: str | None = None
) -> "Figure":
    """The mean singular values of each model, with a band from 10 to 90 % of the examples.

    The axis is logarithmic, of seven decades at most: below them rounding begins.

    Args:
        spectra: `(n, k)` by name of the model, of `singular_values`; n and k may differ.
        title: Of the figure.

    Raises:
        ValueError: There are no spectra, or one is no finite matrix without negatives.

    >>> figure = singular_spectrum({"plain": [[3.0, 2.0], [2.0, 1.0]], "CAE": [[1.0, 0.1]]})
    >>> [line.get_label() for line in figure.axes[0].get_lines()]
    ['plain', 'CAE']
    """
    if not spectra:
        raise ValueError("spectra must hold the singular values of a model; got none.")
    figure, axes = single(6.0, 4.0)
    for name, given in spectra.items():
        values = features(name, given)
        check_range(f"The least singular value of {name}", values.min(), 0.0)
        order = np.arange(1, values.shape[1] + 1)
        (line,) = axes.plot(order, values.mean(0), linewidth=1.4, label=name)
        low, high = np.quantile(values, [0.1, 0.9], axis=0)
        axes.fill_between(order, low, high, color=line.get_color(), alpha=0.2, linewidth=0)
    axes.set_yscale("log" if axes.dataLim.ymax > 0 else "linear")
    low, high = axes.get_ylim()
    axes.set_ylim(bottom=max(low, 1e-7 * high))
    whole_numbers(axes.xaxis)
    axes.set(xlabel="index, by size", ylabel="singular value of the Jacobian")
    _finish(figure, axes, title or "Singular values: mean, and 10–90 % of examples")
    return figure


def contraction_curve(
    radii: npt.ArrayLike, ratios: Mapping[str, npt.ArrayLike], *, title: str | None = None
) -> "Figure":
    """The contraction ratio of each model by the distance from the data.

    An axis is logarithmic where its values span two decades or more.

    Args:
        radii: `(m,)`, above 0.
        ratios: `(m,)` by name of the model, of `contraction_ratio`; NaN leaves a gap.
        title: Of the figure.

    Raises:
        ValueError: There are no ratios, their lengths differ, or a radius is not above 0.

    >>> figure = contraction_curve([0.1, 1.0, 10.0], {"CAE": [0.1, 0.2, 0.5]})
    >>> figure.axes[0].get_xscale(), figure.axes[0].get_yscale()
    ('log', 'linear')
    """
    r = np.asarray(radii, np.float64)
    lines = {name: np.asarray(values, np.float64) for name, values in ratios.items()}
    shapes = {name: values.shape for name, values in lines.items()}
    if r.ndim != 1 or set(shapes.values()) != {r.shape}:
        raise ValueError(f"ratios must be (m,) by name, as radii {r.shape}; got shapes {shapes}.")
    check_range("radii", r, 0.0, open_low=True, open_high=True)
    figure, axes = single(6.0, 4.0)
    for name, values in lines.items():
        axes.plot(r, values, marker="." if len(r) <= 30 else None, linewidth=1.4, label=name)
    axes.set(xlabel="radius (distance of the inputs)", ylabel="distance of codes / of inputs")
    axes.set(xscale=_scale(r), yscale=_scale(np.concatenate(list(lines.values()))))
    if axes.get_yscale() == "linear":
        axes.set_ylim(bottom=0.0)
    _finish(figure, axes, title or "Contraction ratio")
    return figure


def direction_images(
    x: npt.ArrayLike,
    preserved: npt.ArrayLike,
    contracted: npt.ArrayLike,
    shape: tuple[int, ...] | None = None,
    *,
    singular_values: npt.ArrayLike | None = None,
    title: str | None = None,
) -> "Figure":
    """One example, and rows of the directions that its code follows most, and least.

    Each direction is scaled symmetrically about zero by its own largest entry: white is 0,
    red positive, blue negative (three channels: grey is 0). The example is drawn in [0, 1]
    where it lies there, else like a direction.

    Args:
        x: `(*shape)` or `(d,)`.
        preserved: `(n, *shape)` or `(n, d)`, of `directions`, as is `contracted`.
        contracted: The most contracted first.
        shape: `(H, W)` or `(H, W, C)`, C 1 or 3. By default that of x, or a grey square.
        singular_values: All that `directions` returns, to write above each image.
        title: Of the figure.

    Raises:
        ValueError: The sizes differ, or are those of no image.

    >>> found = Directions(np.eye(4)[:2], np.eye(4)[2:], np.array([4.0, 3.0, 2.0, 1.0]))
    >>> figure = direction_images(np.ones(4), *found[:2], singular_values=found.singular_values)
    >>> [axes.get_title() for axes in figure.axes[:3]]
    ['input', '4.0', '3.0']
    """
    image = np.asarray(as_float(jnp.asarray(x)), np.float64)
    rows = {"preserved": features("preserved", preserved)}
    rows["contracted"] = features("contracted", contracted)
    shapes = [a.shape for a in rows.values()]
    n, d = shapes[0]
    size = image_shape(image.size, image.shape if shape is None and image.ndim > 1 else shape)
    given = np.full(n, np.nan) if singular_values is None else np.asarray(singular_values)
    if size is None or image.size != d or shapes[0] != shapes[1] or len(given) < n:
        raise ValueError(
            "direction_images needs an image x, two equally many directions of its size and no "
            f"fewer singular values; got shapes {image.shape}, {shapes} and {given.shape}. What "
            "is no image, image_rows draws as lines."
        )
    values = ["" if singular_values is None else f"{value:#.2g}" for value in given]
    side = max(1.0, 4.5 / (n + 1))
    figure, axes = panels(2 * (n + 1), n + 1, side, side + 0.2)
    unit = image.min() >= 0.0 and image.max() <= 1.0
    _draw(axes[0], image.reshape(size), "input", unit)
    axes[n + 1].set_axis_off()
    for name, labels, first in zip(rows, (values, values[::-1]), (1, n + 2), strict=True):
        axes[first].set_ylabel(name, fontsize="small")
        for ax, direction, label in zip(axes[first:], rows[name], labels, strict=False):
            _draw(ax, direction.reshape(size), label)
    note = "" if singular_values is None else "\nnumbers: singular values"
    name = f"Directions in input space, each scaled to its largest entry{note}"
    figure.suptitle(title or name, fontsize="medium")
    return figure


def _orthonormal(basis: npt.ArrayLike, d: int) -> np.ndarray:
    """An orthonormal basis `(d, rank)` of the span of the rows of `basis`."""
    rows = features("basis", basis).astype(np.float64)
    if rows.shape[1] != d:
        raise ValueError(f"basis must have rows of {d} entries, as x has; got {rows.shape[1]}.")
    from scipy.linalg import orth

    return orth(rows.T)


def _draw(axes: "Axes", image: np.ndarray, label: str, unit: bool = False) -> None:
    """One image `(H, W, C)`, in [0, 1] or symmetrically about zero by its largest entry."""
    most = 1.0 if unit else float(np.abs(image).max()) or 1.0
    show(axes, image, 0.0 if unit else -most, most, "gray" if unit else "RdBu_r")
    axes.set_yticks([])
    axes.set_title(label, fontsize="small")


def _scale(values: np.ndarray) -> str:
    """Logarithmic for positive values that span two decades or more."""
    values = values[np.isfinite(values)]
    wide = values.size and values.min() > 0 and values.max() >= 100 * values.min()
    return "log" if wide else "linear"


def _finish(figure: "Figure", axes: "Axes", title: str) -> None:
    axes.set_title(title, fontsize="medium")
    axes.grid(alpha=0.3)
    figure.legend(loc="outside lower center", ncols=4, frameon=False)
