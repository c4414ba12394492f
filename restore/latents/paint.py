"""Differentiable painting: S, and the noise maps where they are replaced, to an image of a size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from restore.errors import InputError
from restore.latents.spaces import Generator
from restore.networks.mobile_stylegan import MobileStyleGAN


def check_size(generator: Generator, size: int) -> int:
    """`size` where it is a whole part of the full size, 16 px or more; else InputError."""
    full = generator.out_size
    if not 16 <= size <= full or full % size:
        whole = [full >> i for i in range(12) if full >> i >= 16]
        raise InputError(f"size {size}: expected one of {', '.join(map(str, whole))} px")
    return size


def paint(
    generator: Generator,
    styles: Sequence[Tensor],
    size: int,
    noise: Mapping[str, Tensor] | None = None,
) -> Tensor:
    """S, one [n,c] per style layer -> image [n,3,size,size] RGB about [-1,1], not clamped.

    The image is the full-size one, averaged down: no size head takes part. `size` as `check_size`
    wants it. `noise` replaces maps by their names of `noise_maps`. Differentiable in both.
    """
    if noise:
        names = {f"generator.{name}": value for name, value in noise.items()}
        return functional_call(_Painter(generator, size), names, (list(styles),))
    return _paint(generator, styles, size)


def noise_maps(generator: Generator) -> dict[str, Tensor]:
    """The stored noise of every convolution, name -> [1,1,r,r]; empty where there is none."""
    found = {}
    for name, buffer in generator.named_buffers():
        last = name.rsplit(".", 1)[-1]
        if last == "noise" or last.startswith("noise_"):
            found[name] = buffer
    return found


class _Painter(nn.Module):
    """What `functional_call` needs: a module whose forward paints."""

    def __init__(self, generator: Generator, size: int) -> None:
        super().__init__()
        self.generator = generator
        self.size = size

    def forward(self, styles: Sequence[Tensor]) -> Tensor:
        return _paint(self.generator, styles, self.size)


def _paint(generator: Generator, styles: Sequence[Tensor], size: int) -> Tensor:
    full = generator.out_size
    if isinstance(generator, MobileStyleGAN):
        half = full // 2
        features = generator.features(styles, None, half)
        if size == full:
            return generator.to_rgb(features, styles[-1])
        # The mean of four pixels is half of the LL band, and a mean of pixels goes through the 1x1
        # convolution: averaging the features first is the same image for less work.
        if size < half:
            features = F.avg_pool2d(features, half // size)
        return generator.to_rgb.halved(features, styles[-1])
    image = generator.synthesis_from_styles(styles)
    return image if size == full else F.avg_pool2d(image, full // size)
