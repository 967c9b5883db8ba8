"""Dense networks, and what a pair of networks is.

An encoder is called as `encoder(x)` and a decoder as `decoder(z)`; where a batch has
a `mask` or a `context`, the encoder is given them as keyword arguments and the decoder
is given the context, so a network that needs neither may leave them out.
"""

import math
from collections.abc import Mapping, Sequence
from numbers import Integral
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax.numpy as jnp

from jaxae.base import Array, Params, where_observed
from jaxae.models.networks.activations import ACTIVATIONS as ACTIVATIONS
from jaxae.models.networks.activations import INITIALIZERS as INITIALIZERS
from jaxae.models.networks.activations import (
    Activation,
    Initializer,
    activation,
    check_names,
    initializer,
)

Shape = int | Sequence[int]


class MLP(nn.Module):
    """Dense layers, `activation` between them and `final` after the last.

    Inputs are flattened to `(batch, features)`, a context is flattened and appended,
    and the output has shape `(batch, *shape)`, or `(batch, features[-1])` without one.

    Attributes:
        features: the width of each layer.
        shape: the output's shape for one example; its size is features[-1].
        activation: between layers; a name of `ACTIVATIONS` or a function.
        final: after the last layer.
        kernel_init: a name of `INITIALIZERS`, a function, or None: what suits the
            activation.
        use_bias: whether layers add a bias, initialised to zero.
        see_mask: whether the mask is appended to x, so that what is unobserved is not taken
            for a 0; ones where a batch has none.
        dtype: of the computation, None for that of inputs and parameters promoted.
        param_dtype: of the parameters.
    """

    features: Sequence[int]
    shape: Sequence[int] | None = None
    activation: str | Activation = "elu"
    final: str | Activation = "identity"
    kernel_init: str | Initializer | None = None
    use_bias: bool = True
    see_mask: bool = False
    dtype: Any = None
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array, mask: Array | None = None, context: Array | None = None) -> Array:
        """Maps `(batch, ...)` to `(batch, *shape)`; unobserved entries are zeros already."""
        if self.see_mask:
            batch = {} if mask is None else {"mask": mask}
            seen = where_observed(batch, jnp.ones_like(x)).reshape(x.shape[0], -1)
            x = jnp.concatenate([x.reshape(x.shape[0], -1), seen], axis=1)
        x = x.reshape(x.shape[0], -1)
        if context is not None:
            x = jnp.concatenate([x, context.reshape(x.shape[0], -1).astype(x.dtype)], axis=1)
        for i, width in enumerate(self.features):
            last = i == len(self.features) - 1
            nonlinearity = self.final if last else self.activation
            x = nn.Dense(
                width,
                use_bias=self.use_bias,
                kernel_init=initializer(self.kernel_init, nonlinearity),
                dtype=self.dtype,
                param_dtype=self.param_dtype,
                name=f"layer_{i}",
            )(x)
            x = activation(nonlinearity)(x)
        return x if self.shape is None else x.reshape(x.shape[0], *self.shape)


class TransposedMLP(nn.Module):
    """The mirror of an `MLP`, with its kernels transposed and biases of its own.

    Attributes:
        encoder: the MLP whose kernels it reads, the same instance that encodes.
        shape: the output's shape for one example.
        final: after the last layer.
    """

    encoder: MLP
    shape: Sequence[int]
    final: str | Activation = "identity"

    @nn.compact
    def __call__(self, z: Array, context: Array | None = None) -> Array:
        """Maps `(batch, latent_dim)` to `(batch, *shape)`; a context is refused."""
        if context is not None:
            raise ValueError(
                "A tied decoder has no kernel for a context; take decoder='mirrored', or leave "
                "context out of the batch."
            )
        layers = self.encoder.variables["params"]
        dtype = self.encoder.dtype
        for i in reversed(range(len(self.encoder.features))):
            kernel = layers[f"layer_{i}"]["kernel"]
            z, kernel = nn.dtypes.promote_dtype(z, kernel, dtype=dtype)
            z = z @ kernel.T
            if self.encoder.use_bias:
                bias = self.param(
                    f"bias_{i}", nn.initializers.zeros, kernel.shape[:1], self.encoder.param_dtype
                )
                z = z + bias.astype(z.dtype)
            z = activation(self.encoder.activation if i else self.final)(z)
        if z.shape[1] != math.prod(self.shape):
            raise ValueError(
                f"This net was built for examples of shape {tuple(self.shape)}; its encoder was "
                f"given {z.shape[1]} numbers. Build it with shape=x.shape[1:]."
            )
        return z.reshape(z.shape[0], *self.shape)


class Networks(NamedTuple):
    """An encoder and the decoder that fits it."""

    encoder: nn.Module
    decoder: nn.Module


def mlp(
    shape: Shape,
    latent_dim: int,
    *,
    hidden_dims: Sequence[int] = (),
    outputs: int = 1,
    latent_outputs: int = 1,
    decoder: Literal["mirrored", "tied"] = "mirrored",
    activation: str | Activation = "elu",
    latent_activation: str | Activation | None = None,
    output_activation: str | Activation = "identity",
    see_mask: bool = False,
    **options: Any,
) -> Networks:
    """A symmetric pair of MLPs: shape - hidden_dims - latent_dim - reversed - shape.

    Args:
        shape: of one example, a number of features or a tuple such as (28, 28, 1).
        latent_dim: the width of the code.
        hidden_dims: the widths between input and code, from the input on.
        outputs: numbers that the decoder gives for each entry (`Likelihood.outputs`).
        latent_outputs: numbers that the encoder gives for each entry of the code (its `inputs`).
        decoder: "mirrored" has kernels of its own, "tied" the encoder's, transposed.
        activation: of the hidden layers.
        latent_activation: of the code; None takes the identity where there are hidden
            layers, and `activation` where the code is the only one.
        output_activation: of what the decoder gives the likelihood, which a Bernoulli takes
            for logits; for layers on the codes of others, whose activation it should be.
        see_mask: whether the encoder is given the mask beside x.
        **options: of `MLP`: kernel_init, use_bias, dtype, param_dtype.

    >>> encoder, decoder = mlp((28, 28, 1), 30, hidden_dims=(1000, 500, 250))
    >>> encoder.features, decoder.features
    ((1000, 500, 250, 30), (250, 500, 1000, 784))

    Raises:
        ValueError: a width that is no positive integer, an unknown name, or a tied
            decoder that should give several outputs.
    """
    shape = example_shape(shape)
    widths = (*hidden_dims, latent_dim)
    if not all(isinstance(n, Integral) and n > 0 for n in widths):
        raise ValueError(f"hidden_dims and latent_dim are positive integers; got {widths}.")
    if latent_activation is None:
        latent_activation = "identity" if hidden_dims or latent_outputs > 1 else activation
    check_names(activation, latent_activation, output_activation, options.get("kernel_init"))
    read = (*hidden_dims, latent_dim * latent_outputs)
    encoder = MLP(
        read, activation=activation, final=latent_activation, see_mask=see_mask, **options
    )
    if decoder == "tied":
        if see_mask:
            raise ValueError("A tied decoder has no use for the mask's kernel; leave out see_mask.")
        check_single(outputs, latent_outputs)
        return Networks(encoder, TransposedMLP(encoder, shape, output_activation))
    if decoder != "mirrored":
        raise ValueError(f"decoder is 'mirrored' or 'tied'; got {decoder!r}.")
    shape = (*shape[:-1], shape[-1] * outputs)
    back = (*reversed(widths[:-1]), math.prod(shape))
    return Networks(
        encoder, MLP(back, shape, activation=activation, final=output_activation, **options)
    )


def atoms(params: Params) -> Array:
    """The dictionary of a decoder of one layer: what each unit adds to x, `(latent_dim, d)`.

    Raises:
        ValueError: the decoder has no or several layers of kernels.
    """
    decoder, encoder = params.get("decoder", {}), params.get("encoder", {})
    layers = [part for part in decoder.values() if isinstance(part, Mapping)]
    if len(layers) == 1 and "kernel" in layers[0]:
        return layers[0]["kernel"]
    if not layers and list(decoder) in ([], ["bias_0"]) and set(encoder) == {"layer_0"}:
        return encoder["layer_0"]["kernel"].T
    raise ValueError(f"Only a decoder of one dense layer has atoms; this has {sorted(decoder)}.")


def example_shape(shape: Shape) -> tuple[int, ...]:
    """The shape of one example as a tuple of positive integers, or `ValueError`."""
    sizes: tuple[Any, ...] = tuple(shape) if isinstance(shape, Sequence) else (shape,)
    if not sizes or not all(isinstance(n, Integral) and int(n) > 0 for n in sizes):
        raise ValueError(
            "shape is that of one example, a positive integer or a tuple of them such as "
            f"x.shape[1:]; got {shape!r}."
        )
    return tuple(int(n) for n in sizes)


def check_single(outputs: int, latent_outputs: int) -> None:
    """Raises `ValueError` unless a tied decoder does: one number for each entry, in and out."""
    if outputs != 1 or latent_outputs != 1:
        raise ValueError(
            "A tied decoder gives one number for each entry, and takes one for each of the "
            f"code; this likelihood needs {outputs}, this code {latent_outputs}. Take "
            "decoder='mirrored'."
        )
