"""The FFHQ five-point template, the one place that knows its numbers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from restore.errors import InputError

FFHQ_512: tuple[tuple[float, float], ...] = (
    # facexlib's template for FFHQ crops at 512 px, which the GFPGAN family was trained on
    (192.98138, 239.94708),
    (318.90277, 240.1936),
    (256.63416, 314.01935),
    (201.26117, 371.41043),
    (313.08905, 371.15118),
)
"""x, y of left eye, right eye, nose, left and right mouth corner in a 512 px crop."""


def ffhq_template(
    size: int, zoom: float = 1.0, centre: tuple[float, float] = (256.0, 256.0)
) -> NDArray[np.float64]:
    """Five points [5,2] of an aligned crop of size x size pixels, in its pixel coordinates.

    The 512 px template is enlarged by `zoom` about `centre` (512 px units), which moves to the
    middle of the frame; zoom 1 about (256, 256) is the plain FFHQ frame.
    """
    if size < 1 or zoom <= 0:
        raise InputError(f"template of size {size} and zoom {zoom}; expected both above 0")
    points = (np.array(FFHQ_512) - np.array(centre, np.float64)) * zoom + 256
    return (points + 0.5) * (size / 512) - 0.5
