"""Pictures of a style read from a folder; a restored face painted by a stylised generator."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from restore.checkpoints.load import load_network
from restore.data.stores import open_store
from restore.errors import CheckpointError, InputError
from restore.latents.spaces import Generator
from restore.networks.prior_restorer import PriorRestorer


def load_pictures(folder: str | Path, size: int) -> Tensor:
    """Every picture of a folder (or tar, LMDB, array) at `size` px: [n,3,size,size] in [-1,1].

    They are taken as faces in the FFHQ frame: square, or cut to their middle square.
    """
    store = open_store(folder)
    pictures = []
    for key in store.keys:
        pixels = Image.fromarray(store.image(key))
        side = min(pixels.size)
        left, top = (pixels.width - side) // 2, (pixels.height - side) // 2
        square = pixels.crop((left, top, left + side, top + side))
        small = np.asarray(square.resize((size, size), Image.Resampling.LANCZOS), np.float32)
        pictures.append(torch.from_numpy(small / 127.5 - 1).permute(2, 0, 1))
    if not pictures:
        raise InputError(f"{folder} holds no pictures; expected some in the style")
    return torch.stack(pictures)


@torch.no_grad()
def restored_in_style(
    restorer: PriorRestorer, stylised: Generator, faces: Tensor, crop_size: int, fidelity: float = 1
) -> Tensor:
    """Bad faces [n,3,s,s] in the FFHQ frame -> the same restored, as the stylised decoder paints.

    The restorer's encoder reads codes and SFT maps; the stylised copy of its decoder is given both
    and paints its full size. Raises InputError where the two decoders differ in form.
    """
    decoder = restorer.decoder
    same = (decoder.num_styles, decoder.w_dim, decoder.out_size)
    if same != (stylised.num_styles, stylised.w_dim, stylised.out_size):
        raise InputError(
            "the stylised generator is not of the form of the restorer's decoder; fine-tune it "
            "from that decoder (model: default-prior)"
        )
    seen = faces
    if faces.shape[-1] != crop_size:
        shrink = crop_size < faces.shape[-1]
        seen = F.interpolate(
            faces, size=(crop_size,) * 2, mode="bicubic", align_corners=False, antialias=shrink
        )
    painter = PriorRestorer(restorer.encoder, stylised)
    return painter(seen.clamp(-1, 1), fidelity, stylised.out_size).image.clamp(-1, 1)


def load_restorer(path_or_name: str | os.PathLike[str]) -> PriorRestorer:
    """A restorer whose decoder may be exchanged; CheckpointError for anything else."""
    network = load_network(path_or_name)
    if not isinstance(network, PriorRestorer):
        raise CheckpointError(
            f"{path_or_name} holds a {type(network).__name__}; expected a restorer"
        )
    return network
