"""Faces through the network at a fidelity, or at the one that their own estimate asks for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from restore.degradation.units import target_to_units
from restore.pipeline.contracts import Runtime
from restore.pipeline.fidelity import auto_fidelity
from restore.pipeline.network_batches import Cancel, CropResult, Progress, run_batches
from restore.pipeline.results import RestoredFace
from restore.pipeline.trust_options import Fidelity

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
    done = _run(runtime, faces, lambda face: start, max_batch, progress, cancel)
    if fidelity != "auto":
        return done
    wanted = {
        i: chosen
        for i, face in enumerate(done)
        if face.restored is not None
        and abs((chosen := auto_fidelity(face.degradation)) - start) > _SAME
    }
    again = [replace(done[i], fidelity=chosen) for i, chosen in wanted.items()]
    again = _run(runtime, again, lambda face: face.fidelity or 0.0, max_batch, None, cancel)
    for i, face in zip(wanted, again, strict=True):
        done[i] = face
    return done


def _run(
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
