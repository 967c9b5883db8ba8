"""Ratings of known truth, drawn from a seed."""

import numpy as np

from jaxae.base import check_range
from jaxae.data.ratings import Ratings

_USERS = 65536
"""Drawn at once."""


def low_rank_ratings(
    seed: int, *, users: int, items: int, per_user: int, rank: int = 3, noise: float = 1.0
) -> Ratings:
    """Draws ratings 0..10 of low rank, with biases, noise, and items of unequal popularity.

        rating = 6 + a_user + b_item + p_user · q_item + noise ε, rounded, cut to 0..10

    a, b and ε are normal, of scales 0.7, 0.7 and 1, and p · q has scale 1. The items that a user
    has rated come from a distribution that falls with their number; of `per_user` draws those that
    repeat one are dropped. Memory is that of the ratings.

    >>> ratings = low_rank_ratings(0, users=100, items=40, per_user=10)
    >>> ratings.matrix.shape, set(ratings.matrix.data.tolist()) <= set(range(11))
    ((100, 40), True)

    Raises:
        ValueError: sizes below 1, or a noise below 0.
    """
    from scipy.sparse import csr_matrix

    for name, value in (("users", users), ("items", items), ("per_user", per_user)):
        check_range(name, value, 1)
    check_range("rank", rank, 1)
    check_range("noise", noise, 0.0, open_high=True)
    rng = np.random.default_rng(seed)
    q, b = rng.standard_normal((items, rank)), 0.7 * rng.standard_normal(items)
    columns, values, counts = [], [], []
    for start in range(0, users, _USERS):
        n = min(_USERS, users - start)
        drawn = np.sort((items * rng.random((n, per_user), np.float32) ** 2).astype(np.int32), 1)
        kept = np.concatenate([np.ones((n, 1), bool), np.diff(drawn, axis=1) > 0], axis=1)
        p, a = rng.standard_normal((n, rank)), 0.7 * rng.standard_normal((n, 1))
        products = np.einsum("nr,nkr->nk", p, q[drawn]) / np.sqrt(rank)
        exact = 6 + a + b[drawn] + products + noise * rng.standard_normal(drawn.shape)
        columns.append(drawn[kept])
        values.append(np.clip(np.round(exact[kept]), 0, 10).astype(np.float32))
        counts.append(kept.sum(1))
    starts = np.concatenate([[0], np.cumsum(np.concatenate(counts))])
    triple = np.concatenate(values), np.concatenate(columns), starts
    matrix = csr_matrix(triple, shape=(users, items))
    return Ratings(matrix, np.arange(users), np.arange(items))
