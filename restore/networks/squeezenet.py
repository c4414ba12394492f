"""SqueezeNet 1.1 as a feature network: the seven activations that LPIPS compares."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# ImageNet mean and deviation carried over to images in [-1,1]: 2 m - 1 and 2 s.
IMAGENET_MEAN = (-0.030, -0.088, -0.188)
IMAGENET_STD = (0.458, 0.448, 0.450)

# (index in `features`, input, squeezed, each half of the output), SqueezeNet 1.1
_FIRES = (
    (3, 64, 16, 64),
    (4, 128, 16, 64),
    (6, 128, 32, 128),
    (7, 256, 32, 128),
    (9, 256, 48, 192),
    (10, 384, 48, 192),
    (11, 384, 64, 256),
    (12, 512, 64, 256),
)
# The layers after which lpips reads the activations.
_TAPS = (1, 4, 7, 9, 10, 11, 12)


class _Fire(nn.Module):
    """Squeeze to few channels, expand by a 1x1 and a 3x3 convolution side by side."""

    def __init__(self, channels: int, squeezed: int, expanded: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(channels, squeezed, 1)
        self.expand1x1 = nn.Conv2d(squeezed, expanded, 1)
        self.expand3x3 = nn.Conv2d(squeezed, expanded, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.squeeze(x))
        return F.relu(torch.cat((self.expand1x1(x), self.expand3x3(x)), dim=1))


class SqueezeNetFeatures(nn.Module):
    """torchvision's `squeezenet1_1().features` with its key names and ImageNet normalisation.

    `forward(image [n,3,h,w] RGB in [-1,1])` returns seven activations, about 1/2, 1/4, 1/8 and
    four times 1/16 of the size. Sides below 31 px leave nothing for the deepest ones.
    """

    kind = "squeezenet1_1"
    channels = (64, 128, 256, 384, 384, 512, 512)
    mean: Tensor
    std: Tensor

    def __init__(self) -> None:
        super().__init__()
        layers: dict[int, nn.Module] = {
            0: nn.Conv2d(3, 64, 3, stride=2),
            1: nn.ReLU(),
            **{i: nn.MaxPool2d(3, 2, ceil_mode=True) for i in (2, 5, 8)},
            **{i: _Fire(c, s, e) for i, c, s, e in _FIRES},
        }
        self.features = nn.Sequential(*(layers[i] for i in sorted(layers)))
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD)[:, None, None], persistent=False)

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor]) -> SqueezeNetFeatures:
        """A network with these weights; keys start with `features.`, a classifier is ignored."""
        network = cls()
        network.load_state_dict({k: v for k, v in state.items() if k.startswith("features.")})
        return network

    def forward(self, image: Tensor) -> list[Tensor]:
        x = (image - self.mean) / self.std
        taps = []
        for index, layer in enumerate(self.features):
            x = layer(x)
            if index in _TAPS:
                taps.append(x)
        return taps
