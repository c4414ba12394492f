"""VGG19 as a feature network: the activations that style and perceptual losses compare."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from restore.networks.squeezenet import IMAGENET_MEAN, IMAGENET_STD

# Channels of the convolutions of each block; a pooling follows each block (Simonyan 2014, E).
_BLOCKS = ((64, 2), (128, 2), (256, 4), (512, 4), (512, 4))
# GFPGAN's choice: the last convolution of each block, before its ReLU.
GFPGAN_LAYERS = ("conv1_2", "conv2_2", "conv3_4", "conv4_4", "conv5_4")


class Vgg19Features(nn.Module):
    """torchvision's `vgg19().features`, its key names, with ImageNet normalisation inside.

    `forward(image [n,3,h,w] RGB in [-1,1])` returns one activation per name in `layers`
    (`conv3_4` is before its ReLU, `relu3_4` after); the layers behind the last are not built.
    """

    kind = "vgg19"
    mean: Tensor
    std: Tensor

    def __init__(self, layers: Sequence[str] = GFPGAN_LAYERS) -> None:
        super().__init__()
        named: list[tuple[str, nn.Module, int]] = []
        channels = 3
        for block, (out, repeats) in enumerate(_BLOCKS, start=1):
            for i in range(1, repeats + 1):
                named.append((f"conv{block}_{i}", nn.Conv2d(channels, out, 3, padding=1), out))
                # Not in place: the taps before a ReLU must survive it.
                named.append((f"relu{block}_{i}", nn.ReLU(), out))
                channels = out
            named.append((f"pool{block}", nn.MaxPool2d(2), out))
        order = [name for name, _, _ in named]
        unknown = [name for name in layers if name not in order]
        if unknown or not layers:
            raise ValueError(f"VGG19 layers {list(layers)}: unknown {unknown}; known are {order}")
        self._taps = {order.index(name) for name in layers}
        if sorted(self._taps) != [order.index(name) for name in layers]:
            raise ValueError(f"VGG19 layers must be in the network's order, not {list(layers)}")
        self.layers = tuple(layers)
        self.channels = tuple(named[i][2] for i in sorted(self._taps))
        self.features = nn.Sequential(*(m for _, m, _ in named[: max(self._taps) + 1]))
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD)[:, None, None], persistent=False)

    @classmethod
    def from_state(
        cls, state: Mapping[str, Tensor], layers: Sequence[str] = GFPGAN_LAYERS
    ) -> Vgg19Features:
        """A network with these weights; the classifier and layers behind the last are ignored."""
        network = cls(layers)
        wanted = network.state_dict()
        network.load_state_dict({k: v for k, v in state.items() if k in wanted})
        return network

    def forward(self, image: Tensor) -> list[Tensor]:
        x = (image - self.mean) / self.std
        taps = []
        for index, layer in enumerate(self.features):
            x = layer(x)
            if index in self._taps:
                taps.append(x)
        return taps
