"""Lossless coding with a variational autoencoder: bits back with ANS (Townsend et al., 2019).

A group of rows is pushed on the stack of an entropy coder in three moves: its codes z are popped
with q(z|x), which gives bits back; x is pushed with p(x|z), then z with p(z). In the mean that
costs -log p(x|z) - log p(z) + log q(z|x), the negative ELBO. Decoding undoes the moves.

The networks' values come as integers that are the same on both sides, from `evaluating`. From
them on, all is exact arithmetic or constriction's own compiled one, which uses no library of
the system.
"""

from typing import NamedTuple

import numpy as np

from jaxae.deploy.coding import gaussians, levels
from jaxae.deploy.coding.containers import DIFFERS, CorruptFileError, Rounding, library
from jaxae.deploy.coding.evaluating import Networks

SEED = 0
"""Of the random bits that the first row's codes are popped from."""


def _chunks(start: int, stop: int, size: int) -> list[slice]:
    return [slice(i, min(i + size, stop)) for i in range(start, stop, size)]


def _posterior(
    nets: Networks, rounding: Rounding, x: np.ndarray, rows: slice
) -> gaussians.Gaussians:
    parts = [
        rounding(nets.posterior(x[r]), r.start, 0)
        for r in _chunks(rows.start, rows.stop, nets.chunk)
    ]
    return gaussians.gaussians(np.concatenate(parts))


def _emission(nets: Networks, rounding: Rounding, bins: np.ndarray, row: int) -> np.ndarray:
    """What tells the distribution of each entry, `(n * entries, numbers)`."""
    parts = [
        rounding(nets.emission(bins[r]), row + r.start, 2 * nets.latents)
        for r in _chunks(0, len(bins), nets.chunk)
    ]
    return np.concatenate(parts).reshape(-1, nets.numbers)


def _pieces(nets: Networks, size: int) -> list[slice]:
    """Rows of a group whose entries are coded together.

    Tables are large, and may come in any pieces. Searches are coded decision by decision, so
    their pieces must not depend on what is evaluated at a time.
    """
    return [slice(0, size)] if nets.components else _chunks(0, size, nets.chunk)


def _rounding(nets: Networks, escapes: np.ndarray | None = None) -> Rounding:
    return Rounding(2 * nets.latents + nets.entries * nets.numbers, escapes)


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
    push = levels.push_logistic if nets.components else levels.push_table
    rounding = _rounding(nets)
    low, need, groups, start = coder.num_words(), np.inf, list[int](), 0
    while start < len(x):
        spare = coder.num_valid_bits() - 32 * low
        size = int(np.clip(spare // need, 1, min(group_size, len(x) - start)))
        rows = slice(start, start + size)
        before = coder.num_valid_bits()
        bins = gaussians.pop(coder, _posterior(nets, rounding, x, rows))
        need = 1.05 * max(before - coder.num_valid_bits(), 1) / size
        low = min(low, coder.num_words())
        for r in reversed(_pieces(nets, size)):
            told = _emission(nets, rounding, bins[r], start + r.start)
            push(coder, told, x[rows][r].ravel(), nets.levels)
        gaussians.push(coder, gaussians.prior(size, nets.latents), bins)
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
    pop = levels.pop_logistic if nets.components else levels.pop_table
    rounding = _rounding(nets, coded.escapes)
    stop = int(coded.groups.sum())
    x = np.zeros((stop, nets.entries), np.int32)
    for size in reversed(coded.groups.tolist()):
        start = stop - size
        bins = gaussians.pop(coder, gaussians.prior(size, nets.latents))
        for r in _pieces(nets, size):
            told = _emission(nets, rounding, bins[r], start + r.start)
            x[start:stop][r] = pop(coder, told, nets.levels).reshape(-1, nets.entries)
        gaussians.push(coder, _posterior(nets, rounding, x, slice(start, stop)), bins)
        stop = start
    left = coder.get_compressed()
    if not np.array_equal(left, _random_words(len(left))):
        raise CorruptFileError(DIFFERS)
    return x
