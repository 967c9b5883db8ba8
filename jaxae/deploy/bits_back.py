"""Lossless coding with a variational autoencoder: bits back with ANS (Townsend et al., 2019).

A group of rows is pushed on the stack of an entropy coder in three moves: its codes z are popped
with q(z|x), which gives bits back; x is pushed with p(x|z), then z with p(z). In the mean that
costs -log p(x|z) - log p(z) + log q(z|x), the negative ELBO. Decoding undoes the moves.

Latents lie on a grid of width 2^-10, the same for all dimensions; -16 to 16 is where means may
be. Bins of equal prior mass would code p(z) without loss, but are wide in the tails, and no fast
coder has Gaussians over them. Here both q and p are constriction's `QuantizedGaussian` over
coarse bins, sigma/32 to sigma/16 wide, with uniform low bits inside: few symbols of the coder's
2^24 parts lie outside the Gaussian, and the uniform bits cost less than 2e-4 nats a dimension.

Both sides must know every probability to the last bit, and networks do not give the same last
bits in another batch or on other threads. So networks run in float64, and what the coder gets
are integers: means, log-scales and cumulative frequencies rounded to fixed grids. Where a value
is closer to a rounding boundary than `MARGIN` of a step, the encoder writes down to which side
it went, an escape. Noise below the margin then changes nothing; the encoder measures it and
refuses a model whose noise is not far below. From integers on, all is exact arithmetic or
constriction's own compiled one, which uses no library of the system.
"""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxae.base import Latent, Params
from jaxae.deploy.containers import DIFFERS, CorruptFileError, Parts, Rounding, library

MARGIN = 1e-6
"""Of a step: values closer to a rounding boundary are escaped; noise must be 16 times less."""
SEED = 0
"""Of the random bits that the first row's codes are popped from."""
_BITS = 10  # the grid of z is 2^-10 wide
_MEAN = 8  # means are rounded to 1/8 of a bin
_OCTAVE = 64  # and scales to 1/64 of an octave
_FINE = 4  # coarse bins are sigma / 2^4 to sigma / 2^5 wide
_WIDTHS = np.round(2.0 ** (np.arange(_OCTAVE) / _OCTAVE) * 2**20) / 2**20
_CHUNK = 2**23  # probabilities held at a time, 64 MiB


class Networks(NamedTuple):
    """A model's networks as the coder calls them, from integers to `Parts`, and its sizes.

    Attributes:
        posterior: x `(n, entries)` -> mean and log-scale of q(z|x), `(n, 2 * latents)`.
        cumulative: z's bins `(n, latents)` -> cumulative frequencies `(n, entries * (levels - 1))`.
        entries: of a row.
        latents: dimensions of z.
        levels: of an entry.
        chunk: rows that are evaluated at a time.
    """

    posterior: Callable[[np.ndarray], Parts]
    cumulative: Callable[[np.ndarray], Parts]
    entries: int
    latents: int
    levels: int
    chunk: int


def precision(levels: int) -> int:
    """Bits of the frequencies of an entry with so many levels: 16 for 2, 20 for 256."""
    return 16 + (levels - 1).bit_length() // 2


@functools.lru_cache(maxsize=8)
def values(latent: Latent, shape: tuple[int, ...], levels: int) -> tuple[Any, Any]:
    """The two networks before rounding, in steps of their grids; to be called in float64.

    Returns:
        posterior: `(params, x (n, entries)) -> (n, 2 * latents)`, in `_MEAN`, `_OCTAVE`.
        cumulative: `(params, bins (n, *latent shape)) -> (n, entries * (levels - 1))`.
    """

    def posterior(params: Params, x: jax.Array) -> jax.Array:
        x = x.reshape(-1, *shape).astype(jnp.float64) / (levels - 1)
        mean, scale = latent.posterior(params, {"x": x})
        bins = jnp.clip(mean, -16.0, 16.0) * 2**_BITS
        octaves = jnp.log2(jnp.clip(scale, 2.0 ** (-_BITS - 1), 2.0)) + _BITS
        both = [bins * _MEAN, octaves * _OCTAVE]
        return jnp.concatenate([v.reshape(len(x), -1) for v in both], axis=1)

    def cumulative(params: Params, bins: jax.Array) -> jax.Array:
        masses = latent.masses(params, (bins.astype(jnp.float64) + 0.5) * 2.0**-_BITS)
        sums = jnp.cumsum(jnp.maximum(masses, 0.0), axis=-1)
        parts = sums[..., :-1] / sums[..., -1:]
        return (parts * (2 ** precision(levels) - levels)).reshape(len(bins), -1)

    return jax.jit(posterior), jax.jit(cumulative)


@functools.lru_cache(maxsize=16)
def _split(function: Callable[..., jax.Array]) -> Any:
    def split(params: Params, rows: jax.Array) -> tuple[jax.Array, jax.Array]:
        steps = function(params, rows)
        low = jnp.floor(steps)
        part = steps - low
        code = (part >= 0.5) + 2 * (jnp.abs(part - 0.5) < MARGIN) + 4 * ~jnp.isfinite(steps)
        return low.astype(jnp.int32), code.astype(jnp.uint8)

    return jax.jit(split)


def networks(
    latent: Latent, params: Params, shapes: Sequence[tuple[int, ...]], levels: int, rows: int
) -> Networks:
    """The networks, with float64 `params`, on x and z of `shapes`, at most `rows` at a time."""
    entries, latents = (math.prod(shape) for shape in shapes)
    posterior, cumulative = values(latent, shapes[0], levels)
    chunk = max(1, min(rows, _CHUNK // (entries * levels)))

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
        lambda bins: call(cumulative, bins.reshape(-1, *shapes[1])),
        *(entries, latents, levels, chunk),
    )


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
    shift = np.maximum(octaves // _OCTAVE - _FINE, 0)
    centre = means / (_MEAN * 2.0**shift)
    base = np.floor(centre)
    width = _WIDTHS[octaves % _OCTAVE] * 2.0 ** (octaves // _OCTAVE - shift)
    return Gaussians(base.astype(np.int64), shift, centre - base - 0.5, width, 256)


def prior(n: int, latents: int) -> Gaussians:
    """The standard normal distribution of `n` rows; coarse bins are 1/32 wide, up to +-64."""
    full = functools.partial(np.full, (n, latents))
    return Gaussians(full(0), full(_BITS - 5), full(-0.5), full(32.0), 2048)


def _family(q: Gaussians) -> tuple[Any, Any, np.ndarray, np.ndarray]:
    model = library().model
    wide = q.shift.ravel() > 0
    sizes = (1 << q.shift.ravel()[wide]).astype(np.int32)
    return model.QuantizedGaussian(-q.reach, q.reach - 1), model.Uniform(), wide, sizes


def _pop(coder: Any, q: Gaussians) -> np.ndarray:
    family, uniform, wide, sizes = _family(q)
    coarse = coder.decode(family, q.mean.ravel(), q.width.ravel()).reshape(q.base.shape)
    low = np.zeros(coarse.size, np.int64)
    low[wide] = coder.decode(uniform, sizes)
    return ((q.base + coarse) << q.shift) + low.reshape(coarse.shape)


def _push(coder: Any, q: Gaussians, bins: np.ndarray) -> None:
    family, uniform, wide, sizes = _family(q)
    coarse = ((bins >> q.shift) - q.base).ravel()
    if not ((-q.reach <= coarse) & (coarse < q.reach)).all():
        raise CorruptFileError(DIFFERS)
    low = (bins & ((1 << q.shift) - 1)).ravel()[wide]
    coder.encode_reverse(low.astype(np.int32), uniform, sizes)
    coder.encode_reverse(coarse.astype(np.int32), family, q.mean.ravel(), q.width.ravel())


def _chunks(start: int, stop: int, size: int) -> list[slice]:
    return [slice(i, min(i + size, stop)) for i in range(start, stop, size)]


def _posterior(nets: Networks, rounding: Rounding, x: np.ndarray, rows: slice) -> Gaussians:
    parts = _chunks(rows.start, rows.stop, nets.chunk)
    return gaussians(np.concatenate([rounding(nets.posterior(x[r]), r.start, 0) for r in parts]))


def _frequencies(nets: Networks, rounding: Rounding, bins: np.ndarray, row: int) -> np.ndarray:
    sums = rounding(nets.cumulative(bins), row, 2 * nets.latents).reshape(-1, nets.levels - 1)
    sums = sums + np.arange(1, nets.levels, dtype=np.int32)  # so that none is zero
    return np.diff(sums, prepend=0, append=2 ** precision(nets.levels)).astype(np.float32)


def _random_words(count: int) -> np.ndarray:
    raw = np.random.PCG64(SEED).random_raw(count)  # the first ones on top of the stack
    return (raw >> np.uint64(32)).astype(np.uint32)[::-1] | np.uint32(1)


class Coded(NamedTuple):
    """Rows of each group, escapes, and the words of the coder, uint32."""

    groups: np.ndarray
    escapes: np.ndarray
    words: np.ndarray


def encode(nets: Networks, x: np.ndarray, group_size: int) -> Coded:
    """Codes `x`, `(n, entries)` levels, in groups of at most `group_size` rows.

    A group is as large as the bits on the stack allow: the random ones that the first row
    takes are a cost, and no later group needs more of them.
    """
    words = _random_words(nets.latents * group_size + 64)  # a latent takes at most 31 bits
    coder = library().stack.AnsCoder(words)
    categorical = library().model.Categorical(perfect=False)
    rounding = Rounding(2 * nets.latents + nets.entries * (nets.levels - 1))
    low, need, groups, start = coder.num_words(), np.inf, list[int](), 0
    while start < len(x):
        spare = coder.num_valid_bits() - 32 * low
        size = int(np.clip(spare // need, 1, min(group_size, len(x) - start)))
        rows = slice(start, start + size)
        before = coder.num_valid_bits()
        bins = _pop(coder, _posterior(nets, rounding, x, rows))
        need = 1.05 * max(before - coder.num_valid_bits(), 1) / size
        low = min(low, coder.num_words())
        for r in reversed(_chunks(0, size, nets.chunk)):
            table = _frequencies(nets, rounding, bins[r], start + r.start)
            symbols = x[rows][r].ravel().astype(np.int32)
            coder.encode_reverse(symbols, categorical, table)
        _push(coder, prior(size, nets.latents), bins)
        groups.append(size)
        start += size
    untouched = max(low - 2, 0)  # the coder's own state is two words
    return Coded(np.array(groups), rounding.escapes(), coder.get_compressed()[untouched:])


def decode(nets: Networks, coded: Coded) -> np.ndarray:
    """The `x` that `encode` coded, `(n, entries)`, int32.

    Raises:
        CorruptFileError: what remains is not the random bits, so that the codes were others.
    """
    coder = library().stack.AnsCoder(coded.words)
    categorical = library().model.Categorical(perfect=False)
    rounding = Rounding(2 * nets.latents + nets.entries * (nets.levels - 1), coded.escapes)
    stop = int(coded.groups.sum())
    x = np.zeros((stop, nets.entries), np.int32)
    for size in reversed(coded.groups.tolist()):
        start = stop - size
        bins = _pop(coder, prior(size, nets.latents))
        for r in _chunks(0, size, nets.chunk):
            table = _frequencies(nets, rounding, bins[r], start + r.start)
            x[start:stop][r] = coder.decode(categorical, table).reshape(-1, nets.entries)
        _push(coder, _posterior(nets, rounding, x, slice(start, stop)), bins)
        stop = start
    left = coder.get_compressed()
    if not np.array_equal(left, _random_words(len(left))):
        raise CorruptFileError(DIFFERS)
    return x
