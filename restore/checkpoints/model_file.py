"""Writing model files of ours, and the prior's heads in a file of their own."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from restore.checkpoints.architectures import build_network, row_of
from restore.checkpoints.named_models import WEIGHTS
from restore.checkpoints.public_wheels import PRIOR_LICENCE
from restore.checkpoints.weights_file import read_tensors, write_tensors
from restore.errors import CheckpointError
from restore.model_files import FORMAT, check_prior, file_sha256, read_header, refuse_zeros

if TYPE_CHECKING:
    from restore.networks.mobile_stylegan import MobileStyleGAN, PriorHeads


DECODER = "decoder."
REQUIRED = ("architecture", "arguments")


def save_model_file(
    path: str | os.PathLike[str],
    module: nn.Module,
    header: Mapping[str, Any],
    dtype: torch.dtype = torch.float16,
    prior: Path | None = None,
) -> None:
    """Write `module` to `path` atomically.

    `prior`: a model file in the same folder, that of the module's `decoder`: what it has with the
    same bits is left out and stays there; the header names it with its SHA-256.

    `header`: `architecture` (a name in `ARCHITECTURES`) and `arguments` (JSON table), further
    `crop_size`, `template`, `range`, `licence`, `card`, `training_options_sha256` as the model has
    them; values that are no strings are written as JSON. Floating tensors are stored in `dtype`.
    """
    missing = [key for key in REQUIRED if key not in header]
    if missing:
        raise CheckpointError(f"A model file's header needs {', '.join(missing)}")
    row_of(header["architecture"])
    path = Path(path)
    header = dict(header)
    shared: dict[str, torch.Tensor] = {}
    if prior is not None:
        named = {"file": prior.name, "sha256": file_sha256(prior), "prefix": DECODER}
        header["prior"] = named
        check_prior(path, named)
        shared = {f"{DECODER}{name}": tensor for name, tensor in read_tensors(prior).items()}
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
        if name in shared and _same(stored, shared[name]):
            continue
        tensors[name] = stored
    write_tensors(path, tensors, metadata)


def _same(a: torch.Tensor, b: torch.Tensor) -> bool:
    return a.dtype == b.dtype and torch.equal(a, b)


def load_model_file(path: str | os.PathLike[str], device: str | torch.device = "cpu") -> nn.Module:
    """Build the network that a model file describes and fill it, float32, in eval mode."""
    path = Path(path)
    header = read_header(path)
    if header.get("format") != FORMAT:
        raise CheckpointError(
            f"{path} is no model file of ours: its format is {header.get('format')!r}, "
            f"expected {FORMAT!r}"
        )
    missing = [key for key in REQUIRED if key not in header]
    if missing:
        raise CheckpointError(f"{path}: its header lacks {', '.join(missing)}")
    tensors = read_tensors(path)
    with _Budget(sum(tensor.numel() for tensor in tensors.values())):
        network = build_network(header["architecture"], header["arguments"])
    _check_shapes(path, network, tensors)
    refuse_zeros(path)
    network.load_state_dict(tensors)
    return network.to(device).eval()


class _Budget(TorchFunctionMode):
    """Stops the building of a network that is far larger than the file that is to fill it."""

    def __init__(self, numbers: int) -> None:
        super().__init__()
        self.left = 16 * numbers + 2**26  # initialisation computes each weight a few times

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor):
            self.left -= result.numel()
            if self.left < 0:
                raise ValueError("they ask for a network far larger than the file")
        return result


def _check_shapes(path: Path, network: nn.Module, tensors: Mapping[str, torch.Tensor]) -> None:
    expected = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    found = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    problems = [f"{name} is missing" for name in expected if name not in found]
    problems += [f"{name} is not in the network" for name in found if name not in expected]
    problems += [
        f"{name} is {found[name]}, expected {shape}"
        for name, shape in expected.items()
        if found.get(name, shape) != shape
    ]
    if problems:
        more = f"; and {len(problems) - 4} more" if len(problems) > 4 else ""
        raise CheckpointError(
            f"{path} does not fill the network it names: {'; '.join(problems[:4])}{more}"
        )


PACKAGED = WEIGHTS / "prior_heads.safetensors"
ELSEWHERE = ("heads.", "mapping_layers.", "w_mean")  # no head of a picture reads them

_CARD = """# Heads of the public face prior for small pictures

What the prior's levels above a size do, worked through at that size; trained against the shrunken
1024x1024 picture by `python -m tools prior-heads`. They fit that generator alone.
PSNR against the shrunken picture (psi 1): {reached}.
"""


def fingerprint(generator: MobileStyleGAN) -> str:
    """SHA-256 of what a generator paints with, as float16: the same for both storage types."""
    digest = hashlib.sha256()
    for name, tensor in sorted(generator.state_dict().items()):
        if not name.startswith(ELSEWHERE):
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().half().contiguous().numpy().tobytes())
    return digest.hexdigest()


def load_prior_heads(
    generator: nn.Module, path: str | os.PathLike[str] = PACKAGED
) -> PriorHeads | None:
    """Heads for this very generator, frozen, on its device; None where the file holds another's.

    A generator that was fine-tuned paints other pictures, and any other has other layers.
    """
    from restore.networks.mobile_stylegan import MobileStyleGAN

    if not isinstance(generator, MobileStyleGAN) or not Path(path).is_file():
        return None
    if read_header(path).get("generator_sha256") != fingerprint(generator):
        return None
    heads = load_model_file(path).requires_grad_(False)
    return cast("PriorHeads", heads.to(generator.w_mean.device))


def save_prior_heads(
    path: str | os.PathLike[str],
    heads: PriorHeads,
    generator: MobileStyleGAN,
    reached: Mapping[int, float],
) -> None:
    """Write heads with the fingerprint of their generator; `reached`: size -> dB, for the card."""
    said = ", ".join(f"{size} px {value:.1f} dB" for size, value in sorted(reached.items()))
    header = {
        "architecture": "prior_heads",
        "arguments": {
            "channels": list(generator.channels.values()),
            "sizes": list(heads.sizes),
        },
        "range": "-1..1",
        "licence": PRIOR_LICENCE,
        "generator_sha256": fingerprint(generator),
        "card": _CARD.format(reached=said),
    }
    save_model_file(path, heads, header)
