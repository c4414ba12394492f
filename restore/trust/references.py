"""References: what a person looks like in good photos, and which candidate comes closest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from restore.errors import InputError
from restore.trust.identity import IdentityEmbedder, cosine

FindFaces = Callable[[NDArray[np.uint8]], NDArray[np.uint8]]
"""RGB uint8 photo [h,w,3] -> its faces, largest first, uint8 RGB [n,s,s,3] in the plain FFHQ frame;
n may be 0."""
ReadPhoto = Callable[[Path], NDArray[np.uint8]]
"""A file -> RGB uint8 [h,w,3]; raises InputError for what is no photo."""

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".heic", ".avif")


@dataclass(frozen=True, eq=False)
class References:
    """Vectors [m,d] of length 1 of one person, m >= 1, the files they are from, what was left out.

    `left_out`: (file, reason).
    """

    vectors: NDArray[np.float32]
    files: tuple[str, ...]
    left_out: tuple[tuple[str, str], ...] = ()

    def cosines(self, vectors: NDArray[np.floating]) -> NDArray[np.float32]:
        """Mean cosine [k] of vectors [k,d] to all references."""
        each = cosine(np.asarray(vectors)[:, None], self.vectors[None])
        return np.asarray(each.mean(1), np.float32)


def choose_candidate(
    candidates: NDArray[np.floating], references: References, least_gain: float = 0.0
) -> tuple[int, NDArray[np.float32]]:
    """Which of the candidates' vectors [k,d] is closest to the references, and the cosines [k].

    The first is the one that is wanted without references: another must come closer by more than
    `least_gain` (a cosine). Raises InputError where there is none.
    """
    if np.ndim(candidates) != 2 or not len(candidates):
        raise InputError(f"candidates have shape {np.shape(candidates)}; expected [k,d], k >= 1")
    cosines = references.cosines(candidates)
    best = int(np.argmax(cosines))
    return (best if cosines[best] > cosines[0] + least_gain else 0), cosines


def reference_files(folder: str | Path) -> list[Path]:
    """The photos of a folder (or the one file), by name. Raises InputError where there is none."""
    path = Path(folder)
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise InputError(f"reference photos: {path} does not exist; expected a folder of photos")
    found = sorted(p for p in path.iterdir() if p.suffix.lower() in SUFFIXES and p.is_file())
    if not found:
        raise InputError(f"reference photos: {path} holds no photo; expected {', '.join(SUFFIXES)}")
    return found


def read_references(
    folder: str | Path, read: ReadPhoto, find_faces: FindFaces, embedder: IdentityEmbedder
) -> References:
    """The person of a folder of photos.

    A photo with one face shows the person; of a photo with several, the face closest to those is
    taken (the largest one where no photo has a single face). Photos that cannot be read or show no
    face are left out, with the reason. Raises InputError where no face remains.
    """
    faces: list[tuple[str, NDArray[np.float32]]] = []
    left_out: list[tuple[str, str]] = []
    for path in reference_files(folder):
        try:
            found = find_faces(read(path))
        except InputError as error:
            left_out.append((path.name, str(error)))
            continue
        if len(found):
            faces.append((path.name, embedder.embed(found)))
        else:
            left_out.append((path.name, "no face was found"))
    if not faces:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in left_out)
        raise InputError(f"reference photos: {folder} shows no face ({reasons})")
    chosen = _one_person([vectors for _, vectors in faces])
    return References(chosen, tuple(name for name, _ in faces), tuple(left_out))


def _one_person(photos: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Of each photo's vectors [k,d] the one that is the person: [m,d]."""
    single: list[Any] = [vectors[0] for vectors in photos if len(vectors) == 1]
    known = np.stack(single or [vectors[0] for vectors in photos])
    rows = [
        vectors[int(cosine(vectors[:, None], known[None]).mean(1).argmax())] for vectors in photos
    ]
    return np.stack(rows)
