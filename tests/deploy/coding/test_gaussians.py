import decimal

import numpy as np
import pytest
from scipy import stats

from jaxae.deploy.coding import gaussians
from jaxae.deploy.coding.containers import library

pytest.importorskip("constriction")


def test_codes_are_drawn_from_the_posterior_and_the_prior():
    n = 20_000
    cases = [(0.3, 0.004), (-2.0, 0.05), (1.2, 0.9), (0.0, 0.001), (15.9, 2.0), (0.0, 1.0)]
    for mean, scale in cases:
        row = [mean * 1024 * 8, 64 * np.log2(scale * 1024)]
        q = gaussians.gaussians(np.rint(np.tile(row, (n, 1))).astype(np.int32))
        if (mean, scale) == cases[-1]:
            q = gaussians.prior(n, 1)
        words = np.random.default_rng(0).integers(1, 2**32, 2 * n, dtype=np.uint32)
        coder = library().stack.AnsCoder(words)
        bins = gaussians.pop(coder, q)
        ends, below = np.unique(bins + 1, return_counts=True)
        gap = np.cumsum(below) / n - stats.norm.cdf(ends / 1024, mean, scale)
        assert np.abs(gap).max() < 1.95 / np.sqrt(n)  # Kolmogorov's bound of 0.1 %
        gaussians.push(coder, q, bins)
        np.testing.assert_array_equal(coder.get_compressed(), words)


def test_the_table_of_widths_does_not_depend_on_the_machine():
    decimal.getcontext().prec = 40
    for i, width in enumerate(gaussians._WIDTHS):
        steps = decimal.Decimal(2) ** (decimal.Decimal(i) / 64) * 2**20
        assert abs(steps - int(steps) - decimal.Decimal("0.5")) > decimal.Decimal("1e-3")
        assert width * 2**20 == int(steps.to_integral_value())
