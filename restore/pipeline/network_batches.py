"""Crops through a runtime in batches of bounded size, a failing crop set apart from the others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from restore.errors import CancelledError, InputError
from restore.pipeline.contracts import Runtime

Progress = Callable[[int, int], None]
"""Called with the crops done and all of them, in the thread that restores."""
Cancel = Callable[[], bool]
"""Asked before each batch and stage, in the thread that restores; True ends the work."""


@dataclass(frozen=True, eq=False)
class CropResult:
    """What became of one crop: restored [s,s,3] uint8 and estimate [6], or the error."""

    restored: NDArray[np.uint8] | None = None
    estimate: NDArray[np.float32] | None = None
    error: str | None = None


def run_batches(
    runtime: Runtime,
    crops: Sequence[NDArray[np.uint8]],
    fidelity: float | Sequence[float],
    max_batch: int,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
) -> list[CropResult]:
    """Restore uint8 RGB crops [s,s,3], at most `max_batch` at a time.

    `fidelity`: one for all or one for each crop. A batch that fails is tried again crop by crop, so
    that one bad face costs no other. `progress(done, total)` is called after each batch; what it
    raises ends the work, as does `cancel() == True` before one, by raising CancelledError.
    """
    each = np.broadcast_to(np.asarray(fidelity, np.float32), len(crops))
    results: list[CropResult] = []
    for start in range(0, len(crops), max_batch):
        stop_if(cancel)
        batch = list(crops[start : start + max_batch])
        dial = each[start : start + max_batch]
        done = _run(runtime, batch, dial)
        if len(batch) > 1 and any(result.error for result in done):
            done = [_run(runtime, [crop], dial[i : i + 1])[0] for i, crop in enumerate(batch)]
        results += done
        if progress is not None:
            progress(len(results), len(crops))
    return results


def stop_if(cancel: Cancel | None) -> None:
    """Raise CancelledError where the caller says so."""
    if cancel is not None and cancel():
        raise CancelledError("the restoration was cancelled")


def _run(
    runtime: Runtime, batch: list[NDArray[np.uint8]], dial: NDArray[np.float32]
) -> list[CropResult]:
    crops = np.stack(batch)
    # A model without a dial is given 1; one number is what the simplest runtimes take.
    same = len(set(dial.tolist())) == 1
    try:
        restored, estimates = runtime.run(crops, float(dial[0]) if same else dial)
        _check_shape(restored, crops)
    # Every runtime has its own exceptions; whatever it is, it is returned with its words.
    except Exception as error:
        said = f"the network failed: {type(error).__name__}: {error}"
        return [CropResult(error=said) for _ in batch]
    return [
        CropResult(restored[i], None if estimates is None else estimates[i])
        for i in range(len(batch))
    ]


def _check_shape(restored: NDArray[np.uint8], crops: NDArray[np.uint8]) -> None:
    if restored.shape != crops.shape or restored.dtype != np.uint8:
        raise InputError(
            f"it returned {restored.dtype} {list(restored.shape)}, expected uint8 "
            f"{list(crops.shape)}"
        )
