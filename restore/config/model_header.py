"""The JSON header of a safetensors file, read by hand: needs neither torch nor safetensors."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from restore.errors import CheckpointError

FORMAT = "restore/1"
JSON_FIELDS = ("arguments", "template")
ITEM_BYTES = {
    **dict.fromkeys(("F64", "I64", "U64"), 8),
    **dict.fromkeys(("F32", "I32", "U32"), 4),
    **dict.fromkeys(("F16", "BF16", "I16", "U16"), 2),
    **dict.fromkeys(("I8", "U8", "BOOL", "F8_E4M3", "F8_E5M2"), 1),
}
LARGEST_HEADER = 100 * 2**20


def read_header(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Header of a model file.

    Returns the metadata as one dict: strings, with `arguments` and `template` decoded from JSON and
    `crop_size` an int where present, plus `tensors`: name -> {"dtype": "F16", "shape": [...],
    "offset": bytes from the start of the file, "length": bytes}. `format` is "restore/1" in our own
    files and absent in others. Raises `CheckpointError` for anything that is not safetensors.
    """
    raw, start, size = _read_json(Path(path))
    metadata = raw.pop("__metadata__", {})
    if not isinstance(metadata, dict):
        raise CheckpointError(f"{path}: its safetensors metadata is no table; the file is damaged")
    header: dict[str, Any] = dict(metadata)
    for key in JSON_FIELDS:
        if key in header:
            header[key] = _decode(path, key, header[key])
    if "crop_size" in header:
        header["crop_size"] = int(_decode(path, "crop_size", header["crop_size"]))
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
            raw = json.loads(file.read(length))
    except OSError as error:
        raise CheckpointError(f"Cannot read {path}: {error.strerror or error}") from error
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise CheckpointError(f"{path} is no safetensors file: its header is no JSON") from error
    if not isinstance(raw, dict):
        raise CheckpointError(f"{path} is no safetensors file: its header is no JSON object")
    return raw, 8 + length, size


def _decode(path: str | os.PathLike[str], key: str, text: str) -> Any:
    try:
        return json.loads(text)
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: header field {key!r} is no JSON: {text!r}") from error


def _place(
    path: str | os.PathLike[str],
    name: str,
    entry: Any,
    start: int,
    size: int,
) -> dict[str, Any]:
    """One tensor's entry with absolute offsets; its bytes must lie inside the file and add up."""
    try:
        first, last = entry["data_offsets"]
        shape = [int(n) for n in entry["shape"]]
        expected = ITEM_BYTES[entry["dtype"]]
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
    return {
        "dtype": entry["dtype"],
        "shape": shape,
        "offset": start + first,
        "length": last - first,
    }
