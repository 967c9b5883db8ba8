"""How far apart two sets of features lie, by the Gaussians fitted to them; mostly NumPy."""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from jaxae.base import as_float
from jaxae.evaluation.arrays import features
from jaxae.evaluation.baselines import pca_solver


def frechet_distance(a: npt.ArrayLike, b: npt.ArrayLike) -> float:
    """The squared Fréchet distance of the Gaussians fitted to two sets of features.

        |m_a - m_b|^2 + tr(S_a + S_b - 2 (S_a S_b)^(1/2))   (Dowson & Landau, 1982)

    m and S are the mean and the sample covariance (divisor n - 1) of a set's rows. It
    compares two moments and no more: sets that share these are at distance 0 however
    else they differ.

    A distance says nothing without the features it was measured in: state them (such as
    "the first 50 principal components of the training pixels") and both numbers of rows
    beside it. Only distances in the same features and of equally many rows compare, as
    drawing few rows biases it upwards, even between draws of one distribution. The usual
    figure of this form in papers is that of one pretrained network (Heusel et al., 2017),
    with which a distance in other features has nothing in common but the formula.

    Args:
        a: `(n, d)`, n >= 2; further axes are flattened, bytes are pixels in [0, 1].
        b: `(m, d)`, m >= 2, likewise.

    Returns:
        The distance, 0 or more, in squared units of the features.

    Raises:
        ValueError: Values are not finite, rows are too few, or features differ in number.

    >>> round(frechet_distance([[0.0], [2.0]], [[3.0], [5.0]]), 6)
    9.0
    """
    left, right = rows("a", a).astype(np.float64), rows("b", b).astype(np.float64)
    if left.shape[1] != right.shape[1]:
        raise ValueError(
            f"a and b must have the same features; got {left.shape[1]} and {right.shape[1]}. "
            "Compute both by the same function."
        )
    if min(len(left), len(right)) < 2:
        raise ValueError(f"A covariance needs at least two rows; got {len(left)} and {len(right)}.")
    moments = [(x.mean(0), np.cov(x, rowvar=False).reshape(2 * x.shape[1:])) for x in (left, right)]
    return gaussian_frechet_distance(*moments[0], *moments[1])


def gaussian_frechet_distance(
    mean_a: npt.ArrayLike, cov_a: npt.ArrayLike, mean_b: npt.ArrayLike, cov_b: npt.ArrayLike
) -> float:
    """The squared Fréchet (2-Wasserstein) distance of two Gaussians of known moments.

    As `frechet_distance`, for moments that are known or were kept. The root of the
    product is never formed: its trace is the sum of the singular values of L_a^T L_b, where
    L L^T = S comes of a symmetric eigendecomposition. That stays accurate where covariances
    are singular.

    Args:
        mean_a: `(d,)`.
        cov_a: `(d, d)`, symmetric and positive semidefinite up to rounding.
        mean_b: `(d,)`.
        cov_b: `(d, d)`, likewise.

    Returns:
        The distance, 0 or more.

    Raises:
        ValueError: Shapes do not agree, values are not finite, or a covariance is none.

    >>> round(gaussian_frechet_distance([0.0, 0.0], np.eye(2), [0.0, 1.0], 4 * np.eye(2)), 6)
    3.0
    """
    means = [np.asarray(mean, np.float64) for mean in (mean_a, mean_b)]
    covs = [np.asarray(cov, np.float64) for cov in (cov_a, cov_b)]
    d = means[0].size
    if any(m.shape != (d,) for m in means) or any(s.shape != (d, d) for s in covs) or not d:
        shapes = [a.shape for a in (means[0], covs[0], means[1], covs[1])]
        raise ValueError(f"Moments must be (d,), (d, d), (d,) and (d, d); got {shapes}.")
    left, right = _factor("cov_a", covs[0]), _factor("cov_b", covs[1])
    gap = means[0] - means[1]
    if not np.isfinite(gap).all():
        raise ValueError("mean_a and mean_b must be finite; got NaN or infinity.")
    spread = np.trace(covs[0]) + np.trace(covs[1]) - 2.0 * np.linalg.norm(left.T @ right, "nuc")
    return max(0.0, float(gap @ gap + spread))  # rounding may leave a hair less than 0


def pca_features(train: npt.ArrayLike, dims: int) -> Callable[[npt.ArrayLike], np.ndarray]:
    """The first `dims` principal components of training rows, as a feature function.

    Features that need no pretrained network: linear, in the units of the data, not
    whitened. Computed in float64, as by `pca_baseline`.

    Args:
        train: `(n, ...)`, d entries per row; bytes are pixels in [0, 1].
        dims: From 1 to min(n, d).

    Returns:
        A function from `(m, ...)`, rows like those of `train`, to `(m, dims)` in float64:
        projections of the rows less the training mean. It raises `ValueError` where rows
        differ in size from those of `train` or are not finite.

    Raises:
        ValueError: `train` is not finite, or `dims` is out of range.

    >>> project = pca_features([[0.0, 1.0], [4.0, 1.0], [8.0, 1.0]], dims=1)
    >>> np.abs(project([[5.0, 7.0]])).tolist()
    [[1.0]]
    """
    x = rows("train", train).astype(np.float64)
    n, d = x.shape
    if not 1 <= dims <= min(n, d):
        raise ValueError(
            f"dims must lie in [1, {min(n, d)}], the lesser of {n} rows and {d} features; "
            f"got {dims}."
        )
    from sklearn.decomposition import PCA

    with np.errstate(invalid="ignore"):  # constant data has no variance to explain a share of
        pca = PCA(dims, svd_solver=pca_solver(n, d), random_state=0).fit(x)

    def project(x: npt.ArrayLike) -> np.ndarray:
        given = rows("x", x).astype(np.float64)
        if given.shape[1] != d:
            raise ValueError(
                f"x must have {d} entries per row, as the training rows; got {given.shape[1]}."
            )
        return np.asarray(pca.transform(given))

    return project


def rows(name: str, x: npt.ArrayLike) -> np.ndarray:
    """`x` as finite floats, `(n, d)`; bytes become pixels in [0, 1], as models read them."""
    array = np.asarray(x)
    return features(name, array if array.dtype != np.uint8 else as_float(jnp.asarray(array)))


def _factor(name: str, cov: np.ndarray) -> np.ndarray:
    """L of shape `(d, d)` with L L^T = `cov`."""
    scale = np.abs(cov).max()
    if not np.isfinite(scale) or np.abs(cov - cov.T).max() > 1e-6 * scale:
        raise ValueError(f"{name} must be finite and symmetric, as np.cov makes it.")
    values, vectors = np.linalg.eigh(cov)
    if values[0] < -1e-6 * scale:
        raise ValueError(
            f"{name} must be positive semidefinite; its least eigenvalue is {values[0]:.3g}."
        )
    return np.asarray(vectors * np.sqrt(np.maximum(values, 0.0)))
