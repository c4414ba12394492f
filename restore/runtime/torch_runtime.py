"""A model through torch: GPUs, GFPGAN checkpoints, and whatever has no graph."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from restore.config.model_header import FORMAT, read_header
from restore.errors import CheckpointError, DeviceError, MissingExtraError
from restore.runtime.model_info import ModelInfo, model_info, row_of_file
from restore.runtime.pixels import check_request
from restore.runtime.precision import check_precision

CPU_SIZES = (4,)  # crops at a time: more gain nothing on a CPU and only take memory


class TorchRuntime:
    """`Runtime` of docs/architecture.md over a module; safe to share between threads.

    `device` such as "cpu", "cuda:1". `precision` is that of weights, convolutions and products;
    "auto" is float16 on a CUDA GPU, else float32. `threads` sets torch's own number, which is one
    for the whole process.
    """

    name = "torch"
    supports_fidelity = True

    def __init__(
        self,
        model: Path,
        device: str | None = None,
        threads: int | None = None,
        precision: str = "auto",
    ) -> None:
        check_precision(precision)
        try:
            import torch
        except ImportError as error:
            raise MissingExtraError("torch", "torch", f"Running {model.name} in torch") from error
        from restore.checkpoints.load import load_network
        from restore.networks.prior_restorer import PriorRestorer
        from restore.runtime.device_batches import SIZES, DeviceBatches

        if threads is not None:
            if threads < 1:
                raise DeviceError(f"{threads} threads cannot run a network; give 1 or more")
            torch.set_num_threads(threads)
        network = load_network(model, device or "cpu", resample=row_of_file(model).get("resample"))
        if not isinstance(network, PriorRestorer):
            raise CheckpointError(
                f"{model} holds a {type(network).__name__}, which restores no faces; give a "
                "restorer's file"
            )
        info = _info(model, network)
        self.crop_size, self.template = info.crop_size, info.template
        target = torch.device(device or "cpu")
        self.precision = _resolved(precision, target.type)
        narrow = None if self.precision == "float32" else getattr(torch, self.precision)
        network = network.requires_grad_(False).to(memory_format=torch.channels_last)
        if narrow is not None:
            network = network.to(narrow)  # once, where autocast would at every call
        sizes = CPU_SIZES if target.type == "cpu" else SIZES
        self._batches = DeviceBatches(network, self.crop_size, target, narrow, sizes)

    def run(
        self, crops: NDArray[np.uint8], fidelity: float | NDArray[np.float32] = 1.0
    ) -> tuple[NDArray[np.uint8], NDArray[np.float32] | None]:
        """uint8 RGB [n,s,s,3], fidelity in [0,1] -> the same shape, estimates [n,6] or None."""
        import torch

        dial = check_request(crops, fidelity, self.crop_size, self.supports_fidelity)
        images, estimates = self._batches.run(
            torch.from_numpy(np.ascontiguousarray(crops)), torch.from_numpy(dial)
        )
        return images.numpy(), None if estimates is None else estimates.numpy()


def _resolved(precision: str, device: str) -> str:
    # In bfloat16 eager torch rounds after every step; GFPGAN's size stays at 44 dB on a CPU.
    if precision == "auto":
        return "float16" if device == "cuda" else "float32"
    return precision


def _info(model: Path, network: Any) -> ModelInfo:
    """From the header of a file of ours; else from the table; else the plain FFHQ frame."""
    if model.suffix == ".safetensors":
        header = read_header(model)
        if header.get("format") == FORMAT:
            return model_info(header, str(model))
    return model_info({"crop_size": network.decoder.out_size, **row_of_file(model)}, str(model))
