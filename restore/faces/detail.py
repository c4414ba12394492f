"""Detail of the photo above the network's resolution: how far it can be trusted."""

from __future__ import annotations

from restore.faces.quality import FaceQuality

_RATIO = (1.15, 1.5)  # px of the photo per px of the crop where there begins to be such detail
_NOISE = (3.0, 9.0)  # standard deviation in the photo's own pixels, 0..255
_BLUR = (2.4, 4.0)  # px of the crop: what is blurred there holds only noise above it
_BLOCKS = (0.2, 0.6)


def detail_trust(ratio: float, quality: FaceQuality) -> float:
    """Share in [0,1] of the photo's high frequencies that go back on top of a restored face.

    ratio: px of the photo per px of the crop; up to 1.15 there is nothing above the crop's
    resolution. quality: measured on the crop, so the photo's own noise is `ratio` times larger.
    The share falls to 0 with noise, blur and JPEG blocks: those are what restoring is to remove.
    """
    falling = (
        _ramp(quality.noise * max(ratio, 1.0), *_NOISE),
        _ramp(quality.blur, *_BLUR),
        _ramp(quality.blocks, *_BLOCKS),
    )
    share = _ramp(ratio, *_RATIO)
    for ramp in falling:
        share *= 1 - ramp
    return share


def _ramp(value: float, low: float, high: float) -> float:
    """0 up to low, 1 from high on."""
    return min(max((value - low) / (high - low), 0.0), 1.0)
