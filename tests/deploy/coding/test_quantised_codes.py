import numpy as np
import pytest

from jaxae.deploy.coding import quantised_codes

pytest.importorskip("constriction")


def test_columns_cost_their_entropy():
    rng = np.random.default_rng(0)
    codes = np.rint(rng.normal([0, 5, -300, 7], [3.0, 20.0, 0.4, 0.0], (5000, 4))).astype(np.int64)
    codes[0, 0] = -(2**31)
    side, payload = quantised_codes.push_columns(codes)
    np.testing.assert_array_equal(quantised_codes.pop_columns(side, payload, 5000, 4), codes)
    entropy = 0.0
    for column in codes.T:
        p = np.unique(column, return_counts=True)[1] / 5000
        entropy -= 5000 * (p * np.log2(p)).sum()
    assert abs(8 * len(payload) / entropy - 1) < 0.002
