"""A photo in memory: upright pixels, alpha and metadata, made from an array or a PIL image."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from restore.errors import InputError
from restore.images.metadata import Metadata, orientation_of, read_metadata
from restore.images.orientation import turn_upright
from restore.images.profile import convert_to_srgb, profile_space

MAX_PIXELS = 178_956_970
"""Most pixels a photo may declare; Pillow's own limit for decompression bombs."""
# What Pillow raises on files that are damaged or are made to do damage.
DECODE_ERRORS = (
    OSError, SyntaxError, ValueError, TypeError, EOFError, LookupError, ArithmeticError,
    RuntimeError, struct.error,
)  # fmt: skip


@dataclass(frozen=True)
class Photo:
    """One photo, upright."""

    pixels: np.ndarray
    """uint8 or uint16, [h,w] gray or [h,w,3] RGB."""
    alpha: np.ndarray | None = None
    """[h,w] of the same dtype, or None."""
    metadata: Metadata = field(default_factory=Metadata)
    notes: tuple[str, ...] = ()
    """What could not be taken over as it was, in words."""
    flat: bool = False
    """It came as an array [h,w], and its result is one as well."""

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in px."""
        return self.pixels.shape[1], self.pixels.shape[0]

    def joined(self, pixels: np.ndarray, alpha: np.ndarray | None) -> np.ndarray:
        """Pixels and alpha as one array [h,w,c], c = 1..4 (or [h,w] where the photo came flat)."""
        if self.flat and pixels.ndim == 2 and alpha is None:
            return pixels
        planes = [pixels[:, :, None] if pixels.ndim == 2 else pixels]
        if alpha is not None:
            planes.append(alpha[:, :, None])
        return planes[0] if len(planes) == 1 else np.concatenate(planes, axis=2)


def photo_from_array(array: np.ndarray) -> Photo:
    """uint8 or uint16 array [h,w], [h,w,1], [h,w,2] (gray, alpha), [h,w,3] RGB or [h,w,4] RGBA."""
    expected = "expected uint8 or uint16 [h,w] or [h,w,c] with c = 1..4 in RGB(A) order"
    if array.dtype not in (np.uint8, np.uint16):
        raise InputError(
            f"photo array has dtype {array.dtype}; {expected}; scale floats to 0..255 first"
        )
    channels = array.shape[2] if array.ndim == 3 else 1
    if array.ndim not in (2, 3) or channels not in (1, 2, 3, 4) or 0 in array.shape:
        raise InputError(f"photo array has shape {list(array.shape)}; {expected}")
    planes = array if array.ndim == 3 else array[:, :, None]
    pixels, alpha = split_alpha(planes)
    return Photo(pixels, alpha, flat=array.ndim == 2)


def split_alpha(planes: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """[h,w,c], c = 1..4 -> (pixels [h,w] or [h,w,3], alpha [h,w] or None), contiguous."""
    channels = planes.shape[2]
    alpha = np.ascontiguousarray(planes[:, :, -1]) if channels in (2, 4) else None
    pixels = planes[:, :, 0] if channels <= 2 else planes[:, :, :3]
    return np.ascontiguousarray(pixels), alpha


def photo_from_pil(image: Any, planes: np.ndarray | None = None) -> Photo:
    """Make a photo from a PIL image of any mode; turned upright, the metadata kept.

    `planes` [h,w,c], uint8 or uint16 RGB(A) or gray(, alpha), as stored in the file, replace the
    image's own pixels where Pillow would reduce them (16-bit colour). Raises InputError for
    damaged files and for kinds that hold no photo (32-bit and float samples).
    """
    check_pixel_count(*image.size)
    tiff = image.format == "TIFF"
    if not tiff:
        load_pixels(image)  # PNG may hold EXIF and text behind the pixels
    notes = _frame_notes(image)
    metadata, damaged = read_metadata(image)
    notes += damaged
    orientation = orientation_of(image)
    if planes is None:
        load_pixels(image)
        # Pillow turns TIFF pixels itself while it loads them, and then drops the tag.
        orientation = orientation_of(image) if tiff else orientation
        image, metadata, mode_notes = _plain_mode(image, metadata)
        notes += mode_notes
        planes = _planes(image)
    pixels, alpha = split_alpha(turn_upright(planes, orientation))
    metadata, profile_notes = _fitting_profile(metadata, gray=pixels.ndim == 2)
    height, width = pixels.shape[:2]
    return Photo(pixels, alpha, metadata.upright(width, height), notes + profile_notes)


def load_pixels(image: Any) -> None:
    """Decode an opened PIL image; InputError where the file is damaged."""
    try:
        image.load()
    except DECODE_ERRORS as error:
        raise InputError(f"is damaged or truncated: {error}") from error


def check_pixel_count(width: int, height: int) -> None:
    """Raise InputError for sizes no photo has, before any memory is taken for them."""
    if width * height > MAX_PIXELS:
        raise InputError(
            f"declares {width} x {height} = {width * height} pixels; at most {MAX_PIXELS} are "
            f"taken (a decompression bomb?); make it smaller first"
        )


def _frame_notes(image: Any) -> tuple[str, ...]:
    try:
        frames = getattr(image, "n_frames", 1)
    except DECODE_ERRORS:  # a later frame is damaged; the first one is all that is used
        return ("only the first frame can be read",)
    return (f"only the first of {frames} frames is used",) if frames > 1 else ()


def _plain_mode(image: Any, metadata: Metadata) -> tuple[Any, Metadata, tuple[str, ...]]:
    """Bring a loaded PIL image to L, LA, RGB, RGBA or I;16."""
    mode = image.mode
    if mode in ("CMYK", "LAB"):
        without = Metadata(metadata.exif, metadata.xmp, None, metadata.dpi, metadata.iptc)
        how = "by its profile" if metadata.icc or mode == "LAB" else "without a profile"
        return convert_to_srgb(image, metadata.icc), without, (f"{mode} turned to sRGB {how}",)
    if mode == "F" or (mode == "I" and _beyond_16_bit(image)):
        raise InputError(
            f"holds samples of 32 bits (mode {mode}); expected 8 or 16 bits; convert it first"
        )
    transparent = "transparency" in image.info
    if mode in ("L", "RGB") and transparent:
        return image.convert("LA" if mode == "L" else "RGBA"), metadata, ()
    if mode in ("L", "LA", "RGB", "RGBA") or mode.startswith("I"):
        return image, metadata, ()
    if mode in ("P", "PA"):
        return _unpaletted(image, transparent or mode == "PA"), metadata, ()
    plain = {"1": "L", "La": "LA", "RGBa": "RGBA", "RGBX": "RGB", "YCbCr": "RGB", "HSV": "RGB"}
    if mode not in plain:
        raise InputError(f"has the pixel mode {mode}, which is no photo's; convert it to RGB first")
    return image.convert(plain[mode]), metadata, ()


def _beyond_16_bit(image: Any) -> bool:
    low, high = image.getextrema()
    return low < 0 or high > 0xFFFF


def _unpaletted(image: Any, transparent: bool) -> Any:
    """A palette image as RGB(A), or as L(A) where every colour of it is gray."""
    rgb = image.convert("RGBA" if transparent else "RGB")
    colours = np.asarray(rgb)
    gray = bool(
        (colours[..., 0] == colours[..., 1]).all() and (colours[..., 1] == colours[..., 2]).all()
    )
    return rgb.convert("LA" if transparent else "L") if gray else rgb


def _planes(image: Any) -> np.ndarray:
    array = np.asarray(image)
    if image.mode.startswith("I"):
        array = array.astype(np.uint16)
    return array if array.ndim == 3 else array[:, :, None]


def _fitting_profile(metadata: Metadata, gray: bool) -> tuple[Metadata, tuple[str, ...]]:
    """Drop a profile that is not for these pixels: it would make every viewer show them wrong."""
    if metadata.icc is None:
        return metadata, ()
    space = profile_space(metadata.icc)
    if space is None:
        return metadata, ("the colour profile cannot be read; it is kept, colours count as sRGB",)
    if space == ("GRAY" if gray else "RGB") or (gray and space == "RGB"):
        return metadata, ()
    without = Metadata(
        metadata.exif, metadata.xmp, None, metadata.dpi, metadata.iptc, metadata.text
    )
    return without, (f"the colour profile is for {space} pixels and was left out",)
