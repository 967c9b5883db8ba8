"""Ranking metrics by counting pairs, and the baselines beside scikit-learn and by hand."""

import numpy as np
import pytest

from jaxae.evaluation import detection, pca_baseline


def test_auroc_is_the_share_of_pairs_in_order_and_precision_is_averaged_over_anomalies():
    rng = np.random.default_rng(0)
    normal, strange = rng.integers(0, 8, 40) / 1.0, rng.integers(4, 12, 15) / 1.0
    found = detection.ranking_metrics(normal, strange)
    gaps = strange[:, None] - normal[None]
    assert found["auroc"] == pytest.approx(((gaps > 0) + 0.5 * (gaps == 0)).mean())
    precision = [
        (strange >= s).sum() / ((strange >= s).sum() + (normal >= s).sum()) for s in strange
    ]
    assert found["average_precision"] == pytest.approx(np.mean(precision))
    assert detection.ranking_metrics([0.0, 1.0], [2.0]) == {"auroc": 1.0, "average_precision": 1.0}


def test_pca_scores_average_to_the_error_of_the_baseline_and_count_observed_entries_alone():
    rng = np.random.default_rng(1)
    train, test = {"x": rng.random((60, 2, 3))}, {"x": rng.random((20, 2, 3))}
    score = detection.pca_scores(train, test, 2)
    assert score.mean() == pytest.approx(pca_baseline(train, test, 2)["mse"])
    mask = rng.random((20, 2, 3)) < 0.6
    some = {"x": np.where(mask, test["x"], np.nan), "mask": mask}
    found = detection.pca_scores(train, some, 2) * mask.sum((1, 2))
    error = pca_baseline(train, {**some, "x": np.where(mask, test["x"], 0)}, 2)["squared_error"]
    assert found.mean() == pytest.approx(error)


def test_a_row_far_off_is_strange_to_a_forest_and_gaps_are_filled_with_means():
    rng = np.random.default_rng(2)
    train = {"x": rng.normal(size=(200, 3))}
    rows = {"x": np.array([[0.0, 0, 0], [8.0, 8, 8], [8.0, 8, 8]])}
    near, far, hidden = detection.forest_scores(
        train, {**rows, "mask": np.array([[1, 1, 1], [1, 1, 1], [0, 0, 0]])}, trees=50
    )
    assert hidden == pytest.approx(near, abs=0.05)
    assert far > near + 0.1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: detection.ranking_metrics([], [1.0]), "normal and anomalous"),
        (lambda: detection.ranking_metrics([np.nan], [1.0]), "without NaN"),
        (lambda: detection.pca_scores({"x": np.ones((5, 3))}, {"x": np.ones((5, 3))}, 4), "k must"),
        (lambda: detection.forest_scores({"x": np.ones((5, 3))}, {"x": np.ones((5, 2))}), "same"),
    ],
)
def test_what_does_not_fit_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
