"""Convolutional encoders and their mirrors, for images, signals and volumes."""

import math
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from jaxae.base import Array, where_observed
from jaxae.models.networks import adjoint
from jaxae.models.networks.activations import Activation, Initializer, activation, initializer
from jaxae.models.networks.adjoint import Layout, Sizes, Step, Window

GROUPS = 8
"""The most groups of channels that "group" forms."""


class _Layers(nn.Module):
    """What both directions share.

    Attributes:
        layout: the layers.
        activation: between layers; a name of `ACTIVATIONS` or a function.
        final: after the last layer.
        normalisation: of the maps between layers, before their activation: "layer" over all
            entries of an example (Ba et al., 2016), "group" over groups of at most 8 channels
            (Wu & He, 2018), or None.
        kernel_init: a name of `INITIALIZERS`, a function, or None: what suits the activation.
        use_bias: whether layers add a bias, initialised to zero.
        dtype: of the computation, None for that of inputs and parameters promoted.
        param_dtype: of the parameters.
    """

    layout: Layout
    activation: str | Activation = "elu"
    final: str | Activation = "identity"
    normalisation: str | None = None
    kernel_init: str | Initializer | None = None
    use_bias: bool = True
    dtype: Any = None
    param_dtype: Any = jnp.float32

    def _nonlinearity(self, i: int) -> str | Activation:
        """The activation of the i-th layer that is passed."""
        last = i == len(self.layout.steps) + len(self.layout.dense) - 1
        return self.final if last else self.activation

    def _dense(self, x: Array, width: int, i: int) -> Array:
        layer = nn.Dense(
            width,
            use_bias=self.use_bias,
            kernel_init=initializer(self.kernel_init, self._nonlinearity(i)),
            dtype=self.dtype,
            param_dtype=self.param_dtype,
            name=f"layer_{i}",
        )
        return activation(self._nonlinearity(i))(layer(x))

    def _normalised(self, x: Array, i: int) -> Array:
        """Maps between layers, before their activation."""
        last = i == len(self.layout.steps) + len(self.layout.dense) - 1
        if self.normalisation is None or last:
            return x
        groups = 1 if self.normalisation == "layer" else math.gcd(GROUPS, x.shape[-1])
        options: dict[str, Any] = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        return nn.GroupNorm(groups, name=f"norm_{i}", **options)(x)


class Convolutions(_Layers):
    """Convolutions, each with its pool, and dense layers after them.

    The layers are "layer_0", "layer_1", ... from the input on, kernels `(*size, channels,
    features)`. A context is appended to what the first dense layer sees, or, where there is
    none, given to the first convolution as channels that are the same everywhere. Linen's
    collection "intermediates" has the maps after each convolution as "maps_0", ...

    Attributes:
        see_mask: whether the mask is given to the first convolution as channels, too; ones
            where the batch has none.
    """

    see_mask: bool = False

    @nn.compact
    def __call__(self, x: Array, mask: Array | None = None, context: Array | None = None) -> Array:
        """Maps `(batch, *shape)` to `(batch, width)`, or to the last maps."""
        if x.shape[1:] != self.layout.shape:
            raise ValueError(
                f"This net was built for examples of shape {self.layout.shape}; got x with "
                f"{x.shape[1:]}. Build it with shape=x.shape[1:]."
            )
        if self.see_mask:
            batch = {} if mask is None else {"mask": mask}
            x = jnp.concatenate([x, where_observed(batch, jnp.ones_like(x))], axis=-1)
        if not self.layout.dense:
            x = with_context(x, context)
        for i, step in enumerate(self.layout.steps):
            x = self._convolution(x, step, i)
            if not self.is_initializing():
                self.sow("intermediates", f"maps_{i}", x)
        if not self.layout.dense:
            return x
        x = with_context(x.reshape(x.shape[0], -1), context)
        for i, width in enumerate(self.layout.dense, start=len(self.layout.steps)):
            x = self._dense(x, width, i)
        return x

    def _convolution(self, x: Array, step: Step, i: int) -> Array:
        layer = Convolution(
            step.channels,
            step.window,
            initializer(self.kernel_init, self._nonlinearity(i)),
            self.use_bias,
            self.dtype,
            self.param_dtype,
            name=f"layer_{i}",
        )
        x = activation(self._nonlinearity(i))(self._normalised(layer(x), i))
        return adjoint.pool(x, step.blocks, step.pooling) if step.pooling else x


class Convolution(nn.Module):
    """One affine convolution, or with `sizes` the adjoint of one that is given such maps.

    Attributes:
        channels: that result.
        window: of the kernel.
        kernel_init: a function.
        use_bias: whether there is one, for each channel.
        dtype: of the computation.
        param_dtype: of the parameters.
        sizes: of the maps that result of the adjoint; None for a convolution.
    """

    channels: int
    window: Window
    kernel_init: Initializer
    use_bias: bool = True
    dtype: Any = None
    param_dtype: Any = jnp.float32
    sizes: Sizes | None = None

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Maps `(batch, ..., inputs)` to `(batch, ..., channels)`."""
        shape = (*self.window.size, x.shape[-1], self.channels)

        def transposed(key: Array, shape: Sizes, dtype: Any) -> Array:
            swapped = (*shape[:-2], shape[-1], shape[-2])  # for the fan of this direction
            return jnp.swapaxes(self.kernel_init(key, swapped, dtype), -1, -2)

        if self.sizes is None:
            kernel = self.param("kernel", self.kernel_init, shape, self.param_dtype)
        else:
            shape = (*self.window.size, self.channels, x.shape[-1])
            kernel = self.param("kernel", transposed, shape, self.param_dtype)
        x, kernel = nn.dtypes.promote_dtype(x, kernel, dtype=self.dtype)
        if self.sizes is None:
            x = adjoint.convolve(x, kernel, self.window)
        else:
            x = adjoint.convolve_back(x, kernel, self.window, self.sizes)
        if not self.use_bias:
            return x
        bias = self.param("bias", nn.initializers.zeros, (self.channels,), self.param_dtype)
        return x + bias.astype(x.dtype)


class Deconvolutions(_Layers):
    """The mirror of `Convolutions`: each layer's adjoint in shape, from the code to the input.

    Its maps have exactly the encoder's sizes: a strided convolution is undone by the
    convolution's adjoint, a pool by repeating entries. The layers are "layer_0", ... from the
    code on, the kernels of convolutions as those that the encoder has in their place. Where it
    is tied, kernels are the encoder's and biases are "bias_0", ... from the input on.

    Attributes:
        outputs: numbers for each entry of an example.
        tied: the encoder whose kernels it reads, the same instance that encodes, or None.
    """

    outputs: int = 1
    tied: Convolutions | None = None

    @nn.compact
    def __call__(self, z: Array, context: Array | None = None) -> Array:
        """Maps codes to `(batch, *sizes, outputs * channels)`."""
        maps, count = self.layout.maps(), len(self.layout.dense)
        if self.tied is not None and context is not None:
            raise ValueError(
                "A tied decoder has no kernel for a context; take decoder='mirrored', or leave "
                "context out of the batch."
            )
        wanted = self.layout.dense[-1:] or maps[-1]
        if z.shape[1:] != wanted:
            raise ValueError(
                f"This decoder takes codes of shape {wanted}; got {z.shape[1:]}. A prior's draws "
                "have no maps: to sample, build the networks with maps=False."
            )
        z = with_context(z, context)
        widths = (*reversed(self.layout.dense[:-1]), math.prod(maps[-1])) if count else ()
        for i, width in enumerate(widths):
            z = self._dense(z, width, i) if self.tied is None else self._tied(z, i, width)
        z = z.reshape(z.shape[0], *maps[-1]) if count else z
        for i, step in enumerate(reversed(self.layout.steps), start=count):
            z = self._back(z, step, maps[len(maps) - 2 - (i - count)], i)
        return z

    def _back(self, z: Array, step: Step, shape: Sizes, i: int) -> Array:
        """The way back through one pool and one convolution, to maps of that shape."""
        if step.pooling:
            z = adjoint.unpool(z, step.blocks, adjoint.shrunk(shape[:-1], step.window.strides))
        last = i == len(self.layout.steps) + len(self.layout.dense) - 1
        channels = shape[-1] * (self.outputs if last else 1)
        if self.tied is not None:
            return self._tied(z, i, channels, step.window, shape[:-1])
        init = initializer(self.kernel_init, self._nonlinearity(i))
        options = (self.use_bias, self.dtype, self.param_dtype)
        layer = Convolution(channels, step.window, init, *options, shape[:-1], name=f"layer_{i}")
        return activation(self._nonlinearity(i))(self._normalised(layer(z), i))

    def _tied(
        self, z: Array, i: int, width: int, window: Window | None = None, sizes: Sizes = ()
    ) -> Array:
        """A layer with the encoder's kernel, a dense one where there is no window."""
        assert self.tied is not None
        below = len(self.layout.steps) + len(self.layout.dense) - 1 - i
        kernel = self.tied.variables["params"][f"layer_{below}"]["kernel"]
        z, kernel = nn.dtypes.promote_dtype(z, kernel, dtype=self.dtype)
        z = z @ kernel.T if window is None else adjoint.convolve_back(z, kernel, window, sizes)
        if self.use_bias:
            zeros = nn.initializers.zeros
            bias = self.param(f"bias_{below}", zeros, (width,), self.param_dtype)
            z = z + bias.astype(z.dtype)
        return activation(self._nonlinearity(i))(z if window is None else self._normalised(z, i))


def with_context(x: Array, context: Array | None) -> Array:
    """A flattened context appended to the last axis, the same at each place of maps."""
    if context is None:
        return x
    context = context.reshape(x.shape[0], *[1] * (x.ndim - 2), -1).astype(x.dtype)
    return jnp.concatenate([x, jnp.broadcast_to(context, (*x.shape[:-1], context.shape[-1]))], -1)
