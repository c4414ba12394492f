"""Weights from a file, safely: .pth, .pt, .safetensors and NVIDIA .pkl -> a flat state dict."""

from __future__ import annotations

import argparse
import os
import pickle
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from restore.checkpoints.stylegan2_pkl import read_nvidia_pickle
from restore.config.model_header import read_header
from restore.errors import CheckpointError

# Wrappers in order of preference: averaged weights first.
WRAPPERS = ("params_ema", "g_ema", "params", "state_dict", "g", "d", "model", "net", "module")
PREFIXES = ("module.", "_orig_mod.")
TORCH_LEGACY_MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # pickled torch magic number


@dataclass(frozen=True)
class StateDict:
    """Flat `tensors` by name; `wrapper`: the key they lay under (None: at the top)."""

    tensors: dict[str, Tensor]
    wrapper: str | None = None


def read_state_dict(path: str | os.PathLike[str], key: str | None = None) -> StateDict:
    """Read a weights file of any known container, told by its first bytes, not by its name.

    `key` picks a wrapper ("params", "d", ...); by default averaged weights win. Code in a pickle is
    never run: `CheckpointError` names what it asked for. Damaged files raise it too.
    """
    path = Path(path)
    container = sniff(path)
    if container == "safetensors":
        return unwrap(_read_safetensors(path), path, key)
    if container == "pickle":
        return StateDict(read_nvidia_pickle(path, key).tensors, key)
    return unwrap(_read_torch(path), path, key)


def sniff(path: Path) -> str:
    """Container of a file: "torch", "safetensors" or "pickle"; else an error saying what it is."""
    try:
        with path.open("rb") as file:
            head = file.read(4096)
    except FileNotFoundError as error:
        raise CheckpointError(f"There is no file {path}") from error
    except OSError as error:
        raise CheckpointError(f"Cannot read {path}: {error.strerror or error}") from error
    if not head:
        raise CheckpointError(f"{path} is empty; fetch it again")
    if head.startswith(b"PK\x03\x04") or head.startswith(TORCH_LEGACY_MAGIC):
        return "torch"
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 2**32:
        return "safetensors"
    if re.match(rb"\x80[\x02-\x05]", head):
        return "pickle"
    if not head.strip(b"\0"):
        found = "nothing but zero bytes"
    elif head.lstrip()[:1] == b"<":
        found = "a web page, so a download has gone wrong"
    elif head.startswith(b"version https://git-lfs"):
        found = "a Git LFS pointer, not the file it points to"
    else:
        found = f"unknown content (first bytes {head[:8]!r})"
    raise CheckpointError(
        f"{path} is no weights file but {found}; expected .pth, .pt, .safetensors or NVIDIA .pkl"
    )


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    read_header(path)  # checks lengths and says what is wrong
    try:
        return load_file(path)
    except Exception as error:  # safetensors' own error type is not public in all versions
        raise CheckpointError(f"{path} is a damaged safetensors file: {error}") from error


def _read_torch(path: Path) -> Any:
    # rosinality's training files carry their argparse.Namespace, a plain holder of values.
    allow = getattr(torch.serialization, "safe_globals", None)
    try:
        if allow is None:
            return torch.load(path, map_location="cpu", weights_only=True)
        with allow([argparse.Namespace]):
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        refused = re.search(
            r"GLOBAL ([\w.]+)|(?:class|function|global):? ([\w.]+\.\w+)", str(error)
        )
        if refused:
            name = refused.group(1) or refused.group(2)
            raise CheckpointError(
                f"Refused: {path} asks for {name}, which is no tensor and no plain container. "
                f"Nothing of it was run; do not open this file with other tools"
            ) from error
        raise CheckpointError(f"{path} is a damaged or cut torch file: {error}") from error
    except (RuntimeError, EOFError, ValueError, KeyError, OSError, zipfile.BadZipFile) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(
            f"{path} is a damaged or cut torch file ({reason}); fetch it again"
        ) from error


def unwrap(content: Any, path: Path, key: str | None = None) -> StateDict:
    """Find the state dict in what a file holds and strip the prefixes of parallel wrappers."""
    if not isinstance(content, Mapping):
        raise CheckpointError(
            f"{path} holds a {type(content).__name__}, expected a table of tensors by name"
        )
    wrapper = None
    outer = content
    if key is not None:
        if not isinstance(content.get(key), Mapping):
            raise CheckpointError(
                f"{path} has no table {key!r}; it holds {', '.join(map(str, list(content)[:12]))}"
            )
        wrapper, content = key, content[key]
    else:
        for name in WRAPPERS:
            if isinstance(content.get(name), Mapping):
                wrapper, content = name, content[name]
                break
    tensors = {str(name): t for name, t in content.items() if isinstance(t, Tensor)}
    if not tensors:
        raise CheckpointError(
            f"{path} holds no tensors, only {', '.join(map(str, list(content)[:12])) or 'nothing'}"
        )
    for prefix in PREFIXES:
        if all(name.startswith(prefix) for name in tensors):
            tensors = {name[len(prefix) :]: t for name, t in tensors.items()}
    # rosinality keeps the mean of w beside the networks; it belongs to the generator.
    if isinstance(outer.get("latent_avg"), Tensor) and "input.input" in tensors:
        tensors.setdefault("latent_avg", outer["latent_avg"])
    return StateDict(tensors, wrapper)
