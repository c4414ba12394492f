"""What a restoration gives back (photo, faces, statuses), and which faces are chosen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from restore.faces.face import Face, centre_face, keep_faces
from restore.images.metadata import Metadata
from restore.pipeline.options import FaceChoice

if TYPE_CHECKING:
    from restore.faces.quality import FaceQuality
    from restore.images.write import WriteOptions


Pixels = NDArray[np.uint8] | NDArray[np.uint16]
FaceStatus = Literal[
    "restored",
    "already_good",
    "too_small",
    "too_degraded",
    "profile",
    "occluded",
    "blended",
    "kept",
    "skipped",
    "failed",
]
"""What became of a face; `reason` says why, for all but "restored".

restored: by the network, in full. already_good: its pixels are better than what the network can
give; it stays as it was. too_small, too_degraded, profile, occluded: it cannot be restored
honestly; it gets gentle treatment (`strength` below 1) unless that is switched off. blended,
kept: the identity guard brought the photo's own face back in part, or wholly. skipped: it was not
chosen. failed: no crop could be made of it, or the network failed on it.
"""
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
    """What the status rests on; None where it was plainly restored."""
    crop: NDArray[np.uint8] | None = None
    """[s,s,3] sRGB, what went into the network."""
    restored: NDArray[np.uint8] | None = None
    """[s,s,3] sRGB, the face as it went back into the photo: what came out of the network, with
    the photo's colour and tone, blended by `strength`; equal to `crop` where the face was kept."""
    matrix: NDArray[np.float64] | None = None
    """[2,3], photo pixels -> crop pixels."""
    degradation: Mapping[str, float] | None = None
    """The network's estimate, in the option files' units: blur_sigma (px at the recipe's reference
    size), scale (factor), noise_sigma (0..255), jpeg_quality (0..100), gray and damage (0..1)."""
    identity: float | None = None
    """Cosine in [-1,1] between the face that went in (`crop`) and the one that is in the photo now
    (`restored`); 1 where it was kept. None where it was not measured."""
    strength: float = 1.0
    """Share of the restoration in `restored`: 1 all of it, 0 the photo's own face."""
    fidelity: float | None = None
    """The fidelity that the network was given; None where it has no dial."""
    yaw: float | None = None
    """Degrees by which the head is turned to the side, from the landmarks; 0 frontal."""
    covered: float | None = None
    """Share of the face that something else seems to cover; None where it was not measured."""
    quality: FaceQuality | None = None
    """Blur, noise and JPEG blocks measured on the face's own pixels."""

    @property
    def changed(self) -> bool:
        """Whether the photo's face is another one now."""
        return self.restored is not None and self.strength > 0

    @property
    def eye_distance(self) -> float:
        """Pixels of the input photo between the eyes."""
        return float(np.linalg.norm(self.landmarks[1] - self.landmarks[0]))


@dataclass(frozen=True, eq=False)
class RestoredPhoto:
    """A photo after restoration."""

    image: Pixels
    """uint8 or uint16 as the photo came, [h,w,c]: RGB, RGBA, gray or gray and alpha; [h,w] where
    an array [h,w] came in."""
    faces: tuple[RestoredFace, ...]
    status: PhotoStatus
    """restored: every chosen face was treated, and its own status says how; partial or failed: some
    or all of them failed; no_face: none was found or chosen. The image is there in every case."""
    reason: str | None = None
    """Why the status is not "restored"."""
    seconds: float = 0.0
    timings: Mapping[str, float] = field(default_factory=dict)
    """Seconds of read, detect, align, network, trust, background and paste."""
    metadata: Metadata = field(default_factory=Metadata)
    """EXIF, XMP, ICC profile and so on of the photo; `save` writes them."""
    notes: tuple[str, ...] = ()
    """What could not be taken over from the file, or could not be measured."""

    def save(
        self,
        path: str | Path,
        options: WriteOptions | None = None,
        *,
        ai_label: bool = True,
        replace_file: bool = True,
    ) -> tuple[str, ...]:
        """Write the image with its metadata in the format of the suffix, atomically.

        `ai_label`: where a face was changed, the XMP says so (IPTC digitalSourceType). Without
        `replace_file` a file that is there already is an error. Returns what that format could not
        keep. Raises InputError.
        """
        from restore.images.write import write_photo

        path = Path(path)
        metadata, notes = self.metadata_for(path.suffix, ai_label)
        return notes + write_photo(path, self.image, metadata, options, replace_file)

    def encode(
        self, suffix: str, options: WriteOptions | None = None, *, ai_label: bool = True
    ) -> bytes:
        """The bytes that `save` would write to a file of this suffix, such as ".jpg"."""
        from restore.images.formats import format_of
        from restore.images.write import encode_photo

        metadata, _ = self.metadata_for(suffix, ai_label)
        return encode_photo(self.image, format_of(suffix), metadata, options)[0]

    def metadata_for(self, suffix: str, ai_label: bool = True) -> tuple[Metadata, tuple[str, ...]]:
        """The metadata that a file of this suffix gets, with the AI label; and notes."""
        from restore.images.formats import WRITABLE_SUFFIXES, format_of
        from restore.images.metadata import ai_labelled

        changed = sum(face.changed for face in self.faces)
        # What cannot be written is said by the writer, which knows the file's name.
        if not (ai_label and changed and suffix.lower() in WRITABLE_SUFFIXES):
            return self.metadata, ()
        return ai_labelled(self.metadata, changed, format_of(suffix))


def choose_faces(
    found: Sequence[Face], choice: FaceChoice, width: int, height: int
) -> list[RestoredFace]:
    """Every face found, as one to be restored or as skipped with the reason; order kept."""
    kept = keep_faces(found, choice.min_score, choice.min_eye_distance)
    too_small = {id(face) for face in found} - {id(face) for face in kept}
    beyond = {id(face) for face in kept[choice.max_faces :]} if choice.max_faces else set()
    centre = centre_face(kept, width, height) if choice.only_center_face else None
    faces = []
    for face in found:
        reason = None
        if id(face) in too_small:
            reason = (
                f"score {face.score:.2f} or eye distance {face.eye_distance:.1f} px is below the "
                f"least asked for ({choice.min_score}, {choice.min_eye_distance} px)"
            )
        elif centre is not None and face is not centre:
            reason = "it is not the face nearest to the middle"
        elif id(face) in beyond:
            reason = f"it is not among the {choice.max_faces} largest"
        status: FaceStatus = "skipped" if reason else "restored"
        faces.append(RestoredFace(face.box, face.landmarks, face.score, status, reason))
    return faces


def photo_status(faces: Sequence[RestoredFace]) -> tuple[PhotoStatus, str | None]:
    """The status of a photo by its faces, and why it is not "restored"."""
    restored = sum(face.status not in ("skipped", "failed") for face in faces)
    failures = [face.reason for face in faces if face.status == "failed"]
    if not faces:
        return "no_face", "no face was found"
    if not restored and not failures:
        return "no_face", f"none of the {len(faces)} faces found was chosen: {faces[0].reason}"
    if not failures:
        return "restored", None
    said = f"{len(failures)} of {len(failures) + restored} faces failed: {failures[0]}"
    return ("partial" if restored else "failed"), said
