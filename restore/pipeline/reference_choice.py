"""Reference photos: of several fidelities, the face that comes closest to the person's own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from restore.errors import InputError, OptionError
from restore.pipeline.contracts import Detector, Runtime
from restore.pipeline.guard import IdentityGuard, ffhq_views
from restore.pipeline.network_batches import Cancel, run_batches
from restore.pipeline.results import RestoredFace
from restore.trust.references import References, choose_candidate, read_references

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
    from restore.images.depth import to_rgb, to_uint8
    from restore.images.files import read_photo

    if guard.embedder is None:
        raise OptionError(f"reference photos need an identity network: {guard.absent}")

    def read(path: Path) -> NDArray[np.uint8]:
        return to_rgb(to_uint8(read_photo(path).pixels))

    return read_references(folder, read, lambda rgb: cut_faces(rgb, detector), guard.embedder)


def cut_faces(rgb: NDArray[np.uint8], detector: Detector) -> NDArray[np.uint8]:
    """The faces of a photo, largest first, uint8 RGB [n,256,256,3] in the plain FFHQ frame."""
    from restore.faces.align import align_face
    from restore.geometry.template import ffhq_template

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
