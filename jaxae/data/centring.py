"""Centring of ratings: the mean, and how far users and items lie from it."""

from typing import Literal, NamedTuple

import numpy as np

from jaxae.base import check_range
from jaxae.data.ratings import Ratings

_ROUNDS, _TOLERANCE = 200, 1e-6


class Centring(NamedTuple):
    """What is taken off ratings before a model sees them, and put back on its predictions.

    A model of centred ratings that predicts 0 predicts mean + user + item: what it does not
    know is then a mean, too.

    Attributes:
        mean: of all ratings.
        users: what each user adds to it, `(users,)`, 0 where nothing is known.
        items: what each item adds to it, `(items,)`, likewise.
        counts: of each item's ratings among those that it was fitted to, `(items,)`.
        user_weight: of the penalty on `users`, which new users' ratings are to be given, too.
    """

    mean: float
    users: np.ndarray
    items: np.ndarray
    counts: np.ndarray
    user_weight: float

    def expected(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """What is expected of pairs, `(n,)`, or of all where `rows` is `(n, 1)`."""
        return self.mean + self.users[rows] + self.items[columns]

    def apply(self, ratings: Ratings) -> Ratings:
        """The ratings less what is expected of them.

        Raises:
            ValueError: the ratings have other numbers of users or items.
        """
        shape = len(self.users), len(self.items)
        if ratings.matrix.shape != shape:
            raise ValueError(
                f"This centring is of (users, items) {shape}; got {ratings.matrix.shape}. Take "
                "the ratings' `for_users` first where they are of other users."
            )
        rows, columns, values = ratings.entries
        return ratings.with_values(values - self.expected(rows, columns))

    def for_users(self, ratings: Ratings) -> "Centring":
        """The same for other users' ratings of the same items, which do not change."""
        rows, columns, values = ratings.entries
        rest = values - self.mean - self.items[columns]
        return self._replace(users=_shrunk(rows, rest, len(ratings.users), self.user_weight))


def centre(
    ratings: Ratings,
    kind: Literal["biases", "mean", "none"] = "biases",
    *,
    user_weight: float = 2.0,
    item_weight: float = 3.0,
) -> Centring:
    """Fits a `Centring` to training ratings alone.

    With "biases" it minimises, alternating between the two closed forms until they stay,

        Σ (rating - mean - user - item)² + user_weight Σ user² + item_weight Σ item²

    Args:
        ratings: the training ratings.
        kind: "biases", "mean" (all users and items are 0), or "none" (the mean, too).
        user_weight: above 0; half of what a user with so many ratings adds is kept.
        item_weight: likewise.

    >>> from jaxae.data.ratings import ratings_from
    >>> ratings = ratings_from([0, 0, 1, 1], [0, 1, 0, 1], [5.0, 4.0, 2.0, 1.0])
    >>> found = centre(ratings, user_weight=1e-9, item_weight=1e-9)
    >>> found.mean, found.users.round(3).tolist(), found.items.round(3).tolist()
    (3.0, [1.5, -1.5], [0.5, -0.5])

    Raises:
        ValueError: an unknown kind, or weights that are not positive.
    """
    if kind not in ("biases", "mean", "none"):
        raise ValueError(f"kind is 'biases', 'mean' or 'none'; got {kind!r}.")
    check_range("user_weight", user_weight, 0.0, open_low=True, open_high=True)
    check_range("item_weight", item_weight, 0.0, open_low=True, open_high=True)
    n, m = ratings.matrix.shape
    users, items = np.zeros(n), np.zeros(m)
    rows, columns, values = ratings.entries
    counts = np.bincount(columns, minlength=m)
    mean = 0.0 if kind == "none" else float(values.mean(dtype=np.float64))
    if kind != "biases":
        return Centring(mean, users, items, counts, np.inf)
    rest = values.astype(np.float64) - mean
    for _ in range(_ROUNDS):
        before = users
        users = _shrunk(rows, rest - items[columns], n, user_weight)
        items = _shrunk(columns, rest - users[rows], m, item_weight)
        if np.abs(users - before).max() <= _TOLERANCE:
            break
    return Centring(mean, users, items, counts, user_weight)


def _shrunk(group: np.ndarray, values: np.ndarray, count: int, weight: float) -> np.ndarray:
    """The sum of each group's values over its size and `weight`."""
    sizes = np.bincount(group, minlength=count)
    return np.bincount(group, values, count) / (sizes + weight)
