"""What a restoration returns: the photo, and for each face what was done to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from restore.images.metadata import Metadata

if TYPE_CHECKING:
    from restore.images.files_write import WriteOptions

Pixels = NDArray[np.uint8] | NDArray[np.uint16]
FaceStatus = Literal["restored", "skipped", "failed"]
PhotoStatus = Literal["restored", "partial", "failed", "no_face"]


@dataclass(frozen=True, eq=False)
class RestoredFace:
    """One face of a photo. Box and landmarks are pixels of the upright input photo."""

    box: NDArray[np.float64]
    """[4], x0 y0 x1 y1."""
    landmarks: NDArray[np.float64]
    """[5,2], x y of left eye, right eye, nose, left and right mouth corner."""
    score: float
    """The detector's confidence in [0,1]; 1 for an aligned crop."""
    status: FaceStatus
    reason: str | None = None
    """Why it was skipped or failed; None where it was restored."""
    crop: NDArray[np.uint8] | None = None
    """[s,s,3] sRGB, what went into the network."""
    restored: NDArray[np.uint8] | None = None
    """[s,s,3] sRGB, what came out of it."""
    matrix: NDArray[np.float64] | None = None
    """[2,3], photo pixels -> crop pixels."""
    degradation: Mapping[str, float] | None = None
    """The network's estimate, in the option files' units: blur_sigma (px at the recipe's reference
    size), scale (factor), noise_sigma (0..255), jpeg_quality (0..100), gray and damage (0..1)."""


@dataclass(frozen=True, eq=False)
class RestoredPhoto:
    """A photo after restoration."""

    image: Pixels
    """uint8 or uint16 as the photo came, [h,w,c]: RGB, RGBA, gray or gray and alpha; [h,w] where
    an array [h,w] came in."""
    faces: tuple[RestoredFace, ...]
    status: PhotoStatus
    """restored: every face that was to be; partial or failed: some or all of them failed;
    no_face: none was found, or none kept. The image is there in every case."""
    reason: str | None = None
    """Why the status is not "restored"."""
    seconds: float = 0.0
    timings: Mapping[str, float] = field(default_factory=dict)
    """Seconds of read, detect, align, network, background and paste."""
    metadata: Metadata = field(default_factory=Metadata)
    """EXIF, XMP, ICC profile and so on of the photo; `save` writes them."""
    notes: tuple[str, ...] = ()
    """What could not be taken over from the file as it was."""

    def save(self, path: str | Path, options: WriteOptions | None = None) -> tuple[str, ...]:
        """Write the image with its metadata in the format of the suffix, atomically.

        Returns what that format could not keep. Raises InputError.
        """
        from restore.images.files_write import write_photo

        return write_photo(path, self.image, self.metadata, options)
