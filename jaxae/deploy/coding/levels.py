"""Levels of entries, as an entropy coder has them: by tables, or by logistic distributions.

A table has the frequencies of all levels of an entry. Of logistic distributions, two integers tell
them all, of mixtures three for each component, and an entry is a binary search: each decision
halves the levels that are left, and costs the logarithm of its share of their frequencies, so that
the decisions together cost what the level costs in the table. Only the frequencies that a
decision needs are computed.
"""

from typing import Any, NamedTuple

import numpy as np

from jaxae.deploy.coding.containers import library

PLACE = 32
"""Locations are rounded to 1/32 of a level."""
OCTAVE = 16
"""Scales are rounded to 1/16 of an octave, of levels."""
LOCATIONS = 2.0**20
"""The farthest location either side of 0, in levels."""
SCALES = (-3.0, 18.0)
"""Octaves between which the scales are, in levels."""
SHARE = 2**20
"""Shares of components are rounded to parts of this."""
_BLOCK = 2**15  # entries at a time, which a processor's cache holds; files depend on it
_FINE = 256  # parts of an octave in the table of powers
_FAR = 64  # octaves, beyond which a logistic tail is nothing
_PARTS = np.round(2.0 ** (-np.arange(_FINE) / _FINE) * 2**32) / 2**32
_POWERS = np.concatenate([np.ldexp(_PARTS, -n) for n in range(-_FAR, _FAR)])
_SLOPES = np.round(1.4426950408889634 * 2.0 ** (-np.arange(OCTAVE) / OCTAVE) * 2**32) / 2**32
_LN = 0.6931471805599453 / _FINE


def precision(levels: int) -> int:
    """Bits of the frequencies of an entry with so many levels: 16 for 2, 20 for 256."""
    return 16 + (levels - 1).bit_length() // 2


def table(sums: np.ndarray, levels: int) -> np.ndarray:
    """Frequencies `(n, levels)` of rounded cumulative ones `(n, levels - 1)`, none of them 0."""
    sums = sums + np.arange(1, levels, dtype=np.int32)
    return np.diff(sums, prepend=0, append=2 ** precision(levels)).astype(np.float32)


def push_table(coder: Any, sums: np.ndarray, x: np.ndarray, levels: int) -> None:
    """Puts levels `x`, `(n,)`, on the stack."""
    categorical = library().model.Categorical(perfect=False)
    coder.encode_reverse(x.astype(np.int32), categorical, table(sums, levels))


def pop_table(coder: Any, sums: np.ndarray, levels: int) -> np.ndarray:
    """Levels `(n,)` that `push_table` put there, int32."""
    categorical = library().model.Categorical(perfect=False)
    popped: np.ndarray = coder.decode(categorical, table(sums, levels))
    return popped


def powers(y: np.ndarray) -> np.ndarray:
    """2^-y for |y| < 64, to 1e-9 of it, by exact products and sums: the same on all machines.

    >>> powers(np.array([-3.0, 0.0, 0.5])).round(6).tolist()
    [8.0, 1.0, 0.707107]
    """
    y = y * _FINE
    floor = np.floor(y)
    r = (y - floor) * _LN
    series = 1.0 - r * (1.0 - r * (0.5 - r * (1 / 6)))
    found: np.ndarray = _POWERS[floor.astype(np.int32) + _FAR * _FINE] * series
    return found


class Logistic(NamedTuple):
    """Mixtures of logistic distributions of entries, in levels; arrays are `(components, n)`.

    Attributes:
        place: where they are, in units of 1 / `PLACE` of a level.
        slope: octaves that the odds change by in one such unit.
        most: of 2^precision parts, those that a component divides among the levels.
        levels: of an entry.
    """

    place: np.ndarray
    slope: np.ndarray
    most: np.ndarray
    levels: int

    def below(self, k: np.ndarray) -> np.ndarray:
        """How many of 2^precision parts the levels below `k`, `(n,)`, have; each at least one.

        Of `k` beyond the levels, it is as if each of them had one more.
        """
        parts, middle = np.zeros(k.shape), PLACE * k - PLACE // 2
        for place, slope, most in zip(self.place, self.slope, self.most, strict=True):
            y = (middle - place) * slope
            parts += most / (1.0 + powers(np.clip(y, 1 - _FAR, _FAR - 1)))
        parts = k + np.rint(parts)
        if self.levels & (self.levels - 1):
            beyond = k + float(2 ** precision(self.levels) - self.levels)
            parts = np.where(k < self.levels, parts, beyond)
        return parts


def logistic(steps: np.ndarray, levels: int) -> Logistic:
    """The distributions with rounded locations, log-scales and shares `steps`.

    Of one component `(n, 2)`, without its share; of several `(n, 3 * components)`, first all
    locations, then all log-scales.
    """
    count = max(steps.shape[1] // 3, 1)
    place, octaves, share = np.split(steps.T, [count, 2 * count])
    octave, part = np.divmod(octaves, OCTAVE)
    most = np.full((1, len(steps)), float(2 ** precision(levels) - levels))
    if count > 1:
        most = most * share / share.sum(axis=0)
    return Logistic(place, np.ldexp(_SLOPES[part] / PLACE, -octave), most, levels)


def push_logistic(coder: Any, steps: np.ndarray, x: np.ndarray, levels: int) -> None:
    """Puts levels `x`, `(n,)`, on the stack."""
    categorical = library().model.Categorical(perfect=False)
    for block in reversed(_blocks(len(steps))):
        search, symbols = _Search(logistic(steps[block], levels)), x[block].astype(np.int32)
        bits, tables = [], []
        for half in search.halves:
            tables.append(search.ask(half))
            bits.append((symbols & half) // half)
            search.tell(half, bits[-1])
        for bit, shares in zip(reversed(bits), reversed(tables), strict=True):
            coder.encode_reverse(bit, categorical, shares)


def pop_logistic(coder: Any, steps: np.ndarray, levels: int) -> np.ndarray:
    """Levels `(n,)` that `push_logistic` put there, int32."""
    categorical = library().model.Categorical(perfect=False)
    x = np.empty(len(steps), np.int32)
    for block in _blocks(len(steps)):
        search = _Search(logistic(steps[block], levels))
        for half in search.halves:
            search.tell(half, coder.decode(categorical, search.ask(half)))
        x[block] = search.low
    return x


def _blocks(n: int) -> list[slice]:
    return [slice(i, min(i + _BLOCK, n)) for i in range(0, n, _BLOCK)]


class _Search:
    """Which levels of entries are left, from `low` on, between which frequencies."""

    def __init__(self, entries: Logistic) -> None:
        depth = (entries.levels - 1).bit_length()
        self.halves = [2**i for i in reversed(range(depth))]
        self.entries, self.low = entries, np.zeros(entries.place.shape[1:], np.int32)
        self.start = np.zeros(self.low.shape)
        self.stop = self.start + (2.0 ** precision(entries.levels) + 2**depth - entries.levels)

    def ask(self, half: int) -> np.ndarray:
        """Frequencies of the first `half` levels that are left, and of the others, `(n, 2)`."""
        self.middle = self.entries.below(self.low + half)
        shares = np.empty((*self.low.shape, 2), np.float32)
        shares[:, 0], shares[:, 1] = self.middle - self.start, self.stop - self.middle
        return shares

    def tell(self, half: int, bit: np.ndarray) -> None:
        """Leaves the first half of the levels, where `bit` is 0, or the other half."""
        self.low += half * bit
        upper = bit > 0
        self.start = np.where(upper, self.middle, self.start)
        self.stop = np.where(upper, self.stop, self.middle)
