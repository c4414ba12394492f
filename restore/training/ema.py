"""Moving average of a network's weights."""

from __future__ import annotations

import copy

import torch
from torch import nn


def averaged_copy(network: nn.Module) -> nn.Module:
    """A copy to hold the average; frozen weights are shared with `network`, not copied."""
    shared = {id(p): p for p in network.parameters() if not p.requires_grad}
    return copy.deepcopy(network, memo=shared).requires_grad_(False).eval()


@torch.no_grad()
def ema_update(average: nn.Module, network: nn.Module, decay: float) -> None:
    """average = decay average + (1 - decay) network; buffers are copied.

    Call it once after each step of the optimiser, with `0.5 ** (images of the step / half-life)`.
    """
    pairs = zip(average.parameters(), network.parameters(), strict=True)
    trained = [(mean, now.to(mean.dtype)) for mean, now in pairs if now.requires_grad]
    if trained:
        means, weights = zip(*trained, strict=True)
        torch._foreach_lerp_(means, weights, 1 - decay)
    for held, current in zip(average.buffers(), network.buffers(), strict=True):
        held.copy_(current)
