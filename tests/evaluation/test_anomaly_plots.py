"""Figures of anomaly scores: what is drawn is what was given."""

import numpy as np
import pytest

from jaxae.evaluation import anomaly_plots


def texts(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_a_histogram_has_the_shares_of_each_group_and_the_threshold(rendered):
    rng = np.random.default_rng(0)
    normal, strange = rng.normal(5, 1, 400), rng.normal(9, 1, 30)
    figure = anomaly_plots.score_histogram(normal, strange, 7.0, title="two groups")
    assert rendered(figure)
    axes = figure.axes[0]
    heights = [sum(bar.get_height() for bar in bars) for bars in axes.containers]
    np.testing.assert_allclose(heights, [100, 100])
    assert axes.lines[0].get_xdata()[0] == 7.0
    shares = [100 * (group > 7).mean() for group in (normal, strange)]
    assert sorted(texts(figure)) == sorted(
        [
            f"normal: {shares[0]:.1f} % of 400 flagged",
            f"anomalies: {shares[1]:.1f} % of 30 flagged",
            "threshold 7",
        ]
    )
    assert axes.get_xscale() == "linear"


def test_scores_over_decades_are_drawn_on_a_logarithmic_axis_and_no_threshold_is_no_line(rendered):
    scores = np.geomspace(1e-3, 10, 50)
    figure = anomaly_plots.score_histogram(scores, threshold=np.inf, names=("new rows", ""))
    assert rendered(figure)
    assert figure.axes[0].get_xscale() == "log"
    assert not figure.axes[0].lines
    assert texts(figure) == ["new rows: 0.0 % of 50 flagged"]
    assert rendered(anomaly_plots.score_histogram(np.zeros(5)))


def test_images_are_ranked_with_their_reconstruction_and_the_share_of_each_pixel(rendered):
    rng = np.random.default_rng(1)
    x, x_hat, errors = rng.random((3, 5, 4, 4, 1))
    scores = np.array([0.2, 0.9, 0.1, 0.5, 0.7])
    figure = anomaly_plots.ranked_examples(
        x, x_hat, errors, scores, names=list("abcde"), max_examples=3
    )
    assert rendered(figure)
    assert [axes.get_title() for axes in figure.axes[:3]] == ["b\n0.9", "e\n0.7", "d\n0.5"]
    for row, image in enumerate((x, x_hat, errors)):
        for column, i in enumerate((1, 4, 3)):
            drawn = figure.axes[3 * row + column].images[0].get_array()
            np.testing.assert_allclose(np.asarray(drawn), image[i, ..., 0], rtol=1e-6)
    assert figure.axes[0].get_ylabel() == "x"


def test_rows_of_a_table_are_lines_of_signed_errors_with_the_largest_feature_first(rendered):
    x, x_hat = np.zeros((4, 3)), np.zeros((4, 3))
    x[2] = [1.0, 0.0, -2.0]
    errors = np.square(x - x_hat) / 3
    figure = anomaly_plots.ranked_examples(
        x, x_hat, errors, errors.sum(1), feature_names=["mass", "size", "heat"], max_examples=2
    )
    assert rendered(figure)
    axes = figure.axes[0]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["heat", "mass", "size"]
    drawn = np.asarray(axes.images[0].get_array())
    np.testing.assert_allclose(drawn[0], [-np.sqrt(4 / 3), np.sqrt(1 / 3), 0])
    assert (drawn[1] == 0).all()
    assert axes.get_yticklabels()[0].get_text() == "1.67"


def test_colour_images_and_flat_rows_of_a_given_shape_are_images(rendered):
    x = np.random.default_rng(2).random((2, 12))
    figure = anomaly_plots.ranked_examples(x, x, x, [1.0, 2.0], shape=(2, 2, 3))
    assert rendered(figure)
    np.testing.assert_allclose(
        np.asarray(figure.axes[4].images[0].get_array()), x[1].reshape(2, 2, 3).sum(-1)
    )


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: anomaly_plots.score_histogram([]), "finite numbers"),
        (lambda: anomaly_plots.score_histogram([1.0], [np.nan]), "finite numbers"),
        (lambda: ranked(x_hat=np.ones((2, 3))), "one shape"),
        (lambda: ranked(scores=[1.0]), "one shape"),
        (lambda: ranked(names=["a"]), "a name"),
        (lambda: ranked(feature_names=["a"]), "feature_names"),
        (lambda: ranked(max_examples=0), "at least 1"),
    ],
)
def test_what_does_not_fit_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def ranked(**changed):
    given = {"x": np.ones((2, 4)), "x_hat": np.ones((2, 4)), "errors": np.ones((2, 4))}
    return anomaly_plots.ranked_examples(**{**given, "scores": [1.0, 2.0], **changed})
