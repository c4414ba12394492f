"""A network on a device in batches of a few fixed sizes: captured once, replayed at every call."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from restore.errors import InputError

SIZES = (1, 2, 4, 8, 16)  # of batches; what is between is filled up
WARM_UPS = 3  # passes before a capture: libraries choose their algorithms in them

Network = Callable[[Tensor, Tensor], Any]
Results = tuple[Tensor, Tensor, Tensor | None]
"""uint8 RGB [n,s,s,3]; bool [n], whether all numbers were finite; float32 [n,6] or None."""


@dataclass
class _Capture:
    """A CUDA graph and the buffers that it reads and writes."""

    graph: torch.cuda.CUDAGraph
    crops: Tensor
    fidelity: Tensor
    results: Results


class DeviceBatches:
    """uint8 crops on the host -> uint8 images on the host, through a network on a device.

    Crops travel as bytes, a quarter of float32, from page-locked memory where the device is a GPU;
    normalising, clamping and rounding happen there. On CUDA each batch size is captured in a CUDA
    graph at its first use, so that a small network is not held up by the launching of its kernels.
    On other devices the same steps run one by one. Calls are taken in turn.
    """

    def __init__(
        self,
        network: Network,
        crop_size: int,
        device: torch.device,
        autocast: torch.dtype | None = None,
        sizes: tuple[int, ...] = SIZES,
    ) -> None:
        self._network, self._size, self._device = network, crop_size, device
        self._autocast, self._sizes = autocast, sizes
        self._cuda = device.type == "cuda"
        self._captures: dict[int, _Capture] = {}
        self._turn = threading.Lock()

    def run(self, crops: Tensor, fidelity: Tensor) -> tuple[Tensor, Tensor | None]:
        """uint8 RGB [n,s,s,3] and float32 [n] on the host -> the same shape, estimates [n,6].

        Raises `InputError` where the network gives numbers that are not finite.
        """
        images, estimates = torch.empty_like(crops), []
        with self._turn, torch.inference_mode():
            start = 0
            while start < len(crops):
                size = self._batch_size(len(crops) - start)
                part = slice(start, min(start + size, len(crops)))
                image, finite, estimate = self._run_one(crops[part], fidelity[part], size)
                if not finite.all():
                    raise InputError(
                        "the network gave numbers that are not finite; the weights may be damaged, "
                        "or need --precision float32"
                    )
                images[part] = image
                if estimate is not None:
                    estimates.append(estimate)
                start += size
        return images, torch.cat(estimates) if estimates else None

    def _batch_size(self, left: int) -> int:
        """The smallest size that holds all that is left, else the largest."""
        if not self._cuda:
            return min(left, self._sizes[-1])
        return next((size for size in self._sizes if size >= left), self._sizes[-1])

    def _run_one(self, crops: Tensor, fidelity: Tensor, size: int) -> Results:
        if not self._cuda:
            return _to_host(self._steps(crops.to(self._device), fidelity.to(self._device)))
        n = len(crops)
        capture = self._captures.get(size) or self._capture(size)
        capture.crops[:n].copy_(crops.pin_memory(), non_blocking=True)
        capture.fidelity[:n].copy_(fidelity.pin_memory(), non_blocking=True)
        capture.graph.replay()
        image, finite, degradation = capture.results
        return _to_host((image[:n], finite[:n], None if degradation is None else degradation[:n]))

    def _capture(self, size: int) -> _Capture:
        shape = (size, self._size, self._size, 3)
        crops = torch.zeros(shape, dtype=torch.uint8, device=self._device)
        fidelity = torch.ones(size, device=self._device)
        side = torch.cuda.Stream(self._device)
        side.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(side):
            for _ in range(WARM_UPS):
                self._steps(crops, fidelity)
        torch.cuda.current_stream(self._device).wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            results = self._steps(crops, fidelity)
        self._captures[size] = _Capture(graph, crops, fidelity, results)
        return self._captures[size]

    def _steps(self, crops: Tensor, fidelity: Tensor) -> Results:
        """All that happens on the device."""
        lq = crops.permute(0, 3, 1, 2).to(torch.float32) * (2 / 255) - 1  # channels last already
        with torch.autocast(
            self._device.type, self._autocast, enabled=self._autocast is not None,
            cache_enabled=False,
        ):  # fmt: skip
            restored = self._network(lq, fidelity)
        image = restored.image.float()
        scaled = torch.clamp(torch.round(image * 127.5 + 127.5), 0, 255)
        pixels = scaled.to(torch.uint8).permute(0, 2, 3, 1).contiguous()
        finite = torch.isfinite(image.sum(dim=(1, 2, 3), dtype=torch.float64))
        degradation = restored.degradation
        return pixels, finite, None if degradation is None else degradation.float()


def _to_host(results: Results) -> Results:
    image, finite, degradation = results
    return image.cpu(), finite.cpu(), None if degradation is None else degradation.cpu()
