"""Images for experiments on deep networks: curves of six numbers; turned images, or in noise."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.ndimage import map_coordinates

from jaxae.base import Array, Key, as_float, check_range, is_traced

_PIXELS = 28
_REACH = 8.8  # pixels, across and down, from the centre of the image to the outermost points
_SEGMENTS = 32  # of a curve: they leave it by less than 0.03 pixels
_CHUNK = 256  # images at once


class Rotated(NamedTuple):
    """The turned images `x`, of the given shape and dtype, and their `angle` `(n,)`, radians."""

    x: Array
    angle: Array


def curves(key: Key, n: int) -> Array:
    """Draws strokes through three random points, as `(n, 28, 28, 1)` uint8, ink high on black.

    In the manner of the curves of Hinton & Salakhutdinov (2006): an image depends on six
    numbers, the coordinates of its points, nonlinearly and on nothing else. The points are
    uniform in the middle square, 5.2 to 22.8 pixels from the left and from the top; the two
    farthest apart are the ends, so that strokes do not fold up, and `draw_curves` draws them.
    Parametrisation, width and profile are our own choice: compare errors on these images only
    with those of methods run on them too, never with published ones.

    Raises:
        ValueError: `n` is no positive integer.

    >>> images = curves(jax.random.key(0), 16)
    >>> images.shape, images.dtype.name
    ((16, 28, 28, 1), 'uint8')
    """
    if isinstance(n, bool) or not isinstance(n, int | np.integer) or n < 1:
        raise ValueError(f"n={n!r} must be a positive integer.")
    low, high = _PIXELS / 2 - _REACH, _PIXELS / 2 + _REACH
    points = jax.random.uniform(key, (n, 3, 2), minval=low, maxval=high)
    orders = jnp.array([[1, 0, 2], [0, 1, 2], [0, 2, 1]])  # by which point is in the middle
    sides = points[:, orders[:, 0]] - points[:, orders[:, 2]]
    order = orders[jnp.argmax(jnp.sum(sides**2, axis=2), axis=1)]
    return draw_curves(jnp.take_along_axis(points, order[:, :, None], axis=1))


def draw_curves(points: Array) -> Array:
    """Draws the strokes through given points, `(..., 3, 2)`, as `(..., 28, 28, 1)` uint8.

    A stroke is the quadratic curve b(t), 0 <= t <= 1, that starts at the first point, passes
    the second at t = 1/2 and ends at the third:

        b(t) = (1 - t) (1 - 2t) p1 + 4 t (1 - t) p2 + t (2t - 1) p3
        pixel = 255 * 2**-(d**2),  d the distance in pixels from its centre to the curve

    so half the ink is left one pixel from the curve, and pixels are continuous in the points.
    The order p3, p2, p1 gives the same image.

    Args:
        points: floats (x, y), pixels from the left and from the top: (14, 14) is the centre.

    Raises:
        ValueError: not three points of two coordinates, none at all, no floats, or (where not
            traced) no finite ones.

    >>> image = draw_curves(jnp.array([[6.5, 14.5], [14.5, 14.5], [22.5, 14.5]]))
    >>> image[12:17, 10, 0].tolist()  # across a level stroke
    [16, 128, 255, 128, 16]
    """
    points = jnp.asarray(points)
    floating = jnp.issubdtype(points.dtype, jnp.floating)
    if points.shape[-2:] != (3, 2) or not points.size or not floating:
        raise ValueError(
            f"points are floats of the shape (..., 3, 2): three points (x, y); got {points.dtype} "
            f"of the shape {points.shape}."
        )
    if not is_traced(points) and not np.all(np.isfinite(np.asarray(points, np.float32))):
        raise ValueError("points must be finite; got NaN or infinity.")
    return _draw_curves(points)


@jax.jit
def _draw_curves(points: Array) -> Array:
    def image(three: Array) -> Array:
        return jnp.round(255.0 * _ink(three)).astype(jnp.uint8)

    rows = points.astype(jnp.promote_types(points.dtype, jnp.float32)).reshape(-1, 3, 2)
    images = jax.lax.map(image, rows, batch_size=_CHUNK)
    return images.reshape(*points.shape[:-2], _PIXELS, _PIXELS, 1)


def _ink(points: Array) -> Array:
    """`(28, 28)` in [0, 1], from three points `(3, 2)`."""
    t = jnp.linspace(0.0, 1.0, _SEGMENTS + 1, dtype=points.dtype)
    basis = jnp.stack([(1 - t) * (1 - 2 * t), 4 * t * (1 - t), t * (2 * t - 1)], axis=1)
    knots = jnp.matmul(basis, points, precision="highest")
    centres = jnp.arange(_PIXELS, dtype=points.dtype) + 0.5

    def nearer(i: Array, squared: Array) -> Array:  # in a loop, which stays in the cache
        step = knots[i + 1] - knots[i]
        across, down = centres[None, :] - knots[i, 0], centres[:, None] - knots[i, 1]
        length = jnp.maximum(jnp.sum(step**2), 1e-12)  # squared; points may coincide
        share = jnp.clip((across * step[0] + down * step[1]) / length, 0.0, 1.0)
        distance = (across - share * step[0]) ** 2 + (down - share * step[1]) ** 2
        return jnp.minimum(squared, distance)

    farthest = jnp.full((_PIXELS, _PIXELS), jnp.inf, points.dtype)
    return jnp.exp2(-jax.lax.fori_loop(0, _SEGMENTS, nearer, farthest))


def rotated(key: Key, images: Array) -> Rotated:
    """Turns each image by its own angle, uniform in [0, 2 pi): `rot` (Larochelle et al., 2007).

    Of MNIST's digits this makes a harder set, whose classes vary in one more factor. See `turn`
    for direction and interpolation; `y` stays as it is.

    Args:
        key: decides the angles.
        images: `(n, h, w)` or `(n, h, w, 1)`, uint8, or floats in [0, 1].

    Raises:
        ValueError: another shape or dtype, no pixels, or (where not traced) floats outside [0, 1].

    >>> data = rotated(jax.random.key(0), np.full((5, 9, 9, 1), 255, np.uint8))
    >>> data.x.shape, data.x.dtype.name, data.angle.shape
    ((5, 9, 9, 1), 'uint8', (5,))
    """
    images = _checked(images)
    angle = jax.random.uniform(key, images.shape[:1], maxval=2.0 * math.pi)
    return Rotated(_turn(images, angle), angle)


def turn(images: Array, angle: Array | float) -> Array:
    """Turns images about their centres by given angles, anticlockwise as they are seen.

    Shape and dtype stay. Values between pixels are interpolated bilinearly, and there is zero
    outside of the images; what leaves the frame is cut off.

    Args:
        images: `(n, h, w)` or `(n, h, w, 1)`, uint8, or floats in [0, 1].
        angle: radians, one for all or one per image, `(n,)`; pi / 2 is a quarter turn.

    Raises:
        ValueError: another shape or dtype, no pixels, or (where not traced) floats outside
            [0, 1] or angles that are not finite.

    >>> turn(np.array([[[1, 2], [3, 4]]], np.uint8), math.pi / 2).tolist()
    [[[2, 4], [1, 3]]]
    """
    images = _checked(images)
    if jnp.shape(angle) not in ((), images.shape[:1]):
        raise ValueError(
            f"angle is one number or one per image, {images.shape[:1]}; got the shape "
            f"{jnp.shape(angle)}."
        )
    check_range("angle", angle, open_low=True, open_high=True)
    return _turn(images, jnp.broadcast_to(jnp.asarray(angle, float), images.shape[:1]))


@jax.jit
def _turn(images: Array, angle: Array) -> Array:
    height, width = images.shape[1:3]
    middle = (height - 1) / 2, (width - 1) / 2
    down, across = (jnp.arange(size) - at for size, at in zip((height, width), middle, strict=True))

    def one(pair: tuple[Array, Array]) -> Array:
        image, turned_by = pair
        cos, sin = jnp.cos(turned_by), jnp.sin(turned_by)
        rows = cos * down[:, None] + sin * across[None, :] + middle[0]
        columns = cos * across[None, :] - sin * down[:, None] + middle[1]
        values = image.astype(jnp.promote_types(image.dtype, jnp.float32))
        values = map_coordinates(values, [rows, columns], order=1, mode="constant", cval=0.0)
        # of floats, no rounding of the weights shall lead out of [0, 1]
        values = jnp.round(values) if image.dtype == jnp.uint8 else jnp.minimum(values, 1.0)
        return values.astype(image.dtype)

    flat = images.reshape(-1, height, width)
    return jax.lax.map(one, (flat, angle), batch_size=_CHUNK).reshape(images.shape)


def random_background(key: Key, images: Array) -> Array:
    """Puts noise behind the images: x = max(image, u): `bg-rand` (Larochelle et al., 2007).

    Each pixel of the noise u is drawn by itself, uniform on 0, 1, ..., 255; for floats that
    is divided by 255, so that both dtypes give the same images. Shape and dtype stay.

    Args:
        key: decides the noise.
        images: `(n, h, w)` or `(n, h, w, 1)`, uint8, or floats in [0, 1].

    Raises:
        ValueError: another shape or dtype, no pixels, or (where not traced) floats outside [0, 1].

    >>> noisy = random_background(jax.random.key(0), np.zeros((100, 28, 28), np.uint8))
    >>> noisy.shape, int(noisy.min()), int(noisy.max())
    ((100, 28, 28), 0, 255)
    """
    return _random_background(key, _checked(images))


@jax.jit
def _random_background(key: Key, images: Array) -> Array:
    noise = jax.random.bits(key, images.shape, jnp.uint8)
    return jnp.maximum(
        images, noise if images.dtype == jnp.uint8 else as_float(noise).astype(images.dtype)
    )


def _checked(images: Array) -> Array:
    """`images` as a JAX array, or `ValueError`."""
    images = jnp.asarray(images)
    wanted = images.ndim == 3 or (images.ndim == 4 and images.shape[3] == 1)
    if not wanted or not images.size:
        raise ValueError(
            "images are (n, h, w) or (n, h, w, 1), with at least one pixel; got the shape "
            f"{images.shape}. Reshape flat rows first."
        )
    if images.dtype == jnp.uint8:
        return images
    if not jnp.issubdtype(images.dtype, jnp.floating):
        raise ValueError(f"images are uint8, or floats in [0, 1]; got {images.dtype}.")
    if not is_traced(images):
        low, high = float(jnp.min(images)), float(jnp.max(images))
        if not (low >= 0.0 and high <= 1.0):
            raise ValueError(
                f"Floats are pixels in [0, 1]; these lie in [{low:g}, {high:g}]. Scale them first, "
                "or give 0..255 as uint8."
            )
    return images
