"""Two generators made one: coarse layers of one, fine layers of the other (Pinkney 2020)."""

from __future__ import annotations

import copy
import math
import re

import torch
from torch import Tensor

from restore.errors import InputError
from restore.latents.spaces import Generator, level_rows
from restore.networks.mobile_stylegan import MobileStyleGAN


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
    first, second = coarse.state_dict(), fine.state_dict()
    for name, tensor in first.items():
        if level_of(coarse, name) is None or name.startswith("heads."):
            continue
        if name not in second or second[name].shape != tensor.shape:
            raise InputError(
                f"the two generators differ in form at {name}: layers can be swapped only between "
                "a generator and one that was fine-tuned from it"
            )
    mixed = copy.deepcopy(coarse)
    state: dict[str, Tensor] = {}
    for name, tensor in first.items():
        at = level_of(coarse, name)
        share = 0.0 if at is None or name not in second else _share(at, level, softness)
        state[name] = tensor if share == 0 else torch.lerp(tensor, second[name], share)
    mixed.load_state_dict(state)
    return mixed


def _share(at: int, level: int, softness: float) -> float:
    """How much of the fine generator a level takes: 0 below, 1 from `level` on, a ramp between."""
    distance = math.log2(at / level) + 0.5  # levels are an octave apart: the cut lies between two
    if softness == 0:
        return float(distance > 0)
    return min(1.0, max(0.0, 0.5 + distance / softness))
