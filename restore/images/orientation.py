"""EXIF orientation applied to pixel arrays."""

from __future__ import annotations

import numpy as np


def turn_upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Turn pixels [h,w] or [h,w,c] as stored with EXIF `orientation` 1..8 upright.

    Exif 2.32, table 6: 2 mirrored, 3 upside down, 4 flipped, 5 transposed, 6 needs a quarter turn
    clockwise, 7 transversed, 8 needs a quarter turn anticlockwise.
    """
    if orientation == 1:
        return pixels
    turned = {
        2: lambda p: p[:, ::-1],
        3: lambda p: p[::-1, ::-1],
        4: lambda p: p[::-1],
        5: lambda p: p.swapaxes(0, 1),
        6: lambda p: np.rot90(p, -1),
        7: lambda p: p[::-1, ::-1].swapaxes(0, 1),
        8: lambda p: np.rot90(p, 1),
    }[orientation](pixels)
    return np.ascontiguousarray(turned)
