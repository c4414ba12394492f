"""Faces of several photos in one batch: a runtime that joins what its callers ask for at once."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from restore.runtime.pixels import check_request

if TYPE_CHECKING:
    from restore.runtime.contract import Runtime

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
