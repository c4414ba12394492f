"""A stopwatch for the named stages of one restoration."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass
class Stopwatch:
    """Seconds of each stage, and since it was made."""

    started: float = field(default_factory=time.perf_counter)
    timings: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        """`with stopwatch("detect"): ...` notes how long the block took."""
        start = time.perf_counter()
        yield
        self.timings[stage] = time.perf_counter() - start

    def seconds(self) -> float:
        """Since it was made."""
        return time.perf_counter() - self.started
