"""Faces of people who do not exist: a generator, seeds and a size in, RGB uint8 out."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from restore.checkpoints.load import load_network
from restore.checkpoints.prior_heads_file import load_prior_heads
from restore.errors import CheckpointError, InputError
from restore.latents.spaces import Generator, z_of_seeds, z_to_w_plus
from restore.networks.mobile_stylegan import MobileStyleGAN, PriorHeads, SizeHead
from restore.networks.stylegan2 import StyleGAN2Generator


def load_generator(
    path_or_name: str | os.PathLike[str] = "default-prior",
    device: str | torch.device = "cpu",
    keep_heads: bool = False,
) -> Generator:
    """The generator of a weights file or named model, frozen; of a restorer its decoder is taken.

    A restorer's size heads are left off unless `keep_heads`: they were trained under the maps of
    its encoder, and without those they paint another picture (19 to 24 dB from the shrunken full
    image of the packaged prior).
    Raises CheckpointError where the file holds no generator that can be sampled.
    """
    network = load_network(path_or_name, device)
    network = getattr(network, "decoder", network)
    if not isinstance(network, (MobileStyleGAN, StyleGAN2Generator)):
        raise CheckpointError(
            f"{path_or_name} holds a {type(network).__name__}; expected a generator "
            "(MobileStyleGAN or StyleGAN2) or a restorer with one as decoder"
        )
    if isinstance(network, MobileStyleGAN) and not keep_heads:
        network.heads = cast("Mapping[str, SizeHead]", nn.ModuleDict())
    return network.requires_grad_(False)


def native_sizes(generator: Generator, heads: PriorHeads | None = None) -> tuple[int, ...]:
    """The image sizes in px that the generator gives by itself or by `heads`, smallest first.

    A StyleGAN2 is only ever asked for its full size: its lower levels are unfinished images.
    """
    if not isinstance(generator, MobileStyleGAN):
        return (generator.out_size,)
    return tuple(sorted({*generator.sizes, *(heads.sizes if heads else ())}))


@torch.no_grad()
def render(
    generator: Generator,
    w_plus: Tensor,
    size: int | None = None,
    heads: PriorHeads | None = None,
) -> Tensor:
    """W+ [n,k,w_dim] -> images [n,3,size,size] RGB in [-1,1]; `size` from 16 px to the full one.

    The smallest native size that is large enough is painted and, if it is larger, shrunk. `heads`
    (`load_prior_heads`) make more sizes native: quicker, and close to the shrunken full picture.
    Raises InputError for a size that the generator cannot give.
    """
    size = generator.out_size if size is None else size
    sizes = native_sizes(generator, heads)
    if not 16 <= size <= generator.out_size:
        raise InputError(
            f"size {size} cannot be painted; this generator gives 16 to {generator.out_size} px"
        )
    native = next(s for s in sizes if s >= size)
    if heads is not None and native in heads.sizes:
        image = heads(cast(MobileStyleGAN, generator), w_plus, native).clamp(-1, 1)
    else:
        image = generator.synthesis(w_plus, size=native).clamp(-1, 1)
    if native == size:
        return image
    if native % size == 0:
        return F.avg_pool2d(image, native // size)
    shrunk = F.interpolate(
        image, size=(size, size), mode="bicubic", antialias=True, align_corners=False
    )
    return shrunk.clamp(-1, 1)


def to_uint8(images: Tensor) -> np.ndarray:
    """Images [n,3,h,w] RGB in [-1,1] -> uint8 [n,h,w,3]."""
    pixels = ((images.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    return pixels.permute(0, 2, 3, 1).cpu().numpy()


def generate_faces(
    generator: Generator, seeds: Sequence[int], truncation: float = 1.0, size: int | None = None
) -> Iterator[np.ndarray]:
    """One face per seed, RGB uint8 [size,size,3], painted one at a time to bound the memory.

    `truncation`: ψ in [0,1], 1 the whole variety, 0 the mean face. Below half of the full size the
    packaged heads paint, where the generator is the packaged prior.
    """
    if not 0 <= truncation <= 1.5:
        raise InputError(f"truncation {truncation} is out of range; expected 0 to 1 (at most 1.5)")
    small = size is not None and size < generator.out_size // 2
    heads = load_prior_heads(generator) if small else None
    for seed in seeds:
        w_plus = z_to_w_plus(generator, z_of_seeds(generator, [seed]), truncation)
        yield to_uint8(render(generator, w_plus, size, heads))[0]
