"""A photo in memory: upright pixels, alpha, metadata; made of an array, a tensor, a PIL image."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from restore.errors import InputError, OptionError
from restore.images.formats import MAX_MEGAPIXELS
from restore.images.metadata import Metadata, read_metadata
from restore.images.pixels import split_alpha, turn_upright
from restore.images.profile import convert_to_srgb, profile_space

RESULT_FACTOR = 2.5
"""How many times as many pixels a result may have as a photo."""
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


def is_tensor(value: Any) -> bool:
    """Is it a torch tensor, or something that acts as one?"""
    return all(hasattr(value, name) for name in ("detach", "cpu", "numpy", "is_floating_point"))


def photo_from_tensor(tensor: Any) -> Photo:
    """A photo of a tensor [c,h,w], c = 1..4 (gray, gray+alpha, RGB, RGBA), on any device.

    uint8 and uint16 are taken as they are; floats are in [0,1] and become 8 bits, rounded, so that
    `torchvision.io.read_image` and `to_tensor` both fit. Raises InputError for another shape, for
    NaN, and for values outside of [0,1], such as the networks' own [-1,1].
    """
    if tensor.ndim != 3 or tensor.shape[0] not in (1, 2, 3, 4):
        batch = "; give the photos of a batch one by one" if tensor.ndim == 4 else ""
        raise InputError(
            f"photo tensor has shape {list(tensor.shape)}; expected [c,h,w] with c = 1..4{batch}"
        )
    floating = tensor.is_floating_point()
    # numpy knows no bfloat16.
    array = (tensor.detach().float() if floating else tensor.detach()).cpu().numpy()
    if floating:
        array = _eight_bits(array)
    return photo_from_array(np.ascontiguousarray(array.transpose(1, 2, 0)))


def _eight_bits(array: np.ndarray) -> np.ndarray:
    low, high = (float(array.min()), float(array.max())) if array.size else (0.0, 0.0)
    # Resampling overshoots a little; half a level is no other range.
    slack = 0.5 / 255
    if not (low >= -slack and high <= 1 + slack):
        hint = "; for [-1,1] give (x + 1) / 2" if -1.5 < low < 0 and high < 1.5 else ""
        raise InputError(
            f"photo tensor holds values from {low:.3g} to {high:.3g}; expected floats in [0,1], or "
            f"uint8{hint}"
        )
    found: np.ndarray = np.rint(array.clip(0, 1) * 255).astype(np.uint8)
    return found


def photo_from_pil(image: Any, limits: Limits | None = None) -> Photo:
    """Make a photo from a PIL image of any mode; turned upright, the metadata kept.

    Raises InputError for damaged files and for kinds that hold no photo (32-bit and float samples).
    """
    (limits or Limits()).check(image.size[0], image.size[1])
    load_pixels(image)  # PNG may hold EXIF and text behind the pixels
    image = _honest(image)
    metadata, notes = read_metadata(image)
    # Pillow turns TIFF pixels itself while it loads them, and then drops the tag.
    turned = image.format == "TIFF"
    orientation = 1 if turned else metadata.orientation
    planes, metadata, mode_notes = planes_of(image, metadata)
    return upright_photo(planes, orientation, metadata, (*notes, *frame_notes(image), *mode_notes))


def upright_photo(
    planes: np.ndarray, orientation: int, metadata: Metadata, notes: tuple[str, ...]
) -> Photo:
    """The photo of pixels as stored [h,w,c], c = 1..4, and what the file says of them."""
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


@dataclass(frozen=True)
class Limits:
    """What a photo file may cost. Checked before pixels are decoded."""

    megapixels: float = MAX_MEGAPIXELS
    """Most pixels of a photo, in millions; its result may have 2.5 times as many. 16-bit photos
    count twice. The default holds a run in 2 GB (docs/speed.md)."""
    scale: float = 1.0
    """By which the photo will be enlarged."""
    strict: bool = False
    """Refuse what is damaged but can be viewed, instead of a note."""

    def __post_init__(self) -> None:
        if not (isinstance(self.megapixels, (int, float)) and 0 < self.megapixels < 1e9):
            raise OptionError(
                f"max megapixels is {self.megapixels!r}; expected a number above 0, such as 100"
            )

    def check(self, width: int, height: int, depth16: bool = False) -> None:
        """Raise InputError for a size that is too large, before any memory is taken for it."""
        weight = 2 if depth16 else 1
        count = weight * width * height / 1e6
        result = count * self.scale**2
        most = RESULT_FACTOR * self.megapixels
        counted = " (16-bit pixels count twice)" if depth16 else ""
        if count > self.megapixels:
            raise InputError(
                f"declares {width} x {height} px, {count:.0f} megapixels{counted}; at most "
                f"{self.megapixels:g} are taken (is it a decompression bomb?); if not, raise "
                f"--max-megapixels (max_megapixels) to {np.ceil(count):.0f}"
            )
        if result > most:
            raise InputError(
                f"{width} x {height} px at scale {self.scale:g} would be {result:.0f} "
                f"megapixels{counted}; at most {most:g} are made; choose a smaller scale "
                f"(-s), or raise --max-megapixels (max_megapixels) to "
                f"{np.ceil(max(count, result / RESULT_FACTOR)):.0f}"
            )


def _honest(image: Any) -> Any:
    """The image without what a text in it passes for: Pillow keeps PNG texts and what it has read
    itself under the same names (exif, transparency, ...)."""
    info = image.info
    false = [key for key in ("exif", "icc_profile", "transparency", "xmp", "dpi")
             if key in info and not isinstance(info[key], (bytes, tuple, int))]  # fmt: skip
    if not false:
        return image
    honest = image.copy()
    honest.format = image.format
    for key in false:
        del honest.info[key]
    return honest


def frame_notes(image: Any) -> tuple[str, ...]:
    """What is said of a picture that is one of several."""
    try:
        if not getattr(image, "is_animated", False):
            return ()
        if image.format == "GIF":  # to count them is to walk through all of them
            return ("an animation: only its first frame was restored",)
        frames = image.n_frames
    except DECODE_ERRORS:  # a later frame is damaged; the first one is all that is used
        return ("only the first frame can be read",)
    if image.format == "MPO":
        return (f"holds {frames} pictures: only the first was restored",)
    kind = "pages" if image.format == "TIFF" else "frames of an animation"
    return (f"only the first of {frames} {kind} was restored",)


def planes_of(image: Any, metadata: Metadata) -> tuple[np.ndarray, Metadata, tuple[str, ...]]:
    """A loaded PIL image of any mode as uint8 or uint16 [h,w,c], c = 1..4, and notes."""
    image, metadata, notes = _plain_mode(image, metadata)
    array = np.asarray(image)
    if image.mode.startswith("I"):
        array = array.astype(np.uint16)
    return array if array.ndim == 3 else array[:, :, None], metadata, notes


def _plain_mode(image: Any, metadata: Metadata) -> tuple[Any, Metadata, tuple[str, ...]]:
    """Bring a loaded PIL image to L, LA, RGB, RGBA or I;16."""
    mode = image.mode
    if mode in ("CMYK", "LAB"):
        without = Metadata(metadata.exif, metadata.xmp, None, metadata.dpi, metadata.iptc)
        converted, how = convert_to_srgb(image, metadata.icc)
        return converted, without, (f"{mode} turned to sRGB {how}",)
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
    found: bool = low < 0 or high > 0xFFFF
    return found


def _unpaletted(image: Any, transparent: bool) -> Any:
    """A palette image as RGB(A), or as L(A) where every colour of it is gray."""
    rgb = image.convert("RGBA" if transparent else "RGB")
    colours = np.asarray(rgb)
    gray = bool(
        (colours[..., 0] == colours[..., 1]).all() and (colours[..., 1] == colours[..., 2]).all()
    )
    return rgb.convert("LA" if transparent else "L") if gray else rgb


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
