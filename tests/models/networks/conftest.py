"""What tests of networks share: convolutions by SciPy."""

import numpy as np
import pytest
from scipy import signal


@pytest.fixture
def by_scipy():
    """`(x, kernel, strides, dilation) -> maps`, in float64, of maps padded by hand.

    x is `(batch, *sizes, channels)`, kernel `(*taps, channels, features)`.
    """

    def convolve(x, kernel, strides, dilation):
        x, kernel = np.asarray(x, np.float64), np.asarray(kernel, np.float64)
        *taps, channels, features = kernel.shape
        reach = [(k - 1) * d + 1 for k, d in zip(taps, dilation, strict=True)]
        wide = np.zeros((*reach, channels, features))
        wide[tuple(slice(None, None, d) for d in dilation)] = kernel
        totals = [
            max((-(-n // step) - 1) * step + r - n, 0)
            for n, step, r in zip(x.shape[1:-1], strides, reach, strict=True)
        ]
        around = [(0, 0), *((total // 2, total - total // 2) for total in totals), (0, 0)]
        x, places = np.pad(x, around), tuple(slice(None, None, step) for step in strides)
        return np.stack(
            [
                [signal.correlate(row, wide[..., f], "valid")[..., 0][places] for row in x]
                for f in range(features)
            ],
            axis=-1,
        )

    return convolve
