"""RetinaFace of facexlib as a look; torch and facexlib are loaded at the first use."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np

from restore.errors import CheckpointError, MissingExtraError
from restore.faces.face import Face
from restore.faces.look import Photo


class RetinaFace:
    """ResNet-50 or MobileNet 0.25, told apart by the weights file; facexlib's layout."""

    def __init__(self, path: Path, device: str = "cpu", nms_threshold: float = 0.4) -> None:
        self.path = path
        self.device = device
        self.nms_threshold = nms_threshold
        self._net: Any = None
        self._lock = threading.Lock()

    def look(self, image: Photo, min_score: float = 0.3) -> list[Face]:
        """Faces in an RGB uint8 image [h,w,3], best first."""
        with self._lock:
            if self._net is None:
                self._net = self._open()
            import torch

            with torch.inference_mode():
                # facexlib keeps the size of the last image on the network: one call at a time.
                rows = self._net.detect_faces(
                    np.ascontiguousarray(image[..., ::-1]), min_score, self.nms_threshold
                )
        faces = [
            Face(row[:4], row[5:15].reshape(5, 2), float(row[4]))
            for row in np.asarray(rows, np.float64)
        ]
        return sorted(faces, key=lambda f: -f.score)

    def look_batch(self, images: Photo, min_score: float = 0.3) -> list[list[Face]]:
        """Faces of each RGB uint8 image of a batch [n,h,w,3], one after another."""
        return [self.look(image, min_score) for image in images]

    def _open(self) -> Any:
        try:
            import torch
            from facexlib.detection.retinaface import RetinaFace as Network
        except ImportError as error:
            raise MissingExtraError(
                error.name or "facexlib", "torch", "the detector retinaface"
            ) from error
        try:
            state = torch.load(self.path, map_location="cpu", weights_only=True)
        except Exception as error:  # torch raises pickle, zip and runtime errors alike
            raise CheckpointError(f"{self.path} is no weights file: {error}") from error
        state = {key.removeprefix("module."): value for key, value in state.items()}
        kind = "resnet50" if "body.layer4.0.conv1.weight" in state else "mobile0.25"
        network = Network(network_name=kind, half=False, device=self.device)
        try:
            network.load_state_dict(state)
        except RuntimeError as error:
            raise CheckpointError(f"{self.path} does not fit RetinaFace {kind}: {error}") from error
        return network.eval().to(self.device)
