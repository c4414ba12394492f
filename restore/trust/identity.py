"""Whether two faces are the same person: embeddings, thresholds, reference photos."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from restore.errors import CheckpointError, InputError
from restore.geometry import ffhq_template, similarity
from restore.images.formats import PHOTO_SUFFIXES
from restore.model_files import FORMAT, model_session, read_header


def face_view(
    crops: NDArray[np.uint8],
    template: NDArray[np.floating],
    points: NDArray[np.floating],
    shape: tuple[int, int],
) -> NDArray[np.uint8]:
    """uint8 RGB crops [n,s,s,3] -> uint8 RGB views [n,h,w,3] of `shape` (h, w).

    template [5,2]: the landmarks in the crops' pixels; points [5,2]: where they shall lie in the
    view. Large crops are averaged down: sampled on a whole multiple of the pixels, then shrunk by
    area. Raises `InputError` for another shape or dtype.
    """
    crops = np.asarray(crops)
    if crops.ndim != 4 or crops.shape[1] != crops.shape[2] or crops.shape[3] != 3:
        raise InputError(f"faces have shape {list(crops.shape)}; expected square crops [n,s,s,3]")
    if crops.dtype != np.uint8:
        raise InputError(f"faces are {crops.dtype}; expected uint8 RGB crops")
    height, width = shape
    views = np.empty((len(crops), height, width, 3), np.uint8)
    if not len(crops):
        return views
    # view -> crop, in OpenCV pixel coordinates
    matrix = similarity(np.asarray(points, np.float64), np.asarray(template, np.float64))
    fine = max(1, int(np.ceil(np.hypot(matrix[0, 0], matrix[1, 0]) - 0.25)))
    half = (fine - 1) / (2 * fine)  # the centre of a view's pixel among its finer ones
    sampling = np.concatenate(
        [matrix[:, :2] / fine, matrix[:, 2:] - matrix[:, :2].sum(1, keepdims=True) * half], 1
    )
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    for i, crop in enumerate(crops):
        large = cv2.warpAffine(
            crop,
            sampling,
            (width * fine, height * fine),
            flags=flags,
            borderMode=cv2.BORDER_REFLECT,
        )
        views[i] = (
            large if fine == 1 else cv2.resize(large, (width, height), interpolation=cv2.INTER_AREA)
        )
    return views


def to_planes(faces: NDArray[np.uint8]) -> NDArray[np.float32]:
    """uint8 RGB [n,h,w,3] -> float32 [n,3,h,w] in [-1,1]."""
    planes = np.ascontiguousarray(faces.transpose(0, 3, 1, 2), np.float32)
    planes *= 2 / 255
    planes -= 1
    return planes


@dataclass(frozen=True)
class IdentityThresholds:
    """Cosines of one identity network; those of another network mean something else.

    Origin of the packaged ones: `python -m benchmarks identity --parts pairs`
    (docs/identity.md).
    """

    network: str
    """`name` of the network they were measured on."""
    same_person: float
    """One stranger in a thousand passes it, over clean and degraded pairs alike: below it, input
    and output are not known to be one person."""
    likely_same: float
    """One stranger in a hundred passes it, on clean photos."""
    equal_error: float
    """As many strangers pass as pairs of one person fail, on clean photos."""


PACKAGED_THRESHOLDS = IdentityThresholds(
    network="identity", same_person=0.50, likely_same=0.37, equal_error=0.27
)


PACKAGED = Path(__file__).parents[1] / "weights" / "identity.safetensors"
ARCHITECTURE = "identity_student"
BATCH = 16  # faces at a time: bounds the memory, more gain nothing


class IdentityEmbedder(Protocol):
    """What measures identity: the packaged network or any other of this form."""

    @property
    def name(self) -> str:
        """Such as "identity": thresholds belong to one network."""
        ...

    def embed(self, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        """uint8 RGB [n,s,s,3] in the plain FFHQ frame, any s -> float32 [n,d] of length 1."""
        ...


class IdentityNetwork:
    """The packaged identity network, or another file of the same kind; safe to share by threads.

    Nothing is read until `embed` is first called; one session then serves all threads.
    """

    def __init__(self, model: Path, threads: int = 1) -> None:
        self.name, self.dimensions = model.stem, 128
        self._model, self._threads = model, threads
        self._lock = threading.Lock()
        self._session: Any = None

    @classmethod
    def load(cls, path: str | os.PathLike[str] | None = None, threads: int = 1) -> IdentityNetwork:
        """The packaged network, or a model file of architecture identity_student with its graph.

        Reads the header only. Raises `CheckpointError` for a file of another kind; those go
        through `restore.runtime.identity.load_identity`, which needs torch.
        """
        model = PACKAGED if path is None else Path(path)
        if not model.is_file():
            raise CheckpointError(f"There is no identity network {model}; give a file that exists")
        header = read_header(model)
        if header.get("format") != FORMAT or header.get("architecture") != ARCHITECTURE:
            raise CheckpointError(
                f"{model} holds {header.get('architecture', 'no model of ours')!r}, expected "
                f"{ARCHITECTURE!r}; other networks are read by restore.runtime.identity"
            )
        network = cls(model, threads)
        network.dimensions = int(header["arguments"].get("dimensions", 128))
        return network

    def embed(self, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        """uint8 RGB [n,s,s,3] in the plain FFHQ frame (zoom 1), any s -> float32 [n,d], length 1.

        The cosine of two faces is the dot product of their rows. Raises `InputError` for another
        shape and `CheckpointError` where the weights or their graph cannot be used.
        """
        faces = identity_view(crops)
        session = self._opened()
        found = []
        for start in range(0, len(faces), BATCH):
            planes = to_planes(faces[start : start + BATCH])
            # a face and its mirror image: the mean of both is a little better, and has no side
            both = np.concatenate([planes, planes[:, :, :, ::-1]])
            vectors = session.run(["embedding"], {"face": both})[0]
            found.append(vectors[: len(planes)] + vectors[len(planes) :])
        if not found:
            return np.zeros((0, self.dimensions), np.float32)
        return unit_length(np.concatenate(found))

    def _opened(self) -> Any:
        with self._lock:
            if self._session is None:
                self._session = model_session(self._model, self._threads)
            return self._session


VIEW = (112, 96)
"""Height and width in px of what the network sees: the inner face."""

VIEW_POINTS = (
    # left eye, right eye, nose, mouth corners: SphereFace's template, as the teacher was trained
    (30.2946, 51.6963),
    (65.5318, 51.5014),
    (48.0252, 71.7366),
    (33.5493, 92.3655),
    (62.7299, 92.2041),
)


def identity_view(crops: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """uint8 RGB [n,s,s,3] in the plain FFHQ frame -> the inner face, uint8 RGB [n,112,96,3]."""
    crops = np.asarray(crops)
    points = ffhq_template(crops.shape[1]) if crops.ndim == 4 else np.zeros((5, 2))
    return face_view(crops, points, np.array(VIEW_POINTS), VIEW)


def unit_length(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows [n,d] scaled to length 1; raises `CheckpointError` for rows that are not finite."""
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    if not (np.isfinite(length).all() and (length > 0).all()):
        raise CheckpointError("the identity network gave no finite vector; its file may be damaged")
    return np.asarray(vectors / length, np.float32)


def cosine(a: NDArray[np.floating], b: NDArray[np.floating]) -> NDArray[np.float32]:
    """Cosine in [-1,1] of the rows of a and b, both [...,d] and broadcast; of any length > 0."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    lengths = np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1)
    return np.asarray(np.clip((a * b).sum(-1) / np.maximum(lengths, 1e-12), -1, 1), np.float32)


FindFaces = Callable[[NDArray[np.uint8]], NDArray[np.uint8]]
"""RGB uint8 photo [h,w,3] -> its faces, largest first, uint8 RGB [n,s,s,3] in the plain FFHQ frame;
n may be 0."""
ReadPhoto = Callable[[Path], NDArray[np.uint8]]
"""A file -> RGB uint8 [h,w,3]; raises InputError for what is no photo."""


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
    found = sorted(p for p in path.iterdir() if p.suffix.lower() in PHOTO_SUFFIXES and p.is_file())
    if not found:
        raise InputError(
            f"reference photos: {path} holds no photo; expected {', '.join(PHOTO_SUFFIXES)}"
        )
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
