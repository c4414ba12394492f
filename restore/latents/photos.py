"""Photos as the latent tools take them: one face, found by our detector, in the FFHQ frame."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from restore.errors import InputError
from restore.faces.align import align_face, warp
from restore.faces.detect import Detector, load_detector
from restore.geometry import ffhq_template
from restore.images.depth import to_rgb, to_uint8
from restore.images.files import read_photo


@dataclass(frozen=True)
class FramedFace:
    """`image` [1,3,s,s] RGB in [-1,1] in the FFHQ frame; `mask` [1,1,s,s], 0 where the photo ends
    (its reflection stands there); `matrix` [2,3] photo -> frame, OpenCV pixels; `pixels` RGB uint8,
    the whole photo; `eye_distance` in px of the photo: how much of a face it holds."""

    image: Tensor
    mask: Tensor
    matrix: np.ndarray
    pixels: np.ndarray
    eye_distance: float


def framed_face(
    path: str | Path, size: int, detector: Detector | None = None, number: int = 0
) -> FramedFace:
    """The `number`th largest face of a photo, aligned to the FFHQ template at `size` px.

    Raises InputError for a file that is no photo or holds no such face.
    """
    pixels = to_uint8(to_rgb(read_photo(path).pixels))
    detector = load_detector() if detector is None else detector
    faces = detector.detect(pixels)
    if not 0 <= number < len(faces):
        found = f"{len(faces)} face{'' if len(faces) == 1 else 's'}"
        raise InputError(f"{path}: {found} found; number {number} (counted from 0) is not there")
    return place_face(pixels, faces[number].landmarks, size)


def place_face(pixels: np.ndarray, landmarks: np.ndarray, size: int) -> FramedFace:
    """A face of a photo RGB uint8 [h,w,3] by its five landmarks [5,2], in the FFHQ frame."""
    aligned = align_face(pixels, landmarks, ffhq_template(size), size)
    cover = np.full((*pixels.shape[:2], 1), 255, np.uint8)
    seen = warp(cover, aligned.matrix, size, size, "constant", 0.0).reshape(size, size)
    image = torch.from_numpy(aligned.crop.astype(np.float32) / 127.5 - 1)
    mask = torch.from_numpy((seen >= 254).astype(np.float32))
    eyes = float(np.linalg.norm(np.asarray(landmarks)[1] - np.asarray(landmarks)[0]))
    return FramedFace(
        image.permute(2, 0, 1)[None].contiguous(), mask[None, None], aligned.matrix, pixels, eyes
    )


def framed_mask(path: str | Path, face: FramedFace) -> Tensor:
    """A mask picture of the photo's size (white counts), moved into the face's frame: [1,1,s,s]."""
    pixels = to_uint8(to_rgb(read_photo(path).pixels))
    if pixels.shape[:2] != face.pixels.shape[:2]:
        raise InputError(
            f"{path} is {pixels.shape[1]} x {pixels.shape[0]} px; the mask must be as large as the "
            f"photo, {face.pixels.shape[1]} x {face.pixels.shape[0]}"
        )
    size = face.image.shape[-1]
    gray = np.ascontiguousarray(pixels.mean(2, keepdims=True).round().astype(np.uint8))
    moved = warp(gray, face.matrix, size, size, "constant", 0.0).reshape(size, size)
    return torch.from_numpy(moved.astype(np.float32) / 255)[None, None] * face.mask


def framed_like(path: str | Path, face: FramedFace) -> Tensor:
    """Another version of the same photo (painted over, say) in the face's frame: [1,3,s,s]."""
    pixels = to_uint8(to_rgb(read_photo(path).pixels))
    if pixels.shape != face.pixels.shape:
        raise InputError(
            f"{path} is {pixels.shape[1]} x {pixels.shape[0]} px; the edited photo must be as "
            f"large as the first, {face.pixels.shape[1]} x {face.pixels.shape[0]}"
        )
    size = face.image.shape[-1]
    moved = warp(pixels, face.matrix, size, size, "reflect")
    image = torch.from_numpy(moved.astype(np.float32) / 127.5 - 1)
    return image.permute(2, 0, 1)[None].contiguous()
