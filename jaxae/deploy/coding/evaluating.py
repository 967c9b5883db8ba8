"""A model's networks as an entropy coder needs them: their values as integers.

Both sides must know every probability to the last bit, and networks do not give the same last
bits in another batch or on other threads. So networks run in float64, and what the coder gets
are integers: means, log-scales and cumulative frequencies rounded to fixed grids. Where a value
is closer to a rounding boundary than `MARGIN` of a step, the encoder writes down to which side
it went, an escape. Noise below the margin then changes nothing; the encoder measures it and
refuses a model whose noise is not far below.
"""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxae.base import Latent, Params
from jaxae.deploy.coding.containers import Parts
from jaxae.deploy.coding.gaussians import BITS, MEAN
from jaxae.deploy.coding.gaussians import OCTAVE as OCTAVE_OF_Z
from jaxae.deploy.coding.levels import LOCATIONS, OCTAVE, PLACE, SCALES, SHARE, precision

MARGIN = 1e-6
"""Of a step: values closer to a rounding boundary are escaped; noise must be 16 times less."""
_CHUNK = 2**23  # probabilities held at a time, 64 MiB


class Networks(NamedTuple):
    """A model's networks as the coder calls them, from integers to `Parts`, and its sizes.

    Attributes:
        posterior: x `(n, entries)` -> mean and log-scale of q(z|x), `(n, 2 * latents)`.
        emission: z's bins `(n, latents)` -> what tells p(x|z), `(n, entries * numbers)`.
        entries: of a row.
        latents: dimensions of z.
        levels: of an entry.
        components: of the logistic distributions that emissions tell, `levels.logistic`; 0
            where they are cumulative frequencies.
        chunk: rows that are evaluated at a time.
    """

    posterior: Callable[[np.ndarray], Parts]
    emission: Callable[[np.ndarray], Parts]
    entries: int
    latents: int
    levels: int
    components: int
    chunk: int

    @property
    def numbers(self) -> int:
        """The number of values that tell an entry's distribution."""
        return _numbers(self.components, self.levels)


def _numbers(components: int, levels: int) -> int:
    if not components:
        return levels - 1
    return 3 * components if components > 1 else 2


@functools.lru_cache(maxsize=8)
def values(latent: Latent, shape: tuple[int, ...], levels: int) -> tuple[Any, Any]:
    """The two networks before rounding, in steps of their grids; to be called in float64.

    Returns:
        posterior: `(params, x (n, entries)) -> (n, 2 * latents)`.
        emission: `(params, bins (n, *latent shape)) -> (n, entries * numbers)`.
    """
    logistic = latent.logistic

    def posterior(params: Params, x: jax.Array) -> jax.Array:
        x = x.reshape(-1, *shape).astype(jnp.float64) / (levels - 1)
        mean, scale = latent.posterior(params, {"x": x})
        bins = jnp.clip(mean, -16.0, 16.0) * 2**BITS
        octaves = jnp.log2(jnp.clip(scale, 2.0 ** (-BITS - 1), 2.0)) + BITS
        both = [bins * MEAN, octaves * OCTAVE_OF_Z]
        return jnp.concatenate([v.reshape(len(x), -1) for v in both], axis=1)

    def emission(params: Params, bins: jax.Array) -> jax.Array:
        z = (bins.astype(jnp.float64) + 0.5) * 2.0**-BITS
        if logistic is not None:
            location, log_scale, share = logistic(params, z)
            places = jnp.clip(location * (levels - 1), -LOCATIONS, LOCATIONS) * PLACE
            octaves = jnp.clip(log_scale / np.log(2) + np.log2(levels - 1), *SCALES) * OCTAVE
            shares = [share * SHARE] if share.shape[-1] > 1 else []
            return jnp.concatenate([places, octaves, *shares], axis=-1).reshape(len(bins), -1)
        sums = jnp.cumsum(jnp.maximum(latent.masses(params, z), 0.0), axis=-1)
        parts = sums[..., :-1] / sums[..., -1:]
        return (parts * (2 ** precision(levels) - levels)).reshape(len(bins), -1)

    return jax.jit(posterior), jax.jit(emission)


@functools.lru_cache(maxsize=16)
def _split(function: Callable[..., jax.Array]) -> Any:
    def split(params: Params, rows: jax.Array) -> tuple[jax.Array, jax.Array]:
        steps = function(params, rows)
        low = jnp.floor(steps)
        part = steps - low
        code = (part >= 0.5) + 2 * (jnp.abs(part - 0.5) < MARGIN) + 4 * ~jnp.isfinite(steps)
        return low.astype(jnp.int32), code.astype(jnp.uint8)

    return jax.jit(split)


def _components(latent: Latent, params: Params, shape: tuple[int, ...]) -> int:
    """The logistic distributions that an entry has, 0 where it has masses."""
    if latent.logistic is None:
        return 0
    with jax.enable_x64(True):
        z = jax.ShapeDtypeStruct((1, *shape), jnp.float64)
        return jax.eval_shape(latent.logistic, params, z)[0].shape[-1]


def networks(
    latent: Latent, params: Params, shapes: Sequence[tuple[int, ...]], levels: int, rows: int
) -> Networks:
    """The networks, with float64 `params`, on x and z of `shapes`, at most `rows` at a time."""
    entries, latents = (math.prod(shape) for shape in shapes)
    posterior, emission = values(latent, shapes[0], levels)
    components = _components(latent, params, shapes[1])
    chunk = max(1, min(rows, _CHUNK // (entries * (_numbers(components, levels) + 1))))

    def call(function: Any, given: np.ndarray) -> Parts:
        small = -(-chunk // 8)  # two sizes whatever the number of rows, as each is compiled
        size = chunk if len(given) > small else small
        padded = np.concatenate([given, np.repeat(given[-1:], size - len(given), axis=0)])
        with jax.enable_x64(True):
            low, code = jax.device_get(_split(function)(params, padded))
        if (code >= 4).any():
            raise ValueError("The model gives NaN or infinities, which can not be coded.")
        return low[: len(given)], code[: len(given)]

    return Networks(
        lambda x: call(posterior, x),
        lambda bins: call(emission, bins.reshape(-1, *shapes[1])),
        *(entries, latents, levels, components, chunk),
    )
