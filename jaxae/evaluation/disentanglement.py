"""Whether each code stands for one known factor: MIG, DCI and SAP; NumPy and scikit-learn."""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from jaxae.base import check_range
from jaxae.evaluation.arrays import features


class DCI(NamedTuple):
    """Disentanglement, completeness and informativeness; see `dci`.

    Attributes:
        disentanglement: 1 where each code that is used predicts one factor only.
        completeness: 1 where each factor is predicted by one code only.
        informativeness: the mean over factors of the accuracy on held-out rows.
        importances: of code i in predicting factor j, `(latent_dim, num_factors)`; each
            column sums to 1, or to 0 where no code is of use.
    """

    disentanglement: float
    completeness: float
    informativeness: float
    importances: np.ndarray


def discretise(values: npt.ArrayLike, bins: int = 20) -> np.ndarray:
    """Numbers the bins of equal width that values, `(n, columns)`, fall in, from 0.

    The bins of a column, at least 2, lie between its extremes; a constant one is in bin 0.

    Raises:
        ValueError: `values` is no finite matrix, or `bins` is out of range.

    >>> discretise([[0.0], [0.4], [0.6], [1.0]], bins=2).ravel().tolist()
    [0, 0, 1, 1]
    """
    check_range("bins", bins, 2)
    x = features("values", values).astype(np.float64)
    low, width = x.min(0), np.ptp(x, 0)
    return np.minimum((x - low) / np.where(width > 0, width, 1.0) * bins, bins - 1).astype(np.int64)


def mutual_information(
    codes: npt.ArrayLike, factors: npt.ArrayLike, *, bins: int = 20
) -> np.ndarray:
    """The mutual information of each code, in bins, and each factor, in nats.

    Of the shares of rows in each cell of bin and level, arguments as of `mig`. It is biased
    upwards, for independent ones by about (bins - 1)(levels - 1) / 2n: take many more rows
    than cells. Returns `(latent_dim, num_factors)`, from 0 to the factor's entropy.

    Raises:
        ValueError: As of `mig`, but one code will do.

    >>> mutual_information([[0.0], [0.1], [0.8], [0.9]], [[0], [0], [1], [1]]).round(4).tolist()
    [[0.6931]]
    """
    z, levels = _check(codes, factors, least_codes=1)
    binned = discretise(z, bins).T
    joint = [[_entropy(b * (v.max() + 1) + v) for v in levels.T] for b in binned]
    alone = np.array([_entropy(b) for b in binned])[:, None] + [_entropy(v) for v in levels.T]
    return np.maximum(alone - np.array(joint), 0.0)


def mig(codes: npt.ArrayLike, factors: npt.ArrayLike, *, bins: int = 20) -> float:
    """The mutual information gap (Chen et al., 2018).

        mean over factors k of (I(z_a; v_k) - I(z_b; v_k)) / H(v_k)

    where a and b are the codes that tell most and second most of factor k. As in Locatello
    et al. (2019) a row has one code, such as its posterior mean, in bins of equal width. 1
    where each factor is known from one code and no other tells of it.

    Args:
        codes: `(n, latent_dim)`, at least two.
        factors: `(n, num_factors)`, whole numbers, each its own level; `discretise` others.
        bins: Of each code. Fewer than the levels of a factor keep its gap below 1.

    Raises:
        ValueError: Rows differ in number, values are not finite, a factor is constant or
            not whole, there is but one code, or `bins` is less than 2.

    >>> factors = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
    >>> round(mig(factors * 1.5, factors), 4)
    1.0
    """
    z, levels = _check(codes, factors)
    information = mutual_information(z, levels, bins=bins)
    return float((_gap(information) / [_entropy(v) for v in levels.T]).mean())


def sap(codes: npt.ArrayLike, factors: npt.ArrayLike, *, min_variance: float = 0.0) -> float:
    """The separated attribute predictability (Kumar et al., 2018), of classes.

        mean over factors of S_a - S_b

    where S is the balanced accuracy (mean recall of the levels) of telling a factor from
    one code by thresholds, and a and b are its two best codes. Thresholds, one less than
    levels, are those of a decision tree with balanced weights, grown greedily by Gini
    impurity, fitted to and scored on all rows as in the paper. A useless code scores
    1 / levels, so perfect disentanglement is the mean over factors of 1 - 1 / levels, not 1.
    Codes of a variance of `min_variance` or less are inactive: their S is 0.

    Raises:
        ValueError: As of `mig`, or `min_variance` is negative.

    >>> factors = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
    >>> sap(factors * 1.5, factors)
    0.5
    """
    check_range("min_variance", min_variance, 0.0)
    z, levels = _check(codes, factors)
    from sklearn.metrics import balanced_accuracy_score
    from sklearn.tree import DecisionTreeClassifier

    scores = np.zeros((z.shape[1], levels.shape[1]))
    for j, v in enumerate(levels.T):
        tree = DecisionTreeClassifier(
            max_leaf_nodes=int(v.max()) + 1, class_weight="balanced", random_state=0
        )
        for i in np.flatnonzero((np.ptp(z, 0) > 0) & (z.var(0) > min_variance)):
            told = tree.fit(z[:, [i]], v).predict(z[:, [i]])
            scores[i, j] = balanced_accuracy_score(v, told)
    return float(_gap(scores).mean())


def dci(
    codes: npt.ArrayLike,
    factors: npt.ArrayLike,
    *,
    classifier: Any = None,
    test_share: float = 0.25,
    seed: int = 0,
) -> DCI:
    """Disentanglement, completeness and informativeness (Eastwood & Williams, 2018).

    A classifier predicts each factor from all codes. Its importances of the codes give the
    first two, by `dci_scores`; its accuracy on held-out rows, averaged over factors, is the
    third (in the paper an error). Only figures of one classifier and as many rows compare.

    Args:
        codes: `(n, latent_dim)`, at least two.
        factors: `(n, num_factors)`, at least two, whole numbers; `discretise` others.
        classifier: Of scikit-learn, with `feature_importances_`; cloned for each factor. By
            default gradient boosting as scikit-learn sets it (100 trees of depth 3 a level,
            importances by impurity), as in Locatello et al. (2019). On factors of many
            levels `RandomForestClassifier(max_features=None)` is far faster.
        test_share: The share of rows held out, between 0 and 1.
        seed: Of the split, and of the default classifier.

    Raises:
        ValueError: As of `mig`, there is but one factor, or rows to fit lack its levels.

    >>> factors = np.array([[0, 0], [0, 1], [1, 0], [1, 1]] * 5)
    >>> [round(score, 4) for score in dci(factors * 1.5, factors)[:3]]
    [1.0, 1.0, 1.0]
    """
    check_range("test_share", test_share, 0.0, 1.0, open_low=True, open_high=True)
    z, levels = _check(codes, factors, least_factors=2)
    from sklearn.base import clone
    from sklearn.ensemble import GradientBoostingClassifier
    from sklearn.model_selection import train_test_split

    if classifier is None:
        classifier = GradientBoostingClassifier(random_state=seed)
    order = np.lexsort(z[::-1])  # by value: a classifier may break ties by the order of codes
    train_z, test_z, train_levels, test_levels = train_test_split(
        z[:, order], levels, test_size=test_share, random_state=seed
    )
    if few := np.flatnonzero(np.ptp(train_levels, 0) == 0).tolist():
        raise ValueError(f"All {len(train_z)} rows to fit show one level of factors {few}.")
    importances, accuracies = [], []
    for v, test_v in zip(train_levels.T, test_levels.T, strict=True):
        fitted = clone(classifier).fit(train_z, v)
        importances.append(fitted.feature_importances_)
        accuracies.append(fitted.score(test_z, test_v))
    r = np.stack(importances, axis=1)[np.argsort(order)]
    return DCI(*dci_scores(r), float(np.mean(accuracies)), r)


def dci_scores(importances: npt.ArrayLike) -> tuple[float, float]:
    """Disentanglement and completeness of importances R, `(latent_dim, num_factors)`.

        D = sum_i w_i (1 - H(R_i. / sum_j R_ij) / log num_factors),  w_i = sum_j R_ij / sum R
        C = mean over j of 1 - H(R_.j / sum_i R_ij) / log latent_dim

    H is the entropy, and each column of R first scaled to sum 1, so that factors weigh
    alike. A factor that no code is of use for has C = 0, and D = 0 where there is no other.

    Raises:
        ValueError: R has fewer than two rows or columns, or is not finite and 0 or more.

    >>> dci_scores([[1.0, 0.0], [0.0, 3.0], [0.0, 0.0]])
    (1.0, 1.0)
    >>> dci_scores([[1.0, 1.0], [0.0, 0.0]])
    (0.0, 1.0)
    """
    r = features("importances", importances).astype(np.float64)
    if min(r.shape) < 2 or r.min() < 0:
        given = f"{r.shape} and {r.min():.3g}"
        raise ValueError(f"importances must be (>= 2, >= 2) and 0 or more; got {given}.")
    r = _shares(r, 0)
    codes = 1.0 - _entropy_of(_shares(r, 1), 1) / np.log(r.shape[1])
    factors = np.where(r.any(0), 1.0 - _entropy_of(r, 0) / np.log(r.shape[0]), 0.0)
    weights = _shares(r.sum(1), 0)
    return float(np.clip(weights @ codes, 0.0, 1.0)), float(np.clip(factors.mean(), 0.0, 1.0))


def _check(
    codes: npt.ArrayLike, factors: npt.ArrayLike, least_codes: int = 2, least_factors: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    """Codes, and of each factor the number of its level, from 0."""
    z, v = features("codes", codes), np.asarray(factors)
    if np.ndim(codes) != 2 or z.shape[1] < least_codes:
        wanted = f"(n, latent_dim), latent_dim >= {least_codes}"
        raise ValueError(f"codes must be {wanted}; got {np.shape(codes)}.")
    if v.ndim != 2 or len(v) != len(z) or v.shape[1] < least_factors:
        wanted = f"({len(z)}, num_factors), as many rows as codes, num_factors >= {least_factors}"
        raise ValueError(f"factors must be {wanted}; got {v.shape}.")
    if v.dtype.kind not in "iub" and not (v == np.round(features("factors", v))).all():
        raise ValueError(f"factors must be whole numbers; got other {v.dtype}. Use discretise.")
    levels = np.stack([np.unique(column, return_inverse=True)[1] for column in v.T], axis=1)
    if constant := np.flatnonzero(levels.max(0) == 0).tolist():
        raise ValueError(f"A factor must vary; those of columns {constant} do not. Drop them.")
    return z, levels


def _gap(scores: np.ndarray) -> np.ndarray:
    """By how much the largest of each column exceeds the second largest."""
    second, first = np.sort(scores, axis=0)[-2:]
    return np.asarray(first - second)


def _entropy(numbers: np.ndarray) -> float:
    """Of the shares in which numbers from 0 occur, in nats."""
    return float(_entropy_of(np.bincount(numbers) / len(numbers), 0))


def _entropy_of(p: np.ndarray, axis: int) -> np.ndarray:
    return np.asarray(-(p * np.log(np.where(p > 0, p, 1.0))).sum(axis))


def _shares(a: np.ndarray, axis: int) -> np.ndarray:
    total = a.sum(axis, keepdims=True)
    return np.asarray(a / np.where(total > 0, total, 1.0))
