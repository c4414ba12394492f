"""The report of a run: one JSON line for each photo."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np

from restore.errors import InputError
from restore.pipeline.results import RestoredFace, RestoredPhoto


def photo_record(result: RestoredPhoto, face_files: Mapping[int, str]) -> dict[str, Any]:
    """What a report says of a restored photo; `face_files`: index of a face -> its restored crop.

    Box and landmarks in px of the upright input, degradation in the option files' units.
    """
    return {
        "width": result.image.shape[1],
        "height": result.image.shape[0],
        "seconds": round(result.seconds, 4),
        "timings": {stage: round(value, 4) for stage, value in result.timings.items()},
        "notes": list(result.notes),
        "faces": [_face_record(face, face_files.get(i)) for i, face in enumerate(result.faces)],
    }


def _face_record(face: RestoredFace, file: str | None) -> dict[str, Any]:
    estimate = face.degradation
    return {
        "box": np.round(face.box, 2).tolist(),
        "landmarks": np.round(face.landmarks, 2).tolist(),
        "score": round(face.score, 4),
        "status": face.status,
        "reason": face.reason,
        "degradation": None if estimate is None else {k: round(v, 4) for k, v in estimate.items()},
        "file": file,
    }


def open_report(path: Path) -> IO[str]:
    """Open a JSON-lines file to append to; a line that a crash cut short is ended first."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Line-buffered: a line is handed to the system as soon as it is complete.
        file = path.open("a+", encoding="utf-8", buffering=1)
        if file.tell() and not _ends_in_newline(path):
            file.write("\n")
    except OSError as error:
        raise InputError(
            f"{path}: the report cannot be written: {error.strerror or error}; "
            "choose another folder with -o"
        ) from error
    return file


def write_record(file: IO[str], record: Mapping[str, Any]) -> None:
    """Append one record as a line; InputError where the disk does not take it."""
    try:
        file.write(json.dumps(record, ensure_ascii=False) + "\n")
        file.flush()
    except OSError as error:
        raise InputError(f"the report cannot be written: {error.strerror or error}") from error


def _ends_in_newline(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, 2)
        return file.read(1) == b"\n"
