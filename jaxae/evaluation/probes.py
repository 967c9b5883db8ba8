"""How much of the labels a simple classifier reads off the codes."""

import warnings

import numpy as np
import numpy.typing as npt

from jaxae.base import check_range
from jaxae.evaluation.arrays import features, labels


def linear_probe(
    train_z: npt.ArrayLike,
    train_y: npt.ArrayLike,
    test_z: npt.ArrayLike,
    test_y: npt.ArrayLike,
    *,
    C: float = 1.0,
    max_iter: int = 200,
) -> float:
    """Test accuracy of logistic regression on frozen codes (Alain & Bengio, 2016).

    Features are standardised by the training codes; constant ones are left without
    effect. The regression minimises its penalised cross-entropy by L-BFGS. Where that
    stops at `max_iter`, the classifier is taken as it is, as an early-stopped one, and
    scikit-learn's ConvergenceWarning is not shown: on many nearly separable features
    the weights still grow when the accuracy has long settled.

    Args:
        train_z: Codes, `(n, features)`; further axes are flattened.
        train_y: Integer labels, `(n,)`, of at least two classes.
        test_z: `(m, features)`.
        test_y: `(m,)`.
        C: Inverse strength of the L2 penalty, greater than 0.
        max_iter: The most L-BFGS iterations.

    Returns:
        The share of test rows that are classified correctly, in [0, 1].

    Raises:
        ValueError: Shapes do not agree, values are not finite, or one class only.

    >>> z = np.array([[0.0], [0.1], [1.0], [1.1]])
    >>> linear_probe(z, [0, 0, 1, 1], z, [0, 0, 1, 1])
    1.0
    """
    check_range("C", C, 0.0, open_low=True)
    check_range("max_iter", max_iter, 1)
    train_z, train_y, test_z, test_y = _check(train_z, train_y, test_z, test_y)
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    probe = make_pipeline(StandardScaler(), LogisticRegression(C=C, max_iter=max_iter))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        probe.fit(train_z, train_y)
    return float(probe.score(test_z, test_y))


def knn_probe(
    train_z: npt.ArrayLike,
    train_y: npt.ArrayLike,
    test_z: npt.ArrayLike,
    test_y: npt.ArrayLike,
    *,
    k: int = 5,
) -> float:
    """Test accuracy of the vote of the `k` nearest training codes (Fix & Hodges, 1951).

    Distances are Euclidean, between the codes as they are: unlike a linear probe this
    one feels the scale of each code.

    Args:
        train_z: Codes, `(n, features)`; further axes are flattened.
        train_y: Integer labels, `(n,)`, of at least two classes.
        test_z: `(m, features)`.
        test_y: `(m,)`.
        k: Neighbours, from 1 to n.

    Returns:
        The share of test rows that are classified correctly, in [0, 1].

    Raises:
        ValueError: Shapes do not agree, values are not finite, one class only, or `k`
            is out of range.

    >>> z = np.array([[0.0], [0.1], [1.0], [1.1]])
    >>> knn_probe(z, [0, 0, 1, 1], z, [0, 0, 1, 1], k=1)
    1.0
    """
    train_z, train_y, test_z, test_y = _check(train_z, train_y, test_z, test_y)
    check_range("k, the number of neighbours among the training rows,", k, 1, len(train_z))
    from sklearn.neighbors import KNeighborsClassifier

    probe = KNeighborsClassifier(n_neighbors=k).fit(train_z, train_y)
    return float(probe.score(test_z, test_y))


def _check(
    train_z: npt.ArrayLike, train_y: npt.ArrayLike, test_z: npt.ArrayLike, test_y: npt.ArrayLike
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Features and labels of both splits, that a classifier can take."""
    train, test = features("train_z", train_z), features("test_z", test_z)
    if train.shape[1] != test.shape[1]:
        raise ValueError(
            "train_z and test_z must have the same number of features; got "
            f"{train.shape[1]} and {test.shape[1]}. Encode both with the same model."
        )
    classes = labels("train_y", train_y, len(train))
    if (classes == classes[0]).all():
        raise ValueError(
            f"A probe needs at least two classes in train_y; got only {classes[0]}. "
            "Shuffle before taking a subset, or give more rows."
        )
    return train, classes, test, labels("test_y", test_y, len(test))
