"""From a trained encoder and the prior to the one model file that a package ships."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from restore.checkpoints.model_file import save_model_file
from restore.checkpoints.prior_card import PRIOR_LICENCE
from restore.errors import CheckpointError
from restore.networks.mobile_restorer import build_mobile_restorer
from restore.networks.prior_restorer import PriorRestorer

TEMPLATE = {"name": "ffhq512", "zoom": 1.0, "centre": [256, 256]}

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


@dataclass(frozen=True)
class Shipment:
    """What goes into a model file: the network and where it comes from."""

    encoder: Mapping[str, Tensor]  # state dict of the encoder, usually the EMA
    decoder: Mapping[str, Tensor]  # state dict of the MobileStyleGAN with its heads
    arguments: Mapping[str, Any]  # of `build_mobile_restorer`
    training: str  # one line: data, images seen
    options_text: str = ""  # the resolved options, for their hash


def assemble(shipment: Shipment) -> PriorRestorer:
    """Build the restorer and fill it; raises CheckpointError when the parts do not fit."""
    network = build_mobile_restorer(**shipment.arguments)
    try:
        network.encoder.load_state_dict(shipment.encoder)
        network.decoder.load_state_dict(shipment.decoder)
    except RuntimeError as error:
        raise CheckpointError(f"the parts do not fit the restorer: {error}") from error
    return network.eval()


def ship(
    shipment: Shipment, path: str | Path, dtype: torch.dtype = torch.float16
) -> dict[str, Any]:
    """Write NAME.safetensors with its card; returns the header."""
    crop_size = int(shipment.arguments.get("crop_size", 512))
    header = {
        "architecture": "mobile_restorer",
        "arguments": dict(shipment.arguments),
        "crop_size": crop_size,
        "template": TEMPLATE,
        "range": "-1..1",
        "licence": f"research and personal use; prior: {PRIOR_LICENCE}",
        "card": _CARD.format(size=crop_size, training=shipment.training),
        "training_options_sha256": hashlib.sha256(shipment.options_text.encode()).hexdigest(),
    }
    save_model_file(path, assemble(shipment), header, dtype)
    return header
