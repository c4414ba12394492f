"""What is done with each face: examined before the network, treated after it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from restore.errors import CheckpointError, RestoreError
from restore.pipeline.guard import IdentityGuard, mixed
from restore.pipeline.options import TrustOptions
from restore.pipeline.results import RestoredFace
from restore.trust.verdict import Evidence, Verdict, judge

_SMALLEST = 48  # px of the side that quality is measured on at least
_GRID = 32  # points along each side at which the frame is asked for


def examine(
    face: RestoredFace, rgb: NDArray[np.uint8], template: NDArray[np.float64]
) -> RestoredFace:
    """An aligned face with yaw, cover and quality; rgb: the photo [h,w,3] of its matrix."""
    from restore.faces.align import compose, resized, warp
    from restore.faces.quality import face_quality, head_pose
    from restore.trust.occlusion import packaged_cover_detector

    assert face.crop is not None
    assert face.matrix is not None
    size = face.crop.shape[0]
    side = measured_side(face)
    crop = face.crop
    if side != size:
        # Enlarged pixels look blurred and clean: smaller faces are measured at their own scale.
        matrix = compose(resized(side / size, side / size), face.matrix)
        crop = np.asarray(warp(rgb, matrix, side, side), np.uint8)
    points = (template + 0.5) * (side / size) - 0.5
    try:
        yaw = head_pose(face.landmarks).yaw
    except RestoreError:
        yaw = None
    covered = packaged_cover_detector().covered(face.crop, template)
    return replace(face, yaw=yaw, covered=covered, quality=face_quality(crop, points))


def native_side(face: RestoredFace) -> float:
    """px of the photo along the side of the face's crop."""
    from restore.faces.align import matrix_scale

    assert face.crop is not None
    assert face.matrix is not None
    found: float = face.crop.shape[0] / max(matrix_scale(face.matrix), 1e-9)
    return found


def measured_side(face: RestoredFace) -> int:
    """Side in px of the crop that quality is measured on: the face's own, or the network's."""
    assert face.crop is not None
    return int(min(max(round(native_side(face)), _SMALLEST), face.crop.shape[0]))


def evidence(
    face: RestoredFace,
    photo_size: tuple[int, int],
    template: NDArray[np.float64],
    enlarged: float = 1.0,
) -> Evidence:
    """Everything that the verdict on an examined face stands on; photo_size: width, height.

    enlarged: how many times larger than in the photo the face will be shown.
    """
    assert face.quality is not None
    assert face.crop is not None
    return Evidence(
        face.eye_distance,
        measured_side(face),
        face.quality.blur,
        face.quality.noise,
        face.quality.blocks,
        face.yaw or 0.0,
        share_in_frame(face, photo_size, template),
        covered=face.covered or 0.0,
        degradation=face.degradation,
        enlarged=enlarged,
        magnified=face.crop.shape[0] / native_side(face),
    )


def share_in_frame(
    face: RestoredFace, photo_size: tuple[int, int], template: NDArray[np.float64]
) -> float:
    """Share of the face, by its mask, that lies within a photo of width x height."""
    from restore.faces.align import face_mask, invert

    assert face.crop is not None
    assert face.matrix is not None
    step = face.crop.shape[0] / _GRID
    mask = face_mask(_GRID, (template + 0.5) / step - 0.5) > 0.5
    rows, columns = np.nonzero(mask)
    points = (np.stack([columns, rows], axis=1) + 0.5) * step - 0.5
    back = invert(face.matrix)
    x, y = (points @ back[:, :2].T + back[:, 2]).T
    width, height = photo_size
    inside = (x >= -0.5) & (y >= -0.5) & (x < width - 0.5) & (y < height - 0.5)
    return float(inside.mean()) if len(inside) else 1.0


Crop = NDArray[np.uint8]
Again = Callable[[Sequence[RestoredFace]], list[RestoredFace]]
"""Runs the network once more on the crops of these faces, at fidelity 1."""


def in_photo_colours(crop: Crop, restored: Crop, keep_tone: bool = True) -> Crop:
    """The restored crop with the photo's light and colours; both uint8 RGB [s,s,3].

    Tones follow the photo at large scales, colours at small ones. A crop of one tone (gray, sepia)
    gets exactly that tone; without `keep_tone` it may have the network's colours instead.
    """
    from restore.faces.align import face_mask
    from restore.faces.colour import from_unit, match_low_frequency, tone_curve

    curve = tone_curve(crop, face_mask(crop.shape[0]) > 0.3)
    coloured = curve.monochrome and not keep_tone
    face = match_low_frequency(restored, crop, chroma_sigma=np.inf if coloured else None)
    if curve.monochrome and keep_tone:
        face = curve.apply(face)
    return np.asarray(from_unit(face, np.dtype(np.uint8)))


def treat_faces(
    faces: Sequence[RestoredFace],
    photo_size: tuple[int, int],
    guard: IdentityGuard,
    options: TrustOptions,
    keep_tone: bool,
    again: Again | None = None,
    enlarged: float = 1.0,
) -> tuple[list[RestoredFace], tuple[str, ...]]:
    """Faces whose `restored` is the network's own -> as they go into the photo, and notes.

    `again`: None where the network has no dial, or the faces were run at fidelity 1 already.
    `enlarged`: how many times larger than in the photo the faces will be.
    """

    def treat(face: RestoredFace) -> RestoredFace:
        if face.restored is None or face.crop is None:
            return face
        verdict = judge(evidence(face, photo_size, guard.template, enlarged))
        return _treated(face, verdict, options, keep_tone)

    treated = [treat(face) for face in faces]
    if options.identity == "off":
        return treated, ()
    try:
        treated = _measured(treated, guard)
    except CheckpointError as error:
        return treated, (f"identity was not measured: {error}",)
    threshold = guard.threshold if options.identity_threshold is None else (
        options.identity_threshold
    )  # fmt: skip
    if options.identity == "report" or threshold is None:
        return treated, ()
    if options.identity == "blend" and again is not None:
        poor = [i for i, face in enumerate(treated) if _is_other(face, threshold)]
        raised = [i for i in poor if (treated[i].fidelity or 0.0) < 1]
        redone = again([treated[i] for i in raised]) if raised else []
        redone = [treat(face) for face in redone]
        for i, face in zip(raised, _measured(redone, guard), strict=True):
            treated[i] = _said(face, "fidelity was raised to 1")
    return [_guarded(face, guard, options, threshold) for face in treated], ()


def _treated(
    face: RestoredFace, verdict: Verdict, options: TrustOptions, keep_tone: bool
) -> RestoredFace:
    assert face.restored is not None
    assert face.crop is not None
    if verdict.status == "already_good":
        if options.keep_good:
            return _kept(replace(face, status="already_good", reason=verdict.reason))
        return replace(face, restored=in_photo_colours(face.crop, face.restored, keep_tone))
    restored = in_photo_colours(face.crop, face.restored, keep_tone)
    strength = verdict.share if options.keep_good else 1.0
    if verdict.gentle and options.gentle:
        strength = options.gentle_strength
    reason = verdict.reason
    if reason and strength < 1:
        reason = f"{reason}: {strength:.0%} of the restoration was used"
    restored = mixed(face.crop, restored, strength)
    return replace(face, status=verdict.status, reason=reason, restored=restored, strength=strength)


def _measured(faces: list[RestoredFace], guard: IdentityGuard) -> list[RestoredFace]:
    # A face that was kept has cosine 1 without a look.
    seen = [face for face in faces if face.changed]
    cosines = iter(
        guard.cosines(
            [face.crop for face in seen if face.crop is not None],
            [face.restored for face in seen if face.restored is not None],
        )
    )
    return [
        replace(face, identity=float(next(cosines)))
        if face.changed
        else replace(face, identity=None if face.restored is None else 1.0)
        for face in faces
    ]


def _is_other(face: RestoredFace, threshold: float) -> bool:
    return face.changed and face.identity is not None and face.identity < threshold


def _guarded(
    face: RestoredFace, guard: IdentityGuard, options: TrustOptions, threshold: float
) -> RestoredFace:
    if not _is_other(face, threshold):
        return face
    assert face.crop is not None
    assert face.restored is not None
    below = f"identity {face.identity:.2f} is below {threshold:.2f}"
    share, cosine = 0.0, 1.0
    if options.identity == "blend":
        share, cosine = guard.blend(face.crop, face.restored, threshold)
    if share == 0:
        said = _said(face, f"{below}: the face was left as it was")
        return _kept(replace(said, status="kept", identity=1.0))
    return replace(
        _said(face, f"{below}: {share:.0%} of it was used"),
        status="blended",
        restored=mixed(face.crop, face.restored, share),
        strength=face.strength * share,
        identity=cosine,
    )


def _kept(face: RestoredFace) -> RestoredFace:
    return replace(face, restored=face.crop, strength=0.0)


def _said(face: RestoredFace, reason: str) -> RestoredFace:
    return replace(face, reason=f"{face.reason}; {reason}" if face.reason else reason)
