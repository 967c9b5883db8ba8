"""The points of a sweep: values by name, a row for each member."""

from collections.abc import Callable, Iterable
from itertools import product
from numbers import Integral
from typing import Any

import jax
import numpy as np

Points = dict[str, np.ndarray]
"""Values by name, each `(members,)`."""
Draw = Callable[[np.random.Generator, int], np.ndarray]


def grid(**axes: Iterable[Any]) -> Points:
    """Every combination of the values of each axis, the last axis fastest.

    >>> points = grid(noise_level=[0.0, 0.1], seed=range(3))
    >>> points["noise_level"].tolist(), points["seed"].tolist()
    ([0.0, 0.0, 0.0, 0.1, 0.1, 0.1], [0, 1, 2, 0, 1, 2])

    Raises:
        ValueError: no axis, one without values, or values that are no numbers.
    """
    if not axes:
        raise ValueError("grid needs at least one axis, such as noise_level=[0.0, 0.1].")
    values = {name: _numbers(name, axis) for name, axis in axes.items()}
    rows = np.array(list(product(*(range(len(a)) for a in values.values()))))
    return {name: a[rows[:, i]] for i, (name, a) in enumerate(values.items())}


def sample(seed: int, n: int, **axes: Draw) -> Points:
    """Points drawn at random, each axis by itself (Bergstra & Bengio, 2012).

    What an axis draws depends on the seed and its name alone, whatever other axes there are.

    Args:
        seed: of the random numbers, at least 0.
        n: how many.
        **axes: `uniform`, `log_uniform` or any `(generator, n) -> (n,)`.

    >>> points = sample(0, 4, learning_rate=log_uniform(1e-4, 1e-2), noise_level=uniform(0, 0.5))
    >>> points["learning_rate"].shape, bool((points["noise_level"] < 0.5).all())
    ((4,), True)

    Raises:
        ValueError: n is below 1, there is no axis, or one draws another number of values.
    """
    if not isinstance(n, Integral) or n < 1 or not axes:
        raise ValueError(f"sample needs n >= 1 and at least one axis; got {n} and {[*axes]}.")
    drawn = {name: _numbers(name, draw(_generator(seed, name), n)) for name, draw in axes.items()}
    if wrong := {name: len(a) for name, a in drawn.items() if len(a) != n}:
        raise ValueError(f"Each axis must draw {n} values; got {wrong}.")
    return drawn


def cross(first: Points, second: Points) -> Points:
    """Each of the first points with each of the second, these fastest.

    >>> cross(sample(0, 2, noise_level=uniform(0, 1)), grid(seed=range(3)))["seed"].tolist()
    [0, 1, 2, 0, 1, 2]

    Raises:
        ValueError: both name the same axis.
    """
    if both := sorted(first.keys() & second.keys()):
        raise ValueError(f"Both have {both}; an axis is in one of them.")
    m, n = num_members(first), num_members(second)
    rows = {name: np.repeat(a, n) for name, a in first.items()}
    return rows | {name: np.tile(a, m) for name, a in second.items()}


def uniform(low: float, high: float) -> Draw:
    """Draws from [low, high) evenly.

    Raises:
        ValueError: low is not below high.
    """
    if not -np.inf < low < high < np.inf:
        raise ValueError(f"uniform needs finite low < high; got {low} and {high}.")
    return lambda generator, n: generator.uniform(low, high, n)


def log_uniform(low: float, high: float) -> Draw:
    """Draws from [low, high) so that the logarithm is even, as learning rates call for.

    Raises:
        ValueError: not 0 < low < high.
    """
    if not 0 < low < high < np.inf:
        raise ValueError(f"log_uniform needs 0 < low < high, finite; got {low} and {high}.")
    draw = uniform(float(np.log(low)), float(np.log(high)))
    return lambda generator, n: np.exp(draw(generator, n))


def num_members(points: Any) -> int:
    """The number of rows that all arrays of a tree share.

    Raises:
        ValueError: there is no array, or their lengths differ.
    """
    leaves = jax.tree_util.tree_leaves_with_path(points)
    found = {jax.tree_util.keystr(path): np.shape(leaf)[:1] for path, leaf in leaves}
    lengths = set(found.values())
    if len(lengths) != 1 or () in lengths or (0,) in lengths:
        raise ValueError(
            "What is swept are arrays with one row for each member, at least one; got the "
            f"lengths {dict(sorted((k, v[0] if v else 'none') for k, v in found.items()))}."
        )
    return next(iter(lengths))[0]


def _generator(seed: int, name: str) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=tuple(name.encode())))


def _numbers(name: str, values: Iterable[Any]) -> np.ndarray:
    try:
        a = values if isinstance(values, np.ndarray) else np.asarray(list(values))
    except (TypeError, ValueError):  # no iterable, or rows of different lengths
        a = np.zeros(())
    if a.ndim != 1 or not len(a) or a.dtype.kind not in "biuf":
        raise ValueError(f"{name} needs a list of numbers, at least one; got {values!r}.")
    return a
