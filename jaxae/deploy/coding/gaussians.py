"""Gaussians of latents on a grid, as an entropy coder has them.

Latents lie on a grid of width 2^-10, the same for all dimensions; -16 to 16 is where means may
be. Bins of equal prior mass would code p(z) without loss, but are wide in the tails, and no fast
coder has Gaussians over them. Here both q and p are constriction's `QuantizedGaussian` over
coarse bins, sigma/32 to sigma/16 wide, with uniform low bits inside: few symbols of the coder's
2^24 parts lie outside the Gaussian, and the uniform bits cost less than 2e-4 nats a dimension.
"""

import functools
from typing import Any, NamedTuple

import numpy as np

from jaxae.deploy.coding.containers import DIFFERS, CorruptFileError, library

BITS = 10
"""The grid of z is 2^-10 wide."""
MEAN = 8
"""Means are rounded to 1/8 of a bin."""
OCTAVE = 64
"""Scales are rounded to 1/64 of an octave."""
_FINE = 4  # coarse bins are sigma / 2^4 to sigma / 2^5 wide
_WIDTHS = np.round(2.0 ** (np.arange(OCTAVE) / OCTAVE) * 2**20) / 2**20


class Gaussians(NamedTuple):
    """Gaussians over coarse bins that are 2^shift bins wide, each with uniform low bits.

    Coarse bins count from `base`, from -reach to reach - 1; `mean` and `width` are in coarse bins.
    """

    base: np.ndarray
    shift: np.ndarray
    mean: np.ndarray
    width: np.ndarray
    reach: int


def gaussians(steps: np.ndarray) -> Gaussians:
    """The Gaussians with rounded means and log-scales `steps`, `(n, 2 * latents)`."""
    means, octaves = np.split(steps.astype(np.int64), 2, axis=1)
    shift = np.maximum(octaves // OCTAVE - _FINE, 0)
    centre = means / (MEAN * 2.0**shift)
    base = np.floor(centre)
    width = _WIDTHS[octaves % OCTAVE] * 2.0 ** (octaves // OCTAVE - shift)
    return Gaussians(base.astype(np.int64), shift, centre - base - 0.5, width, 256)


def prior(n: int, latents: int) -> Gaussians:
    """The standard normal distribution of `n` rows; coarse bins are 1/32 wide, up to +-64."""
    full = functools.partial(np.full, (n, latents))
    return Gaussians(full(0), full(BITS - 5), full(-0.5), full(32.0), 2048)


def _family(q: Gaussians) -> tuple[Any, Any, np.ndarray, np.ndarray]:
    model = library().model
    wide = q.shift.ravel() > 0
    sizes = (1 << q.shift.ravel()[wide]).astype(np.int32)
    return model.QuantizedGaussian(-q.reach, q.reach - 1), model.Uniform(), wide, sizes


def pop(coder: Any, q: Gaussians) -> np.ndarray:
    """Bins of z `(n, latents)`, drawn with `q` from the stack."""
    family, uniform, wide, sizes = _family(q)
    coarse = coder.decode(family, q.mean.ravel(), q.width.ravel()).reshape(q.base.shape)
    low = np.zeros(coarse.size, np.int64)
    low[wide] = coder.decode(uniform, sizes)
    return ((q.base + coarse) << q.shift) + low.reshape(coarse.shape)


def push(coder: Any, q: Gaussians, bins: np.ndarray) -> None:
    """Puts bins of z `(n, latents)` on the stack, as `pop` took them.

    Raises:
        CorruptFileError: bins that `q` does not reach.
    """
    family, uniform, wide, sizes = _family(q)
    coarse = ((bins >> q.shift) - q.base).ravel()
    if not ((-q.reach <= coarse) & (coarse < q.reach)).all():
        raise CorruptFileError(DIFFERS)
    low = (bins & ((1 << q.shift) - 1)).ravel()[wide]
    coder.encode_reverse(low.astype(np.int32), uniform, sizes)
    coder.encode_reverse(coarse.astype(np.int32), family, q.mean.ravel(), q.width.ravel())
