"""`load_network`: a path or a name -> a network in eval mode, whatever the layout of the file."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from restore.checkpoints.architectures import (
    CONSTANT_BUFFERS,
    build_network,
    detect,
    weights_only,
)
from restore.checkpoints.layouts import Detection, fold
from restore.checkpoints.model_file import load_model_file
from restore.checkpoints.named_models import MODELS, find_model, locate_model
from restore.checkpoints.weights_file import read_state_dict, sniff
from restore.errors import CheckpointError, DeviceError
from restore.model_files import FORMAT, read_header
from restore.networks.stylegan2 import StyleGAN2Generator

_log = logging.getLogger(__name__)


def load_network(
    path_or_name: str | os.PathLike[str],
    device: str | torch.device = "cpu",
    *,
    key: str | None = None,
    resample: str | None = None,
) -> nn.Module:
    """Load a restorer, generator or discriminator; float32, eval mode, on `device`.

    `path_or_name`: a file, or a name of `named_models.MODELS` ("default", ...). Names are looked
    up on this machine only; `restore download NAME` fetches. `key` picks a wrapper
    inside the file. `resample` ("fir", "bilinear") settles the dialect of equalised GFPGAN and
    BasicSR files, whose tensors do not tell it. What else no tensor tells is logged, and kept in
    the network's `detection` attribute. Raises `CheckpointError` or `DeviceError`.
    """
    target = _device(device)
    path = Path(path_or_name)
    if str(path_or_name) in MODELS and not path.is_file():
        entry = find_model(str(path_or_name))
        path = locate_model(str(path_or_name))
        resample = resample or entry.config.get("resample")
    elif not path.exists() and path.suffix == "" and path.parent == Path():
        find_model(str(path_or_name))  # raises with the list of names
    if path.is_dir():
        raise CheckpointError(f"{path} is a folder, expected a weights file or a model's name")

    if sniff(path) == "safetensors" and read_header(path).get("format") == FORMAT:
        network = load_model_file(path)
    else:
        state = read_state_dict(path, key)
        network = network_from_state(state.tensors, resample or _hint(path), path.name)
    return network.to(target).eval()


def network_from_state(
    tensors: Mapping[str, Tensor], resample: str | None = None, source: str = "state dict"
) -> nn.Module:
    """A state dict of any known layout -> the network on the CPU, in eval mode."""
    weights = weights_only(tensors)
    if not any(bool(t.any()) for t in weights.values() if not t.is_meta):
        raise CheckpointError(f"{source} holds nothing but zeros, no trained network")
    detection = detect({name: tuple(t.shape) for name, t in weights.items()}, resample)
    taps = _stored_taps(tensors)
    if taps is not None and detection.architecture == "stylegan2":
        detection.arguments["taps"] = taps
    network = build_detected(detection, weights)
    network.detection = detection  # type: ignore[assignment]
    for what, taken in detection.assumed.items():
        _log.info("%s (%s): %s is assumed to be %s", source, detection.family, what, taken)
    return network.eval()


def build_detected(detection: Detection, weights: Mapping[str, Any]) -> nn.Module:
    """Build what was detected and fill it; no random initialisation, no global random state."""
    with torch.device("meta"):
        network = build_network(detection.architecture, detection.arguments)
    shapes = network.state_dict()
    folded = fold(weights, detection.rules, shapes)
    unfilled = [name for name in shapes if name not in folded]
    for name in unfilled:  # only w_mean is optional
        folded[name] = torch.zeros(shapes[name].shape)
    network.load_state_dict(folded, assign=True)
    if unfilled and not next(iter(folded.values())).is_meta:
        for module in network.modules():
            if isinstance(module, StyleGAN2Generator):
                seeded = torch.Generator().manual_seed(0)
                module.w_mean.copy_(module.estimate_w_mean(generator=seeded))
    return network


def _stored_taps(tensors: Mapping[str, Tensor]) -> list[float] | None:
    """Filter [t], sum 8, of the layouts that store their resampling kernels [t,t]; else None."""
    for name, kernel in tensors.items():
        if not name.endswith(CONSTANT_BUFFERS) or kernel.ndim != 2:
            continue
        kernel = kernel.double()
        line = kernel.sum(dim=0) / kernel.sum()
        if not torch.allclose(torch.outer(line, line) * kernel.sum(), kernel, atol=1e-5):
            raise CheckpointError(f"The resampling kernel {name} is not separable; not supported")
        return [round(8 * float(tap), 6) for tap in line]
    return None


def _hint(path: Path) -> str | None:
    """GFPGAN's own name for the dialect, in a file's name, is the only trace there can be."""
    return "bilinear" if "bilinear" in path.name.lower() else None


def _device(device: str | torch.device) -> torch.device:
    try:
        target = torch.device(device)
        torch.empty(0, device=target)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DeviceError(f"Device {str(device)!r} cannot be used: {reason}; try cpu") from error
    return target
