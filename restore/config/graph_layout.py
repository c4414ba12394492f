"""Where the tensors of a weights file lie, as one digest that a graph carries."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from restore.errors import CheckpointError

LAYOUT_KEY = "restore.layout_sha256"


def layout_sha256(tensors: Mapping[str, Mapping[str, Any]]) -> str:
    """Digest of where each tensor lies and what it is (`read_header(path)["tensors"]`).

    Weights trained further keep it; another architecture, dtype or header changes it.
    """
    rows = [
        [name, place["dtype"], list(place["shape"]), place["offset"]]
        for name, place in sorted(tensors.items())
    ]
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()


def check_layout(graph: Path, tensors: Mapping[str, Mapping[str, Any]]) -> None:
    """Raise `CheckpointError` where a graph was not made for this weights file: never misread.

    Every runtime would happily read other tensors from the same offsets. The digest is found in the
    graph's bytes (key, tag and length of its protobuf field), so that no package need parse them.
    """
    try:
        content = graph.read_bytes()
    except OSError as error:
        raise CheckpointError(f"Cannot read {graph}: {error.strerror or error}") from error
    found = re.search(re.escape(LAYOUT_KEY.encode()) + rb"\x12\x40([0-9a-f]{64})", content)
    if found is None:
        raise stale(graph, "is no graph of ours, or is cut")
    if found.group(1).decode() != layout_sha256(tensors):
        raise stale(graph, "was made for another state of the weights file")


def stale(graph: Path, reason: str) -> CheckpointError:
    """The error of a graph that does not fit its weights."""
    return CheckpointError(
        f"{graph} {reason}; make it anew with: restore export {graph.with_suffix('.safetensors')}, "
        "or choose --backend torch"
    )
