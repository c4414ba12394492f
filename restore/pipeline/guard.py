"""The identity guard, and the choice among several restorations by reference photos."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from restore.errors import CheckpointError, InputError, OptionError, RestoreError
from restore.faces.detect import Detector
from restore.pipeline.network import Cancel, run_batches
from restore.pipeline.options import TrustOptions
from restore.pipeline.results import RestoredFace
from restore.runtime.contract import Runtime
from restore.trust.identity import References, choose_candidate, read_references

if TYPE_CHECKING:
    from restore.trust.identity import IdentityEmbedder


Crop = NDArray[np.uint8]

_HALVINGS = 5  # the share of a blend is found to 1/32


@dataclass(frozen=True, eq=False)
class IdentityGuard:
    """Measures identity; safe to share between threads if its network is.

    embedder: the network, or None with the reason why there is none. template: [5,2], where the
    crops' landmarks lie.
    """

    embedder: IdentityEmbedder | None
    template: NDArray[np.float64]
    absent: str | None = None

    @property
    def threshold(self) -> float | None:
        """Least cosine at which two faces count as one person; None where it was not calibrated."""
        from restore.trust.identity import PACKAGED_THRESHOLDS

        ours = self.embedder is not None and self.embedder.name == PACKAGED_THRESHOLDS.network
        return PACKAGED_THRESHOLDS.same_person if ours else None

    def require(self, options: TrustOptions) -> None:
        """Raise OptionError where a policy needs a network or a threshold and there is none."""
        if options.identity not in ("blend", "keep"):
            return
        if self.embedder is None:
            raise OptionError(
                f"identity cannot be guarded: {self.absent}; use identity 'report' or 'off', or "
                "give a network (--identity_network)"
            )
        if options.identity_threshold is None and self.threshold is None:
            raise OptionError(
                f"the identity network {self.embedder.name!r} has no calibrated threshold; give "
                "the least cosine of one person (--identity_threshold)"
            )

    def cosines(self, before: Sequence[Crop], after: Sequence[Crop]) -> NDArray[np.float32]:
        """Cosine [n] in [-1,1] of each pair of aligned crops, uint8 RGB [s,s,3].

        Raises CheckpointError where the network's file turns out to be unusable.
        """
        if self.embedder is None:
            raise CheckpointError(self.absent or "there is no identity network")
        if not len(before):
            return np.zeros(0, np.float32)
        views = ffhq_views([*before, *after], self.template)
        try:
            vectors = self.embedder.embed(views)
        except RestoreError:
            raise
        # Every runtime has its own exceptions; whatever it is, it is told in its words.
        except Exception as error:
            raise CheckpointError(
                f"the identity network failed: {type(error).__name__}: {error}"
            ) from error
        first, second = vectors[: len(before)], vectors[len(before) :]
        return np.asarray(np.clip((first * second).sum(1), -1, 1), np.float32)

    def blend(self, crop: Crop, restored: Crop, threshold: float) -> tuple[float, float]:
        """The largest share of `restored` over `crop` that keeps the cosine at the threshold.

        Returns (share in [0,1], cosine there); found by bisection, 0 where none does.
        """
        low, high, cosine = 0.0, 1.0, 1.0
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            found = float(self.cosines([crop], [mixed(crop, restored, middle)])[0])
            if found >= threshold:
                low, cosine = middle, found
            else:
                high = middle
        return low, cosine


def mixed(crop: Crop, restored: Crop, share: float) -> Crop:
    """crop + share * (restored - crop), rounded; both uint8 [s,s,3]."""
    if share >= 1:
        return restored
    if share <= 0:
        return crop
    difference = restored.astype(np.float32) - crop
    return np.asarray(np.clip(np.rint(crop + np.float32(share) * difference), 0, 255), np.uint8)


def ffhq_views(crops: Sequence[Crop], template: NDArray[np.float64]) -> Crop:
    """Crops [s,s,3] on any template as [n,s,s,3] in the plain FFHQ frame that identity wants."""
    from restore.faces.align import warp
    from restore.geometry import ffhq_template, similarity

    size = crops[0].shape[0]
    frame = ffhq_template(size)
    if np.abs(frame - template).max() < 0.01 * size:
        return np.stack(crops)
    matrix = similarity(template, frame)
    return np.stack([np.asarray(warp(crop, matrix, size, size), np.uint8) for crop in crops])


FIDELITIES = (1.0, 0.8, 0.6, 0.4, 0.2)
"""What is tried; the first stays unless another is closer by LEAST_GAIN."""

LEAST_GAIN = 0.03
"""Cosine; smaller differences between restorations of one face are the identity network's noise."""

_SIZE = 256  # px of the frame that reference faces are cut to
_SMALLEST = 16  # px of a photo


def load_references(folder: str | Path, detector: Detector, guard: IdentityGuard) -> References:
    """The person in a folder of photos (or in one photo).

    Raises InputError where it shows no face and OptionError where there is no identity network.
    """
    from restore.images.files import read_photo
    from restore.images.pixels import to_rgb, to_uint8

    if guard.embedder is None:
        raise OptionError(f"reference photos need an identity network: {guard.absent}")

    def read(path: Path) -> NDArray[np.uint8]:
        return to_rgb(to_uint8(read_photo(path).pixels))

    return read_references(folder, read, lambda rgb: cut_faces(rgb, detector), guard.embedder)


def cut_faces(rgb: NDArray[np.uint8], detector: Detector) -> NDArray[np.uint8]:
    """The faces of a photo, largest first, uint8 RGB [n,256,256,3] in the plain FFHQ frame."""
    from restore.faces.align import align_face
    from restore.geometry import ffhq_template

    found: list[NDArray[np.uint8]] = []
    template = ffhq_template(_SIZE)
    faces = list(detector.detect(rgb)) if min(rgb.shape[:2]) >= _SMALLEST else []
    for face in sorted(faces, key=lambda f: -float(np.prod(f.box[2:] - f.box[:2]))):
        try:
            found.append(align_face(rgb, face.landmarks, template, _SIZE).crop)
        except InputError:  # landmarks on one spot: no face
            continue
    return np.stack(found) if found else np.zeros((0, _SIZE, _SIZE, 3), np.uint8)


def choose_by_references(
    runtime: Runtime,
    faces: Sequence[RestoredFace],
    references: References,
    guard: IdentityGuard,
    max_batch: int,
    cancel: Cancel | None = None,
    fidelities: Sequence[float] = FIDELITIES,
) -> list[RestoredFace]:
    """Faces after the network -> with `restored` and `fidelity` of the candidate that is chosen.

    Each face that the network restored is run at all `fidelities`; its own result comes first.
    In a photo of several faces only the one that is closest to the references is theirs, and the
    others stay; a lone face is taken to be the person. Raises OptionError where the model has no
    fidelity dial or there is no identity network.
    """
    if not runtime.supports_fidelity:
        raise OptionError(
            "this model has no fidelity dial, so there is nothing to choose by reference photos; "
            "leave --reference out"
        )
    if guard.embedder is None:
        raise OptionError(f"reference photos need an identity network: {guard.absent}")
    ready = [i for i, face in enumerate(faces) if face.restored is not None]
    if not ready:
        return list(faces)
    result = list(faces)
    restored = [crop for i in ready if (crop := faces[i].restored) is not None]
    first = guard.embedder.embed(ffhq_views(restored, guard.template))
    index = ready[choose_candidate(first, references)[0]]
    result[index] = _chosen(runtime, faces[index], references, guard, max_batch, cancel, fidelities)
    return result


def _chosen(
    runtime: Runtime,
    face: RestoredFace,
    references: References,
    guard: IdentityGuard,
    max_batch: int,
    cancel: Cancel | None,
    fidelities: Sequence[float],
) -> RestoredFace:
    assert face.crop is not None
    assert face.restored is not None
    assert guard.embedder is not None
    own = 1.0 if face.fidelity is None else face.fidelity
    others = [value for value in fidelities if abs(value - own) > 1e-3]
    results = run_batches(runtime, [face.crop] * len(others), others, max_batch, None, cancel)
    tried = [(own, face.restored)]
    for value, found in zip(others, results, strict=True):
        if found.restored is not None:
            tried.append((value, found.restored))
    vectors = guard.embedder.embed(ffhq_views([crop for _, crop in tried], guard.template))
    fidelity, crop = tried[choose_candidate(vectors, references, LEAST_GAIN)[0]]
    return replace(face, restored=crop, fidelity=fidelity)
