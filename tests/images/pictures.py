"""Pictures and metadata that the tests of files write and read."""

import numpy as np
from PIL import Image, ImageCms

from restore.images.metadata import Metadata

XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><a tiff:Orientation="6"/>caf\xc3\xa9</x:xmpmeta>'
IPTC = b"Photoshop 3.0\x008BIM\x04\x04\0\0\0\0\0\x08\x1c\x02\x78\0\x03abc"


def picture(channels: int, dtype=np.uint8, height=24, width=33) -> np.ndarray:
    """Smooth enough for lossy files, a different ramp in every channel."""
    y, x = np.mgrid[0:height, 0:width]
    planes = [(np.sin(x / (9 + 2 * c)) + np.cos(y / (7 + c)) + 2) / 4 for c in range(channels)]
    top = np.iinfo(dtype).max
    return np.rint(np.stack(planes, -1) * top).astype(dtype)


def metadata(**changes) -> Metadata:
    exif = Image.Exif()
    exif[0x010F], exif[0x0112], exif[0x013B] = "Leica", 1, "Ada Müller"
    exif[0x8769] = {0x9003: "1953:06:02 11:00:00", 0xA002: 33, 0xA003: 24}
    exif[0x8825] = {1: "N"}
    icc = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    known = {
        "exif": exif.tobytes(),
        "xmp": XMP.replace(b'"6"', b'"1"'),
        "icc": icc,
        "dpi": (300.0, 300.0),
    }
    return Metadata(**(known | changes))
