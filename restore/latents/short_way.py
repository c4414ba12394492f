"""A short way to the picture: the lower levels of a generator and a linear head fitted to it.

Near one code the upper levels of a MobileStyleGAN do to the features little that a linear map of
them does not. So a head is fitted (least squares) to the exact picture of the present code, what it
misses is added as a constant, and a few steps of an optimisation go by the lower levels alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from restore.latents.paint import paint
from restore.latents.spaces import Generator, style_layers
from restore.networks.haar import haar, inverse_haar
from restore.networks.lpips import widened
from restore.networks.mobile_stylegan import MobileStyleGAN

_RIDGE = 1e-4  # of the mean variance of a feature


class ShortWay:
    """Pictures of `size` px from the features of level size / 2; exact where it was fitted."""

    def __init__(self, generator: MobileStyleGAN, size: int) -> None:
        self.generator = generator
        self.size = size
        self.level = size // 2
        layers = style_layers(generator)
        self.upper = tuple(i for i, layer in enumerate(layers) if layer.level > self.level)
        self.weight = self.bias = self.rest = torch.empty(0)

    @staticmethod
    def serves(generator: Generator, size: int) -> bool:
        """Is there a level to leave out? Not for StyleGAN2, nor near the full size."""
        return isinstance(generator, MobileStyleGAN) and 16 <= size <= generator.out_size // 4

    @torch.no_grad()
    def fit(self, styles: Sequence[Tensor], image: Tensor | None = None) -> None:
        """Fit the head to the exact picture [n,3,s,s] of S, painted here where it is not given."""
        image = paint(self.generator, styles, self.size) if image is None else image.detach()
        x = self._features(styles)
        flat, bands = x.flatten(2), haar(image.to(x)).flatten(2)  # [n,c,hw], [n,12,hw]
        x_mean, bands_mean = flat.mean(2, keepdim=True), bands.mean(2, keepdim=True)
        flat = flat - x_mean
        normal = flat @ flat.transpose(1, 2)
        ridge = _RIDGE * normal.diagonal(dim1=1, dim2=2).mean(1)[:, None, None] + 1e-12
        normal = normal + ridge * torch.eye(flat.shape[1], device=x.device, dtype=x.dtype)
        found = torch.linalg.solve(normal, flat @ (bands - bands_mean).transpose(1, 2))
        self.weight = found.transpose(1, 2)  # [n,12,c]
        self.bias = bands_mean - self.weight @ x_mean
        self.rest = image.to(x) - self._head(x)

    def paint(self, styles: Sequence[Tensor]) -> Tensor:
        """S -> [n,3,s,s]; gradients reach the styles up to the level of the features."""
        return self._head(self._features(styles)) + self.rest

    def _features(self, styles: Sequence[Tensor]) -> Tensor:
        return widened(self.generator.features(styles, None, self.level))

    def _head(self, x: Tensor) -> Tensor:
        n, _, h, w = x.shape
        # float32: in bfloat16 the sums of a fitted head lose what it was fitted to
        with torch.autocast(x.device.type, enabled=False):
            bands = self.weight @ x.flatten(2) + self.bias
            return inverse_haar(bands.reshape(n, 12, h, w))


def linear_share(
    styles: Sequence[Tensor], slopes: Sequence[Tensor], upper: Sequence[int]
) -> Tensor:
    """What the upper styles change of a loss, by its slopes [n,c] where they were last known: [n].

    The short way does not see them; their gradient goes on as it was.
    """
    total = styles[0].new_zeros(len(styles[0]))
    for i, slope in zip(upper, slopes, strict=True):
        total = total + ((styles[i] - styles[i].detach()) * slope).sum(1)
    return total
