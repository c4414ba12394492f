"""Crops through the network: what a runtime must do, batches, each face's fidelity."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from restore.degradation.truth import target_to_units
from restore.errors import CancelledError, InputError
from restore.pipeline.options import Fidelity
from restore.pipeline.results import RestoredFace
from restore.runtime.contract import Runtime

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


FULL_BELOW, LEAST_ABOVE, LEAST = 5.0, 12.0, 0.6
"""Loss up to which fidelity is 1, loss from which on it is LEAST, and LEAST.

Measured by `python -m benchmarks trust --parts fidelity` (docs/trust.md); another model may
want another curve.
"""


def auto_fidelity(degradation: Mapping[str, float] | None) -> float:
    """Fidelity in [0,1] of a face by its estimate (units of `restore.degradation.truth`).

    The loss is the larger of blur sigma (px of 512) and down-scaling: px of the crop that have run
    into one. Up to FULL_BELOW the photo holds the face and leads; towards LEAST_ABOVE there is less
    to be faithful to, and the prior paints more; in between the line is straight in log(loss).
    Without an estimate it is 1.
    """
    if degradation is None:
        return 1.0
    from math import log

    loss = max(degradation.get("blur_sigma", 0.0), degradation.get("scale", 1.0))
    if loss <= FULL_BELOW:
        return 1.0
    share = min(log(loss / FULL_BELOW) / log(LEAST_ABOVE / FULL_BELOW), 1.0)
    return 1.0 - share * (1.0 - LEAST)


_SAME = 0.01  # two fidelities nearer than this are one


def run_faces(
    runtime: Runtime,
    faces: Sequence[RestoredFace],
    fidelity: Fidelity,
    max_batch: int,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
) -> list[RestoredFace]:
    """Every face that has a crop with `restored`, the network's own, and its estimate.

    `fidelity` None is 1. "auto" runs all at 1, which tells their degradation, and then those again
    that it gives another fidelity: at most twice the time. Progress counts the first run.
    """
    start = 1.0 if fidelity is None or fidelity == "auto" else float(fidelity)
    done = _network_pass_run(runtime, faces, lambda face: start, max_batch, progress, cancel)
    if fidelity != "auto":
        return done
    wanted = {
        i: chosen
        for i, face in enumerate(done)
        if face.restored is not None
        and abs((chosen := auto_fidelity(face.degradation)) - start) > _SAME
    }
    again = [replace(done[i], fidelity=chosen) for i, chosen in wanted.items()]
    again = _network_pass_run(
        runtime, again, lambda face: face.fidelity or 0.0, max_batch, None, cancel
    )
    for i, face in zip(wanted, again, strict=True):
        done[i] = face
    return done


def _network_pass_run(
    runtime: Runtime,
    faces: Sequence[RestoredFace],
    fidelity_of: Callable[[RestoredFace], float],
    max_batch: int,
    progress: Progress | None,
    cancel: Cancel | None,
) -> list[RestoredFace]:
    ready = [face for face in faces if face.crop is not None]
    crops = [face.crop for face in ready if face.crop is not None]
    dial = [fidelity_of(face) for face in ready]
    results = iter(run_batches(runtime, crops, dial, max_batch, progress, cancel))
    return [
        face
        if face.crop is None
        else _with_result(face, next(results), fidelity_of(face) if _has_dial(runtime) else None)
        for face in faces
    ]


def _has_dial(runtime: Runtime) -> bool:
    return runtime.supports_fidelity


def _with_result(face: RestoredFace, result: CropResult, fidelity: float | None) -> RestoredFace:
    if result.restored is None:
        return replace(face, status="failed", reason=result.error, restored=None)
    face = replace(face, restored=result.restored, fidelity=fidelity)
    if result.estimate is None:
        return face
    units = target_to_units(result.estimate[None])
    return replace(face, degradation={name: float(values[0]) for name, values in units.items()})
