"""How far predicted ratings are off, and how good the order of items is."""

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from jaxae.base import check_range


def rmse(ratings: npt.ArrayLike, predicted: npt.ArrayLike) -> jax.Array:
    """The root mean squared error of ratings held out, of shape `(n,)`, in their units.

    >>> print(f"{rmse(np.array([1.0, 5.0]), np.array([4.0, 5.0])):.4f}")
    2.1213

    Raises:
        ValueError: the shapes do not agree.
    """
    return jnp.sqrt(jnp.mean(_errors(ratings, predicted) ** 2))


def mae(ratings: npt.ArrayLike, predicted: npt.ArrayLike) -> jax.Array:
    """The mean absolute error of ratings held out, of shape `(n,)`, in their units.

    >>> print(f"{mae(np.array([1.0, 5.0]), np.array([4.0, 5.0])):.2f}")
    1.50

    Raises:
        ValueError: the shapes do not agree.
    """
    return jnp.mean(jnp.abs(_errors(ratings, predicted)))


def recall_at_k(
    scores: npt.ArrayLike, relevant: npt.ArrayLike, k: int, seen: npt.ArrayLike | None = None
) -> jax.Array:
    """The share of the relevant items that is among the k of the highest scores.

    Divided by min(k, the number of relevant items), so that a perfect order has 1 (Liang et
    al., 2018).

    Args:
        scores: `(users, items)`.
        relevant: of the same shape, above 0 where an item is relevant.
        k: at most the number of items.
        seen: of the same shape, above 0 where an item was known and takes no part.

    Returns:
        `(users,)`, NaN for users without a relevant item; `jnp.nanmean` leaves these out.

    Raises:
        ValueError: the shapes do not agree, or k is out of range.

    >>> scores, relevant = np.array([[3.0, 2.0, 1.0]]), np.array([[1.0, 0.0, 1.0]])
    >>> recall_at_k(scores, relevant, 2).tolist()
    [0.5]
    """
    gains, most = _ranked(scores, relevant, k, seen)
    hits, possible = (gains > 0).sum(1), (most > 0).sum(1)
    return jnp.where(possible > 0, hits / jnp.maximum(possible, 1), jnp.nan)


def ndcg_at_k(
    scores: npt.ArrayLike, relevant: npt.ArrayLike, k: int, seen: npt.ArrayLike | None = None
) -> jax.Array:
    """The discounted gain of the k items of the highest scores over the greatest possible.

        dcg = Σ_{i=1..k} relevant of the i-th item / log2(i + 1);  ndcg = dcg / greatest dcg

    (Järvelin & Kekäläinen, 2002, with gains as they are). Arguments and missing values are
    those of `recall_at_k`; relevance may be graded, and items of equal scores come in their own
    order.

    >>> scores, relevant = np.array([[3.0, 2.0, 1.0]]), np.array([[0.0, 1.0, 0.0]])
    >>> print(f"{ndcg_at_k(scores, relevant, 2)[0]:.4f}")
    0.6309

    Raises:
        ValueError: the shapes do not agree, or k is out of range.
    """
    gains, most = _ranked(scores, relevant, k, seen)
    discounts = 1.0 / jnp.log2(jnp.arange(k) + 2.0)
    ideal = most @ discounts
    return jnp.where(ideal > 0, gains @ discounts / jnp.where(ideal > 0, ideal, 1.0), jnp.nan)


def _ranked(
    scores: npt.ArrayLike, relevant: npt.ArrayLike, k: int, seen: npt.ArrayLike | None
) -> tuple[jax.Array, jax.Array]:
    """Relevance of the k best by scores and by relevance itself, `(users, k)` each."""
    shapes = [np.shape(a) for a in (scores, relevant, scores if seen is None else seen)]
    if len(set(shapes)) != 1 or len(shapes[0]) != 2:
        raise ValueError(
            f"scores, relevant and seen are matrices of users by items of one shape; got {shapes}."
        )
    check_range("k", k, 1, shapes[0][1])
    scores, relevant = jnp.asarray(scores), jnp.maximum(jnp.asarray(relevant, float), 0)
    if seen is not None:
        scores = jnp.where(jnp.asarray(seen) > 0, -jnp.inf, scores)
        relevant = jnp.where(jnp.asarray(seen) > 0, 0, relevant)
    best = jax.lax.top_k(scores, k)[1]
    return jnp.take_along_axis(relevant, best, axis=1), jax.lax.top_k(relevant, k)[0]


def _errors(ratings: npt.ArrayLike, predicted: npt.ArrayLike) -> jax.Array:
    if np.shape(ratings) != np.shape(predicted):
        raise ValueError(
            f"There is one prediction for each rating; got {np.shape(predicted)} for "
            f"{np.shape(ratings)}."
        )
    return jnp.asarray(ratings, float) - jnp.asarray(predicted, float)
