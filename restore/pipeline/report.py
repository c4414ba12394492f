"""The report of a run: one JSON line for each photo, and what is read back from it later."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path, PurePath
from typing import Any

import numpy as np

from restore.errors import InputError
from restore.pipeline.results import RestoredFace, RestoredPhoto
from restore.pipeline.walk import KINDS, Source

_NOT_NUMBERS = ("image", "faces", "metadata", "crop", "restored")
_OURS = b'{"input": "'
"""What each line begins with; a file that does not is not a report."""
GOOD = ("restored", "no_face")
"""Statuses of photos with which a run is done."""


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


def options_key(options: Any, **others: Any) -> str:
    """A short name of everything that shapes a result: equal for equal options alone.

    `options`: a dataclass; `others`: what it does not hold, such as the model.
    """
    told = json.dumps({"options": plain(options), **plain(others)}, sort_keys=True)
    return hashlib.sha256(told.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def identity_of(source: Path) -> dict[str, Any] | None:
    """What tells one version of a file from another: real path, bytes, time of its last change."""
    try:
        about = os.stat(source)
    except (OSError, ValueError):
        return None
    path = os.path.realpath(source)
    return {"path": path, "bytes": about.st_size, "mtime_ns": about.st_mtime_ns}


@dataclass(frozen=True)
class Ledger:
    """What earlier runs say of an output folder."""

    records: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """The last record of each source that wrote something, by the source's real path."""

    def name_of(self, source: Path, folder: Path) -> str | None:
        """The stem that the results of `source` have in `folder`; None where it has none there."""
        record = self.records.get(os.path.realpath(source))
        if record is None or not _there(record):
            return None
        output = Path(str(record["output"]))
        kinds = [folder] + [_sibling(folder, kind) for kind in KINDS]
        if os.path.realpath(output.parent) not in {os.path.realpath(path) for path in kinds}:
            return None
        return str(record.get("name") or output.stem)

    def names_in(self, output: Path, but: Sequence[Source]) -> Iterable[tuple[str, str]]:
        """Folder and stem of the results below `output` of all sources other than `but`."""
        sources = {os.path.realpath(source.path) for source in but}
        root = os.path.realpath(output)
        for path, record in self.records.items():
            if path in sources or not _there(record):
                continue
            parts = PurePath(os.path.relpath(os.path.realpath(str(record["output"])), root)).parts
            if parts[0] in KINDS:
                stem = str(record.get("name") or PurePath(parts[-1]).stem)
                yield str(PurePath(*parts[1:-1])), stem

    def earlier(self, source: Path, *results: Path) -> Mapping[str, Any] | None:
        """The record that says that one of `results` was made of `source`, where it is there."""
        record = self.records.get(os.path.realpath(source))
        if record is None or not _there(record):
            return None
        made = os.path.realpath(str(record["output"]))
        return record if made in map(os.path.realpath, results) else None


def read_ledger(path: Path) -> Ledger:
    """The ledger of a report; empty where there is none, lines that are damaged left out."""
    records: dict[str, Mapping[str, Any]] = {}
    try:
        lines = path.read_bytes().splitlines() if os.path.isfile(path) else []
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from error
    for line in lines:
        try:
            record = json.loads(line)
            source = (record.get("source") or {}).get("path") or os.path.realpath(record["input"])
            if isinstance(record.get("output"), str):
                records[source] = record
            elif source in records:  # the result of before is still there, but of another source
                records[source] = {**records[source], "status": record.get("status")}
        except (ValueError, AttributeError, KeyError, TypeError):
            continue
    return Ledger(records)


def is_done(record: Mapping[str, Any] | None, source: Path, key: str) -> bool:
    """Whether a record says that this very file was restored with these options, and well."""
    return (
        record is not None
        and record.get("status") in GOOD
        and record.get("options") == key
        and record.get("source") is not None
        and record.get("source") == identity_of(source)
    )


def _there(record: Mapping[str, Any]) -> bool:
    return isinstance(record.get("output"), str) and os.path.isfile(record["output"])


def _sibling(folder: Path, kind: str) -> Path:
    parts = list(folder.parts)
    at = max(i for i, part in enumerate(parts) if part == KINDS[0])
    return Path(*parts[:at], kind, *parts[at + 1 :])


class Report:
    """Owns a JSON-lines file of this program's, to which records are appended whole."""

    def __init__(self, path: Path) -> None:
        """Open or make it. InputError for what is no regular file, or not of this program."""
        self.path = path
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, "O_NONBLOCK", 0)
        flags |= getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.is_symlink():
                raise InputError(f"{path} is a link; a report is written to a file of its own")
            self._number = os.open(path, flags, 0o666)
        except OSError as error:
            raise self._unwritable(error) from error
        try:
            self._check()
        except BaseException:
            os.close(self._number)
            raise

    def _check(self) -> None:
        about = os.fstat(self._number)
        if not stat.S_ISREG(about.st_mode):
            raise InputError(f"{self.path} is no regular file; give - for standard output")
        start = os.pread(self._number, len(_OURS), 0) if hasattr(os, "pread") else _OURS
        if about.st_size and not _OURS.startswith(start):
            raise InputError(
                f"{self.path} is there already and is no report of this program; choose another "
                "file with --report-json, or another folder with -o"
            )
        # A line that a crash cut short is ended first.
        if about.st_size and os.pread(self._number, 1, about.st_size - 1) != b"\n":
            self._append(b"\n")

    def __enter__(self) -> Report:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._number)

    def write(self, record: Mapping[str, Any]) -> None:
        """Append a record as one line; InputError where the disk does not take it."""
        self._append(record_line(record))

    def _append(self, data: bytes) -> None:
        try:
            while data:
                data = data[os.write(self._number, data) :]
        except OSError as error:
            raise self._unwritable(error) from error

    def _unwritable(self, error: OSError) -> InputError:
        return InputError(
            f"{self.path}: the report cannot be written: {error.strerror or error}; "
            "choose another file or folder (--report-json, -o)"
        )


def record_line(record: Mapping[str, Any]) -> bytes:
    """A record as a line of UTF-8; file names that are no UTF-8 are escaped, and still JSON."""
    return (json.dumps(record, ensure_ascii=False) + "\n").encode("utf-8", "backslashreplace")
