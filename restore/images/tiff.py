"""TIFF files of 8 or 16 bits: Pillow writes no 16-bit colour, and loses EXIF when it compresses."""

from __future__ import annotations

import io
import zlib
from typing import Any

import numpy as np

from restore.images.metadata import Metadata

_ROWS_AT_ONCE = 256


def encode_tiff(planes: np.ndarray, metadata: Metadata | None = None, level: int = 3) -> bytes:
    """uint8 or uint16 [h,w,c], c = 1..4 (gray, gray+alpha, RGB, RGBA) -> a TIFF file, deflated.

    Tags as in TIFF 6.0; the horizontal predictor (section 14) works on whole samples.
    """
    from PIL import Image
    from PIL.TiffImagePlugin import ImageFileDirectory_v2

    metadata = metadata or Metadata()
    height, width, channels = planes.shape
    sample = planes.dtype.newbyteorder("<")
    packer, parts = zlib.compressobj(level), []
    for start in range(0, height, _ROWS_AT_ONCE):
        rows = planes[start : start + _ROWS_AT_ONCE]
        # The predictor wraps around as unsigned samples do.
        differences = np.concatenate([rows[:, :1], rows[:, 1:] - rows[:, :-1]], axis=1)
        parts.append(packer.compress(differences.astype(sample).tobytes()))
    strip = b"".join([*parts, packer.flush()])

    directory: Any = ImageFileDirectory_v2(prefix=b"II")
    if metadata.exif:
        block = Image.Exif()
        block.load(metadata.exif)
        for tag, value in block.items():
            # Pointers to the Exif and GPS blocks are replaced by what they point at.
            directory[tag] = block.get_ifd(tag) if tag in (0x8769, 0x8825) else value
    directory[256], directory[257] = width, height
    directory[258] = (8 * planes.itemsize,) * channels
    directory[259] = 8  # Adobe deflate
    directory[262] = 2 if channels >= 3 else 1  # RGB or black-is-zero
    directory[277] = channels
    # One strip: Pillow before 11 writes no directory of several.
    directory[278] = height
    directory[279] = len(strip)
    directory[284] = 1
    directory[317] = 2
    if channels in (2, 4):
        directory[338] = 2  # alpha, not multiplied in
    if metadata.dpi:
        directory[282], directory[283], directory[296] = *metadata.dpi, 2
    if metadata.xmp:
        directory[700] = metadata.xmp
        directory.tagtype[700] = 1
    if metadata.icc:
        directory[34675] = metadata.icc
        directory.tagtype[34675] = 7
    directory[273] = 0  # from the end of the directory; Pillow adds where that is
    out = io.BytesIO()
    directory.save(out)
    out.seek(0, io.SEEK_END)
    out.write(strip)
    return out.getvalue()
