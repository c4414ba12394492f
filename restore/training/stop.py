"""Why a run ends before its last step: a signal, the clock, a number that is not finite."""

from __future__ import annotations

import signal
import time
from types import FrameType

from restore.errors import RestoreError


class TrainingError(RestoreError):
    """Training cannot go on; the last saved state is good."""


class StopSignals:
    """Context in which SIGTERM and SIGINT ask the loop to end after the step at hand.

    A second signal of the same kind acts as it did before. Outside the main thread, where handlers
    cannot be set, nothing is caught.
    """

    def __init__(self) -> None:
        self.received: str | None = None
        self._before: dict[int, object] = {}

    def __enter__(self) -> StopSignals:
        for number in (signal.SIGTERM, signal.SIGINT):
            try:
                self._before[number] = signal.signal(number, self._note)
            except ValueError:
                break
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        self._before.clear()

    def _note(self, number: int, _: FrameType | None) -> None:
        self.received = signal.Signals(number).name
        signal.signal(number, self._before[number])  # type: ignore[arg-type]


class Clock:
    """Seconds since the run began, and whether its budget is spent; `minutes` None is no limit."""

    def __init__(self, minutes: float | None = None) -> None:
        self.start = time.monotonic()
        self.minutes = minutes

    def seconds(self) -> float:
        """Wall-clock seconds of this run."""
        return time.monotonic() - self.start

    def spent(self) -> bool:
        """Whether the budget is used up."""
        return self.minutes is not None and self.seconds() >= 60 * self.minutes
