"""The likelihood of rows of a table, whose columns are of several kinds."""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxae.base import Array, Key, check_range, is_traced
from jaxae.models.likelihoods import Likelihood, gaussian
from jaxae.models.networks.activations import softplus


class ColumnScales(nn.Module):
    """Pairs the decoder's output with a learned log standard deviation of each numeric column.

    Attributes:
        columns: how many are numeric.
        floor: what the standard deviations stay above.
        initial: log standard deviation before training.
    """

    columns: int
    floor: float = 1e-2
    initial: float = 0.0

    @nn.compact
    def __call__(self, out: Array) -> tuple[Array, Array]:
        """Returns `(out, log_scale)`, the latter `(columns,)`."""
        raw = self.param("log_scale", nn.initializers.constant(self.initial), (self.columns,))
        return out, jnp.logaddexp(raw, np.log(self.floor).astype(raw.dtype))


class CellScales(nn.Module):
    """Splits the last axis into the natural parameters and a log standard deviation of each.

    Attributes:
        numeric: places of numeric columns, which alone have one.
        floor: what the standard deviations stay above.
    """

    numeric: Sequence[int]
    floor: float = 1e-2

    def __call__(self, out: Array) -> tuple[Array, Array]:
        """Returns `(out, log_scale)`, `(..., width)` and `(..., numeric columns)`."""
        out, raw = jnp.split(out, 2, axis=-1)
        raw = raw[..., np.asarray(self.numeric, int)]
        return out, jnp.logaddexp(raw, np.log(self.floor).astype(raw.dtype))


def per_column(
    kinds: Sequence[str],
    widths: Sequence[int] | None = None,
    *,
    scale: chex.Numeric | Literal["per_column", "per_cell"] = "per_column",
) -> Likelihood:
    """Columns of several kinds side by side on the last axis of x, independent given `out`.

    A "numeric" column is Gaussian around the decoder's output, a "binary" one Bernoulli with it
    as logit, a "categorical" one a softmax over its block of entries, in which x is one-hot.
    `log_prob` is entry by entry, in nats: over a block its entries, x_i log softmax(out)_i,
    add up to the block's log-probability, so that a mask of whole blocks leaves columns out.
    `mean` has probabilities in binary and categorical entries.

    Args:
        kinds: of each column.
        widths: entries of each column, which is 1 but for categorical ones; by default 1.
        scale: the standard deviation of numeric columns, in the units of x: a positive number
            (or traced value); "per_column" learns one for each, "per_cell" has the decoder give
            one for each cell. Learned ones stay above 0.01, without which a constant column has
            infinite density.

    >>> likelihood = per_column(["numeric", "binary", "categorical"], [1, 1, 3], scale=1.0)
    >>> x = jnp.asarray([[0.0, 1.0, 0.0, 0.0, 1.0]])
    >>> np.asarray(likelihood.log_prob(jnp.zeros((1, 5)), x), float).round(3).tolist()
    [[-0.919, -0.693, -0.0, -0.0, -1.099]]

    Raises:
        ValueError: no columns, another kind or word, widths that do not fit, or a concrete
            scale that is not positive and finite.
    """
    kinds = tuple(kinds)
    widths = (1,) * len(kinds) if widths is None else tuple(int(n) for n in widths)
    _check(kinds, widths)
    places = {k: _places(kinds, widths, k) for k in ("numeric", "binary", "categorical")}
    blocks = tuple(w for k, w in zip(kinds, widths, strict=True) if k == "categorical")
    numeric, width = places["numeric"], sum(widths)
    normal, log_softmax = gaussian("shared"), _log_softmax(blocks)
    head, outputs, split = _head(scale, numeric)

    def rows(a: Array) -> Array:
        return a.reshape(*a.shape[:-1], -1, width)  # also of rows of a table side by side

    def apart(out: Any) -> tuple[Array, Array, Array, Array]:
        out, log_scale = split(out)
        out = rows(out)
        if log_scale.ndim > 1:
            log_scale = log_scale.reshape(*out.shape[:-1], len(numeric))
        parts = [_entries(out, place) for place in places.values()]
        return parts[0], log_scale, parts[1], parts[2]

    def join(numbers: Array, binary: Array, classes: Array, shape: Sequence[int]) -> Array:
        order = np.argsort(np.concatenate(list(places.values())))
        return _entries(jnp.concatenate([numbers, binary, classes], -1), order).reshape(shape)

    def log_prob(out: Any, x: Array) -> Array:
        mean, log_scale, logits, classes = apart(out)
        seen = [_entries(rows(x), place) for place in places.values()]
        return join(
            normal.log_prob((mean, log_scale), seen[0]),
            seen[1] * logits - softplus(logits),
            seen[2] * log_softmax(classes),
            x.shape,
        )

    def mean(out: Any) -> Array:
        location, _, logits, classes = apart(out)
        shape = split(out)[0].shape
        return join(location, jax.nn.sigmoid(logits), jnp.exp(log_softmax(classes)), shape)

    def sample(key: Key, out: Any) -> Array:
        location, log_scale, logits, classes = apart(out)
        keys = jax.random.split(key, 3)
        binary = jax.random.bernoulli(keys[1], jax.nn.sigmoid(logits)).astype(logits.dtype)
        noise = jax.random.gumbel(keys[2], classes.shape, classes.dtype)
        chosen = _one_hot(classes + noise, blocks)  # a softmax's draw (Gumbel, 1954)
        drawn = normal.sample(keys[0], (location, log_scale))
        return join(drawn, binary, chosen, split(out)[0].shape)

    return Likelihood(log_prob, mean, sample, outputs, head)


def _check(kinds: Sequence[str], widths: Sequence[int]) -> None:
    known = ("numeric", "binary", "categorical")
    if not kinds or not set(kinds) <= set(known):
        raise ValueError(f"kinds are one or more of {known}; got {list(kinds)}.")
    fits = len(kinds) == len(widths) and all(
        w >= 1 if k == "categorical" else w == 1 for k, w in zip(kinds, widths, strict=True)
    )
    if not fits:
        raise ValueError(
            "widths has a number for each column, 1 but for categorical ones; got "
            f"{list(widths)} for {list(kinds)}."
        )


def _places(kinds: Sequence[str], widths: Sequence[int], kind: str) -> np.ndarray:
    """Where the entries of the columns of a kind are."""
    return np.flatnonzero(np.repeat(np.asarray(kinds) == kind, widths))


def _entries(a: Array, places: np.ndarray) -> Array:
    """`a[..., places]`, without a gather where places follow each other."""
    first = int(places[0]) if len(places) else 0
    side_by_side = np.array_equal(places, first + np.arange(len(places)))
    return a[..., first : first + len(places)] if side_by_side else a[..., places]


def _head(
    scale: Any, numeric: np.ndarray
) -> tuple[nn.Module | None, int, Callable[[Any], tuple[Array, Array]]]:
    """The head, numbers for each entry, and how natural parameters fall into out and log scale."""
    if isinstance(scale, str):
        if scale == "per_column":
            return ColumnScales(len(numeric)), 1, lambda out: out
        if scale == "per_cell":
            return CellScales(tuple(numeric.tolist())), 2, lambda out: out
        raise ValueError(f'scale is a number, "per_column" or "per_cell"; got {scale!r}.')
    check_range("scale", scale, 0.0, open_low=True, open_high=True)
    log_scale: Any = jnp.log(scale) if is_traced(scale) else np.log(np.asarray(scale, np.float64))
    return None, 1, lambda out: (out, jnp.asarray(log_scale, out.dtype))


def _padded(blocks: Sequence[int]) -> np.ndarray:
    """The entries of each block, `(blocks, widest)`, the first one again where it has no more."""
    ends = np.cumsum(blocks)
    steps = np.arange(max(blocks, default=1))
    firsts = ends - np.asarray(blocks)
    return firsts[:, None] + np.where(steps < np.asarray(blocks)[:, None], steps, 0)


def _log_softmax(blocks: Sequence[int]) -> Callable[[Array], Array]:
    """Of the entries of each block, side by side; by products, whose gradients are fast."""
    member = np.repeat(np.eye(len(blocks), dtype=np.float32), blocks, axis=0)
    padded, owner = _padded(blocks), np.repeat(np.arange(len(blocks)), blocks)

    def log_softmax(out: Array) -> Array:
        if not blocks:
            return out
        greatest = jnp.max(out[..., padded], axis=-1)[..., owner]
        shifted = out - jax.lax.stop_gradient(greatest)
        exact = jax.lax.Precision.HIGHEST
        to_block = member.astype(out.dtype)
        sums = jnp.matmul(jnp.exp(shifted), to_block, precision=exact)
        return shifted - jnp.matmul(jnp.log(sums), to_block.T, precision=exact)

    return log_softmax


def _one_hot(values: Array, blocks: Sequence[int]) -> Array:
    """1 at the greatest value of each block, the first of several, else 0."""
    if not blocks:
        return values
    best = jnp.argmax(values[..., _padded(blocks)], axis=-1)
    owner = np.repeat(np.arange(len(blocks)), blocks)
    rank = np.concatenate([np.arange(w) for w in blocks])
    return (best[..., owner] == rank).astype(values.dtype)
