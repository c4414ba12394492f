"""The JSON header of a safetensors file, read by hand: needs neither torch nor safetensors."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any, TypedDict

from restore.errors import CheckpointError

FORMAT = "restore/1"
JSON_FIELDS = ("arguments", "template", "prior")
ITEM_BYTES = {
    **dict.fromkeys(("F64", "I64", "U64"), 8),
    **dict.fromkeys(("F32", "I32", "U32"), 4),
    **dict.fromkeys(("F16", "BF16", "I16", "U16"), 2),
    **dict.fromkeys(("I8", "U8", "BOOL", "F8_E4M3", "F8_E5M2"), 1),
}
LARGEST_HEADER = 100 * 2**20
LARGEST_NUMBER = 2**11  # of sizes, counts and channels in a header
LONGEST_LIST = 256


class Place(TypedDict):
    """Where a tensor lies, and what it is."""

    file: str  # the file's name, without its folder
    offset: int  # bytes from the start of the file
    length: int  # bytes
    dtype: str  # in safetensors' words: "F16", "F32", ...
    shape: list[int]


def read_header(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Header of a model file.

    Returns the metadata as one dict: strings, with `arguments`, `template` and `prior` decoded from
    JSON and `crop_size` an int where present, plus `tensors`: name -> `Place`, of this file alone
    (`restore.config.graph_layout.tensor_places` adds those of a prior's file). `format` is
    "restore/1" in our own files and absent in others. Raises `CheckpointError` for anything that is
    not safetensors.
    """
    raw, start, size = _read_json(Path(path))
    metadata = raw.pop("__metadata__", {})
    if not isinstance(metadata, dict):
        raise CheckpointError(f"{path}: its safetensors metadata is no table; the file is damaged")
    if not all(isinstance(value, str) for value in metadata.values()):
        raise CheckpointError(f"{path}: its safetensors metadata is no table of texts")
    header: dict[str, Any] = dict(metadata)
    for key in JSON_FIELDS:
        if key in header:
            header[key] = _decode(path, key, header[key])
    if not isinstance(header.get("arguments", {}), dict):
        raise CheckpointError(f"{path}: header field 'arguments' is no table")
    if "crop_size" in header:
        header["crop_size"] = _decode(path, "crop_size", header["crop_size"])
        if type(header["crop_size"]) is not int or header["crop_size"] < 1:
            raise CheckpointError(f"{path}: header field 'crop_size' is no number of pixels")
    header["tensors"] = {
        name: _place(path, name, entry, start, size) for name, entry in raw.items()
    }
    return header


def _read_json(path: Path) -> tuple[dict[str, Any], int, int]:
    """The header as written, where the data begin and the size of the file, all checked."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if size < 8 or not 2 <= length <= min(size - 8, LARGEST_HEADER):
                raise CheckpointError(
                    f"{path} is no safetensors file, or is cut ({size} bytes, header says {length})"
                )
            raw = _json(file.read(length))
    except OSError as error:
        raise CheckpointError(f"Cannot read {path}: {error.strerror or error}") from error
    except ValueError as error:
        raise CheckpointError(
            f"{path} is no safetensors file: its header is no JSON ({error})"
        ) from error
    if not isinstance(raw, dict):
        raise CheckpointError(f"{path} is no safetensors file: its header is no JSON object")
    return raw, 8 + length, size


def _json(text: str | bytes) -> Any:
    """JSON without the NaN and Infinity that Python's reader lets through; ValueError if not."""

    def refuse(constant: str) -> Any:
        raise ValueError(f"{constant} is no number")

    try:
        return json.loads(text, parse_constant=refuse)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _decode(path: str | os.PathLike[str], key: str, text: str) -> Any:
    try:
        value = _json(text)
    except ValueError as error:
        raise CheckpointError(
            f"{path}: header field {key!r} is no JSON ({error}): {text[:80]!r}"
        ) from error
    problem = _unreasonable(value)
    if problem:
        raise CheckpointError(f"{path}: header field {key!r} holds {problem}")
    return value


def _unreasonable(value: Any, depth: int = 0) -> str | None:
    """What no network's description holds: it would cost memory or time before anything fails."""
    if isinstance(value, (dict, list)):
        if depth > 4 or len(value) > LONGEST_LIST:
            return f"more than {LONGEST_LIST} entries, or lists in lists"
        inner = value.values() if isinstance(value, dict) else value
        return next(filter(None, (_unreasonable(v, depth + 1) for v in inner)), None)
    if isinstance(value, (int, float)) and not abs(value) <= LARGEST_NUMBER:
        return f"a number larger than {LARGEST_NUMBER}"
    return None


def _place(
    path: str | os.PathLike[str],
    name: str,
    entry: Any,
    start: int,
    size: int,
) -> Place:
    """One tensor's entry with absolute offsets; its bytes must lie inside the file and add up."""
    try:
        first, last = entry["data_offsets"]
        shape = list(entry["shape"])
        expected = ITEM_BYTES[entry["dtype"]]
        if not all(type(n) is int and n >= 0 for n in (first, last, *shape)):
            raise ValueError("a size that is no number of bytes or items")
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: the entry of tensor {name!r} is damaged") from error
    for n in shape:
        expected *= n
    if not 0 <= first <= last or last - first != expected:
        raise CheckpointError(
            f"{path}: tensor {name!r} should take {expected} bytes, not {last - first}"
        )
    if start + last > size:
        raise CheckpointError(
            f"{path} is cut: tensor {name!r} ends at byte {start + last} of {size}; fetch it again"
        )
    return Place(
        file=Path(path).name,
        offset=start + first,
        length=last - first,
        dtype=entry["dtype"],
        shape=shape,
    )


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, lower-case hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(2**20):
            digest.update(chunk)
    return digest.hexdigest()
