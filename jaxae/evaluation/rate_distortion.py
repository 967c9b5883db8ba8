"""Rate against distortion, over one sweep of beta."""

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from jaxae.evaluation.drawing import short, single

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def rate_distortion(
    rate: npt.ArrayLike,
    distortion: npt.ArrayLike,
    beta: npt.ArrayLike,
    *,
    title: str | None = None,
) -> "Figure":
    """The rates and distortions of models that differ in beta (Alemi et al., 2018).

    A line joins the means of each beta, in order; points are the members. Along the dashed
    lines the negative ELBO, rate + distortion, is the same: the lowest that touches the curve
    is that of the best bound, which is where beta is 1.

    Args:
        rate: `(members,)` nats.
        distortion: `(members,)` nats.
        beta: `(members,)`.
        title: of the figure.

    >>> figure = rate_distortion([9.0, 4.0], [10.0, 12.0], [0.5, 1.0])
    >>> figure.axes[0].get_lines()[0].get_xdata().tolist()
    [9.0, 4.0]

    Raises:
        ValueError: lengths that differ, no members, or entries that are not finite.
    """
    points = [np.asarray(a, np.float64) for a in (rate, distortion, beta)]
    if any(a.shape != points[0].shape or a.ndim != 1 or not a.size for a in points):
        raise ValueError(
            f"rate, distortion and beta are (members,) each; got {[a.shape for a in points]}."
        )
    if not all(np.isfinite(a).all() for a in points):
        raise ValueError("rate, distortion and beta must be finite; leave diverged members out.")
    rates, distortions, betas = points
    levels = np.unique(betas)
    means = np.array([[a[betas == b].mean() for a in (rates, distortions)] for b in levels])
    figure, axes = single(5.2, 4.2)
    axes.plot(means[:, 0], means[:, 1], color="C0", linewidth=1.5)
    axes.scatter(rates, distortions, color="C0", s=14, alpha=0.6)
    for names, (x, y) in _labels(levels, means):
        axes.annotate(names, (x, y), xytext=(5, 5), textcoords="offset points", fontsize="small")
    axes.margins(0.1)
    limits = axes.get_xlim(), axes.get_ylim()
    totals = np.linspace(means.sum(1).min(), limits[0][1] + limits[1][1], 6)[:-1]
    for total in totals:
        ends = np.asarray(limits[0])
        axes.plot(ends, total - ends, color="0.75", linewidth=0.8, linestyle="--", zorder=0)
    axes.set(xlim=limits[0], ylim=limits[1])
    axes.set_xlabel("rate, nats per example")
    axes.set_ylabel("distortion, nats per example")
    axes.set_title(title or "Numbers: beta; dashed: equal ELBO", fontsize="medium")
    return figure


def _labels(levels: np.ndarray, means: np.ndarray) -> list[tuple[str, np.ndarray]]:
    """The betas at their means, those that lie on top of each other as one."""
    near = 0.03 * (np.ptp(means, axis=0) + 1e-12)
    found: list[tuple[list[str], np.ndarray]] = []
    for level, at in zip(levels, means, strict=True):
        if found and (np.abs(found[-1][1] - at) < near).all():
            found[-1][0].append(short(level))
        else:
            found.append(([short(level)], at))
    return [(", ".join(names), at) for names, at in found]
