"""Ratings predicted by a trained autoencoder, and the items to recommend."""

from collections.abc import Iterator, Mapping
from typing import Any, Literal, NamedTuple

import numpy as np

from jaxae.base import Autoencoder, Params, check_range
from jaxae.data.centring import Centring
from jaxae.data.densifying import dense
from jaxae.data.ratings import Ratings
from jaxae.deploy.rating_rows import row_of

_ENTRIES = 2**24
"""Dense at once."""


class Recommender(NamedTuple):
    """A trained model, and all that its predictions rest on.

    What the model is given as input are the `known` ratings alone, less their centring, and
    predictions are `centring.expected` plus what the model makes of them. Where nothing is known
    of a user or of an item, and `masked`, the model is not asked: there the prediction is what is
    expected, the item's mean for a user without ratings, the user's for an item without, the
    mean of all for both.

    Attributes:
        model: trained on centred ratings.
        params: of the model.
        known: users by items, the training ratings; of other users than those trained on
            for a user-based model, if need be.
        centring: of the ratings trained on; `centring.for_users(known)` of other users.
        by: whose ratings are a row of the model, a "user"'s or an "item"'s.
        masked: whether the model's batches have a mask. Without (implicit feedback) predictions
            are scores to order items by, for users and items of whom nothing is known, too.
        ridge: of an item-based model, which has no column for a new user: the penalty with which
            one is fitted (see `recommend`). l2's weight times the number of items is that of
            the decoder's last layer in training.
        limits: the least and the greatest rating, which no prediction exceeds; None where there
            are none.
    """

    model: Autoencoder
    params: Params
    known: Ratings
    centring: Centring
    by: Literal["user", "item"] = "user"
    masked: bool = True
    ridge: float = 50.0
    limits: tuple[float, float] | None = None


class Recommendations(NamedTuple):
    """Items with the highest predictions, the best one first.

    Attributes:
        items: their ids, `(n,)`.
        ratings: what is predicted, `(n,)`.
    """

    items: np.ndarray
    ratings: np.ndarray


def predict_ratings(recommender: Recommender, wanted: Ratings) -> np.ndarray:
    """Predictions for the pairs that `wanted` has ratings of, `(n,)`, in its order of `entries`.

    Only the places of these ratings are looked at, never their values.

    Raises:
        ValueError: `wanted` is of other users or items than the known ratings.

    >>> import jax, jaxae
    >>> from jaxae.data.centring import centre
    >>> from jaxae.data.ratings import ratings_from
    >>> ratings = ratings_from([0, 0, 1], [7, 8, 8], [1.0, 2.0, 3.0])
    >>> model = jaxae.deep(2, 1)
    >>> params = model.init(jax.random.key(0), dense(ratings))
    >>> recommender = Recommender(model, params, ratings, centre(ratings))
    >>> predict_ratings(recommender, ratings).shape
    (3,)
    """
    if not (
        np.array_equal(wanted.users, recommender.known.users)
        and np.array_equal(wanted.items, recommender.known.items)
    ):
        raise ValueError(
            "The ratings wanted are of other users or items than the known ones. Load both as one "
            "and split them with split_ratings, or give the recommender these users' known ratings."
        )
    rows, columns, _ = wanted.entries
    lines, places = (rows, columns) if recommender.by == "user" else (columns, rows)
    out = np.zeros(len(rows))
    order = np.argsort(lines, kind="stable")
    for chosen, block in _blocks(recommender, np.unique(lines)):
        first, last = np.searchsorted(lines[order], [chosen[0], chosen[-1] + 1])
        here = order[first:last]
        out[here] = block[np.searchsorted(chosen, lines[here]), places[here]]
    return _finished(recommender, out, rows, columns)


def predict_users(recommender: Recommender, users: np.ndarray) -> np.ndarray:
    """Predictions of all items for known users, `(len(users), items)`.

    Args:
        recommender: what predicts.
        users: numbers of rows of the known ratings.
    """
    numbers = np.asarray(users)
    items = np.arange(len(recommender.known.items))
    if recommender.by == "user":
        order, back = np.unique(numbers, return_inverse=True)
        out = np.concatenate([block for _, block in _blocks(recommender, order)])[back]
    else:
        out = np.concatenate([block[:, numbers] for _, block in _blocks(recommender, items)]).T
    return _finished(recommender, out, numbers[:, None], items[None, :])


def recommend(
    recommender: Recommender,
    ratings: Ratings | Mapping[Any, Any] | int | str,
    n: int = 10,
    *,
    exclude_seen: bool = True,
) -> Recommendations:
    """The `n` items with the highest predictions for a user, known or new.

    A new user's own mean is estimated from the ratings given; nothing is trained. A user-based
    model is then given them as a row. An item-based one has learned a column for each user that it
    was trained on, and none for this one: it is fitted, by ridge regression of what the user's
    ratings exceed expectations by on the codes of the items rated (less the mean of all codes).
    That is what a last layer of the decoder that is linear in the codes would learn of this
    user's ratings with all else held fixed.

    Args:
        recommender: what predicts.
        ratings: of a new user: a mapping from items' ids to ratings, `Ratings` of one user on
            the known items, or a batch of one row ("x" and, unless all is observed, "mask").
            Or the id of a known user.
        n: how many, at most as many as there are items left.
        exclude_seen: leaves out the items rated already.

    >>> import jax, jaxae
    >>> from jaxae.data.centring import centre
    >>> from jaxae.data.ratings import ratings_from
    >>> ratings = ratings_from([0, 0, 1], [7, 8, 8], [1.0, 2.0, 3.0])
    >>> model = jaxae.deep(2, 1)
    >>> params = model.init(jax.random.key(0), dense(ratings))
    >>> recommender = Recommender(model, params, ratings, centre(ratings))
    >>> recommend(recommender, {7: 1.5}).items.tolist(), recommend(recommender, 1).items.tolist()
    ([8], [7])

    Raises:
        ValueError: n below 1, no such user, items that are not among the known ones, or more
            or less than one user's ratings.
    """
    check_range("n", n, 1)
    known = recommender.known
    if isinstance(ratings, Ratings | Mapping):
        row = row_of(known, ratings)
        found = _new_user(recommender, row)
    else:
        number = np.flatnonzero(known.users.astype(str) == str(ratings))
        if not len(number):
            raise ValueError(
                f"There is no user {ratings!r} among the {len(known.users)} known ones, such as "
                f"{known.users[:3].tolist()}. Of a new user give the ratings."
            )
        row = Ratings(known.matrix[number], known.users[number], known.items)
        found = predict_users(recommender, number)[0]
    order = np.argsort(-found, kind="stable")
    if exclude_seen:
        order = order[~np.isin(order, row.matrix.indices)]
    return Recommendations(known.items[order[:n]], found[order[:n]])


def _blocks(recommender: Recommender, lines: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Numbers of rows of the model, a few at a time, and what it predicts of these rows."""
    model, params, centring = recommender.model, recommender.params, recommender.centring
    rated = np.diff(recommender.known.matrix.indptr) > 0, centring.counts > 0
    given = centring.apply(recommender.known)
    if recommender.by == "item":
        rated, given = rated[::-1], given.transposed
    size = max(1, min(1024, _ENTRIES // given.matrix.shape[1]))
    for start in range(0, len(lines), size):
        chosen = lines[start : start + size]
        batch = dense(given, chosen, mask=recommender.masked)
        block = np.array(model.decode(params, model.encode(params, batch), model.context(batch)))
        if recommender.masked:
            block *= rated[0][chosen][:, None] & rated[1]
        yield chosen, block


def _new_user(recommender: Recommender, row: Ratings) -> np.ndarray:
    """Predictions of all items for the user of one row, `(items,)`."""
    centring = recommender.centring.for_users(row)
    new = recommender._replace(known=row, centring=centring)
    if recommender.by == "user":
        return predict_users(new, np.array([0]))[0]
    model, params, items = recommender.model, recommender.params, np.arange(len(row.items))
    check_range("ridge", recommender.ridge, 0.0, open_low=True, open_high=True)
    given = recommender.centring.apply(recommender.known).transposed
    size = max(1, min(1024, _ENTRIES // given.matrix.shape[1]))
    parts = np.split(items, range(size, len(items), size))
    z = np.concatenate([model.encode(params, dense(given, part)) for part in parts])
    z = (z - z.mean(0)).reshape(len(z), -1).astype(np.float64)
    _, rated, rest = centring.apply(row).entries
    gram = z[rated] @ z[rated].T + recommender.ridge * np.eye(len(rated))
    out = z @ (z[rated].T @ np.linalg.solve(gram, rest.astype(np.float64)))
    return _finished(new, np.where(centring.counts > 0, out, 0.0), 0, items)


def _finished(recommender: Recommender, out: np.ndarray, rows: Any, columns: Any) -> np.ndarray:
    """What the model predicts, on the scale of the ratings."""
    found = out + recommender.centring.expected(rows, columns)
    return found if recommender.limits is None else np.clip(found, *recommender.limits)
