"""IdentityNetwork: aligned faces in, unit vectors out, whose cosines say whether it is one person.

The light core's own network: a file of ours and its graph, through onnxruntime, without torch.
Networks of other kinds (MobileFaceNet, ArcFace) have the same form and come from
`restore.runtime.identity.load_identity`.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from restore.config.model_header import FORMAT, read_header
from restore.config.onnx_session import model_session
from restore.errors import CheckpointError
from restore.geometry.template import ffhq_template
from restore.trust.view import face_view, to_planes

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
