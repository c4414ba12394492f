"""A model through torch: GPUs, GFPGAN checkpoints, and whatever has no graph."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from restore.checkpoints.models_table import MODELS
from restore.config.model_header import FORMAT, read_header
from restore.errors import CheckpointError, DeviceError, MissingExtraError
from restore.runtime.model_info import ModelInfo, model_info
from restore.runtime.pixels import check_request, to_network, to_pixels

if TYPE_CHECKING:
    import torch

PRECISIONS = ("float32", "bfloat16", "float16")
BATCH = {"cpu": 4}  # crops at a time; elsewhere:
GPU_BATCH = 16


class TorchRuntime:
    """`Runtime` of docs/architecture.md over a module; safe to share between threads.

    `device` such as "cpu", "cuda:1". `precision` is that of convolutions and products (autocast):
    float32 unless said. `threads` sets torch's own number, which is one for the whole process.
    """

    name = "torch"
    supports_fidelity = True

    def __init__(
        self,
        model: Path,
        device: str | None = None,
        threads: int | None = None,
        precision: str = "float32",
    ) -> None:
        try:
            import torch
        except ImportError as error:
            raise MissingExtraError("torch", "torch", f"Running {model.name} in torch") from error
        from restore.checkpoints.load import load_network
        from restore.networks.prior_restorer import PriorRestorer

        if precision not in PRECISIONS:
            raise DeviceError(f"precision {precision!r} is unknown; choose of {PRECISIONS}")
        if threads is not None:
            if threads < 1:
                raise DeviceError(f"{threads} threads cannot run a network; give 1 or more")
            torch.set_num_threads(threads)
        network = load_network(model, device or "cpu", **_dialect(model))
        if not isinstance(network, PriorRestorer):
            raise CheckpointError(
                f"{model} holds a {type(network).__name__}, which restores no faces; give a "
                "restorer's file"
            )
        info = _info(model, network)
        self.crop_size, self.template = info.crop_size, info.template
        self._network = network.requires_grad_(False).to(memory_format=torch.channels_last)
        self._device = torch.device(device or "cpu")
        self._precision = precision

    def run(
        self, crops: NDArray[np.uint8], fidelity: float | NDArray[np.float32] = 1.0
    ) -> tuple[NDArray[np.uint8], NDArray[np.float32] | None]:
        """uint8 RGB [n,s,s,3], fidelity in [0,1] -> the same shape, estimates [n,6] or None."""
        import torch

        dial = check_request(crops, fidelity, self.crop_size, self.supports_fidelity)
        images, estimates = np.empty_like(crops), []
        step = BATCH.get(self._device.type, GPU_BATCH)
        with torch.inference_mode(), self._autocast():
            for start in range(0, len(crops), step):
                part = slice(start, start + step)
                lq = torch.from_numpy(to_network(crops[part])).to(
                    self._device, memory_format=torch.channels_last
                )
                restored = self._network(lq, torch.from_numpy(dial[part]).to(self._device))
                images[part] = to_pixels(_numpy(restored.image))
                if restored.degradation is not None:
                    estimates.append(_numpy(restored.degradation))
        return images, np.concatenate(estimates) if estimates else None

    def _autocast(self) -> AbstractContextManager[Any]:
        import torch

        if self._precision == "float32":
            return nullcontext()
        return torch.autocast(self._device.type, getattr(torch, self._precision))


def _numpy(tensor: torch.Tensor) -> NDArray[np.float32]:
    array: NDArray[np.float32] = tensor.float().cpu().numpy()
    return array


def _row(model: Path) -> dict[str, Any]:
    """What the table of models says of a published file, known by its name."""
    for entry in MODELS.values():
        if not entry.packaged and entry.filename == model.name:
            return dict(entry.config)
    return {}


def _dialect(model: Path) -> dict[str, Any]:
    return {"resample": _row(model)["resample"]} if "resample" in _row(model) else {}


def _info(model: Path, network: Any) -> ModelInfo:
    """From the header of a file of ours; else from the table; else the plain FFHQ frame."""
    if model.suffix == ".safetensors":
        header = read_header(model)
        if header.get("format") == FORMAT:
            return model_info(header, str(model))
    return model_info({"crop_size": network.decoder.out_size, **_row(model)}, str(model))
