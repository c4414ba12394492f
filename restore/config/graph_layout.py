"""Where each tensor of a model lies: in which file, at which byte; and graphs that point there."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from restore.config.model_header import Place, file_sha256, read_header
from restore.errors import CheckpointError

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
