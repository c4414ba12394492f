"""What the protocol compares: plain resampling, classical filters, and restorers of any backend."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from restore.checkpoints.download import locate_model
from restore.checkpoints.load import load_network
from restore.checkpoints.models_table import MODELS
from restore.config.model_header import FORMAT, read_header
from restore.errors import CheckpointError
from restore.geometry import ffhq_template
from restore.metrics.measure import rounded_to_bytes
from restore.networks.prior_restorer import Encoding, PriorRestorer
from restore.runtime.contract import Runtime
from restore.runtime.model_info import model_info
from restore.runtime.select import load_runtime

Reference = Callable[[Tensor, Sequence[np.ndarray]], Tensor]
"""(lq [n,3,s,s] in [-1,1], the small pictures, uint8 RGB [h,w,3] each) -> [n,3,s,s]."""

_UNSHARP_SIGMA = 1.5
"""px of the small picture: about what an image editor offers first."""
_UNSHARP_AMOUNT = 0.7


@dataclass(frozen=True)
class Painted:
    """One batch at each fidelity: `images` [n,3,s,s] at the size of lq.

    `degradation` [n,6] raw head output; `w_distance` [n]: mean squared distance of W+ to the
    prior's mean code. Either is None where the model does not tell it.
    """

    images: list[Tensor]
    degradation: Tensor | None = None
    w_distance: Tensor | None = None


class RestorerModel(Protocol):
    """A restorer under its label."""

    label: str

    def restore(self, lq: Tensor, fidelities: Sequence[float]) -> Painted:
        """lq [n,3,s,s] RGB in [-1,1] of any size -> the same size."""
        ...


def bicubic(lq: Tensor, small: Sequence[np.ndarray]) -> Tensor:
    """The small pictures enlarged bicubically (OpenCV's, a = -0.75)."""
    return _enlarged(small, lq, cv2.INTER_CUBIC)


def lanczos(lq: Tensor, small: Sequence[np.ndarray]) -> Tensor:
    """The small pictures enlarged by OpenCV's Lanczos filter of four lobes."""
    return _enlarged(small, lq, cv2.INTER_LANCZOS4)


def classical(lq: Tensor, small: Sequence[np.ndarray]) -> Tensor:
    """Non-local means on the small picture, as strong as its noise, unsharp mask, Lanczos."""
    return _enlarged([denoise_and_sharpen(picture) for picture in small], lq, cv2.INTER_LANCZOS4)


REFERENCES: Mapping[str, Reference] = {
    "LQ, bicubic": bicubic,
    "LQ, Lanczos": lanczos,
    "non-local means + unsharp mask": classical,
}


def denoise_and_sharpen(picture: np.ndarray) -> np.ndarray:
    """uint8 RGB [h,w,3], denoised by non-local means, then sharpened."""
    strength = float(np.clip(noise_sigma(picture), 1, 15))
    clean = cv2.fastNlMeansDenoisingColored(picture, None, strength, strength, 7, 21)
    blurred = cv2.GaussianBlur(clean, (0, 0), _UNSHARP_SIGMA)
    return cv2.addWeighted(clean, 1 + _UNSHARP_AMOUNT, blurred, -_UNSHARP_AMOUNT, 0)


def noise_sigma(picture: np.ndarray) -> float:
    """Noise of a uint8 RGB picture in 0..255, estimated (Immerkaer 1996, eq. 4) on its gray."""
    gray = picture.astype(np.float64).mean(2)
    if min(gray.shape) < 3:
        return 0.0
    kernel = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float64)
    response = np.abs(cv2.filter2D(gray, cv2.CV_64F, kernel)[1:-1, 1:-1]).mean()
    # the gray is a mean of three channels, whose noise is sqrt(3) times as large
    return float(np.sqrt(np.pi / 2) / 6 * response * np.sqrt(3))


class TorchModel:
    """A `PriorRestorer` in torch; one pass of the encoder serves every fidelity."""

    def __init__(self, label: str, network: PriorRestorer, crop_size: int) -> None:
        self.label = label
        self.crop_size = crop_size
        self._network = network.eval().requires_grad_(False)

    @torch.no_grad()
    def restore(self, lq: Tensor, fidelities: Sequence[float]) -> Painted:
        device = next(self._network.parameters()).device
        seen = at_crop_size(lq, self.crop_size).to(device, memory_format=torch.channels_last)
        encoding: Encoding = self._network.encoder(seen)
        decoder: Any = self._network.decoder
        images = []
        for fidelity in fidelities:
            conditions = self._network.dialled(encoding.conditions, fidelity)
            image = decoder.synthesis(encoding.w_plus, conditions, self.crop_size)
            images.append(at_picture_size(image.clamp(-1, 1).float().cpu(), lq.shape[-1]))
        degradation = encoding.degradation
        return Painted(
            images,
            None if degradation is None else degradation.float().cpu(),
            w_distance(encoding.w_plus, decoder),
        )


class RuntimeModel:
    """A model file behind one of the runtimes, as the pipeline runs it."""

    def __init__(self, label: str, runtime: Runtime) -> None:
        self.label = label
        self._runtime = runtime

    def restore(self, lq: Tensor, fidelities: Sequence[float]) -> Painted:
        seen = at_crop_size(lq, self._runtime.crop_size)
        crops = (seen * 127.5 + 127.5).round().to(torch.uint8).permute(0, 2, 3, 1)
        pixels = np.ascontiguousarray(crops.cpu().numpy())
        images, degradation = [], None
        for fidelity in fidelities:
            restored, degradation = self._runtime.run(pixels, fidelity)
            image = torch.from_numpy(restored).permute(0, 3, 1, 2).float() / 127.5 - 1
            images.append(at_picture_size(image, lq.shape[-1]))
        return Painted(images, None if degradation is None else torch.from_numpy(degradation))


def at_crop_size(lq: Tensor, crop_size: int) -> Tensor:
    """lq as the pipeline would hand it to the model: enlarged bilinearly, on the 8-bit grid."""
    return rounded_to_bytes(_resized(lq, crop_size))


def at_picture_size(image: Tensor, size: int) -> Tensor:
    """A model's picture at the size at which it is compared: shrunk by averaging areas."""
    return _resized(image, size)


def w_distance(w_plus: Tensor, decoder: nn.Module) -> Tensor | None:
    """Mean squared distance `[n]` of w_plus [n,k,w_dim] to the decoder's mean code, or None."""
    mean = getattr(decoder, "w_mean", None)
    if mean is None:
        return None
    return (w_plus.float() - mean.float()).square().mean((1, 2)).cpu()


def load_models(
    given: Sequence[str], backend: str = "torch", device: str = "cpu", threads: int | None = None
) -> list[RestorerModel]:
    """Restorers from files or names, each as FILE or LABEL=FILE.

    Raises `CheckpointError` for what is no restorer of plain FFHQ crops, or labels that repeat.
    """
    models: list[RestorerModel] = []
    for text in given:
        label, target = _label_and_target(text)
        if label in [model.label for model in models]:
            raise CheckpointError(
                f"two models are labelled {label!r}; name them by LABEL=FILE, each its own"
            )
        models.append(_load(label, target, backend, device, threads))
    return models


def _load(label: str, target: str, backend: str, device: str, threads: int | None) -> RestorerModel:
    path = locate_model(target) if target in MODELS and not Path(target).is_file() else Path(target)
    if backend != "torch":
        runtime = load_runtime(
            path, backend, None if device == "cpu" else device, threads, "float32"
        )
        _check_template(path, runtime.template, runtime.crop_size)
        return RuntimeModel(label, runtime)
    network = load_network(target, device)
    if not isinstance(network, PriorRestorer):
        raise CheckpointError(
            f"{path} holds a {type(network).__name__}, which restores no faces; give a restorer"
        )
    crop_size = int(network.decoder.out_size)
    if path.suffix == ".safetensors" and read_header(path).get("format") == FORMAT:
        info = model_info(read_header(path), str(path))
        crop_size = info.crop_size
        _check_template(path, info.template, crop_size)
    return TorchModel(label, network.to(memory_format=torch.channels_last), crop_size)


def _check_template(path: Path, template: np.ndarray, crop_size: int) -> None:
    if not np.allclose(template, ffhq_template(crop_size), atol=1e-3 * crop_size):
        raise CheckpointError(
            f"{path} reads crops on another template than the plain FFHQ frame, in which the "
            "protocol holds its faces; it cannot be compared here"
        )


def _label_and_target(text: str) -> tuple[str, str]:
    label, equals, target = text.partition("=")
    if equals and not Path(text).exists():
        return label, target
    return (text if text in MODELS else Path(text).stem), text


def _resized(images: Tensor, size: int) -> Tensor:
    """Square pictures [n,3,s,s]: enlarged bilinearly, shrunk by area, or as they are."""
    if images.shape[-1] == size:
        return images
    if images.shape[-1] > size:
        return F.interpolate(images, (size, size), mode="area")
    return F.interpolate(images, (size, size), mode="bilinear", align_corners=False)


def _enlarged(small: Sequence[np.ndarray], lq: Tensor, interpolation: int) -> Tensor:
    height, width = lq.shape[-2:]
    pictures = [cv2.resize(p, (width, height), interpolation=interpolation) for p in small]
    stacked = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2)
    return stacked.float() / 127.5 - 1
