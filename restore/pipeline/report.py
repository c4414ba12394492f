"""The report of a run: one JSON line for each photo."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from restore.errors import InputError
from restore.pipeline.results import RestoredFace, RestoredPhoto

_NOT_NUMBERS = ("image", "faces", "metadata", "crop", "restored")


def photo_record(result: RestoredPhoto, face_files: Mapping[int, str]) -> dict[str, Any]:
    """What a report says of a restored photo; `face_files`: index of a face -> its restored crop.

    Every field of the result objects but pictures and metadata, under its own name and in its own
    unit (`restore.pipeline.results`), and the size of the restored photo.
    """
    height, width = result.image.shape[:2]
    faces = [_face_record(face, face_files.get(i)) for i, face in enumerate(result.faces)]
    return {"width": width, "height": height} | _numbers(result) | {"faces": faces}


def _face_record(face: RestoredFace, file: str | None) -> dict[str, Any]:
    return _numbers(face) | {"file": file}


def _numbers(result: Any) -> dict[str, Any]:
    named = (field.name for field in fields(result))
    return {name: plain(getattr(result, name)) for name in named if name not in _NOT_NUMBERS}


def plain(value: Any) -> Any:
    """A value as JSON knows it: arrays are lists, floats have four decimals, NaN is None."""
    if isinstance(value, np.ndarray):
        value = value.tolist()
    elif isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return round(value, 4) if np.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(inner) for inner in value]
    if is_dataclass(value):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    return value if value is None or isinstance(value, (bool, int, str)) else str(value)


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
        line = json.dumps(record, ensure_ascii=False) + "\n"
        # File names that are no UTF-8 hold lone surrogates; escaped, they are still JSON.
        file.write(line.encode("utf-8", "backslashreplace").decode("utf-8"))
        file.flush()
    except OSError as error:
        raise InputError(f"the report cannot be written: {error.strerror or error}") from error


def _ends_in_newline(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, 2)
        return file.read(1) == b"\n"
