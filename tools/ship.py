"""From a trained restorer to the one model file that a package ships: float16, with its card."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from restore.checkpoints.architectures import header_of
from restore.checkpoints.model_file import load_model_file, save_model_file
from restore.checkpoints.named_models import locate_model
from restore.checkpoints.public_wheels import PRIOR_LICENCE
from restore.checkpoints.weights_file import read_tensors
from restore.errors import CheckpointError
from restore.model_files import read_header
from restore.networks.prior_restorer import PriorRestorer

_CARD = """# The default restorer

Degradation-aware U-Net on the frozen public face prior (MobileStyleGAN); crops of {size} px in the
unzoomed FFHQ frame. Trained by this project's own trainer: {training}

- Licence: research and personal use. The prior's lineage is NVIDIA's StyleGAN2-FFHQ (distilled by
  S. Belousov, wheel under Apache-2.0); the encoder saw face sets that are for research, about half
  of them All-Age-Faces (mostly Asian faces of 2 to 80 years).
- What the photo no longer holds is painted from the prior: it is plausible, not true. Do not use it
  to identify anyone.
- Measured quality, by recipe and fidelity: docs/models.md.
"""


def ship(
    network: PriorRestorer,
    arguments: Mapping[str, Any],
    path: str | Path,
    training: str,
    options_sha256: str = "",
    dtype: torch.dtype = torch.float16,
) -> dict[str, Any]:
    """Write a default restorer with its card; returns the header.

    `arguments`: of `build_mobile_restorer`; `training`: one line, data and images seen. What the
    decoder has in common with the packaged prior stays in that file, which is copied beside `path`
    unless it is there; a restorer on another prior is written whole.
    """
    path = Path(path)
    crop_size = int(arguments.get("crop_size", 512))
    header = {
        **header_of("mobile_restorer", {**arguments, "crop_size": crop_size}),
        "licence": f"research and personal use; prior: {PRIOR_LICENCE}",
        "card": _CARD.format(size=crop_size, training=training),
        "training_options_sha256": options_sha256,
    }
    prior = _prior_of(network, path, dtype)
    save_model_file(path, network, header, dtype, prior)
    return header


def _prior_of(network: PriorRestorer, path: Path, dtype: torch.dtype) -> Path | None:
    """The packaged prior's file beside `path`, where the decoder was made from it."""
    packaged = locate_model("default-prior")
    tensors = read_tensors(packaged)
    own = network.decoder.state_dict()
    frozen = [name for name in tensors if name not in ESTIMATED]
    if not all(name in own and torch.equal(own[name].to(dtype), tensors[name]) for name in frozen):
        return None
    beside = path.with_name(packaged.name)
    if not beside.exists():
        shutil.copyfile(packaged, beside)
    return beside


ESTIMATED = ("w_mean",)  # a statistic of the prior, from other codes a little different


def ship_file(source: str | Path, path: str | Path, training: str) -> dict[str, Any]:
    """A trainer's `net_g_latest.safetensors` -> the packaged form. Raises CheckpointError."""
    header = read_header(source)
    if header.get("architecture") != "mobile_restorer":
        raise CheckpointError(
            f"{source} holds {header.get('architecture')!r}, expected a mobile_restorer: "
            "models/net_g_latest.safetensors of a training of the default restorer"
        )
    network = load_model_file(source)
    assert isinstance(network, PriorRestorer)
    digest = header.get("training_options_sha256", "")
    return ship(network, header["arguments"], path, training, digest)
