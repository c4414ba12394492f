"""Plain 3x3 convolutions with batch norms for training, and without them for shipping."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


def normed_conv(channels: int, out: int, kernel: int, stride: int, norm: bool) -> nn.Sequential:
    """A convolution that keeps the size (but for its stride), with a batch norm or a bias."""
    conv = nn.Conv2d(channels, out, kernel, stride, kernel // 2, bias=not norm)
    return nn.Sequential(conv, nn.BatchNorm2d(out)) if norm else nn.Sequential(conv)


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions [n,c,h,w] -> [n,c,h,w], added to what went in."""

    def __init__(self, channels: int, norm: bool) -> None:
        super().__init__()
        self.first = normed_conv(channels, channels, 3, 1, norm)
        self.second = normed_conv(channels, channels, 3, 1, norm)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.second(F.relu(self.first(x))))


def folded_state(network: nn.Module) -> dict[str, Tensor]:
    """Weights and biases of every `normed_conv` with its batch norm folded in, by their names.

    The network is put into eval mode: the norms' running statistics are what is folded.
    """
    state: dict[str, Tensor] = {}
    for name, module in network.eval().named_modules():
        if isinstance(module, nn.Sequential) and len(module) == 2:
            conv, norm = module[0], module[1]
            if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                fused = fuse_conv_bn_eval(conv, norm)
                assert fused.bias is not None
                state[f"{name}.0.weight"], state[f"{name}.0.bias"] = fused.weight, fused.bias
    return state
