"""Identity, LPIPS and PSNR of uint8 crops against the truth, at the truth's size."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from restore.errors import InputError
from restore.losses.feature_files import load_feature_network, load_lpips_heads
from restore.metrics.lpips import lpips_measure
from restore.runtime.identity import load_identity

Pair = Callable[[np.ndarray, np.ndarray], np.ndarray]
Masked = Callable[[np.ndarray, np.ndarray, Tensor], np.ndarray]


@dataclass(frozen=True)
class Measures:
    """Functions of (restored, gt[, mask [n,1,s,s]]) -> [n]; crops uint8 RGB [n,s,s,3], any s."""

    cosine: Pair
    lpips: Masked
    psnr: Masked


def load_measures(weights: Path) -> Measures:
    """With MobileFaceNet and SqueezeNet's LPIPS from the folder of weights."""
    network = load_identity(_file(weights, "mobilefacenet_casia_112x96.safetensors"))
    backbone = load_feature_network(_file(weights, "squeezenet1_1_features.safetensors"))
    distance = lpips_measure(backbone, load_lpips_heads("squeeze"))

    def cosine(restored: np.ndarray, gt: np.ndarray) -> np.ndarray:
        return np.asarray((network.embed(restored) * network.embed(gt)).sum(1))

    def lpips(restored: np.ndarray, gt: np.ndarray, mask: Tensor) -> np.ndarray:
        found = [
            distance(_tensor(sized(a, len(b))), _tensor(b), m[None])
            for a, b, m in zip(restored, gt, mask, strict=True)
        ]
        return torch.cat(found).numpy()

    def psnr(restored: np.ndarray, gt: np.ndarray, mask: Tensor) -> np.ndarray:
        found = []
        for a, b, m in zip(restored, gt, mask.numpy(), strict=True):
            error = (sized(a, len(b)).astype(np.float64) - b) ** 2
            mean = (error * m[0][..., None]).sum() / (3 * m.sum())
            found.append(10 * np.log10(255**2 / max(mean, 1e-9)))
        return np.array(found)

    return Measures(cosine, lpips, psnr)


def _file(folder: Path, name: str) -> Path:
    if not (folder / name).is_file():
        raise InputError(f"{folder} holds no {name}; give the folder of the measuring networks")
    return folder / name


def sized(crop: np.ndarray, side: int, enlarge: int = cv2.INTER_CUBIC) -> np.ndarray:
    """A crop [s,s,3] at another side in px: averaged down, or enlarged by that way of OpenCV's."""
    if len(crop) == side:
        return crop
    how = cv2.INTER_AREA if len(crop) > side else enlarge
    return np.asarray(cv2.resize(crop, (side, side), interpolation=how))


def _tensor(crop: np.ndarray) -> Tensor:
    return torch.from_numpy(crop.astype(np.float32) / 127.5 - 1).permute(2, 0, 1)[None]
