"""The figure of rate against distortion has the points, their means and lines of equal ELBO."""

import numpy as np
import pytest

from jaxae.evaluation import rate_distortion

BETAS = [2.0, 0.5, 2.0, 0.5]
RATES, DISTORTIONS = [4.0, 10.0, 6.0, 12.0], [20.0, 8.0, 22.0, 10.0]


def test_a_line_joins_the_means_of_each_beta_and_dashes_keep_the_sum(rendered):
    figure = rate_distortion(RATES, DISTORTIONS, BETAS)
    axes = figure.axes[0]
    curve, *dashes = axes.get_lines()
    np.testing.assert_allclose(curve.get_xydata(), [[11.0, 9.0], [5.0, 21.0]])
    np.testing.assert_allclose(axes.collections[0].get_offsets(), np.c_[RATES, DISTORTIONS])
    assert [text.get_text() for text in axes.texts] == ["0.5", "2"]
    sums = [np.unique(np.round(line.get_xydata().sum(1), 9)) for line in dashes]
    assert all(len(total) == 1 for total in sums)
    assert sums[0] == 20.0
    assert rendered(figure)


@pytest.mark.parametrize(
    ("rates", "message"), [([1.0], "members"), ([np.nan, 1.0, 2.0, 3.0], "finite")]
)
def test_members_that_do_not_match_are_refused(rates, message):
    with pytest.raises(ValueError, match=message):
        rate_distortion(rates, DISTORTIONS, BETAS)
