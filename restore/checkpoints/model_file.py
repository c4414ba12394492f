"""Our own model files: safetensors with a header that says how to build and use the network."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from restore.checkpoints.architectures import ARCHITECTURES, build_network
from restore.config.model_header import FORMAT, read_header
from restore.errors import CheckpointError

REQUIRED = ("architecture", "arguments")


def save_model_file(
    path: str | os.PathLike[str],
    module: nn.Module,
    header: Mapping[str, Any],
    dtype: torch.dtype = torch.float16,
) -> None:
    """Write `module` to `path` atomically.

    `header`: `architecture` (a name in `ARCHITECTURES`) and `arguments` (JSON table), further
    `crop_size`, `template`, `range`, `licence`, `card`, `training_options_sha256` as the model has
    them; values that are no strings are written as JSON. Floating tensors are stored in `dtype`.
    """
    from safetensors.torch import save_file

    missing = [key for key in REQUIRED if key not in header]
    if missing:
        raise CheckpointError(f"A model file's header needs {', '.join(missing)}")
    if header["architecture"] not in ARCHITECTURES:
        raise CheckpointError(f"Unknown architecture {header['architecture']!r}")
    metadata = {"format": FORMAT}
    for key, value in header.items():
        if key in ("format", "tensors"):
            continue
        metadata[key] = value if isinstance(value, str) else json.dumps(value)
    tensors = {}
    for name, tensor in module.state_dict().items():
        stored = tensor.detach().cpu()
        if stored.is_floating_point():
            narrowed = stored.to(dtype)
            if not torch.equal(narrowed.isfinite(), stored.isfinite()):
                raise CheckpointError(f"{name} overflows {dtype}; store this model in float32")
            stored = narrowed
        tensors[name] = stored.clone(memory_format=torch.contiguous_format)
    path = Path(path)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        save_file(tensors, part, metadata=metadata)
        part.chmod(0o644)  # safetensors leaves 0600; a packaged model is for every user
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def load_model_file(path: str | os.PathLike[str], device: str | torch.device = "cpu") -> nn.Module:
    """Build the network that a model file describes and fill it, float32, in eval mode."""
    from safetensors.torch import load_file

    header = read_header(path)
    if header.get("format") != FORMAT:
        raise CheckpointError(
            f"{path} is no model file of ours: its format is {header.get('format')!r}, "
            f"expected {FORMAT!r}"
        )
    missing = [key for key in REQUIRED if key not in header]
    if missing:
        raise CheckpointError(f"{path}: its header lacks {', '.join(missing)}")
    network = build_network(header["architecture"], header["arguments"])
    tensors = load_file(path)
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        raise CheckpointError(f"{path} does not fill the network it names: {error}") from error
    return network.to(device).eval()
