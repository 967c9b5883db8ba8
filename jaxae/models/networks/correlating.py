"""Correlations of maps with kernels and their adjoints, as XLA computes them fast.

On a CPU XLA has fast kernels for convolutions of one layout of axes. Inside loops, such as
that of training, it leaves those of other layouts slow, 10 to 30 times, and the derivatives
that JAX has are of other layouts. So here derivatives are the same linear maps, written such
that what reverse differentiation makes of them has the layout wanted.
"""

import itertools
import math
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxae.base import Array

Sizes = tuple[int, ...]


class Places(NamedTuple):
    """Where a kernel lies on maps.

    Attributes:
        strides: from one place to the next, for each axis.
        dilation: from one tap of the kernel to the next.
        pads: zeros before and after each axis.
    """

    strides: Sizes
    dilation: Sizes
    pads: tuple[tuple[int, int], ...]


def correlate(x: Array, kernel: Array, places: Places) -> Array:
    """Σ over taps t and channels of x[place + t] · kernel[t], at all places.

    Args:
        x: maps, `(batch, *sizes, channels)`.
        kernel: `(*taps, channels, features)`.
        places: of the kernel.

    Returns:
        `(batch, *places, features)`.
    """
    on_cpu = jax.default_backend() == "cpu"
    return (_fast_correlate if on_cpu else _correlate)(x, kernel, places)


def spread(y: Array, kernel: Array, places: Places, sizes: Sizes) -> Array:
    """The adjoint of `correlate` on maps of `sizes`, a transposed convolution.

    Args:
        y: `(batch, *places, features)`.
        kernel: `(*taps, channels, features)`.
        places: as of `correlate`.
        sizes: of the maps that result.

    Returns:
        `(batch, *sizes, channels)`.
    """
    if math.prod(places.strides) == 1:  # a correlation, too, whose derivatives are faster
        return correlate(y, _turned(kernel), _back_places(y, kernel, places, sizes))
    on_cpu = jax.default_backend() == "cpu"
    return (_fast_spread if on_cpu else _spread)(y, kernel, places, sizes)


def _correlate(x: Array, kernel: Array, places: Places, **given: Any) -> Array:
    axes = range(1, x.ndim - 1)
    last = x.ndim - 1
    numbers = jax.lax.ConvDimensionNumbers(
        (0, last, *axes), (last, last - 1, *range(last - 1)), (0, last, *axes)
    )
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        places.strides,
        places.pads,
        rhs_dilation=places.dilation,
        dimension_numbers=numbers,
        **given,
    )


def _spread(y: Array, kernel: Array, places: Places, sizes: Sizes) -> Array:
    back = _back_places(y, kernel, places, sizes)
    return _correlate(y, _turned(kernel), back, lhs_dilation=places.strides)


def _turned(kernel: Array) -> Array:
    return jnp.swapaxes(jnp.flip(kernel, range(kernel.ndim - 2)), -1, -2)


def _back_places(y: Array, kernel: Array, places: Places, sizes: Sizes) -> Places:
    """Of the turned kernel on maps y with strides - 1 zeros between entries."""
    reach = [(k - 1) * d for k, d in zip(kernel.shape, places.dilation, strict=False)]
    spans = [(n - 1) * step + 1 for n, step in zip(y.shape[1:-1], places.strides, strict=True)]
    every = zip(reach, places.pads, sizes, spans, strict=True)
    pads = tuple((r - low, size - span + low) for r, (low, _), size, span in every)
    return Places((1,) * len(sizes), places.dilation, pads)


@partial(jax.custom_jvp, nondiff_argnums=(2,))
def _fast_correlate(x: Array, kernel: Array, places: Places) -> Array:
    return _correlate(x, kernel, places)


@_fast_correlate.defjvp
def _fast_correlate_jvp(
    places: Places, primals: tuple[Array, Array], tangents: tuple[Array, Array]
) -> tuple[Array, Array]:
    (x, kernel), (dx, dkernel) = primals, tangents
    y = _fast_correlate(x, kernel, places)
    back = lambda y: _spread(y, kernel, places, x.shape[1:-1])  # noqa: E731
    return y, _adjoint(back, y, dx) + _correlate_aside(x, dkernel, places)


@partial(jax.custom_jvp, nondiff_argnums=(2, 3))
def _fast_spread(y: Array, kernel: Array, places: Places, sizes: Sizes) -> Array:
    return _spread(y, kernel, places, sizes)


@_fast_spread.defjvp
def _fast_spread_jvp(
    places: Places, sizes: Sizes, primals: tuple[Array, Array], tangents: tuple[Array, Array]
) -> tuple[Array, Array]:
    (y, kernel), (dy, dkernel) = primals, tangents
    x = _fast_spread(y, kernel, places, sizes)
    by_maps = _adjoint(lambda x: _correlate(x, kernel, places), x, dy)
    by_kernel = _adjoint(lambda x: _correlate_by_taps(x, dkernel, places, y.shape), x, y)
    return x, by_maps + by_kernel


def _adjoint(linear: Any, like: Array, y: Array) -> Array:
    return jax.linear_transpose(linear, jax.ShapeDtypeStruct(like.shape, like.dtype))(y)[0]


def _correlate_aside(x: Array, kernel: Array, places: Places) -> Array:
    """`_correlate` in the layout whose derivative by the kernel has the fast one."""
    last = x.ndim - 1
    sideways = (last, 0, *range(1, last))
    numbers = jax.lax.ConvDimensionNumbers(sideways, sideways, (last - 1, last, *range(last - 1)))
    y = jax.lax.conv_general_dilated(
        jnp.swapaxes(x, 0, -1),
        jnp.moveaxis(kernel, -2, 0),
        places.strides,
        places.pads,
        rhs_dilation=places.dilation,
        dimension_numbers=numbers,
    )
    return jnp.moveaxis(y, -2, 0)


def _correlate_by_taps(x: Array, kernel: Array, places: Places, shape: Sizes) -> Array:
    """`_correlate` as a sum of matrix products, one for each tap of the kernel."""
    x = jnp.pad(x, [(0, 0), *places.pads, (0, 0)])
    total = jnp.zeros((*shape[:-1], kernel.shape[-1]), x.dtype)
    for tap in itertools.product(*map(range, kernel.shape[:-2])):
        at = np.multiply(tap, places.dilation)
        end = at + (np.array(shape[1:-1]) - 1) * places.strides + 1
        seen = jax.lax.slice(
            x, (0, *at, 0), (x.shape[0], *end, x.shape[-1]), (1, *places.strides, 1)
        )
        total = total + seen @ kernel[tap]
    return total
