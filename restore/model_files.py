"""Model files of ours: the header, where each tensor lies, and sessions of their graphs."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

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
    (`tensor_places` adds those of a prior's file). `format` is
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


LAYOUT_KEY = "restore.layout_sha256"


def locate(model: Path, name: str) -> Place:
    """Where one tensor of a model lies: `file`, `offset`, `length`, `dtype`, `shape`.

    Raises `CheckpointError` where neither the model file nor the prior that it names has it.
    """
    places = tensor_places(model)
    if name not in places:
        raise CheckpointError(f"{model} has no tensor {name!r}")
    return places[name]


def tensor_places(model: Path) -> dict[str, Place]:
    """Every tensor of a model: those of its own file, and those of the prior that it stands on.

    A header may name a frozen prior: `prior` = {"file": a name in the same folder, "sha256": of the
    whole file, "prefix": "decoder."}. Its tensors count under the prefix, unless the model's own
    file has one of that name. Raises `CheckpointError` where that file is missing or another one.
    """
    header = read_header(model)
    places: dict[str, Place] = header["tensors"]
    if "prior" not in header:
        return places
    path, prefix = check_prior(model, header["prior"])
    shared = read_header(path)["tensors"]
    return {f"{prefix}{name}": place for name, place in shared.items()} | places


def places_of_arrays(arrays: Mapping[str, NDArray[Any]]) -> dict[str, Place]:
    """Places of float32 arrays in memory, which lie in no file."""
    return {
        name: Place(file="", offset=0, length=array.nbytes, dtype="F32", shape=list(array.shape))
        for name, array in arrays.items()
    }


def read_array(model: Path, name: str) -> NDArray[Any]:
    """One tensor of a model as it is stored; bfloat16 comes as float32."""
    place = locate(model, name)
    array = map_array(model, place)
    if place["dtype"] == "BF16":
        return (array.astype("<u4") << 16).view("<f4")
    return np.array(array)


def map_array(model: Path, place: Place) -> NDArray[Any]:
    """One tensor as the file holds it, mapped and read-only; bfloat16 as its bits, uint16."""
    kind = _KINDS.get(place["dtype"])
    if kind is None:
        raise CheckpointError(f"{model}: a tensor is {place['dtype']}, not {', '.join(_KINDS)}")
    if place["length"] == 0:
        return np.zeros(place["shape"], kind)
    path, shape = model.parent / place["file"], tuple(place["shape"])
    return np.memmap(path, kind, "r", place["offset"], shape)


_KINDS = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "I64": "<i8", "I32": "<i4", "U8": "u1",
}  # fmt: skip


def refuse_zeros(model: Path) -> None:
    """Raise `CheckpointError` for a model whose own weights are all zero: an empty shell."""
    for place in read_header(model)["tensors"].values():
        if place["dtype"] in _KINDS and map_array(model, place).any():
            return
    raise CheckpointError(f"{model} holds nothing but zeros, no trained network; fetch it again")


def check_prior(model: Path, prior: Any) -> tuple[Path, str]:
    """Path of the prior that a header names, and the prefix of its tensors' names in the model.

    `CheckpointError` unless it is that very file.
    """
    keys = ("file", "sha256", "prefix")
    values = [prior.get(key) if isinstance(prior, Mapping) else None for key in keys]
    name, sha256, prefix = map(str, values)
    if not all(isinstance(value, str) for value in values) or Path(name).name != name:
        raise CheckpointError(f"{model}: its header names no prior's file in its folder: {prior!r}")
    path = model.parent / name
    if not path.is_file():
        raise CheckpointError(
            f"{model} stands on the prior {name}, which is not in its folder; keep both together, "
            "or reinstall restore"
        )
    state = path.stat()
    found = _digest(path.resolve(), state.st_size, state.st_mtime_ns)
    if found != sha256:
        raise CheckpointError(
            f"{path} is not the prior that {model.name} stands on: SHA-256 is {found}, expected "
            f"{sha256}; put the right file there, or reinstall restore"
        )
    return path, prefix


@lru_cache(maxsize=8)
def _digest(path: Path, size: int, changed: int) -> str:
    """SHA-256 of a file, once for each state of it that this process meets."""
    return file_sha256(path)


def layout_sha256(places: Mapping[str, Place]) -> str:
    """Digest of where each tensor lies and what it is.

    Weights trained further keep it; another architecture, dtype or header changes it.
    """
    several = len({place["file"] for place in places.values()}) > 1
    rows = [
        [name, place["dtype"], list(place["shape"]), place["offset"], *[place["file"]] * several]
        for name, place in sorted(places.items())
    ]
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()


def check_layout(model: Path, graph: Path) -> None:
    """Raise `CheckpointError` where a graph was not made for this model: never misread.

    Every runtime would happily read other tensors from the same offsets. The digest is found in the
    graph's bytes (key, tag and length of its protobuf field), so that no package need parse them.
    The prior's own digest is checked as well, and that the weights are not all zero.
    """
    places = tensor_places(model)
    refuse_zeros(model)
    try:
        content = graph.read_bytes()
    except OSError as error:
        raise CheckpointError(f"Cannot read {graph}: {error.strerror or error}") from error
    found = re.search(re.escape(LAYOUT_KEY.encode()) + rb"\x12\x40([0-9a-f]{64})", content)
    if found is None:
        raise stale(graph, "is no graph of ours, or is cut")
    if found.group(1).decode() != layout_sha256(places):
        raise stale(graph, "was made for another state of the weights file")


def stale(graph: Path, reason: str) -> CheckpointError:
    """The error of a graph that does not fit its weights."""
    return CheckpointError(
        f"{graph} {reason}; make it anew with: restore export {graph.with_suffix('.safetensors')}, "
        "or choose --backend torch"
    )


def open_session(graph: Path | bytes, threads: int, spin: bool = True) -> Any:
    """A session of that many threads; `CheckpointError` for what is no graph.

    `graph`: a file, or a model in memory. Threads that `spin` wait busily for the next step of a
    run (never after it); without, they take no core from others between the steps either.
    """
    # Read when the library is loaded: with it no device id is kept and no telemetry host looked up.
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3  # what it cannot fold at load, it says of every float16 node
    if spin:
        options.add_session_config_entry("session.force_spinning_stop", "1")
    else:
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    source = graph if isinstance(graph, bytes) else os.fspath(graph.resolve())
    try:
        return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its exceptions share no class of their own
        reason = str(error).splitlines()[0]
        if isinstance(graph, Path) and graph.with_suffix(".safetensors").is_file():
            raise stale(graph, f"cannot be loaded by onnxruntime ({reason})") from error
        what = "this graph" if isinstance(graph, bytes) else graph
        raise CheckpointError(f"{what} is no model that onnxruntime can run: {reason}") from error


def model_session(model: Path, threads: int) -> Any:
    """The session of `model`'s graph; `CheckpointError` where it is missing or another file's."""
    graph = model.with_suffix(".onnx")
    if not graph.is_file():
        raise CheckpointError(
            f"{model} has no graph beside it ({graph.name}); make it with: restore export {model}"
        )
    check_layout(model, graph)
    return open_session(graph, threads)
