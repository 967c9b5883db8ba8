"""What every reconstruction is compared with: the mean, and PCA with as many codes."""

from typing import Any

import numpy as np
import numpy.typing as npt

from jaxae.base import Batch
from jaxae.evaluation.arrays import features, matrix


def mean_baseline(train: Batch, test: Batch) -> dict[str, float]:
    """Reconstructs every test row by the mean training row: zero codes.

    Args:
        train: `x` is `(n, ...)`; where it has a `mask`, only observed entries count.
        test: `x` is `(m, ...)`, likewise.

    Returns:
        `mse`, mean over observed entries, and `squared_error`, summed over the observed
        entries of an example, mean over examples; in float64.

    Raises:
        ValueError: Either is no batch, or their rows differ in shape.

    >>> mean_baseline({"x": np.array([[0.0], [2.0]])}, {"x": np.array([[3.0]])})
    {'mse': 4.0, 'squared_error': 4.0}
    """
    (x, mask), (x_test, test_mask) = _pair(train, test)
    mean = column_means(x, mask)
    return _errors(x_test, np.broadcast_to(mean, x_test.shape), test_mask)


def pca_baseline(train: Batch, test: Batch, k: int) -> dict[str, Any]:
    """Reconstructs by the first `k` principal components (Pearson, 1901).

    The best that a linear autoencoder of `k` codes can do on the training rows (Baldi &
    Hornik, 1989). Computed in float64, by the covariance where there are more rows than
    features and by a full decomposition otherwise; only where both exceed 4096 by a
    randomised one. Unobserved entries are filled with the mean of their column in the
    training rows, for want of anything as simple, and count in no error.

    Args:
        train: `x` is `(n, ...)`, d entries per row.
        test: `x` is `(m, ...)`.
        k: Codes, from 1 to min(n, d).

    Returns:
        `mse` and `squared_error` of the test rows, as of `mean_baseline`; `train_codes`,
        `(n, k)`, and `test_codes`, `(m, k)`; `components`, `(k, d)`, orthonormal rows.

    Raises:
        ValueError: Either is no batch, their rows differ in shape, or `k` is out of range.

    >>> line = {"x": np.array([[0.0, 0.0], [1.0, 2.0], [2.0, 4.0]])}
    >>> round(pca_baseline(line, line, 1)["mse"], 6)
    0.0
    """
    (x, mask), (x_test, test_mask) = _pair(train, test)
    mean = column_means(x, mask)
    x, filled = fill(x, mask, mean), fill(x_test, test_mask, mean)
    pca = fitted_pca(x, k)
    train_codes = pca.transform(x)
    test_codes = pca.transform(filled)
    errors = _errors(x_test, pca.inverse_transform(test_codes), test_mask)
    return {
        **errors,
        "train_codes": train_codes,
        "test_codes": test_codes,
        "components": pca.components_,
    }


def principal_angles(a: npt.ArrayLike, b: npt.ArrayLike) -> np.ndarray:
    """The angles between the column spaces of two matrices (Björck & Golub, 1973).

    All are 0 where one space holds the other, as the decoder of a linear autoencoder
    that has converged and the transposed `components` of PCA.

    Args:
        a: `(d, k)`, of full column rank.
        b: `(d, l)`, likewise.

    Returns:
        `(min(k, l),)`, in radians, from 0 to π/2, largest first.

    Raises:
        ValueError: Either is no matrix, or they differ in rows.

    >>> principal_angles([[1.0], [0.0]], [[1.0], [1.0]]).round(4).tolist()
    [0.7854]
    """
    left, right = features("a", a), features("b", b)
    if np.ndim(a) != 2 or np.ndim(b) != 2 or len(left) != len(right):
        raise ValueError(
            f"a and b must be (d, k) and (d, l) with the same d; got {np.shape(a)} and "
            f"{np.shape(b)}. Transpose what holds its directions as rows."
        )
    from scipy.linalg import subspace_angles

    return np.asarray(subspace_angles(left.astype(np.float64), right.astype(np.float64)))


def column_means(x: np.ndarray, mask: np.ndarray | None) -> np.ndarray:
    """Means of the observed entries of each column, `(d,)`; 0 where there are none."""
    if mask is None:
        return np.asarray(x.mean(0))
    return np.asarray(np.where(mask, x, 0.0).sum(0) / np.maximum(mask.sum(0), 1))


def fill(x: np.ndarray, mask: np.ndarray | None, mean: np.ndarray) -> np.ndarray:
    """`x`, `(n, d)`, with `mean`, `(d,)`, in place of what is not observed."""
    return x if mask is None else np.where(mask, x, mean)


def _pair(train: Batch, test: Batch) -> tuple[Any, Any]:
    """Matrices and masks of both splits."""
    pair = matrix(train), matrix(test)
    shapes = np.shape(train["x"])[1:], np.shape(test["x"])[1:]
    if shapes[0] != shapes[1]:
        raise ValueError(
            f"The rows of train and test must have the same shape; got {shapes[0]} and {shapes[1]}."
        )
    return pair


def fitted_pca(x: np.ndarray, k: int) -> Any:
    """Scikit-learn's PCA of `x`, `(n, d)`, with `k` components.

    Raises:
        ValueError: `k` is out of range.
    """
    n, d = x.shape
    if not 1 <= k <= min(n, d):
        raise ValueError(
            f"k must lie in [1, {min(n, d)}], the lesser of {n} rows and {d} features; got {k}."
        )
    from sklearn.decomposition import PCA

    with np.errstate(invalid="ignore"):  # constant data has no variance to explain a share of
        return PCA(k, svd_solver=pca_solver(n, d), random_state=0).fit(x)


def pca_solver(n: int, d: int) -> str:
    """The exact method of scikit-learn's PCA that is fastest, where one is feasible."""
    if min(n, d) > 4096:
        return "randomized"
    return "covariance_eigh" if n >= d else "full"


def _errors(x: np.ndarray, x_hat: np.ndarray, mask: np.ndarray | None) -> dict[str, float]:
    """Float64 errors over observed entries; `mse` is NaN where there are none."""
    squares = (x - x_hat) ** 2
    observed = float(squares.size if mask is None else mask.sum())
    total = float(squares.sum() if mask is None else squares.sum(where=mask))
    return {"mse": total / observed if observed else np.nan, "squared_error": total / len(x)}
