"""How well scores tell anomalies from normal rows, and the baselines to compare with."""

import numpy as np
import numpy.typing as npt

from jaxae.base import Batch
from jaxae.evaluation.arrays import matrix
from jaxae.evaluation.baselines import column_means, fill, fitted_pca


def ranking_metrics(normal: npt.ArrayLike, anomalous: npt.ArrayLike) -> dict[str, float]:
    """How far above normal rows anomalies rank, by scores that are higher for stranger rows.

    Returns:
        `auroc`, the probability that an anomaly has a higher score than a normal row, 0.5 by
        chance; `average_precision`, by chance the share of anomalies among all rows, so that
        only sets with the same share compare.

    Raises:
        ValueError: either is not a row of numbers, or is empty.

    >>> ranking_metrics([1.0, 2.0], [3.0, 1.5])["auroc"]
    0.75
    """
    groups = [np.asarray(scores, np.float64) for scores in (normal, anomalous)]
    if any(a.ndim != 1 or not a.size or np.isnan(a).any() for a in groups):
        raise ValueError(
            "normal and anomalous are scores of shape (n,), n at least 1 and without NaN; got "
            f"shapes {[a.shape for a in groups]}."
        )
    from sklearn.metrics import average_precision_score, roc_auc_score

    truth, scores = np.repeat([0, 1], [len(a) for a in groups]), np.concatenate(groups)
    return {
        "auroc": float(roc_auc_score(truth, scores)),
        "average_precision": float(average_precision_score(truth, scores)),
    }


def pca_scores(train: Batch, test: Batch, k: int) -> np.ndarray:
    """The squared error of each test row by the first `k` components of the training rows.

    The mean over its observed entries, as of `anomaly_scores`; unobserved entries are filled
    with the mean of their column.

    Args:
        train: normal rows, `x` is `(n, ...)`.
        test: `x` is `(m, ...)`.
        k: components, from 1 to min(n, d).

    Returns:
        `(m,)`, float64.

    Raises:
        ValueError: either is no batch, or `k` is out of range.

    >>> line = {"x": np.array([[0.0, 0.0], [1.0, 2.0], [2.0, 4.0]])}
    >>> pca_scores(line, {"x": np.array([[3.0, 6.0], [0.0, 5.0]])}, 1).round(6).tolist()
    [0.0, 2.5]
    """
    x, filled, mask = _filled(train, test)
    pca = fitted_pca(x, k)
    squares = (filled - pca.inverse_transform(pca.transform(filled))) ** 2
    seen = np.ones(squares.shape, bool) if mask is None else mask
    return np.asarray(squares.sum(1, where=seen) / np.maximum(seen.sum(1), 1))


def forest_scores(train: Batch, test: Batch, *, trees: int = 200, seed: int = 0) -> np.ndarray:
    """The score of each test row by an isolation forest (Liu et al., 2008).

    2^(-E[depth] / c) in (0, 1) of scikit-learn's forest on the training rows, unobserved entries
    filled with the mean of their column.

    Args:
        train: normal rows, `x` is `(n, ...)`.
        test: `x` is `(m, ...)`.
        trees: their number.
        seed: of the trees.

    Returns:
        `(m,)`, float64.

    Raises:
        ValueError: either is no batch.

    >>> rows = {"x": np.random.default_rng(0).normal(size=(100, 2))}
    >>> near, far = forest_scores(rows, {"x": np.array([[0.0, 0.0], [9.0, 9.0]])})
    >>> bool(near < far)
    True
    """
    x, filled, _ = _filled(train, test)
    from sklearn.ensemble import IsolationForest

    forest = IsolationForest(n_estimators=trees, random_state=seed).fit(x)
    return np.asarray(-forest.score_samples(filled))


def _filled(train: Batch, test: Batch) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Both as matrices without gaps, and which entries of the latter are observed."""
    (x, mask), (new, seen) = matrix(train), matrix(test)
    if x.shape[1] != new.shape[1]:
        raise ValueError(
            f"The rows of train and test must have the same shape; got {np.shape(train['x'])[1:]} "
            f"and {np.shape(test['x'])[1:]}."
        )
    mean = column_means(x, mask)
    return fill(x, mask, mean), fill(new, seen, mean), seen
