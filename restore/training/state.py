"""The complete state of a training in one file: written whole or not at all, newest ones kept."""

from __future__ import annotations

import contextlib
import os
import random
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from restore.errors import CheckpointError

FORMAT = "restore-training/1"
_NAME = re.compile(r"(\d+)\.state$")


def write_atomically(content: Any, path: Path) -> None:
    """`torch.save` into a neighbour, flushed to the disk, then renamed over `path`.

    Raises OSError when the disk is full; what lay at `path` is then still there.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            try:
                torch.save(content, file)
            except RuntimeError as error:
                # torch's writer reports a failed write so ("PytorchStreamWriter failed ...")
                raise OSError(f"writing {path.name} failed: {error}") from error
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


def save_state(folder: Path, step: int, content: Mapping[str, Any], keep: int = 2) -> Path:
    """Write `STEP.state` and remove all but the newest `keep` of the folder (0: none)."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{step}.state"
    write_atomically({"format": FORMAT, **content}, path)
    if keep > 0:
        for old in states_of(folder)[:-keep]:
            old.unlink(missing_ok=True)
    return path


def states_of(folder: Path) -> list[Path]:
    """The state files of a folder by rising step."""
    if not folder.is_dir():
        return []
    found = [(int(m.group(1)), p) for p in folder.iterdir() if (m := _NAME.fullmatch(p.name))]
    return [path for _, path in sorted(found)]


def newest_state(folder: Path) -> Path | None:
    """The newest state that can be read whole; a damaged one is passed over."""
    for path in reversed(states_of(folder)):
        try:
            load_state(path)
        except CheckpointError:
            continue
        return path
    return None


def load_state(path: Path) -> dict[str, Any]:
    """What `save_state` wrote; only tensors and plain containers are ever unpickled."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise CheckpointError(
            f"{path} is no training state that can be read ({type(error).__name__}: {error}); "
            "resume from an older one"
        ) from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise CheckpointError(
            f"{path} is no training state of this program (expected format {FORMAT}); BasicSR's "
            "states cannot be resumed, but its weights can: path.pretrain_network_g"
        )
    return content


def random_state() -> dict[str, Any]:
    """The global random states: those that plugin networks and dropout read."""
    kind, keys, position, has_gauss, cached = np.random.get_state()
    version, internal, gauss = random.getstate()
    state: dict[str, Any] = {
        "torch": torch.get_rng_state(),
        "numpy": [str(kind), torch.from_numpy(np.asarray(keys, np.int64)), int(position)],
        "numpy_gauss": [int(has_gauss), float(cached)],
        "python": [version, list(internal), gauss],
    }
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def restore_random_state(state: Mapping[str, Any]) -> None:
    """Put the global random states back."""
    torch.set_rng_state(state["torch"])
    kind, keys, position = state["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), position, *state["numpy_gauss"]))
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])
