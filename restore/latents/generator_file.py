"""Generators that were changed (tuned, fine-tuned, swapped) as model files of ours."""

from __future__ import annotations

import os
from typing import Any

from restore.checkpoints.model_file import save_model_file
from restore.checkpoints.prior_card import PRIOR_LICENCE
from restore.latents.spaces import Generator
from restore.networks.mobile_stylegan import MobileStyleGAN


def generator_header(generator: Generator) -> dict[str, Any]:
    """Architecture and arguments that build this generator again."""
    if isinstance(generator, MobileStyleGAN):
        return {
            "architecture": "mobile_stylegan",
            "arguments": {
                "channels": list(generator.channels.values()),
                "w_dim": generator.w_dim,
                "num_mapping": len(generator.mapping_layers),
                "head_sizes": [int(size) for size in generator.heads],
            },
        }
    return {
        "architecture": "stylegan2",
        "arguments": {
            "out_size": generator.out_size,
            "channels": [to_rgb.conv.weight.shape[1] for to_rgb in generator.to_rgbs],  # type: ignore[union-attr,index]
            "w_dim": generator.w_dim,
            "z_dim": generator.z_dim,
            "num_mlp": len(generator.map_latents),
            "upsample": generator.upsample,
            "taps": list(generator.taps),
        },
    }


def save_generator(path: str | os.PathLike[str], generator: Generator, what: str) -> None:
    """Write a generator so that `load_generator` reads it; `what` it is goes into its card."""
    licence = f"research and personal use; if it stems from the packaged prior: {PRIOR_LICENCE}"
    header = generator_header(generator) | {
        "range": "-1..1",
        "licence": licence,
        "card": f"# A generator, changed\n\n{what}\n",
    }
    save_model_file(path, generator, header)
