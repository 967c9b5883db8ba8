"""Training and validation rows."""

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
