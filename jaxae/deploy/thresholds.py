"""From scores to decisions whose false alarms are bounded: thresholds and conformal p-values.

What is promised holds for any model, score and distribution, in the mean over draws of the
calibration rows, as long as these and new normal rows are exchangeable, and the model was
trained on neither.
"""

import math
from typing import Any

import jax
import numpy as np
import numpy.typing as npt

from jaxae.base import Key, check_range


def threshold(
    scores: npt.ArrayLike, *, quantile: float | None = None, contamination: float | None = None
) -> float:
    """Above which score a row is flagged.

    With `quantile` q, of scores of n normal rows that the model was not trained on, the
    ceil(q (n + 1))-th smallest: a new normal row exceeds it with probability at most 1 - q, and
    exactly the rows whose `conformal_p_values` are at most 1 - q do. With `contamination` c, of
    scores of a mixture of which a share c is to be flagged, so many of these rows, ties left
    out, exceed it; there is no promise then.

    Args:
        scores: `(n,)`, finite, higher for stranger rows.
        quantile: in (0, 1), such as 0.95 for 5 % of false alarms.
        contamination: in (0, 1).

    Returns:
        The threshold; infinity where n is too small for the quantile, below q / (1 - q).

    Raises:
        ValueError: none or both are given, one out of range, or no finite scores on one axis.

    >>> threshold(np.arange(99.0), quantile=0.95), threshold([1.0, 2.0, 9.0], contamination=0.4)
    (94.0, 2.0)
    """
    if (quantile is None) == (contamination is None):
        raise ValueError(
            "Give quantile, for scores of normal rows, or contamination, for those of a mixture; "
            f"got quantile={quantile} and contamination={contamination}."
        )
    ordered = np.sort(_finite("scores", scores))
    if quantile is not None:
        check_range("quantile", quantile, 0.0, 1.0, open_low=True, open_high=True)
        rank = math.ceil(quantile * (len(ordered) + 1) - 1e-9)
        return float(ordered[rank - 1]) if rank <= len(ordered) else math.inf
    check_range("contamination", contamination, 0.0, 1.0, open_low=True, open_high=True)
    flagged = math.floor(float(contamination or 0) * len(ordered) + 1e-9)
    return float(ordered[len(ordered) - flagged - 1])


def conformal_p_values(
    calibration: npt.ArrayLike, scores: npt.ArrayLike, *, key: Key | None = None
) -> np.ndarray:
    """How often normal rows are at least as strange, (1 + #{calibration >= s}) / (n + 1).

    For a normal row P(p <= α) <= α at any α (Vovk et al., 2005; Laxhammar & Falkman, 2010): who
    flags p <= α has at most a share α of false alarms in the mean. P-values of several rows
    depend on each other through the calibration rows, in a way that `discoveries` allows
    (Bates et al., 2023).

    Args:
        calibration: `(n,)`, scores of normal rows that the model was not trained on.
        scores: `(m,)`, of the rows to judge.
        key: draws where in its ties a score stands, (#{calibration > s} + U (1 + #{calibration
            = s})) / (n + 1) with U uniform on (0, 1]: then P(p <= α) = α, with ties, too.

    Returns:
        `(m,)`, float64 in (0, 1].

    Raises:
        ValueError: either is not a row of finite numbers, or is empty.

    >>> conformal_p_values([1.0, 2.0, 3.0, 4.0], [0.0, 3.0, 9.0]).tolist()
    [1.0, 0.6, 0.2]
    """
    known, new = np.sort(_finite("calibration", calibration)), _finite("scores", scores)
    at_least = len(known) - np.searchsorted(known, new, side="left")
    if key is None:
        return (1.0 + at_least) / (len(known) + 1.0)
    above = len(known) - np.searchsorted(known, new, side="right")
    place = 1.0 - np.asarray(jax.random.uniform(key, new.shape), np.float64)
    return (above + place * (1 + at_least - above)) / (len(known) + 1.0)


def discoveries(p_values: npt.ArrayLike, rate: float = 0.1) -> np.ndarray:
    """Which rows to flag together, so that false alarms are at most a share `rate` of them.

    In the mean, by the step-up procedure of Benjamini & Hochberg (1995): as many rows of
    least p-value as have p <= rate · rank / m.

    Args:
        p_values: `(m,)`, of `conformal_p_values`.
        rate: the false discovery rate, in (0, 1).

    Returns:
        `(m,)`, booleans.

    Raises:
        ValueError: p-values beyond [0, 1], or a rate out of range.

    >>> discoveries([0.001, 0.9, 0.02, 0.5], rate=0.1).tolist()
    [True, False, True, False]
    """
    p = _finite("p_values", p_values)
    check_range("p_values", p, 0.0, 1.0)
    check_range("rate", rate, 0.0, 1.0, open_low=True, open_high=True)
    from scipy.stats import false_discovery_control

    return np.asarray(false_discovery_control(p) <= rate)


def false_alarm_interval(
    n: int, alpha: float, rows: int | None = None, level: float = 0.95
) -> tuple[float, float]:
    """Between which rates false alarms lie, given calibration by n rows at level α.

    The share of all normal rows that p <= α flags is a random number, through the calibration
    rows: without ties Beta(k, n + 1 - k) with k = floor(α (n + 1)) (Vovk, 2012). More rows bring
    it closer to α. Of a number of new normal rows the share is beta-binomial.

    Args:
        n: calibration rows.
        alpha: in (0, 1).
        rows: new normal rows among which false alarms are counted; None for their rate.
        level: the probability of the interval, with at most half of the rest on each side.

    Raises:
        ValueError: a number out of range.

    >>> low, high = false_alarm_interval(1000, 0.05)
    >>> f"{low:.3f} to {high:.3f}"
    '0.037 to 0.064'
    """
    check_range("n", n, 1)
    for name, value in (("alpha", alpha), ("level", level)):
        check_range(name, value, 0.0, 1.0, open_low=True, open_high=True)
    if rows is not None:
        check_range("rows", rows, 1)
    from scipy.stats import beta, betabinom

    k, ends = math.floor(alpha * (n + 1) + 1e-9), [(1 - level) / 2, (1 + level) / 2]
    if k == 0:
        return 0.0, 0.0
    if rows is None:
        low, high = beta.ppf(ends, k, n + 1 - k)
    else:
        low, high = betabinom.ppf(ends, rows, k, n + 1 - k) / rows
    return float(low), float(high)


def _finite(name: str, values: npt.ArrayLike) -> Any:
    """A row of finite floats, or `ValueError`."""
    a = np.asarray(values)
    a = a if a.dtype in (np.float32, np.float64) else a.astype(np.float64)
    if a.ndim != 1 or not a.size or not np.isfinite(a).all():
        raise ValueError(
            f"{name} are finite numbers of shape (n,), n at least 1; got shape {a.shape}"
            + (f" with {int((~np.isfinite(a)).sum())} NaN or infinite." if a.size else ".")
        )
    return a
