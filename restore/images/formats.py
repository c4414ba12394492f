"""The file formats photos are written in: suffixes, what each can hold, largest side."""

from __future__ import annotations

from dataclasses import dataclass

from restore.errors import InputError


@dataclass(frozen=True)
class Format:
    """What one file format can hold."""

    name: str
    """Pillow's name of it."""
    suffixes: tuple[str, ...]
    alpha: bool = True
    depth16: bool = False
    metadata: bool = True
    max_side: int = 2**31 - 1


FORMATS = (
    Format("JPEG", (".jpg", ".jpeg", ".jpe", ".jfif"), alpha=False, max_side=65535),
    Format("PNG", (".png",), depth16=True),
    Format("TIFF", (".tif", ".tiff"), depth16=True),
    Format("WEBP", (".webp",), max_side=16383),
    Format("BMP", (".bmp",), alpha=False, metadata=False),
    Format("AVIF", (".avif",), max_side=65536),
)
# Read where the installed Pillow (or pillow-heif) can, never written: their results become PNG.
READ_ONLY_SUFFIXES = (".heic", ".heif", ".gif", ".jp2", ".ppm", ".pgm", ".tga")
WRITABLE_SUFFIXES = tuple(suffix for known in FORMATS for suffix in known.suffixes)
PHOTO_SUFFIXES = WRITABLE_SUFFIXES + READ_ONLY_SUFFIXES
"""A folder walk takes files with these (lower-case) suffixes for photos."""


def format_of(suffix: str) -> Format:
    """The format of a suffix such as ".jpg", in any case; InputError for one nobody writes."""
    for known in FORMATS:
        if suffix.lower() in known.suffixes:
            return known
    raise InputError(
        f"cannot write files that end in {suffix!r}; expected one of {', '.join(WRITABLE_SUFFIXES)}"
    )
