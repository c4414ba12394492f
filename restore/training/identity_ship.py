"""From a trained identity student to the file that the package ships: float16, with its card."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from restore.checkpoints.model_file import load_model_file, save_model_file
from restore.config.model_header import read_header
from restore.errors import CheckpointError

_CARD = """# The identity network

Tells whether two aligned faces are one person: {count:.2f} million weights, a unit vector of
{dimensions} numbers. A student of a public MobileFaceNet (trained on CASIA-WebFace, research),
trained from random weights by this project: {training}

- It saw {data}. Half of the crops are All-Age-Faces (mostly Asian faces of 2 to 80 years);
  weights of the draw even that out in part.
- Licence: research and personal use.
- It is here to notice that a restoration changed a face. Do not use it to identify anyone: it is
  weaker than networks made for that, and it is not equally good on all groups of people.
- Measured agreement, accuracy and thresholds: docs/identity.md.
"""


def ship_identity(source: str | Path, path: str | Path, data: str) -> dict[str, Any]:
    """identity_latest.safetensors of a distillation -> the packaged form; returns the header.

    `data`: one line for the card, what it saw. Raises CheckpointError for another network's file.
    """
    header = read_header(source)
    if header.get("architecture") != "identity_student":
        raise CheckpointError(
            f"{source} holds {header.get('architecture')!r}, expected an identity_student: "
            "identity_latest.safetensors of a distillation"
        )
    network = load_model_file(source)
    count = sum(weight.numel() for weight in network.parameters()) / 1e6
    card = _CARD.format(
        count=count,
        dimensions=header["arguments"]["dimensions"],
        training=header["training"],
        data=data,
    )
    keys = ("architecture", "arguments", "template", "range", "licence", "training")
    kept = {key: header[key] for key in (*keys, "training_options_sha256")}
    shipped = {**kept, "card": card}
    save_model_file(path, network, shipped, torch.float16)
    return shipped
