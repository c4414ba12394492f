"""A photo open in the page: read and searched for faces once, restored as often as wished."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from restore.faces.face import Face
from restore.images.files import read_photo
from restore.images.formats import WRITABLE_SUFFIXES
from restore.images.photo import Photo
from restore.pipeline.network import Progress
from restore.pipeline.options import Fidelity, TrustOptions
from restore.pipeline.restorer import Restorer
from restore.pipeline.results import RestoredFace, RestoredPhoto


@dataclass(frozen=True)
class Wishes:
    """How a photo is to be restored."""

    fidelity: Fidelity = None
    trust: TrustOptions = field(default_factory=TrustOptions)
    scale: float = 1.0
    without: frozenset[int] = frozenset()
    """Numbers of faces, from 0 in the order of detection, that stay as they are."""


@dataclass(frozen=True, eq=False)
class OpenPhoto:
    """A photo in memory and the faces that were found in it."""

    path: Path
    photo: Photo
    found: tuple[Face, ...] | None = None
    """None before the first restoration."""

    @property
    def name(self) -> str:
        """The file's own name."""
        return self.path.name


@dataclass(frozen=True)
class _Found:
    """A detector that says what another one has found before."""

    faces: Sequence[Face]

    def detect(self, image: NDArray[np.uint8]) -> Sequence[Face]:
        return self.faces


def open_photo(path: str | Path) -> OpenPhoto:
    """Read a photo. Raises InputError."""
    return OpenPhoto(Path(path), read_photo(path))


def restore_open(
    restorer: Restorer, opened: OpenPhoto, wishes: Wishes, progress: Progress | None = None
) -> tuple[OpenPhoto, RestoredPhoto]:
    """Restore an open photo; faces are looked for the first time only.

    Returns the photo with the faces found in it, and the result, whose faces are all that were
    found, in that order: those in `wishes.without` are skipped.
    """
    if opened.found is None:
        result = _restore(restorer, opened, wishes, progress)
        found = tuple(Face(face.box, face.landmarks, face.score) for face in result.faces)
        opened = replace(opened, found=found)
        return (
            restore_open(restorer, opened, wishes, progress) if wishes.without else (opened, result)
        )
    chosen = [i for i in range(len(opened.found)) if i not in wishes.without]
    again = copy(restorer)
    again.detector = _Found([opened.found[i] for i in chosen])
    result = _restore(again, opened, wishes, progress)
    treated = dict(zip(chosen, result.faces, strict=True))
    faces = tuple(treated.get(i) or _left_out(face) for i, face in enumerate(opened.found))
    return opened, replace(result, faces=faces)


def save_restored(
    opened: OpenPhoto, result: RestoredPhoto, folder: Path, ai_label: bool = True
) -> tuple[Path, tuple[str, ...]]:
    """Write the result, in the photo's own format where that can be written, with its metadata.

    Returns the file, NAME_restored.SUFFIX in `folder`, and what could not be kept.
    """
    suffix = opened.path.suffix if opened.path.suffix.lower() in WRITABLE_SUFFIXES else ".png"
    path = folder / f"{opened.path.stem}_restored{suffix}"
    return path, result.save(path, ai_label=ai_label)


def _restore(
    restorer: Restorer, opened: OpenPhoto, wishes: Wishes, progress: Progress | None
) -> RestoredPhoto:
    return restorer.restore(
        opened.photo,
        scale=wishes.scale,
        fidelity=wishes.fidelity,
        trust=wishes.trust,
        progress=progress,
    )


def _left_out(face: Face) -> RestoredFace:
    return RestoredFace(face.box, face.landmarks, face.score, "skipped", "it was not chosen")
