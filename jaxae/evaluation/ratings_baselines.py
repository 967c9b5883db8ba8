"""What every model of ratings is compared with: means, factors and linear neighbours."""

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from jaxae.base import check_range
from jaxae.data.centring import Centring, centre
from jaxae.data.ratings import Ratings

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

Predictor = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""From row and column numbers of pairs, `(n,)` each, to ratings."""


def global_mean(train: Ratings) -> Predictor:
    """Predicts the mean of the training ratings.

    >>> from jaxae.data.ratings import ratings_from
    >>> global_mean(ratings_from([0, 1], [0, 1], [1.0, 2.0]))(np.array([0]), np.array([1])).tolist()
    [1.5]
    """
    mean = float(train.matrix.data.mean(dtype=np.float64))
    return lambda rows, columns: np.full(len(rows), mean)


def biased_means(
    train: Ratings, *, user_weight: float = 2.0, item_weight: float = 3.0
) -> Predictor:
    """Predicts the mean and what user and item add to it, by `jaxae.data.centre`."""
    return centre(train, user_weight=user_weight, item_weight=item_weight).expected


class Factors(NamedTuple):
    """A biased factorisation: rating = mean + user bias + item bias + user · item.

    Attributes:
        centring: the mean and the biases.
        users: `(users, rank)`.
        items: `(items, rank)`.
    """

    centring: Centring
    users: np.ndarray
    items: np.ndarray

    def predict(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """The ratings of pairs, `(n,)`."""
        products = np.einsum("nk,nk->n", self.users[rows], self.items[columns])
        return self.centring.expected(rows, columns) + products


def factorise(
    train: Ratings,
    rank: int = 20,
    *,
    weight: float = 20.0,
    user_weight: float = 2.0,
    item_weight: float = 3.0,
    steps: int = 15,
    seed: int = 0,
) -> Factors:
    """Biased matrix factorisation by alternating least squares (Koren et al., 2009).

    Minimises, the users' and the items' rows of unknowns in turn and each exactly,

        Σ (rating - mean - b_u - c_i - p_u · q_i)² + weight (Σ |p_u|² + Σ |q_i|²)
          + user_weight Σ b_u² + item_weight Σ c_i²

    Args:
        train: the training ratings.
        rank: the length of p and q.
        weight: of the penalty on them.
        user_weight: of that on the users' biases.
        item_weight: of that on the items' biases.
        steps: passes over users and items.
        seed: of the first q; biases start as those of `biased_means`.

    >>> from jaxae.data.ratings import ratings_from
    >>> train = ratings_from([0, 0, 1, 1], [0, 1, 0, 1], [5.0, 1.0, 1.0, 5.0])
    >>> weights = {"weight": 1e-4, "user_weight": 1e-4, "item_weight": 1e-4}
    >>> found = factorise(train, 1, **weights)
    >>> found.predict(np.array([0, 0]), np.array([0, 1])).round(2).tolist()
    [5.0, 1.0]

    Raises:
        ValueError: rank or steps below 1, or weights that are not positive.
    """
    check_range("rank", rank, 1)
    check_range("steps", steps, 1)
    check_range("weight", weight, 0.0, open_low=True, open_high=True)
    start = centre(train, user_weight=user_weight, item_weight=item_weight)
    n, m = train.matrix.shape
    q = 0.1 * np.random.default_rng(seed).standard_normal((m, rank))
    rest = train.with_values(train.matrix.data - start.mean)
    by_user, by_item = rest.matrix.astype(np.float64), rest.transposed.matrix.astype(np.float64)
    p, b, c = np.zeros((n, rank)), start.users, start.items
    for _ in range(steps):
        p, b = _ridge(by_user, q, c, weight, user_weight)
        q, c = _ridge(by_item, p, b, weight, item_weight)
    return Factors(start._replace(users=b, items=c), p, q)


def _ridge(
    ratings: "csr_matrix", others: np.ndarray, offsets: np.ndarray, weight: float, bias: float
) -> tuple[np.ndarray, np.ndarray]:
    """Each row's factors and bias, given the factors and biases of the columns."""
    seen = ratings.copy()
    seen.data[:] = 1.0
    x = np.concatenate([others, np.ones((len(others), 1))], axis=1)
    width = x.shape[1]
    gram = (seen @ (x[:, :, None] * x[:, None, :]).reshape(len(x), -1)).reshape(-1, width, width)
    gram += np.diag(np.r_[np.full(width - 1, weight), bias])
    right = ratings @ x - seen @ (x * offsets[:, None])
    found = np.linalg.solve(gram, right[:, :, None])[:, :, 0]
    return found[:, :-1], found[:, -1]


def ease_weights(matrix: "csr_matrix", weight: float) -> np.ndarray:
    """The item-to-item weights B of EASE, `(items, items)`, with a diagonal of 0 (Steck, 2019).

    The minimum of ‖X - X B‖² + weight ‖B‖² over all B without diagonal, in closed form: with
    P = (XᵀX + weight I)⁻¹ it is B = I - P diag(1 / diag P). Scores of users are X B.

    Args:
        matrix: X, `(users, items)`; what is not stored counts as 0.
        weight: above 0; a few hundred for thousands of users.

    >>> from scipy.sparse import csr_matrix
    >>> ease_weights(csr_matrix([[1.0, 1.0], [1.0, 1.0]]), 2.0).tolist()
    [[0.0, 0.5], [0.5, 0.0]]

    Raises:
        ValueError: a weight that is not positive.
    """
    check_range("weight", weight, 0.0, open_low=True, open_high=True)
    x = matrix.astype(np.float64)
    inverse = np.linalg.inv((x.T @ x).toarray() + weight * np.eye(x.shape[1]))
    weights = -inverse / np.diag(inverse)
    np.fill_diagonal(weights, 0.0)
    return weights


def ease(
    train: Ratings,
    weight: float = 100.0,
    *,
    user_weight: float = 2.0,
    item_weight: float = 3.0,
) -> Predictor:
    """Predicts `biased_means`, and by EASE what a user's ratings exceed them by (Steck, 2019).

    Its items by items are dense: for at most some 10,000 items.

    >>> from jaxae.data.ratings import ratings_from
    >>> train = ratings_from([0, 0, 1, 1], [0, 1, 0, 1], [5.0, 4.0, 2.0, 1.0])
    >>> ease(train, 1.0)(np.array([0]), np.array([1])).shape
    (1,)
    """
    centring = centre(train, user_weight=user_weight, item_weight=item_weight)
    rest = centring.apply(train).matrix.astype(np.float64)
    weights = np.ascontiguousarray(ease_weights(rest, weight).T)

    def predict(rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        out = np.empty(len(rows))
        for start in range(0, len(rows), 1024):
            part = slice(start, start + 1024)
            known = rest[rows[part]]
            out[part] = np.asarray(known.multiply(weights[columns[part]]).sum(1)).ravel()
        return out + centring.expected(rows, columns)

    return predict
