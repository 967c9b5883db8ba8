import bz2
import io

import numpy as np
import pytest
from PIL import Image

from jaxae.deploy.coding.general import general_rates


def test_general_rates_are_those_of_files_that_hold_the_data():
    grey = (np.arange(20 * 8 * 8).reshape(20, 8, 8) // 3 % 251).astype(np.uint8)
    rates = general_rates(grey)
    assert rates["bz2"] == 8 * len(bz2.compress(grey.tobytes())) / grey.size
    sheet = np.vstack([np.hstack(list(row)) for row in grey[:20].reshape(5, 4, 8, 8)])
    buffer = io.BytesIO()
    Image.fromarray(sheet).save(buffer, format="PNG", optimize=True)
    assert rates["png"] == 8 * len(buffer.getvalue()) / grey.size
    binary = np.random.default_rng(0).integers(0, 2, (400, 16, 16, 1)).astype(np.uint8)
    for name, value in general_rates(binary).items():
        assert 1.0 < value < 1.1, name  # coin flips, packed, can not be compressed
    assert "png" not in general_rates(binary.reshape(200, -1))
    colours = np.random.default_rng(0).integers(0, 256, (20, 16, 16, 3)).astype(np.uint8)
    assert 8.0 < general_rates(colours)["png"] < 8.5
    for x in (np.zeros((3, 4)), np.zeros((0, 4), np.uint8), np.zeros(4, np.uint8)):
        with pytest.raises(ValueError, match="uint8"):
            general_rates(x)
