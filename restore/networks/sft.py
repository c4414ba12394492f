"""Heads that turn encoder features into spatial feature transforms, aware of the degradation."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SLOPE = 0.2


def start_at_zero(layer: nn.Conv2d | nn.Linear) -> None:
    """Weight and bias zero: the layer gives nothing until it is trained."""
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


class DegradationGate(nn.Module):
    """Degradation estimate [n,d] -> gain per channel [n,c]; starts at 1 for every estimate."""

    def __init__(self, num_parameters: int, channels: int, hidden: int = 64) -> None:
        super().__init__()
        self.hidden = nn.Linear(num_parameters, hidden)
        self.gain = nn.Linear(hidden, channels)
        start_at_zero(self.gain)

    def forward(self, degradation: Tensor) -> Tensor:
        return 1 + self.gain(F.leaky_relu(self.hidden(degradation), SLOPE))


class ConditionHead(nn.Module):
    """Features [n,c,r,r] and a degradation estimate -> (scale, shift) [n,out,r*up,r*up].

    The maps start as the identity (scale 1, shift 0): an untrained encoder leaves the prior alone.
    `up` > 1 reads features of a lower level and shuffles channels into pixels.
    """

    def __init__(self, channels: int, out_channels: int, num_parameters: int, up: int = 1) -> None:
        super().__init__()
        self.up = up
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)
        self.gate = DegradationGate(num_parameters, channels)
        self.maps = nn.Conv2d(channels, 2 * out_channels * up * up, 1)
        start_at_zero(self.maps)

    def forward(self, features: Tensor, degradation: Tensor) -> tuple[Tensor, Tensor]:
        gain = self.gate(degradation)[:, :, None, None]
        maps = self.maps(F.leaky_relu(self.conv(features), SLOPE) * gain)
        if self.up > 1:
            maps = torch.pixel_shuffle(maps, self.up)
        scale, shift = maps.chunk(2, dim=1)
        return 1 + scale, shift
