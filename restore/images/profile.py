"""Colour profiles: crops of a photo with an ICC profile to sRGB for the network, and back."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import numpy as np

from restore.errors import InputError

_BLACK_POINT_COMPENSATION: Any = 0x2000  # lcms2.h; ImageCms names it only since Pillow 10.3


@dataclass(frozen=True)
class ColourTransform:
    """The way from a photo's RGB to sRGB and back, for uint8 RGB [h,w,3]."""

    to_srgb_transform: Any
    from_srgb_transform: Any

    def to_srgb(self, rgb: np.ndarray) -> np.ndarray:
        """uint8 [h,w,3] in the photo's space -> sRGB."""
        return _apply(self.to_srgb_transform, rgb)

    def from_srgb(self, rgb: np.ndarray) -> np.ndarray:
        """uint8 [h,w,3] in sRGB -> the photo's space."""
        return _apply(self.from_srgb_transform, rgb)


def colour_transform(icc: bytes | None) -> ColourTransform | None:
    """The transform of an RGB profile that is not sRGB; None where the pixels count as sRGB."""
    if icc is None or profile_space(icc) != "RGB":
        return None
    from PIL import ImageCms

    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
        if "srgb" in ImageCms.getProfileDescription(profile).lower():
            return None
        srgb = ImageCms.createProfile("sRGB")
        return ColourTransform(_build(profile, srgb, "RGB"), _build(srgb, profile, "RGB"))
    except (ImageCms.PyCMSError, OSError, ValueError):
        # An input-only profile has no way back, a damaged one none at all: colours stay.
        return None


def profile_space(icc: bytes) -> str | None:
    """ "RGB", "GRAY", "CMYK", "Lab", ... of a profile; None where it cannot be read."""
    from PIL import ImageCms

    try:
        return ImageCms.ImageCmsProfile(io.BytesIO(icc)).profile.xcolor_space.strip()
    except (ImageCms.PyCMSError, OSError, ValueError):
        return None


def convert_to_srgb(image: Any, icc: bytes | None) -> tuple[Any, str]:
    """A CMYK or Lab PIL image -> RGB (sRGB) by its profile, or by Pillow's rule where there is none
    or it cannot be used; and in words, how."""
    from PIL import ImageCms

    how = "without a profile" if icc is None else "without its profile, which cannot be used"
    source: Any = None
    try:
        if image.mode == "LAB":
            source = ImageCms.createProfile("LAB")
        elif icc is not None and profile_space(icc) == image.mode:
            source = ImageCms.ImageCmsProfile(io.BytesIO(icc))
        if source is not None:
            transform = _build(source, ImageCms.createProfile("sRGB"), image.mode)
            return ImageCms.applyTransform(image, transform), "by its profile"
    except (ImageCms.PyCMSError, OSError, ValueError):
        if image.mode == "LAB":
            raise InputError(
                "holds Lab colours that cannot be turned to sRGB; convert it"
            ) from None
    return image.convert("RGB"), how


def _build(source: Any, target: Any, mode: str) -> Any:
    from PIL import ImageCms

    # Relative colorimetric with black point compensation: the way there and back nearly cancels.
    return ImageCms.buildTransform(
        source,
        target,
        mode,
        "RGB",
        renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
        flags=_BLACK_POINT_COMPENSATION,
    )


def _apply(transform: Any, rgb: np.ndarray) -> np.ndarray:
    from PIL import Image, ImageCms

    return np.asarray(ImageCms.applyTransform(Image.fromarray(rgb), transform))
