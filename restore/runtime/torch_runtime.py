"""PyTorch as a runtime: batches on the device, and requests of several photos joined."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from restore.errors import CheckpointError, DeviceError, InputError, MissingExtraError
from restore.model_files import FORMAT, read_header
from restore.runtime.contract import (
    ModelInfo,
    check_precision,
    check_request,
    model_info,
    row_of_file,
)

if TYPE_CHECKING:
    from restore.runtime.contract import Runtime


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


Answer = tuple[NDArray[np.uint8], "NDArray[np.float32] | None"]


@dataclass(eq=False)
class _Request:
    crops: NDArray[np.uint8]
    fidelity: NDArray[np.float32]
    answer: Answer | None = None
    error: Exception | None = None

    @property
    def done(self) -> bool:
        return self.answer is not None or self.error is not None


class SharedBatches:
    """`Runtime` of docs/architecture.md over another one, for a device that likes large batches.

    While one batch runs, the requests of other threads gather; the next to get its turn runs all
    that waits, up to `max_batch` crops (or its own request, if that is larger). Nobody waits for
    company: a caller alone is served at once.
    """

    joins_requests = True

    def __init__(self, runtime: Runtime, max_batch: int = 16) -> None:
        self._runtime, self._max_batch = runtime, max_batch
        self.name, self.precision = runtime.name, runtime.precision
        self.crop_size, self.template = runtime.crop_size, runtime.template
        self.supports_fidelity = runtime.supports_fidelity
        self._waiting: deque[_Request] = deque()
        self._turn = threading.Lock()

    def run(
        self, crops: NDArray[np.uint8], fidelity: float | NDArray[np.float32] = 1.0
    ) -> tuple[NDArray[np.uint8], NDArray[np.float32] | None]:
        """uint8 RGB [n,s,s,3], fidelity in [0,1] -> the same shape, estimates [n,6] or None."""
        dial = check_request(crops, fidelity, self.crop_size, self.supports_fidelity)
        request = _Request(crops, dial)
        self._waiting.append(request)
        while not request.done:
            with self._turn:
                if not request.done:
                    self._serve(self._gathered())
        if request.error is not None:
            raise request.error
        assert request.answer is not None
        return request.answer

    def _gathered(self) -> list[_Request]:
        requests = [self._waiting.popleft()]
        total = len(requests[0].crops)
        while self._waiting and total + len(self._waiting[0].crops) <= self._max_batch:
            requests.append(self._waiting.popleft())
            total += len(requests[-1].crops)
        return requests

    def _serve(self, requests: list[_Request]) -> None:
        crops = np.concatenate([request.crops for request in requests])
        fidelity = np.concatenate([request.fidelity for request in requests])
        try:
            images, estimates = self._runtime.run(crops, fidelity)
        except Exception as error:  # whatever it is, each caller gets what concerns its own crops
            if len(requests) == 1:
                requests[0].error = error
                return
            for request in requests:
                self._serve([request])
            return
        start = 0
        for request in requests:
            part = slice(start, start + len(request.crops))
            request.answer = images[part], None if estimates is None else estimates[part]
            start = part.stop
