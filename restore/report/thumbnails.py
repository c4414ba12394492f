"""Small pictures inside a page: sRGB JPEGs of bounded size as data URIs."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass

import numpy as np

from restore.images.depth import over_white, to_rgb, to_uint8
from restore.images.photo import split_alpha
from restore.images.profile import colour_transform


@dataclass(frozen=True)
class Thumbnails:
    """How large the pictures of a page are."""

    photo_side: int = 960
    """Longest side of a photo in px."""
    face_side: int = 256
    """Side of a face in px."""
    quality: int = 80
    """JPEG quality, 1..100."""
    faces: int = 24
    """At most so many faces of a photo have pictures; the others have numbers only."""


def thumbnails_for(photos: int) -> Thumbnails:
    """Sizes that keep the page of so many photos near 60 MB, which browsers still open."""
    if photos <= 60:
        return Thumbnails()
    if photos <= 250:
        return Thumbnails(640, 192)
    return Thumbnails(448, 144, 75, faces=8)


def small_picture(pixels: np.ndarray, side: int, icc: bytes | None = None) -> np.ndarray:
    """uint8 or uint16 [h,w] or [h,w,c], c = 1..4 -> uint8 sRGB [h',w',3], at most `side` px.

    Alpha is laid over white. `icc`: the profile of the pixels; None for sRGB.
    """
    import cv2

    planes = pixels if pixels.ndim == 3 else pixels[:, :, None]
    height, width = planes.shape[:2]
    factor = side / max(height, width)
    if factor < 1:
        size = max(1, round(width * factor)), max(1, round(height * factor))
        # OpenCV drops the last axis of [h,w,1].
        resized = cv2.resize(planes, size, interpolation=cv2.INTER_AREA)
        planes = resized if resized.ndim == 3 else resized[:, :, None]
    small, alpha = split_alpha(to_uint8(planes))
    if alpha is not None:
        small = over_white(small, alpha)
    rgb = np.ascontiguousarray(to_rgb(small))
    transform = None if small.ndim == 2 else colour_transform(icc)
    return rgb if transform is None else transform.to_srgb(rgb)


def data_uri(rgb: np.ndarray, quality: int = 80) -> str:
    """uint8 RGB [h,w,3] -> "data:image/jpeg;base64,..."."""
    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(rgb).save(out, "JPEG", quality=quality)
    return "data:image/jpeg;base64," + base64.b64encode(out.getvalue()).decode("ascii")
