"""Moving average of a network's weights, its speed counted in images."""

from __future__ import annotations

import copy
import math

import torch
from torch import nn


def averaged_copy(network: nn.Module) -> nn.Module:
    """A copy to hold the average; frozen weights are shared with `network`, not copied."""
    shared = {id(p): p for p in network.parameters() if not p.requires_grad}
    return copy.deepcopy(network, memo=shared).requires_grad_(False).eval()


def decay_of(half_life: float, images: int) -> float:
    """What stays of the average after `images` more when half of it stays after `half_life`."""
    return 0.5 ** (images / half_life) if half_life > 0 else 0.0


def half_life_of(decay: float, batch_size: int) -> float:
    """The half-life in images of BasicSR's `ema_decay`, which counts steps of `batch_size`."""
    if decay <= 0:
        return 0.0
    return batch_size * math.log(0.5) / math.log(decay)


@torch.no_grad()
def ema_update(average: nn.Module, network: nn.Module, decay: float) -> None:
    """average = decay average + (1 - decay) network; buffers are copied.

    Call it once after each step of the optimiser, with `decay_of(half_life, batch images)`.
    """
    for mean, now in zip(average.parameters(), network.parameters(), strict=True):
        if now.requires_grad:
            mean.lerp_(now.to(mean.dtype), 1 - decay)
    for mean, now in zip(average.buffers(), network.buffers(), strict=True):
        mean.copy_(now)
