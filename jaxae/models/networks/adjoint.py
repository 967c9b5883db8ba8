"""Convolutions and pools of any number of axes, and the maps that undo their shapes exactly."""

import itertools
from collections.abc import Sequence
from functools import reduce
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxae.base import Array
from jaxae.models.networks.correlating import Places, Sizes, correlate, spread


class Window(NamedTuple):
    """How the kernel of a convolution lies on its maps, an integer for each axis.

    Maps are padded with zeros as XLA's "SAME" has it: of n entries along an axis
    ceil(n / stride) are left.

    Attributes:
        size: of the kernel.
        strides: entries from one place of the kernel to the next.
        dilation: entries from one tap of the kernel to the next.
    """

    size: Sizes
    strides: Sizes
    dilation: Sizes

    def places(self, sizes: Sequence[int]) -> Places:
        """Of the kernel on maps of these sizes."""
        every = zip(sizes, shrunk(sizes, self.strides), *self, strict=True)
        spans = [(out - 1) * step + (k - 1) * d + 1 - n for n, out, k, step, d in every]
        pads = tuple((max(span, 0) // 2, max(span, 0) - max(span, 0) // 2) for span in spans)
        return Places(self.strides, self.dilation, pads)


class Step(NamedTuple):
    """One convolution: its channels and window, and what its maps are pooled by, if anything."""

    channels: int
    window: Window
    pooling: Literal["max", "mean"] | None = None
    blocks: Sizes = ()

    def shrunk(self, sizes: Sizes) -> Sizes:
        """The sizes of its maps, of those that it is given."""
        sizes = shrunk(sizes, self.window.strides)
        return shrunk(sizes, self.blocks) if self.pooling else sizes


class Layout(NamedTuple):
    """What is where in a pair of networks.

    Attributes:
        shape: of one example, `(*sizes, channels)`.
        steps: the convolutions from the input on.
        dense: the widths of the dense layers after them; () where maps are the code.
    """

    shape: Sizes
    steps: tuple[Step, ...]
    dense: Sizes = ()

    def maps(self) -> list[Sizes]:
        """The shapes of the input and of the maps after each convolution."""
        shapes = [self.shape]
        for step in self.steps:
            shapes.append((*step.shrunk(shapes[-1][:-1]), step.channels))
        return shapes


def shrunk(sizes: Sequence[int], strides: Sequence[int]) -> Sizes:
    """The sizes of maps after such strides, rounded up.

    >>> shrunk((28, 7), (2, 2))
    (14, 4)
    """
    return tuple(-(-n // step) for n, step in zip(sizes, strides, strict=True))


def convolve(x: Array, kernel: Array, window: Window) -> Array:
    """The cross-correlation of maps with a kernel, as deep learning calls a convolution.

    Args:
        x: maps, `(batch, *sizes, channels)`.
        kernel: `(*window.size, channels, features)`.
        window: how the one lies on the other.

    Returns:
        `(batch, *shrunk(sizes, window.strides), features)`.

    >>> window = Window((3, 3), (2, 2), (1, 1))
    >>> convolve(jnp.ones((1, 7, 8, 2)), jnp.ones((3, 3, 2, 5)), window).shape
    (1, 4, 4, 5)
    """
    return correlate(x, kernel, window.places(x.shape[1:-1]))


def convolve_back(y: Array, kernel: Array, window: Window, sizes: Sizes) -> Array:
    """The adjoint of `convolve` on maps of `sizes`: ⟨A x, y⟩ = ⟨x, Aᵀ y⟩ for all x and y.

    A transposed convolution that gives maps of exactly these sizes, whichever of those that
    `convolve` shrinks to y's.

    Args:
        y: `(batch, *shrunk(sizes, window.strides), features)`.
        kernel: `(*window.size, channels, features)`, as of `convolve`.
        window: as of `convolve`.
        sizes: of the maps that result.

    Returns:
        `(batch, *sizes, channels)`.

    >>> window = Window((3, 3), (2, 2), (1, 1))
    >>> convolve_back(jnp.ones((1, 4, 4, 5)), jnp.ones((3, 3, 2, 5)), window, (7, 8)).shape
    (1, 7, 8, 2)
    """
    return spread(y, kernel, window.places(sizes), sizes)


def pool(x: Array, strides: Sizes, how: str) -> Array:
    """The largest entry ("max") or the mean of each block of `strides` entries, by channel.

    A block that the maps' end cuts off has the largest or the mean of what is left of it.

    >>> pool(jnp.arange(5.0).reshape(1, 5, 1), (2,), "mean").ravel().tolist()
    [0.5, 2.5, 4.0]
    """
    sizes = x.shape[1:-1]
    ends = [(0, -n % step) for n, step in zip(sizes, strides, strict=True)]
    padded = jnp.pad(x, [(0, 0), *ends, (0, 0)], mode="edge" if how == "max" else "constant")
    pairs = zip(shrunk(sizes, strides), strides, strict=True)
    blocks = padded.reshape(x.shape[0], *itertools.chain(*pairs), x.shape[-1])
    within = tuple(range(2, blocks.ndim - 1, 2))
    if how == "max":  # not jnp.max, whose gradient may be NaN where XLA rounds a maximum anew
        flat = jnp.moveaxis(blocks, within, range(len(within)))
        entries = flat.reshape(-1, *flat.shape[len(within) :])
        return reduce(jnp.maximum, [entries[i] for i in range(len(entries))])
    return jnp.sum(blocks, axis=within) / _counts(sizes, strides).astype(x.dtype)


def unpool(y: Array, strides: Sizes, sizes: Sizes) -> Array:
    """Each entry of y at all places of its block: the adjoint of the sum over blocks.

    Args:
        y: `(batch, *shrunk(sizes, strides), channels)`.
        strides: the blocks' sizes.
        sizes: of the maps that result.

    >>> unpool(jnp.arange(3.0).reshape(1, 3, 1), (2,), (5,)).ravel().tolist()
    [0.0, 0.0, 1.0, 1.0, 2.0]
    """
    for axis, (step, size) in enumerate(zip(strides, sizes, strict=True), start=1):
        y = jnp.repeat(y, step, axis=axis, total_repeat_length=y.shape[axis] * step)
        y = jax.lax.slice_in_dim(y, 0, size, axis=axis)
    return y


def _counts(sizes: Sizes, strides: Sizes) -> np.ndarray:
    """How many entries each block has, with an axis for channels."""
    counts = np.ones((*shrunk(sizes, strides), 1))
    for axis, (n, step) in enumerate(zip(sizes, strides, strict=True)):
        along = np.minimum(step, n - step * np.arange(counts.shape[axis]))
        counts = counts * along.reshape(-1, *[1] * (counts.ndim - axis - 1))
    return counts
