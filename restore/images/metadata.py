"""What a photo file says beside its pixels: EXIF, XMP, ICC, IPTC, resolution, text, AI label."""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from typing import Any

from restore import __version__
from restore.errors import InputError
from restore.images.formats import Format
from restore.images.tiff import (
    EXIF_IFD,
    GPS_IFD,
    ORIENTATION,
    Directory,
    pack_exif,
    read_exif,
    read_header,
)
from restore.images.xmp import digital_source_type, fit_pixels, set_source_type

EXIF_PREFIX = b"Exif\x00\x00"
XMP_SEGMENT = b"http://ns.adobe.com/xap/1.0/\0"
"""What the XMP segment of a JPEG begins with."""
JPEG_SEGMENT = 65533
"""Most bytes of payload in one JPEG segment."""
_TYPES = "http://cv.iptc.org/newscodes/digitalsourcetype/"
AI_COMPOSITE = _TYPES + "compositeWithTrainedAlgorithmicMedia"
"""IPTC: a photo with some elements that a trained model made."""
AI_MADE = _TYPES + "trainedAlgorithmicMedia"
"""IPTC: all of it is a trained model's; a restoration makes it no less so."""
_XMP_TAG, _ICC_TAG = 700, 34675
_PIXEL_WIDTH, _PIXEL_HEIGHT = 0xA002, 0xA003
_RAW_EXIF = "Raw profile type exif"
_XMP_ORIENTATION = re.compile(rb"(tiff:Orientation(?:\s*=\s*[\"']|>\s*))([1-8])")
# IFD0 tags that describe how a TIFF stores its pixels, not the photo: they never travel.
# fmt: off
_STRUCTURAL_TAGS = frozenset([
    254, 255, 256, 257, 258, 259, 262, 263, 266, 273, 277, 278, 279, 280, 281, 282, 283, 284,
    290, 291, 292, 293, 296, 301, 317, 318, 319, 320, 321, 322, 323, 324, 325, 330, 332, 334,
    338, 339, 340, 341, 342, 347, 529, 530, 531, 532, 700, 33723, 34377, 34675,
])
# fmt: on


@dataclass(frozen=True)
class Metadata:
    """Everything that is carried from the file read to the file written."""

    exif: bytes | None = None
    """TIFF structure of the EXIF block, behind the prefix `Exif\\0\\0`."""
    xmp: bytes | None = None
    """XMP packet, UTF-8 XML."""
    icc: bytes | None = None
    """ICC profile of the pixels."""
    dpi: tuple[float, float] | None = None
    """Dots per inch, x and y."""
    iptc: bytes | None = None
    """Photoshop resource block (JPEG APP13 payload), which holds the IPTC captions."""
    text: tuple[tuple[str, str], ...] = ()
    """PNG text chunks, keyword and text."""

    def upright(self, width: int, height: int) -> Metadata:
        """The same for pixels that stand upright and measure `width` x `height` px."""
        exif, xmp = self.exif, self.xmp
        if exif is not None:
            sizes = {ORIENTATION: 1, _PIXEL_WIDTH: width, _PIXEL_HEIGHT: height}
            exif = set_exif_integers(exif, sizes)
        if xmp is not None:
            xmp = fit_pixels(_XMP_ORIENTATION.sub(rb"\g<1>1", xmp), width, height)
        return replace(self, exif=exif, xmp=xmp)

    @property
    def orientation(self) -> int:
        """EXIF orientation 1..8 of the pixels as stored; else that of the XMP; 1 for none."""
        directory = None if self.exif is None else read_exif(self.exif.removeprefix(EXIF_PREFIX))
        value = 0 if directory is None else directory.number(ORIENTATION, 0)
        if not value and self.xmp and (found := _XMP_ORIENTATION.search(self.xmp)):
            value = int(found[2])
        return value if 1 <= value <= 8 else 1


def read_metadata(image: Any) -> tuple[Metadata, tuple[str, ...]]:
    """The metadata of a loaded PIL image, and in words: what of it is damaged and left out."""
    damaged: tuple[str, ...] = ()
    info = image.info
    xmp = info.get("xmp") or info.get("XML:com.adobe.xmp") or _xmp_of_jpeg(image)
    text = _text(image)
    exif = info.get("exif") or None
    if exif is None and (raw := dict(text).get(_RAW_EXIF)):
        exif = _hexadecimal(raw)
        text = tuple(pair for pair in text if pair[0] != _RAW_EXIF or exif is None)
    if exif is None and (not image.format or image.format == "TIFF"):
        exif, damaged = _exif_of_pillow(image)
    return Metadata(
        exif=_with_prefix(exif),
        xmp=(xmp.encode("utf-8", "replace") if isinstance(xmp, str) else xmp) or None,
        icc=_bytes(info.get("icc_profile")),
        dpi=_dpi(info.get("dpi")),
        iptc=_iptc(image),
        text=text,
    ), damaged


def metadata_of_tiff(directory: Directory) -> Metadata:
    """The metadata that a page of a TIFF holds."""
    kept = {tag: e for tag, e in directory.entries.items() if tag not in _STRUCTURAL_TAGS}
    exif = Directory(directory.order, kept, 0, directory.below)
    found = {
        tag: entry.data
        for tag in (_XMP_TAG, _ICC_TAG)
        if (entry := directory.entries.get(tag)) is not None and entry.kind in (1, 2, 7)
    }
    return Metadata(
        exif=_with_prefix(pack_exif(exif) if kept or exif.below else None),
        xmp=found.get(_XMP_TAG),
        icc=found.get(_ICC_TAG),
        dpi=_dpi_of_tiff(directory),
    )


def _dpi_of_tiff(directory: Directory) -> tuple[float, float] | None:
    unit = {2: 1.0, 3: 2.54}.get(directory.number(296, 2))  # inch, centimetre
    rationals = [directory.entries.get(tag) for tag in (282, 283)]
    if unit is None or any(entry is None or entry.kind != 5 for entry in rationals):
        return None
    pairs = [struct.unpack_from(f"{directory.order}II", e.data) for e in rationals if e]
    return _dpi([unit * x / y if y else 0 for x, y in pairs])


def exif_is_sound(exif: bytes) -> bool:
    """Whether an EXIF block can be taken apart and put together again, as a TIFF file needs."""
    directory = read_exif(exif.removeprefix(EXIF_PREFIX))
    # Directories inside of one another, as makers of bombs build them, are no EXIF.
    return directory is not None and not any(
        tag in (EXIF_IFD, GPS_IFD) for inner in directory.below.values() for tag in inner.entries
    )


def set_exif_integers(exif: bytes, values: Mapping[int, int]) -> bytes:
    """Overwrite SHORT or LONG tags that IFD0 or the Exif IFD already hold; the rest stays as it is.

    Patching in place keeps maker notes, whose inner offsets a re-written block would break.
    A block that is malformed comes back unchanged.
    """
    start = len(EXIF_PREFIX) if exif.startswith(EXIF_PREFIX) else 0
    body = bytearray(exif[start:])
    try:
        order, big, first = read_header(bytes(body[:16]))
        pending = [] if big else [first]
        for _ in range(2):  # IFD0, and the Exif IFD that it points at
            offset = pending.pop()
            (count,) = struct.unpack_from(order + "H", body, offset)
            for entry in range(offset + 2, offset + 2 + 12 * count, 12):
                tag, kind, length = struct.unpack_from(order + "HHI", body, entry)
                if tag == EXIF_IFD and not pending:
                    pending.append(struct.unpack_from(order + "I", body, entry + 8)[0])
                elif tag in values and length == 1 and kind in (3, 4):
                    if kind == 3 and values[tag] > 0xFFFF:
                        continue
                    struct.pack_into(
                        order + ("H" if kind == 3 else "I"), body, entry + 8, values[tag]
                    )
    except IndexError:  # there is no Exif IFD
        pass
    except (struct.error, InputError):
        return exif
    return exif[:start] + bytes(body)


def _exif_of_pillow(image: Any) -> tuple[bytes | None, tuple[str, ...]]:
    """The EXIF block of a PIL image that has none as bytes: one made in memory, or a TIFF."""
    try:
        block = image.getexif()
        if not len(block):
            return None, ()
        directory = read_exif(block.tobytes().removeprefix(EXIF_PREFIX))
    except (struct.error, SyntaxError, TypeError, ValueError, AttributeError, LookupError, OSError,
            ArithmeticError, RecursionError):  # fmt: skip
        directory = None
    if directory is None:
        return None, ("the EXIF block is damaged: not kept",)
    kept = {tag: e for tag, e in directory.entries.items() if tag not in _STRUCTURAL_TAGS}
    return pack_exif(replace(directory, entries=kept)), ()


def _with_prefix(exif: Any) -> bytes | None:
    if not isinstance(exif, bytes) or not exif:
        return None
    return exif if exif.startswith(EXIF_PREFIX) else EXIF_PREFIX + exif


def _bytes(value: Any) -> bytes | None:
    return value if isinstance(value, bytes) and value else None


def _hexadecimal(text: str) -> bytes | None:
    """ImageMagick's way to put EXIF into a PNG text: a name, a length, then hexadecimal digits."""
    try:
        return bytes.fromhex("".join(text.split("\n")[3:]))
    except ValueError:
        return None


def _dpi(value: Any) -> tuple[float, float] | None:
    try:
        x, y = float(value[0]), float(value[1])
    except (TypeError, ValueError, IndexError, ZeroDivisionError):
        return None
    return (x, y) if 0 < x < 1e6 and 0 < y < 1e6 else None


def _xmp_of_jpeg(image: Any) -> bytes | None:
    """Pillow before 11 leaves the packet of a JPEG in its list of segments."""
    for name, data in getattr(image, "applist", []):
        if name == "APP1" and data.startswith(XMP_SEGMENT):
            found: bytes | None = data[len(XMP_SEGMENT) :]
            return found
    return None


def _iptc(image: Any) -> bytes | None:
    blocks = [data for name, data in getattr(image, "applist", []) if name == "APP13"]
    return blocks[0] if blocks else None


def _text(image: Any) -> tuple[tuple[str, str], ...]:
    if image.format != "PNG":
        return ()
    chunks = image.info.items()
    named = getattr(image, "_text", None) or {k: v for k, v in chunks if isinstance(v, str)}
    return tuple((k, str(v)) for k, v in named.items() if k != "XML:com.adobe.xmp")


def ai_labelled(
    metadata: Metadata, faces: int, form: Format, when: datetime | None = None
) -> tuple[Metadata, tuple[str, ...]]:
    """Metadata that says that a generative model restored `faces` faces; and notes.

    What the XMP packet holds stays. A packet that is damaged, or would be too long for a JPEG
    then, stays as it was, without the label, and a note says so. `when`: None for now.
    """
    if not form.metadata:
        return metadata, (f"{form.name} holds no XMP: without the AI label",)
    former = digital_source_type(metadata.xmp)
    parameters = (
        f"{faces} face{'' if faces == 1 else 's'} restored by a generative model; "
        "the detail is plausible, not evidence"
    )
    if former is not None:
        parameters += f"; DigitalSourceType was {former}"
    moment = (when or datetime.now(timezone.utc)).isoformat(timespec="seconds")
    event = {
        "action": "edited",
        "softwareAgent": f"restore {__version__}",
        "when": moment,
        "parameters": parameters,
        "changed": "/",
    }
    value = AI_MADE if former == AI_MADE else AI_COMPOSITE
    try:
        xmp = set_source_type(metadata.xmp, value, event)
    except InputError as error:
        return metadata, (f"the XMP packet {error}; it is kept, without the AI label",)
    if metadata.xmp and form.name == "JPEG" and len(xmp) + len(XMP_SEGMENT) > JPEG_SEGMENT:
        return metadata, ("the XMP packet leaves no room in a JPEG: without the AI label",)
    return replace(metadata, xmp=xmp), ()
