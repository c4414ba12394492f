"""GFPGAN's discriminator of facial components: eyes and mouth, with its features."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class _EqualConv(nn.Module):
    """3x3 convolution, weights drawn from N(0,1) and scaled at run time (Karras 2018, 4.1)."""

    def __init__(self, channels: int, out: int, stride: int, padding: int, bias: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out, channels, 3, 3))
        self.bias = nn.Parameter(torch.zeros(out)) if bias else None
        self.scale = 1 / math.sqrt(channels * 9)
        self.stride, self.padding = stride, padding

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight * self.scale, self.bias, self.stride, self.padding)


class _Smooth(nn.Module):
    """The [1,3,3,1] filter in front of a strided convolution, padded so that sides halve."""

    kernel: Tensor

    def __init__(self) -> None:
        super().__init__()
        row = torch.tensor([1.0, 3.0, 3.0, 1.0])
        self.register_buffer("kernel", torch.outer(row, row)[None, None] / 64, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        channels = x.shape[1]
        kernel = self.kernel.to(x.dtype).expand(channels, 1, 4, 4)
        return F.conv2d(x, kernel, padding=2, groups=channels)


class _BiasedLeaky(nn.Module):
    """Bias, leaky ReLU of 0.2, gain of sqrt 2."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        return F.leaky_relu(x + self.bias[:, None, None], 0.2) * math.sqrt(2)


def _layer(channels: int, out: int, down: bool) -> nn.Sequential:
    conv = _EqualConv(channels, out, 2 if down else 1, 0 if down else 1, bias=False)
    return nn.Sequential(*([_Smooth()] if down else []), conv, _BiasedLeaky(out))


class PartDiscriminator(nn.Module):
    """`forward(part [n,3,k,k] in [-1,1]) -> (logits [n,1,k/4,k/4], two feature maps)`.

    Architecture and key names of GFPGAN's FacialComponentDiscriminator at `width` 64, so that
    its checkpoints load; sides must divide by 4.
    """

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.conv1 = _layer(3, width, down=False)
        self.conv2 = _layer(width, 2 * width, down=True)
        self.conv3 = _layer(2 * width, 2 * width, down=False)
        self.conv4 = _layer(2 * width, 4 * width, down=True)
        self.conv5 = _layer(4 * width, 4 * width, down=False)
        self.final_conv = nn.Sequential(_EqualConv(4 * width, 1, 1, 1, bias=True))

    def forward(self, part: Tensor) -> tuple[Tensor, list[Tensor]]:
        early = self.conv3(self.conv2(self.conv1(part)))
        late = self.conv5(self.conv4(early))
        return self.final_conv(late), [early, late]
