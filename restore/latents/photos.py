"""Photos as the latent tools take them: a face in the FFHQ frame, and the code an encoder reads."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from restore.checkpoints.load import load_network
from restore.checkpoints.named_models import MODELS, locate_model
from restore.checkpoints.weights_file import sniff
from restore.errors import CheckpointError, InputError
from restore.faces.align import align_face, warp
from restore.faces.detect import Detector, load_detector
from restore.geometry import ffhq_template
from restore.images.files import read_photo
from restore.images.pixels import to_rgb, to_uint8
from restore.latents.spaces import Generator
from restore.model_files import read_header


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


def read_rgb(path: str | Path, square: str = "") -> np.ndarray:
    """A photo as RGB uint8 [h,w,3]. `square`: what it is, where it must be square (else any)."""
    pixels = to_uint8(to_rgb(read_photo(path).pixels))
    height, width = pixels.shape[:2]
    if square and height != width:
        raise InputError(f"{path} is {width} x {height} px; {square} must be square")
    return pixels


def image_tensor(pixels: np.ndarray) -> Tensor:
    """RGB uint8 [h,w,3] -> [1,3,h,w] in [-1,1]."""
    image = torch.from_numpy(pixels.astype(np.float32) / 127.5 - 1)
    return image.permute(2, 0, 1)[None].contiguous()


def resized(images: Tensor, size: int) -> Tensor:
    """Square images [n,3,s,s] in [-1,1] at `size` px, bicubic and clamped; the same size as is."""
    shrink = size < images.shape[-1]
    if size == images.shape[-1]:
        return images
    return F.interpolate(
        images, (size, size), mode="bicubic", align_corners=False, antialias=shrink
    ).clamp(-1, 1)


def framed_face(
    path: str | Path, size: int, detector: Detector | None = None, number: int = 0
) -> FramedFace:
    """The `number`th largest face of a photo, aligned to the FFHQ template at `size` px.

    Raises InputError for a file that is no photo or holds no such face.
    """
    pixels = read_rgb(path)
    faces = (detector or load_detector()).detect(pixels)
    if not 0 <= number < len(faces):
        found = f"{len(faces)} face{'' if len(faces) == 1 else 's'}"
        raise InputError(f"{path}: {found} found; number {number} (counted from 0) is not there")
    landmarks = faces[number].landmarks
    aligned = align_face(pixels, landmarks, ffhq_template(size), size)
    whole = np.full((*pixels.shape[:2], 1), 255, np.uint8)
    inside = warp(whole, aligned.matrix, size, size, "constant", 0.0).reshape(size, size)
    mask = torch.from_numpy((inside >= 254).astype(np.float32))[None, None]
    eyes = float(np.linalg.norm(np.asarray(landmarks)[1] - np.asarray(landmarks)[0]))
    return FramedFace(image_tensor(aligned.crop), mask, aligned.matrix, pixels, eyes)


def framed_mask(path: str | Path, face: FramedFace) -> Tensor:
    """A mask picture of the photo's size (white counts), moved into the face's frame: [1,1,s,s]."""
    pixels = _as_large_as(face, path, "mask")
    gray = np.ascontiguousarray(pixels.mean(2, keepdims=True).round().astype(np.uint8))
    size = face.image.shape[-1]
    moved = warp(gray, face.matrix, size, size, "constant", 0.0).reshape(size, size)
    return torch.from_numpy(moved.astype(np.float32) / 255)[None, None] * face.mask


def framed_like(path: str | Path, face: FramedFace) -> Tensor:
    """Another version of the same photo (painted over, say) in the face's frame: [1,3,s,s]."""
    size = face.image.shape[-1]
    pixels = _as_large_as(face, path, "edited photo")
    return image_tensor(warp(pixels, face.matrix, size, size, "reflect"))


def _as_large_as(face: FramedFace, path: str | Path, what: str) -> np.ndarray:
    pixels = read_rgb(path)
    if pixels.shape != face.pixels.shape:
        raise InputError(
            f"{path} is {pixels.shape[1]} x {pixels.shape[0]} px; the {what} must be as large as "
            f"the photo, {face.pixels.shape[1]} x {face.pixels.shape[0]}"
        )
    return pixels


@torch.no_grad()
def encoder_start(
    path_or_name: str | os.PathLike[str], generator: Generator, images: Tensor
) -> Tensor:
    """W+ [n,k,w_dim] of FFHQ-frame faces [n,3,s,s] RGB in [-1,1], by the encoder of a restorer.

    Raises CheckpointError where the file holds no restorer, InputError where its codes are of
    another generator's shape.
    """
    network: Any = load_network(path_or_name, generator.w_mean.device)
    encoder = getattr(network, "encoder", None)
    if encoder is None:
        raise CheckpointError(
            f"{path_or_name} holds a {type(network).__name__}, which has no encoder; give a "
            "restorer, or start from the mean"
        )
    size = crop_size_of(path_or_name) or int(network.decoder.out_size)
    w_plus = encoder(resized(images, size).clamp(-1, 1)).w_plus
    expected = (generator.num_styles, generator.w_dim)
    if tuple(w_plus.shape[1:]) != expected:
        raise InputError(
            f"the encoder of {path_or_name} gives codes {tuple(w_plus.shape[1:])}, this generator "
            f"wants {expected}: use the restorer's own generator"
        )
    found: Tensor = w_plus
    return found


def crop_size_of(path_or_name: str | os.PathLike[str]) -> int:
    """Pixels of the crops that a model file of ours was trained on; 0 where no header says it."""
    path = Path(path_or_name)
    if str(path_or_name) in MODELS and not path.is_file():
        path = locate_model(str(path_or_name))
    return int(read_header(path).get("crop_size", 0)) if sniff(path) == "safetensors" else 0
