"""What general compressors make of the same data."""

import bz2
import gzip
import io
import lzma
import math

import numpy as np
import numpy.typing as npt


def general_rates(x: npt.ArrayLike) -> dict[str, float]:
    """Bits per dimension of general compressors on uint8 `x`, at their best settings.

    All rows together: "gzip", "bz2", "lzma" get the raw bytes, of data of only 0 and 1
    its bits, packed; "png" one picture with all of them side by side, where rows are images
    `(height, width)` or with 1 or 3 channels.

    >>> sorted(general_rates(np.zeros((10, 8, 8), np.uint8)))
    ['bz2', 'gzip', 'lzma', 'png']

    Raises:
        ValueError: `x` is empty or not uint8 or bool.
    """
    x = np.asarray(x)
    if x.dtype not in (np.uint8, np.bool_) or x.ndim < 2 or not x.size:
        raise ValueError(f"x has rows of uint8 or bool; got {x.dtype} of shape {x.shape}.")
    x = x.astype(np.uint8)
    binary = bool(x.max() <= 1)
    raw = (np.packbits(x) if binary else x).tobytes()
    sizes = {
        "gzip": len(gzip.compress(raw, 9)),
        "bz2": len(bz2.compress(raw, 9)),
        "lzma": len(lzma.compress(raw, preset=9 | lzma.PRESET_EXTREME)),
    }
    if x.ndim == 3 or (x.ndim == 4 and x.shape[-1] in (1, 3)):
        sizes["png"] = _png(x, binary)
    return {name: 8 * size / x.size for name, size in sizes.items()}


def _png(x: np.ndarray, binary: bool) -> int:
    from PIL import Image

    across = math.isqrt(len(x))
    blank = np.zeros((-len(x) % across, *x.shape[1:]), np.uint8)
    tiles = np.concatenate([x, blank]).reshape(-1, across, *x.shape[1:])
    sheet = np.concatenate(np.moveaxis(tiles, 1, 0), axis=2)  # (down, height, width, ...)
    sheet = sheet.reshape(-1, *sheet.shape[2:])
    sheet = sheet[..., 0] if sheet.shape[2:] == (1,) else sheet
    image = Image.fromarray(sheet.astype(bool) if binary and sheet.ndim == 2 else sheet)
    file = io.BytesIO()
    image.save(file, format="PNG", optimize=True)
    return len(file.getvalue())
