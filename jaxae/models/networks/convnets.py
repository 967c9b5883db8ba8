"""The builder of matching pairs of convolutional networks."""

from collections.abc import Sequence
from numbers import Integral
from typing import Any, Literal

import jax.numpy as jnp

from jaxae.models.networks.activations import Activation, Initializer, check_names
from jaxae.models.networks.adjoint import Layout, Sizes, Step, Window
from jaxae.models.networks.convolutions import Convolutions, Deconvolutions
from jaxae.models.networks.perceptrons import Networks, Shape, check_single, example_shape

Each = int | Sequence[int | Sequence[int]]
"""One integer, or one for each layer; for a layer an integer or one for each axis."""
NORMALISATIONS = (None, "layer", "group")
POOLINGS = (None, "max", "mean")


def convolutional(
    shape: Shape,
    latent_dim: int,
    *,
    hidden_dims: Sequence[int] = (16, 32),
    outputs: int = 1,
    latent_outputs: int = 1,
    kernel_size: Each = 3,
    strides: Each = 2,
    dilation: Each = 1,
    pooling: Literal["max", "mean"] | None = None,
    normalisation: Literal["layer", "group"] | None = None,
    dense_dims: Sequence[int] = (),
    maps: bool = False,
    decoder: Literal["mirrored", "tied"] = "mirrored",
    activation: str | Activation = "elu",
    latent_activation: str | Activation | None = None,
    output_activation: str | Activation = "identity",
    kernel_init: str | Initializer | None = None,
    use_bias: bool = True,
    dtype: Any = None,
    param_dtype: Any = jnp.float32,
    see_mask: bool = False,
) -> Networks:
    """A convolutional encoder and its mirror, for `networks` of any variant.

    Shapes have channels last: images `(height, width, channels)`, signals `(time, channels)`,
    volumes. The decoder undoes each layer by the adjoint in shape, so reconstructions have
    the input's size whatever it is. Padding is "SAME": a layer leaves ceil(n / stride) entries.

    Args:
        shape: of one example, `(*sizes, channels)`.
        latent_dim: the width of the code, or with `maps` its channels.
        hidden_dims: the channels of each convolution, from the input on.
        outputs: numbers that the decoder gives for each entry (`Likelihood.outputs`).
        latent_outputs: numbers that the encoder gives for each entry of the code.
        kernel_size: of each convolution: one integer, or a sequence with an entry for each
            layer, which is an integer or has one for each axis, such as [(5, 3), 3].
        strides: likewise.
        dilation: of kernels, likewise.
        pooling: "max" or "mean" of blocks of `strides` entries, in the place of strided
            convolutions; the decoder repeats entries there.
        normalisation: of hidden maps, for each example alone: "layer", "group" or None.
        dense_dims: widths of dense layers between the last maps and the code.
        maps: the code is what one more convolution gives, `(batch, *sizes, latent_dim)`, and
            no dense layer follows; kernel_size, strides and dilation count it.
        decoder: "mirrored" has kernels of its own, "tied" the encoder's.
        activation: of the hidden layers.
        latent_activation: of the code; None takes the identity where there are hidden
            layers, and `activation` where the code is the only one.
        output_activation: of what the decoder gives the likelihood.
        kernel_init: of `convolutions.Convolutions`, as are those below.
        use_bias: whether layers add a bias.
        dtype: of the computation.
        param_dtype: of the parameters.
        see_mask: whether the encoder sees the mask as channels.

    >>> import jax, jaxae
    >>> model = jaxae.denoising((28, 28, 1), 32, hidden_dims=(16, 32), networks=convolutional)
    >>> batch = {"x": jnp.ones((5, 28, 28, 1))}
    >>> params = model.init(jax.random.key(0), batch)
    >>> z = model.encode(params, batch)
    >>> z.shape, model.decode(params, z).shape
    ((5, 32), (5, 28, 28, 1))

    Raises:
        ValueError: a shape without channels, widths that are no positive integers, options of
            other layers than there are, maps that are one entry before a strided layer,
            an unknown name, or what a tied decoder or a code of maps cannot give.
    """
    shape = _with_channels(shape)
    hidden, dense = _positive("hidden_dims", hidden_dims), _positive("dense_dims", dense_dims)
    (width,) = _positive("latent_dim", (latent_dim,))
    if latent_activation is None:
        plain = hidden or latent_outputs > 1
        latent_activation = "identity" if plain else activation
    check_names(activation, latent_activation, output_activation, kernel_init)
    _check_choice("normalisation", normalisation, NORMALISATIONS)
    _check_choice("pooling", pooling, POOLINGS)
    _check_kind(hidden, dense, latent_outputs, maps, decoder, outputs)
    steps = _steps(
        shape,
        (*hidden, width) if maps else hidden,
        {"kernel_size": kernel_size, "strides": strides, "dilation": dilation},
        pooling,
    )
    options: dict[str, Any] = {
        "activation": activation,
        "normalisation": normalisation,
        "kernel_init": kernel_init,
        "use_bias": use_bias,
        "dtype": dtype,
        "param_dtype": param_dtype,
    }
    read = Layout(shape, steps, () if maps else (*dense, width * latent_outputs))
    back = Layout(shape, steps, () if maps else (*dense, width))
    encoder = Convolutions(read, final=latent_activation, see_mask=see_mask, **options)
    tied = encoder if decoder == "tied" else None
    if tied is not None and see_mask:
        raise ValueError("A tied decoder has no place for the kernel of a mask; leave see_mask.")
    return Networks(
        encoder,
        Deconvolutions(back, final=output_activation, outputs=outputs, tied=tied, **options),
    )


def _with_channels(shape: Shape) -> Sizes:
    sizes = example_shape(shape)
    if len(sizes) < 2:
        raise ValueError(
            f"A convolution needs a shape with channels last, such as (28, 28, 1) for grey images "
            f"or (100, 3) for signals; got {shape!r}. Reshape x, with x[..., None] for one channel."
        )
    return sizes


def _positive(name: str, widths: Sequence[int]) -> Sizes:
    if not all(isinstance(n, Integral) and n > 0 for n in widths):
        raise ValueError(f"{name} takes positive integers; got {tuple(widths)}.")
    return tuple(int(n) for n in widths)


def _steps(
    shape: Sizes, channels: Sizes, options: dict[str, Each], pooling: Literal["max", "mean"] | None
) -> tuple[Step, ...]:
    axes = len(shape) - 1
    each = {name: _for_layers(name, given, len(channels), axes) for name, given in options.items()}
    steps = []
    sizes = shape[:-1]
    for i, (features, size, strides, dilation) in enumerate(
        zip(channels, *each.values(), strict=True)
    ):
        if max(sizes) == 1 and max(strides) > 1:
            raise ValueError(
                f"The maps that layer_{i} is given are one entry, and its strides are {strides}: "
                "nothing is left to shrink. Take fewer layers, or strides of 1 at the last."
            )
        if pooling is None:
            step = Step(features, Window(size, strides, dilation))
        else:
            step = Step(features, Window(size, (1,) * axes, dilation), pooling, strides)
        steps.append(step)
        sizes = step.shrunk(sizes)
    return tuple(steps)


def _for_layers(name: str, given: Each, layers: int, axes: int) -> list[Sizes]:
    """The option for each layer and axis."""
    one = lambda entry, n: tuple(entry) if isinstance(entry, Sequence) else (entry,) * n  # noqa: E731
    found: list[Sizes] = [one(entry, axes) for entry in one(given, layers)]
    fits = len(found) == layers and all(len(sizes) == axes for sizes in found)
    if not fits or not all(isinstance(n, Integral) and n > 0 for sizes in found for n in sizes):
        raise ValueError(
            f"{name} is a positive integer, or has an entry for each of {layers} convolutions, "
            f"which is one or {axes} of them; got {given!r}."
        )
    return [tuple(int(n) for n in sizes) for sizes in found]


def _check_choice(name: str, given: str | None, choices: tuple[str | None, ...]) -> None:
    if given not in choices:
        raise ValueError(f"{name} is one of {choices}; got {given!r}.")


def _check_kind(
    hidden: Sizes, dense: Sizes, latent_outputs: int, maps: bool, decoder: str, outputs: int
) -> None:
    if decoder not in ("mirrored", "tied"):
        raise ValueError(f"decoder is 'mirrored' or 'tied'; got {decoder!r}.")
    if not hidden and not maps:
        raise ValueError(
            "hidden_dims are the channels of the convolutions; give at least one, such as "
            "hidden_dims=(16, 32), or maps=True for a code of maps alone."
        )
    if maps and dense:
        raise ValueError(f"With maps=True no dense layer follows; got dense_dims={dense}.")
    if maps and latent_outputs != 1:
        raise ValueError(
            "A code that needs several numbers for each entry, such as that of a VAE, is a vector; "
            "take maps=False."
        )
    if decoder == "tied":
        check_single(outputs, latent_outputs)
