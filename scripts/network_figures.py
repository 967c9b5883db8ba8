"""What the scripts draw of networks: filters, and of convolutional ones maps and patches."""

import inspect
import math
from typing import Any

import jaxae
from jaxae import evaluation
from jaxae.base import Batch, Params
from jaxae.evaluation.arrays import image_shape
from options import Layers, Variant

EXAMPLES, UNITS, PATCHES = 3, 10, 9
ROWS = 1000
"""Of the test rows, those whose patches are looked through."""


def draw(config: Variant, params: Params, test: Batch) -> dict[str, Any]:
    """The figures of the encoder's layers by name."""
    shape = test["x"].shape[1:]
    kind = config.networks if isinstance(config, Layers) else "mlp"
    if kind == "mlp":  # more rows of the kernel are those of a context or a mask
        kernel = params["encoder"]["layer_0"]["kernel"][: math.prod(shape)]
        return {"filters": evaluation.filters(kernel, shape)}
    if kind == "convolutional" and len(shape) == 3:
        return _convolutional(config, params, test)
    return {}


def first_kernels(params: Params, shape: tuple[int, ...]) -> tuple[Any, tuple[int, ...]]:
    """The first layers' kernels of all members of a sweep, and the shape of what they look at.

    Returns:
        `(members, d, units)` and the input's shape, or of convolutions that of a kernel; None
        in the kernels' place where they are no images or vectors.
    """
    kernels = params["encoder"]["layer_0"].get("kernel")
    if kernels is None or kernels.ndim == 3:
        return kernels, shape
    *size, _, units = kernels.shape[1:]
    if len(size) != 2 or shape[-1] not in (1, 3):
        return None, shape
    seen = kernels[:, :, :, : shape[-1]]  # further channels are those of a mask
    return seen.reshape(len(kernels), -1, units), (*size, shape[-1])


def _convolutional(config: Any, params: Params, test: Batch) -> dict[str, Any]:
    """Filters of the first layer, maps of each, and the parts of inputs that excite it most."""
    shape = test["x"].shape[1:]
    encoder = _encoder(config, params, shape)
    rows = {name: a[:ROWS] for name, a in config.seen(test).items()}
    few = {name: a[:EXAMPLES] for name, a in rows.items()}
    figures = {"feature_maps": evaluation.maps_by_layer(encoder, params, few)}
    if image_shape(math.prod(shape), shape) is None:
        return figures
    kernel = params["encoder"]["layer_0"]["kernel"][:, :, : shape[-1]]
    figures["filters"] = evaluation.convolution_filters(kernel)
    for i in range(len(encoder.layout.steps)):
        found = evaluation.top_patches(encoder, params, rows, i, n=min(PATCHES, len(rows["x"])))
        title = f"Layer {i}: the parts of test images that excite its channels most"
        figures[f"patches_{i}"] = evaluation.exciting_patches(found, title=title)
    return figures


def _encoder(config: Any, params: Params, shape: tuple[int, ...]) -> Any:
    """The encoder of the configuration, as wide at its end as its parameters are."""
    last = max(params["encoder"], key=lambda name: (name.startswith("layer_"), len(name), name))
    width = params["encoder"][last]["kernel"].shape[-1]
    known = inspect.signature(jaxae.convolutional).parameters
    options = {name: value for name, value in config.parts().items() if name in known}
    outputs = width // config.latent_dim
    return jaxae.convolutional(shape, config.latent_dim, latent_outputs=outputs, **options).encoder
