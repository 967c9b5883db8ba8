"""What convolutional encoders see: filters, maps of all layers, and the patches that excite units.

As of `plots`, each figure is a `matplotlib.figure.Figure` of its own.
"""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from jaxae.base import Array, Batch, Params, as_float, num_examples, where_observed
from jaxae.evaluation.drawing import panels, show, show_inputs, tile
from jaxae.evaluation.plots import filters
from jaxae.evaluation.sparse_plots import top_inputs
from jaxae.models.networks.convolutions import Convolutions

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Patches(NamedTuple):
    """What excites units most.

    Attributes:
        x: parts of inputs, `(units, n, height, width, channels)`; 0 outside of the image.
        activations: of the units there, `(units, n)`, largest first.
        units: their numbers.
    """

    x: np.ndarray
    activations: np.ndarray
    units: tuple[int, ...]


def feature_maps(encoder: Convolutions, params: Params, batch: Batch) -> list[Array]:
    """The maps after each convolution, its activation and pool, `(batch, *sizes, channels)`.

    Args:
        encoder: of `jaxae.convolutional`.
        params: of the model, or of the encoder alone.
        batch: with "x", and what else the model takes.

    >>> import jax
    >>> from jaxae.models.networks.convnets import convolutional
    >>> encoder, _ = convolutional((8, 8, 1), 3, hidden_dims=(2, 4))
    >>> batch = {"x": np.ones((5, 8, 8, 1), np.float32)}
    >>> params = encoder.init(jax.random.key(0), batch["x"])["params"]
    >>> [maps.shape for maps in feature_maps(encoder, params, batch)]
    [(5, 4, 4, 2), (5, 2, 2, 4)]

    Raises:
        ValueError: an encoder of another kind, or an empty batch.
    """
    if not isinstance(encoder, Convolutions):
        raise ValueError(
            "Feature maps are those of an encoder of jaxae.convolutional; got "
            f"{type(encoder).__name__}."
        )
    num_examples(batch)
    x = where_observed(batch, as_float(batch["x"]))
    given = {name: batch[name] for name in ("mask", "context") if batch.get(name) is not None}
    own = params.get("encoder", params)
    _, found = encoder.apply({"params": own}, x, **given, mutable=["intermediates"])
    maps: Any = found["intermediates"]
    return [maps[f"maps_{i}"][0] for i in range(len(encoder.layout.steps))]


def top_patches(
    encoder: Convolutions,
    params: Params,
    batch: Batch,
    layer: int,
    units: Sequence[int] | None = None,
    n: int = 9,
) -> Patches:
    """The parts of inputs that excite channels of a layer most, one an input.

    A part is all that the unit sees at its place: its receptive field.

    Args:
        encoder: of `jaxae.convolutional`, for images.
        params: of the model, or of the encoder alone.
        batch: the inputs to choose from.
        layer: the number of the convolution, from 0; below 0 from the last.
        units: channels; by default the 10 with the largest activations in the mean.
        n: parts of each.

    Raises:
        ValueError: as `feature_maps`; no images; a layer, units or n that there are not.
    """
    steps = encoder.layout.steps
    if len(encoder.layout.shape) != 3 or not -len(steps) <= layer < len(steps):
        raise ValueError(
            f"layer is a number below {len(steps)} of an encoder of images; got {layer} for "
            f"examples of shape {encoder.layout.shape}."
        )
    maps = np.asarray(feature_maps(encoder, params, batch)[layer], np.float32)
    _, width, channels = maps.shape[1:]
    flat = maps.reshape(len(maps), -1, channels)
    best, place = flat.max(1), flat.argmax(1)
    if units is None:
        units = np.argsort(-best.mean(0), kind="stable")[:10].tolist()
    if not units or not 0 < n <= len(maps) or not all(0 <= u < channels for u in units):
        raise ValueError(
            f"units are channels from 0 to {channels - 1}, and n is at most the {len(maps)} "
            f"inputs; got {list(units)} and {n}."
        )
    x = np.asarray(where_observed(batch, as_float(batch["x"])), np.float32)
    rows = np.argsort(-best[:, units], axis=0, kind="stable")[:n].T
    patches = [
        [_cut(encoder, x[i], layer, divmod(int(place[i, u]), width)) for i in chosen]
        for u, chosen in zip(units, rows, strict=True)
    ]
    values = np.stack([best[chosen, u] for u, chosen in zip(units, rows, strict=True)])
    return Patches(np.asarray(patches), values, tuple(units))


def receptive_field(
    encoder: Convolutions, layer: int, place: Sequence[int]
) -> tuple[tuple[int, int], ...]:
    """Where a unit looks: first and last entry of the input along each axis, padding counted.

    >>> from jaxae.models.networks.convnets import convolutional
    >>> encoder, _ = convolutional((28, 28, 1), 10, hidden_dims=(8, 8))
    >>> receptive_field(encoder, 0, (0, 3)), receptive_field(encoder, 1, (3, 3))
    (((0, 2), (6, 8)), ((12, 18), (12, 18)))
    """
    steps, maps = encoder.layout.steps, encoder.layout.maps()
    spans = [(p, p) for p in place]
    for i in range(layer % len(steps), -1, -1):
        step, sizes = steps[i], maps[i][:-1]
        if step.pooling:
            spans = [(a * b, z * b + b - 1) for (a, z), b in zip(spans, step.blocks, strict=True)]
        window, pads = step.window, step.window.places(sizes).pads
        spans = [
            (a * s - low, z * s - low + (k - 1) * d)
            for (a, z), k, s, d, (low, _) in zip(spans, *window, pads, strict=True)
        ]
    return tuple(spans)


def convolution_filters(kernel: npt.ArrayLike, max_units: int = 100) -> "Figure":
    """The kernels of a first convolution as images, drawn as `filters` does.

    Args:
        kernel: `(height, width, channels, features)`, channels 1 or 3, such as
            `params["encoder"]["layer_0"]["kernel"]`.
        max_units: the most to show.

    Raises:
        ValueError: no such kernel.

    >>> figure = convolution_filters(np.ones((3, 3, 1, 8)))
    >>> figure.axes[0].get_title()
    '8 filters by norm, each scaled to its largest weight'
    """
    weights = np.asarray(kernel)
    if weights.ndim != 4 or weights.shape[2] not in (1, 3):
        raise ValueError(
            "The kernel of a first convolution of images is (height, width, 1 or 3, features); got "
            f"{weights.shape}. Of later layers see top_patches."
        )
    return filters(weights.reshape(-1, weights.shape[-1]), weights.shape[:3], max_units)


def maps_by_layer(
    encoder: Convolutions,
    params: Params,
    batch: Batch,
    *,
    max_examples: int = 3,
    max_channels: int = 16,
    title: str | None = None,
) -> "Figure":
    """The maps of every layer, a row a layer and a column an input: from edges to parts.

    A cell has the channels of one layer in a square, strongest first over the inputs shown;
    red is positive, blue negative, on one scale for each layer.

    Args:
        encoder: of `jaxae.convolutional`, for images.
        params: of the model, or of the encoder alone.
        batch: the inputs; the first are shown.
        max_examples: the most inputs.
        max_channels: the most channels of a layer.
        title: of the figure.

    Raises:
        ValueError: as `feature_maps`; no images; a most below 1.
    """
    if len(encoder.layout.shape) != 3 or max_examples < 1 or max_channels < 1:
        raise ValueError(
            "Maps are drawn of images, at least one input and channel; got examples of shape "
            f"{encoder.layout.shape}, {max_examples} and {max_channels}."
        )
    few = {name: np.asarray(a)[:max_examples] for name, a in batch.items()}
    layers = [np.asarray(a, np.float64) for a in feature_maps(encoder, params, few)]
    x = np.asarray(as_float(jnp.asarray(few["x"])), np.float64)
    n = len(x)
    figure, axes = panels(n * (len(layers) + 1), n, 2.2, 2.2)
    if x.shape[-1] not in (1, 3):
        x = x.mean(-1, keepdims=True)
    for i in range(n):
        show_inputs(figure, axes[i], x[i], np.clip(x, 0, 1) if x.min() >= 0 else x)
        axes[i].set_yticks([])
        axes[i].set_title(f"input {i + 1}", fontsize="small")
    for row, maps in enumerate(layers):
        order = np.argsort(-np.abs(maps).mean((0, 1, 2)), kind="stable")[:max_channels]
        most = float(np.abs(maps[..., order]).max()) or 1.0
        for i in range(n):
            cell = axes[(row + 1) * n + i]
            shown = np.moveaxis(maps[i][..., order], -1, 0)[..., None]
            show(cell, tile(shown, math.ceil(math.sqrt(len(order)))), -most, most, "RdBu_r", "0.75")
            cell.set_yticks([])
        height, width, channels = maps.shape[1:]
        count = f"{len(order)} of {channels}" if channels > len(order) else f"{channels}"
        label = f"layer {row}\n{count} maps\n{height} x {width}"
        axes[(row + 1) * n].set_ylabel(label, fontsize="small")
    figure.suptitle(
        title or "Maps of each layer, on a scale of its own: red positive, blue negative",
        fontsize="medium",
    )
    return figure


def exciting_patches(patches: Patches, *, title: str | None = None) -> "Figure":
    """The parts of inputs of `top_patches`, a row a unit, its activations below them.

    Raises:
        ValueError: images of other than 1 or 3 channels.
    """
    k, n, *shape = patches.x.shape
    rows = np.arange(k * n).reshape(k, n)
    title = title or "The parts of inputs that excite units most"
    x = jnp.asarray(patches.x.reshape(k * n, *shape))
    return top_inputs(x, rows, patches.activations, units=patches.units, title=title)


def _cut(encoder: Convolutions, x: np.ndarray, layer: int, place: tuple[int, int]) -> np.ndarray:
    """The receptive field of a unit in an image, zeros where it lies outside."""
    (top, bottom), (left, right) = receptive_field(encoder, layer, place)
    patch = np.zeros((bottom - top + 1, right - left + 1, x.shape[-1]), x.dtype)
    inside = x[max(top, 0) : bottom + 1, max(left, 0) : right + 1]
    at = max(-top, 0), max(-left, 0)
    patch[at[0] : at[0] + inside.shape[0], at[1] : at[1] + inside.shape[1]] = inside
    return patch
