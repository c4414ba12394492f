"""Generators: loaded, kept, two made one by swapping layers; faces painted by seed or by code."""

from __future__ import annotations

import copy
import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from restore.checkpoints.load import load_network
from restore.checkpoints.model_file import load_prior_heads, save_model_file
from restore.checkpoints.public_wheels import PRIOR_LICENCE
from restore.errors import CheckpointError, InputError
from restore.latents.spaces import Generator, level_rows, seeds_to_w_plus
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
    generator: Generator, w_plus: Tensor, size: int | None = None, heads: PriorHeads | None = None
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
        found: Tensor = image
        return found
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


def luminance(images: Tensor) -> Tensor:
    """RGB in [-1,1] with the channels third from the end -> BT.601 luma 0..1 without them."""
    weights = images.new_tensor((0.299, 0.587, 0.114))[:, None, None]
    return ((images + 1) / 2 * weights).sum(-3)


def generate_faces(
    generator: Generator, seeds: Sequence[int], truncation: float = 1.0, size: int | None = None
) -> Iterator[np.ndarray]:
    """One face per seed, RGB uint8 [size,size,3], painted one at a time to bound the memory.

    `truncation`: ψ in [0,1], 1 the whole variety, 0 the mean face. Below half of the full size the
    packaged heads paint, where the generator is the packaged prior.
    """
    if not 0 <= truncation <= 1.5:
        raise InputError(f"truncation {truncation} is out of range; expected 0 to 1 (at most 1.5)")
    heads = heads_for(generator, size)
    for seed in seeds:
        w_plus = seeds_to_w_plus(generator, [seed], truncation)
        yield to_uint8(render(generator, w_plus, size, heads))[0]


def heads_for(generator: Generator, size: int | None) -> PriorHeads | None:
    """The packaged prior's heads, where this is that prior and `size` is small; else None."""
    small = size is not None and size < generator.out_size // 2
    return load_prior_heads(generator) if small else None


def generator_header(generator: Generator) -> dict[str, Any]:
    """Architecture and arguments that build this generator again."""
    if isinstance(generator, MobileStyleGAN):
        arguments = {
            "channels": list(generator.channels.values()),
            "w_dim": generator.w_dim,
            "num_mapping": len(generator.mapping_layers),
            "head_sizes": [int(size) for size in generator.heads],
        }
        return {"architecture": "mobile_stylegan", "arguments": arguments}
    arguments = {
        "out_size": generator.out_size,
        "channels": [to_rgb.conv.weight.shape[1] for to_rgb in generator.to_rgbs],  # type: ignore[union-attr,index]
        "w_dim": generator.w_dim,
        "z_dim": generator.z_dim,
        "num_mlp": len(generator.map_latents),
        "upsample": generator.upsample,
        "taps": list(generator.taps),
    }
    return {"architecture": "stylegan2", "arguments": arguments}


def save_generator(path: str | os.PathLike[str], generator: Generator, what: str) -> None:
    """Write a generator so that `load_generator` reads it; `what` it is goes into its card."""
    licence = f"research and personal use; if it stems from the packaged prior: {PRIOR_LICENCE}"
    card = f"# A generator, changed\n\n{what}\n"
    about = {"range": "-1..1", "licence": licence, "card": card}
    save_model_file(path, generator, generator_header(generator) | about)


def level_of(generator: Generator, name: str) -> int | None:
    """The level in px that an entry of the state dict acts at; None for the mapping and w_mean."""
    if isinstance(generator, MobileStyleGAN):
        if name == "const" or name.startswith("conv_4."):
            return 4
        if name.startswith("to_rgb."):
            return generator.levels[-1]
        found = re.match(r"(blocks|heads)\.(\d+)\.", name)
        if found:  # a head reads the level below its size
            return int(found[2]) // (2 if found[1] == "heads" else 1)
        return None
    if name == "constant":
        return 4
    found = re.match(r"(convs|to_rgbs)\.(\d+)\.|noise_(\d+)$", name)
    if found is None:
        return None
    if found[1] == "to_rgbs":
        return 4 << int(found[2])
    return 4 << (int(found[2] or found[3]) + 1) // 2


def swap_layers(coarse: Generator, fine: Generator, level: int, softness: float = 0.0) -> Generator:
    """A copy of `coarse` whose layers from `level` px on are those of `fine`.

    Both must be of one form, the second fine-tuned from the first (or both from one), so that
    their features mean the same. `softness`: width of the change in octaves; 0 is a clean cut,
    above it the weights of the levels around are mixed. Mapping and mean code are `coarse`'s.
    Raises InputError where forms differ or there is no such level.
    """
    levels = sorted(level_rows(coarse))
    if level not in levels:
        raise InputError(f"no level of {level} px to swap at; there are {levels} px")
    if softness < 0:
        raise InputError(f"softness {softness}: expected 0 or more octaves")
    state, second = dict(coarse.state_dict()), fine.state_dict()
    for name, tensor in state.items():
        at = level_of(coarse, name)
        if at is None or (name.startswith("heads.") and name not in second):
            continue
        if name not in second or second[name].shape != tensor.shape:
            raise InputError(
                f"the two generators differ in form at {name}: layers can be swapped only between "
                "a generator and one that was fine-tuned from it"
            )
        share = _fine_share(at, level, softness)
        state[name] = tensor if share == 0 else torch.lerp(tensor, second[name], share)
    mixed = copy.deepcopy(coarse)
    mixed.load_state_dict(state)
    return mixed


def _fine_share(at: int, level: int, softness: float) -> float:
    """How much of the fine generator a level takes: 0 below, 1 from `level` on, a ramp between."""
    distance = math.log2(at / level) + 0.5  # levels are an octave apart: the cut lies between two
    if softness == 0:
        return float(distance > 0)
    return min(1.0, max(0.0, 0.5 + distance / softness))
