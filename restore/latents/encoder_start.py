"""Codes that a restorer's encoder reads from a face: where an inversion may start."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from restore.checkpoints.download import locate_model
from restore.checkpoints.load import load_network
from restore.checkpoints.models_table import MODELS
from restore.checkpoints.read import sniff
from restore.config.model_header import read_header
from restore.errors import CheckpointError, InputError
from restore.latents.spaces import Generator


@torch.no_grad()
def encoder_start(
    path_or_name: str | os.PathLike[str], generator: Generator, images: Tensor
) -> Tensor:
    """W+ [n,k,w_dim] of FFHQ-frame faces [n,3,s,s] RGB in [-1,1], by the encoder of a restorer.

    Raises CheckpointError where the file holds no restorer, InputError where its codes are of
    another generator's shape.
    """
    network: Any = load_network(path_or_name, generator.w_mean.device)
    encoder = getattr(network, "encoder", None)
    if encoder is None:
        raise CheckpointError(
            f"{path_or_name} holds a {type(network).__name__}, which has no encoder; give a "
            "restorer, or start from the mean"
        )
    size = crop_size_of(path_or_name) or int(network.decoder.out_size)
    shrink = size < images.shape[-1]
    seen = F.interpolate(
        images, size=(size, size), mode="bicubic", align_corners=False, antialias=shrink
    )
    w_plus = encoder(seen.clamp(-1, 1)).w_plus
    expected = (generator.num_styles, generator.w_dim)
    if tuple(w_plus.shape[1:]) != expected:
        raise InputError(
            f"the encoder of {path_or_name} gives codes {tuple(w_plus.shape[1:])}, this generator "
            f"wants {expected}: use the restorer's own generator"
        )
    return w_plus


def crop_size_of(path_or_name: str | os.PathLike[str]) -> int:
    """Pixels of the crops that a model file of ours was trained on; 0 where no header says it."""
    path = Path(path_or_name)
    if str(path_or_name) in MODELS and not path.is_file():
        path = locate_model(str(path_or_name))
    return int(read_header(path).get("crop_size", 0)) if sniff(path) == "safetensors" else 0
