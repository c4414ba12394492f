"""Which faces of a photo are restored, and what that makes of the photo."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from restore.faces.face import Face, centre_face, keep_faces
from restore.pipeline.results import FaceStatus, PhotoStatus, RestoredFace


@dataclass(frozen=True)
class FaceChoice:
    """Which of the faces found are restored; the others are returned as skipped."""

    only_center_face: bool = False
    """Only the one whose box centre is nearest to the middle of the photo."""
    min_score: float = 0.0
    """Least confidence of the detector, in [0,1]."""
    min_eye_distance: float = 0.0
    """Least distance between the eyes, in px of the photo."""
    max_faces: int | None = None
    """At most so many, the largest first."""


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
