"""Data with a known truth, drawn from a key: sparse superpositions, low-rank Gaussians, shapes."""

import functools
import math
from types import MappingProxyType
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxae.base import Array, Key, check_range, is_traced

FACTORS = MappingProxyType({"shape": 3, "scale": 6, "orientation": 40, "x": 32, "y": 32})
"""The factors of variation in the columns of `Factors.y`, and how many values each has."""

_PIXELS = 32
_SUBPIXELS = 2  # along each side of a pixel
_RADIUS = 8.0  # pixels from the centre of a sprite of scale 1 to its farthest point
_MARGIN = 9.0  # pixels from the image's edges to the outermost centres


class Superposition(NamedTuple):
    """`x` `(n, dim)`, the sparse `codes` `(n, atoms)` and the `dictionary` `(atoms, dim)`."""

    x: Array
    codes: Array
    dictionary: Array


class LowRank(NamedTuple):
    """`x` `(n, dim)`, `codes` `(n, rank)`, `loadings` `(rank, dim)` and `mean` `(dim,)`."""

    x: Array
    codes: Array
    loadings: Array
    mean: Array


class Factors(NamedTuple):
    """Images `x` `(n, 32, 32, 1)` of uint8 and their `FACTORS` `y` `(n, 5)`, of int32."""

    x: Array
    y: Array


def dictionary(key: Key, atoms: int, dim: int) -> Array:
    """Draws `(atoms, dim)` directions, uniform on the unit sphere and independent.

    >>> dictionary(jax.random.key(0), 12, 4).shape
    (12, 4)

    Raises:
        ValueError: a size that is no positive integer.
    """
    _check_sizes(atoms=atoms, dim=dim)
    rows = jax.random.normal(key, (atoms, dim))
    return rows / jnp.linalg.norm(rows, axis=1, keepdims=True)


def firing_probabilities(atoms: int, active: float, decay: float = 0.0) -> np.ndarray:
    """How often each atom is active: min(1, c i**-decay), i = 1, 2, ..., of the sum `active`.

    >>> firing_probabilities(4, active=2, decay=1.0).round(3).tolist()
    [0.96, 0.48, 0.32, 0.24]

    Raises:
        ValueError: `active` outside (0, atoms], or `decay` outside [0, 10].
    """
    _check_sizes(atoms=atoms)
    check_range("active", active, 0, atoms, open_low=True)
    check_range("decay", decay, 0.0, 10.0)
    weights = np.arange(1.0, atoms + 1.0) ** -decay
    tails = np.cumsum(weights[::-1])[::-1]
    scales = (active - np.arange(atoms)) / tails  # c, if the first 0, 1, 2, ... reach 1
    scale = scales[np.argmax(scales * weights <= 1.0 + 1e-9)]
    return np.minimum(1.0, scale * weights)


def superposition(
    key: Key,
    n: int,
    dictionary: Array,
    *,
    active: float,
    decay: float = 0.0,
    amplitudes: tuple[float, float] = (0.5, 1.5),
    noise: float = 0.0,
) -> Superposition:
    """Draws x = codes @ dictionary + noise: few of many directions at once (Elhage et al., 2022).

    Atoms are active independently, with `firing_probabilities`; codes of active ones are
    uniform in `amplitudes`, all others zero. For validation draw again from the same dictionary.

    Args:
        key: decides codes and noise.
        n: the number of examples.
        dictionary: `(atoms, dim)`, such as `dictionary(key, atoms, dim)` gives.
        active: the mean number of active atoms per example, in (0, atoms].
        decay: 0 for equally frequent atoms, else the exponent of their power law.
        amplitudes: the least and the greatest code of an active atom.
        noise: the standard deviation of Gaussian noise on each entry of x.

    Raises:
        ValueError: sizes, ranges or shapes that make no sense.

    >>> truth = dictionary(jax.random.key(0), 1024, 256)
    >>> superposition(jax.random.key(1), 1000, truth, active=8, decay=0.5).x.shape
    (1000, 256)
    """
    _check_sizes(n=n)
    if jnp.ndim(dictionary) != 2:
        raise ValueError(f"A dictionary is (atoms, dim); got the shape {jnp.shape(dictionary)}.")
    check_range("noise", noise, 0.0, open_high=True)
    check_range("amplitudes", amplitudes[0], 0.0, amplitudes[1], open_low=True)
    probabilities = firing_probabilities(len(dictionary), active, decay)
    limits = (np.maximum(np.round(probabilities * 2.0**32), 2.0) - 1.0).astype(np.uint32)
    return _superposition(key, n, jnp.asarray(dictionary, float), limits, *amplitudes, noise)


@functools.partial(jax.jit, static_argnames="n")
def _superposition(
    key: Key, n: int, dictionary: Array, limits: Array, low: float, high: float, noise: float
) -> Superposition:
    code_key, noise_key = jax.random.split(key)
    # one draw says both whether an atom is active and, below the limit, how strongly
    bits = jax.random.bits(code_key, (n, len(dictionary)), jnp.uint32)
    share = bits.astype(dictionary.dtype) / limits.astype(dictionary.dtype)
    codes = jnp.where(bits <= limits, low + (high - low) * share, 0)
    x = jnp.matmul(codes, dictionary, precision="highest")
    x = x + noise * jax.random.normal(noise_key, x.shape, x.dtype)
    return Superposition(x, codes, dictionary)


def low_rank(key: Key, n: int, *, dim: int, rank: int, noise: float = 0.1) -> LowRank:
    """Draws x = codes @ loadings + mean + noise, the model of probabilistic PCA.

    So x is Gaussian with the covariance loadings.T @ loadings + noise**2 I (Tipping &
    Bishop, 1999). The loadings are orthogonal, of lengths that fall from 4 to 1 by equal
    factors: the principal axes in order, with distinct variances. Loadings and mean come
    from the key too: for held-out rows draw more and cut them off.

    Raises:
        ValueError: sizes that are no positive integers, rank > dim, or negative noise.

    >>> data = low_rank(jax.random.key(0), 500, dim=20, rank=3)
    >>> jnp.linalg.norm(data.loadings, axis=1).round(3).tolist()
    [4.0, 2.0, 1.0]
    """
    _check_sizes(n=n, dim=dim, rank=rank)
    check_range("rank", rank, 1, dim)
    check_range("noise", noise, 0.0, open_high=True)
    axes_key, mean_key, code_key, noise_key = jax.random.split(key, 4)
    axes = jnp.linalg.qr(jax.random.normal(axes_key, (dim, rank)))[0]
    loadings = jnp.geomspace(4.0, 1.0, rank)[:, None] * axes.T
    mean = jax.random.normal(mean_key, (dim,))
    codes = jax.random.normal(code_key, (n, rank))
    x = jnp.matmul(codes, loadings, precision="highest") + mean
    x = x + noise * jax.random.normal(noise_key, (n, dim))
    return LowRank(x, codes, loadings, mean)


def factors(key: Key, n: int) -> Factors:
    """Draws images of a white sprite on black whose factors are uniform and independent.

    As dSprites (Matthey et al., 2017), see `render`. `factors(key, n)._asdict()` is a batch.

    Raises:
        ValueError: `n` is no positive integer.

    >>> data = factors(jax.random.key(0), 16)
    >>> data.x.shape, data.y.shape
    ((16, 32, 32, 1), (16, 5))
    """
    _check_sizes(n=n)
    y = jax.random.randint(key, (n, len(FACTORS)), 0, jnp.array(list(FACTORS.values())))
    return Factors(render(y), y)


def render(values: Array) -> Array:
    """Renders the images of given factors, `(..., 5)` integers, as `(..., 32, 32, 1)` uint8.

    A pixel is 255 times the share of it that is covered. The columns are those of `FACTORS`:

    - shape: 0 a square, 1 an ellipse of axes 2 to 1, 2 a heart.
    - scale: 0..5 for 0.5 to 1 of full size, whose farthest point is 8 pixels from the centre.
    - orientation: 0..39 for fortieths of a full turn, clockwise. A quarter turn leaves a
      square as it is, half a turn an ellipse.
    - x, y: 0..31 for a centre of mass 9 to 23 pixels from the left, and from the top.

    Raises:
        ValueError: not five columns, no integers, or (where not traced) values out of range.

    >>> image = render(jnp.array([0, 5, 0, 16, 16]))
    >>> image.shape, round(float(image.sum()) / 255)  # area: 2 * 8**2
    ((32, 32, 1), 128)
    """
    values, sizes = jnp.asarray(values), np.array(list(FACTORS.values()))
    if values.shape[-1:] != sizes.shape or not jnp.issubdtype(values.dtype, jnp.integer):
        raise ValueError(
            f"values are integers with the columns {list(FACTORS)}; got {values.dtype} of the "
            f"shape {values.shape}."
        )
    if not is_traced(values) and not np.all((np.asarray(values) >= 0) & (values < sizes)):
        raise ValueError(f"values must lie in [0, size) by column, for the sizes {dict(FACTORS)}.")
    return _render(values)


@jax.jit
def _render(values: Array) -> Array:
    images = jax.lax.map(_image, values.reshape(-1, len(FACTORS)), batch_size=256)
    return images.reshape(*values.shape[:-1], _PIXELS, _PIXELS, 1)


def _image(values: Array) -> Array:
    """`(32, 32)` of one row of factors."""
    shape, scale, orientation, x, y = values
    radius = _RADIUS * (0.5 + 0.5 * scale / (FACTORS["scale"] - 1))
    angle = 2.0 * math.pi * orientation / FACTORS["orientation"]
    span = _PIXELS - 2.0 * _MARGIN
    points = (jnp.arange(_PIXELS * _SUBPIXELS) + 0.5) / _SUBPIXELS
    across = (points - (_MARGIN + span * x / (FACTORS["x"] - 1)))[None, :] / radius
    down = (points - (_MARGIN + span * y / (FACTORS["y"] - 1)))[:, None] / radius
    u = jnp.cos(angle) * across + jnp.sin(angle) * down
    v = jnp.cos(angle) * down - jnp.sin(angle) * across
    covered = jnp.clip(0.5 - _distance(shape, u, v) * radius * _SUBPIXELS, 0.0, 1.0)
    blocks = covered.reshape(_PIXELS, _SUBPIXELS, _PIXELS, _SUBPIXELS)
    return jnp.round(255.0 * jnp.mean(blocks, axis=(1, 3))).astype(jnp.uint8)


def _distance(shape: Array, u: Array, v: Array) -> Array:
    """Signed distances to the outline, negative inside; (u, v) points right and down."""
    square = jnp.maximum(jnp.abs(u), jnp.abs(v)) - math.sqrt(0.5)
    norm = jnp.hypot(u, 2.0 * v)  # of slope 1 to 2
    ellipse = (norm - 1.0) / jnp.maximum(jnp.hypot(u, 4.0 * v) / jnp.maximum(norm, 1e-6), 1.0)
    # a heart, about its centre of mass: a square on its corner, half discs on its upper sides
    shift = (0.5 + 2.0 / (3.0 * math.pi)) * math.pi / (8.0 + 2.0 * math.pi)  # in sides
    half = 0.5 / (math.sqrt(2.0) * (0.5 + shift))  # of a side
    p = math.sqrt(0.5) * (u - v) + 2.0 * half * shift
    q = math.sqrt(0.5) * (-u - v) + 2.0 * half * shift
    discs = jnp.minimum(jnp.hypot(p - half, q), jnp.hypot(p, q - half))
    heart = jnp.minimum(jnp.maximum(jnp.abs(p), jnp.abs(q)), discs) - half
    return jnp.select([shape == 0, shape == 1], [square, ellipse], heart)


def _check_sizes(**sizes: int) -> None:
    for name, size in sizes.items():
        if isinstance(size, bool) or not isinstance(size, int | np.integer) or size < 1:
            raise ValueError(f"{name}={size!r} must be a positive integer.")
