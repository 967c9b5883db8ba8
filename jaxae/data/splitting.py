"""Training and validation rows, and few labelled ones."""

from numbers import Integral

import numpy as np

from jaxae.base import Batch, num_examples
from jaxae.data.arrays import take


def split(
    data: Batch, fraction: float = 0.1, seed: int = 0
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Returns `(train, validation)`: a shuffled `fraction` of the rows, and the rest before it.

    Both are stratified by integer labels "y" as far as every class has two rows and both
    sides have room for each class. The arrays are fresh, aligned (see `aligned_empty`)
    and hold what models take; memory-mapped ones are read block by block.

    Args:
        data: arrays by name with equally many rows.
        fraction: the share of validation rows, in (0, 1).
        seed: which rows.

    Raises:
        ValueError: a fraction outside (0, 1), or one that leaves a side empty.

    >>> train, validation = split({"x": np.ones((50, 3), np.float32)}, fraction=0.2)
    >>> train["x"].shape, validation["x"].shape
    ((40, 3), (10, 3))
    """
    from sklearn.model_selection import train_test_split

    count = num_examples(data)
    held_out = int(np.ceil(fraction * count)) if 0 < fraction < 1 else 0
    if not 0 < held_out < count:
        raise ValueError(
            f"fraction={fraction} of {count} rows leaves a side empty. It lies in (0, 1), and both "
            "sides need a row."
        )
    arrays = {name: np.asanyarray(array) for name, array in data.items()}
    train, validation = train_test_split(
        np.arange(count),
        test_size=held_out,
        random_state=seed,
        stratify=_classes(arrays.get("y"), held_out, count),
    )
    return _take_all(arrays, train), _take_all(arrays, validation)


def labelled_subset(
    data: Batch, n: int, seed: int = 0, *, balanced: bool = False
) -> dict[str, np.ndarray]:
    """Returns `n` rows, shuffled, with as nearly the classes' shares of `data` as n allows.

    For experiments with few labels. Places go to the classes by the divisors 1, 3, 5, ...
    (Sainte-Laguë, 1910), each class having the first of its own; so shares are exact where
    they are whole numbers, and no class is left out. With one seed the rows of a smaller n
    are among those of a larger one. The arrays are as those of `split`.

    Args:
        data: arrays by name with equally many rows, integer labels "y" among them.
        n: the number of rows, at least that of the classes.
        seed: which rows.
        balanced: equally many rows of each class (one more of some where n is no multiple),
            as in 10 for each of 10 classes.

    Raises:
        ValueError: labels that are missing or are no integers of shape `(examples,)`, n no
            integer from the number of classes to that of rows, or with `balanced` a class
            with too few rows.

    >>> data = {"x": np.ones((50, 3), np.float32), "y": np.repeat([0, 1], [40, 10])}
    >>> np.bincount(labelled_subset(data, 10)["y"]).tolist()
    [8, 2]
    >>> np.bincount(labelled_subset(data, 10, balanced=True)["y"]).tolist()
    [5, 5]
    """
    arrays = {name: np.asanyarray(array) for name, array in data.items()}
    return _take_all(arrays, labelled_rows(data, n, seed, balanced=balanced))


def labelled_rows(data: Batch, n: int, seed: int = 0, *, balanced: bool = False) -> np.ndarray:
    """The numbers of the rows that `labelled_subset` takes; only `y` is looked at.

    >>> labelled_rows({"x": np.ones((4, 3)), "y": np.array([0, 0, 1, 1])}, 2).shape
    (2,)
    """
    count = num_examples(data)
    order = np.random.default_rng(seed).permutation(count)
    names, y, sizes = np.unique(
        _labels(data, count)[order], return_inverse=True, return_counts=True
    )
    if not isinstance(n, Integral) or not len(names) <= n <= count:
        raise ValueError(
            f"n must be an integer from {len(names)}, the number of classes, to {count}, the "
            f"number of rows; got {n!r}."
        )
    starts = np.cumsum(sizes) - sizes
    rank = np.empty(count, int)  # 0 for the first row of its class, in the shuffled order
    rank[np.argsort(y, kind="stable")] = np.arange(count) - np.repeat(starts, sizes)
    claim = -rank if balanced else np.where(rank == 0, np.inf, sizes[y] / (2 * rank + 1))
    chosen = np.sort(np.argsort(-claim, kind="stable")[:n])
    if balanced and np.ptp(np.bincount(y[chosen], minlength=len(names))) > 1:
        raise ValueError(
            f"{n} rows of {len(names)} classes need {n / len(names):.4g} of each; class "
            f"{names[sizes.argmin()]} has {sizes.min()}. Take fewer, or leave balanced out."
        )
    return order[chosen]


def _labels(data: Batch, count: int) -> np.ndarray:
    """The labels, if there is an integer for each row, else `ValueError`."""
    if "y" not in data:
        raise ValueError(f'A labelled subset needs labels "y"; the data has {sorted(data)}.')
    y = np.asarray(data["y"])
    if y.ndim != 1 or y.dtype.kind not in "biu":
        raise ValueError(
            f"y must be one integer for each row, of shape ({count},); got {y.dtype} of shape "
            f"{y.shape}. Turn one-hot labels into classes with argmax(1)."
        )
    return y


def _classes(y: np.ndarray | None, held_out: int, count: int) -> np.ndarray | None:
    """`y` where splits can be stratified by it, else None."""
    if y is None or y.ndim != 1 or y.dtype.kind not in "biu":
        return None
    sizes = np.unique(y, return_counts=True)[1]
    fits = sizes.min() >= 2 and len(sizes) <= min(held_out, count - held_out)
    return y if fits else None


def _take_all(arrays: dict[str, np.ndarray], indices: np.ndarray) -> dict[str, np.ndarray]:
    return {
        name: array[indices] if name == "y" else take(array, indices)
        for name, array in arrays.items()
    }
