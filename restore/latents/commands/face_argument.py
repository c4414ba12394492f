"""Faces on the command line: a seed, or a file of codes; and the tools that commands share."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from restore.errors import CheckpointError, InputError

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from restore.latents.codes import Codes
    from restore.latents.spaces import Generator
    from restore.networks.perceptual import LpipsLoss
    from restore.runtime.identity import IdentityEmbedder

FACE_HELP = "a seed (whole number), or a file of codes that `invert` wrote (FILE or FILE:NUMBER)"


def face_codes(text: str, generator: Generator, truncation: float) -> Codes:
    """The codes that a word of the command line means; InputError where it means none."""
    from restore.latents.codes import Codes, load_codes
    from restore.latents.spaces import z_of_seeds, z_to_w_plus

    if text.lstrip("-").isdigit():
        w_plus = z_to_w_plus(generator, z_of_seeds(generator, [int(text)]), truncation)
        return Codes(w_plus.contiguous())
    path, number = text, 0
    head, _, tail = text.rpartition(":")
    if head and tail.isdigit() and not Path(text).is_file():
        path, number = head, int(tail)
    if not Path(path).is_file():
        raise InputError(f"{text!r} is no face: expected {FACE_HELP}")
    codes = load_codes(path, generator)
    if not 0 <= number < len(codes):
        raise InputError(f"{path} holds {len(codes)} faces; number {number} is not there (from 0)")
    styles = codes.styles and tuple(s[number : number + 1] for s in codes.styles)
    noise = {k: v[number : number + 1] if len(v) > 1 else v for k, v in codes.noise.items()}
    return Codes(codes.w_plus[number : number + 1], styles, noise)


def face_name(text: str) -> str:
    """What a face is called in captions."""
    return f"seed {text}" if text.lstrip("-").isdigit() else Path(text).stem


def load_features(path: Path | None, device: str) -> LpipsLoss | None:
    """LPIPS on the user's network, with lpips' heads where that package is installed."""
    if path is None:
        return None
    from restore.errors import MissingExtraError
    from restore.losses.feature_files import load_feature_network, load_lpips_heads
    from restore.networks.perceptual import LpipsLoss

    network = load_feature_network(path)
    heads = None
    if getattr(network, "kind", "") == "squeezenet1_1":
        try:
            heads = load_lpips_heads("squeeze")
        except MissingExtraError:
            heads = None  # all channels weigh alike then: a plain feature distance
    return LpipsLoss(network, heads).to(device)


def load_identity_or_none(arguments: argparse.Namespace) -> IdentityEmbedder | None:
    """The identity network that was asked for, else the packaged one, else None."""
    from restore.runtime.identity import load_identity

    try:
        return load_identity(arguments.identity)
    except CheckpointError:
        if arguments.identity is not None:
            raise
        return None


def identity_rows(network: IdentityEmbedder, pictures: list[np.ndarray]) -> np.ndarray:
    """Embeddings [n,d] of unit length of pictures RGB uint8 [s,s,3]."""
    import numpy as np

    return network.embed(np.stack(pictures))


def squared(image: Tensor, size: int) -> Tensor:
    """A picture [1,3,s,s] shrunk or enlarged to `size` px."""
    import torch.nn.functional as F

    if image.shape[-1] == size:
        return image
    shrink = size < image.shape[-1]
    resized = F.interpolate(
        image, size=(size, size), mode="bicubic", align_corners=False, antialias=shrink
    )
    return resized.clamp(-1, 1)
