"""One user's ratings, however they are given, as a row of a matrix."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxae.data.ratings import Ratings


def row_of(known: Ratings, ratings: Ratings | Mapping[Any, Any]) -> Ratings:
    """Ratings of one user on the known items.

    Args:
        known: says which items there are.
        ratings: `Ratings` of one user on these items, a mapping from items' ids to ratings, or
            a batch of one row, "x" and, unless all is observed, "mask".

    >>> from jaxae.data.ratings import ratings_from
    >>> known = ratings_from([0, 0], ["heat", "jaws"], [1.0, 2.0])
    >>> row_of(known, {"jaws": 4.0}).matrix.toarray().tolist()
    [[0.0, 4.0]]

    Raises:
        ValueError: more or less than one user, unknown items, or ratings that are not finite.
    """
    if isinstance(ratings, Ratings):
        if len(ratings.users) != 1 or not np.array_equal(ratings.items, known.items):
            raise ValueError(
                f"Give one user's ratings of the {len(known.items)} known items; got "
                f"{len(ratings.users)} users and {len(ratings.items)} items. A mapping from items "
                "to ratings may have any of them."
            )
        return ratings
    if "x" in ratings and np.ndim(ratings["x"]):
        return _row_of_batch(known, ratings)
    places = {item: column for column, item in enumerate(known.items.tolist())}
    if absent := [item for item in ratings if item not in places]:
        raise ValueError(
            f"The items {absent[:5]} are not among the {len(known.items)} known ones, such as "
            f"{known.items[:3].tolist()}."
        )
    return _one(known, [places[item] for item in ratings], list(ratings.values()))


def _row_of_batch(known: Ratings, batch: Mapping[str, Any]) -> Ratings:
    x = np.asarray(batch["x"])
    mask = np.asarray(batch.get("mask", np.ones(x.shape)))
    if x.shape not in ((len(known.items),), (1, len(known.items))) or mask.shape != x.shape:
        raise ValueError(
            f"A batch of one user has x, and mask, of shape (1, {len(known.items)}); got "
            f"{x.shape} and {mask.shape}."
        )
    columns = np.flatnonzero(mask)
    return _one(known, columns, x.ravel()[columns])


def _one(known: Ratings, columns: Any, values: Any) -> Ratings:
    from scipy.sparse import csr_matrix

    order = np.argsort(columns)
    indices = np.asarray(columns, np.int32)[order]
    data = np.asarray(values, np.float32)[order]
    if not np.isfinite(data).all():
        raise ValueError("Ratings are finite numbers; leave out what the user did not rate.")
    matrix = csr_matrix((data, indices, [0, len(indices)]), shape=(1, len(known.items)))
    return Ratings(matrix, np.array(["new"]), known.items)
