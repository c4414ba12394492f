"""A light discriminator of patches: on pixels and, when given, on frozen features."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm


class _Judge(nn.Module):
    """Convolutions to a map of logits; the first `downs` of the two halve the size."""

    def __init__(self, channels: int, width: int, downs: int, spectral: bool) -> None:
        super().__init__()

        def conv(a: int, b: int, kernel: int, stride: int = 1) -> nn.Module:
            # At stride 2 a kernel of 4 covers every pixel equally often: no checkerboards.
            layer = nn.Conv2d(a, b, kernel, stride, padding=(kernel - 1) // 2)
            return spectral_norm(layer) if spectral else layer

        wide = 2 * width
        self.enter = conv(channels, width, 3 if downs else 1)
        self.middle = conv(width, wide, 4 if downs > 0 else 3, 2 if downs > 0 else 1)
        self.last = conv(wide, wide, 4 if downs > 1 else 3, 2 if downs > 1 else 1)
        self.logits = conv(wide, 1, 3)

    def forward(self, x: Tensor) -> Tensor:
        for layer in (self.enter, self.middle, self.last):
            x = F.leaky_relu(layer(x), 0.2)
        return self.logits(x)


class PatchDiscriminator(nn.Module):
    """Maps of logits, real > 0: `forward(image [n,c,s,s] in [-1,1], features=()) -> list`.

    The pixels are folded by `fold` (space to depth: 2 at 256², 4 at 512² keeps a step on a CPU
    cheap) and judged in patches of about 20 folded pixels. With `feature_channels` each frozen
    activation passed as `features` (SqueezeNet's, say, shared with the perceptual loss) gets its
    own judge: a projected GAN (Sauer 2021) without its random mixing. Spectral norm bounds the
    gradients so that no R1 is needed; without it, use R1. `channels` 6 judges pairs (LQ beside).
    Mask the maps, not the image: reflected borders are as reflected in real ones.
    """

    def __init__(
        self,
        channels: int = 3,
        width: int = 32,
        fold: int = 2,
        feature_channels: Sequence[int] = (),
        spectral: bool = True,
    ) -> None:
        super().__init__()
        self.fold = fold
        self.on_pixels = _Judge(channels * fold * fold, width, 2, spectral)
        self.on_features = nn.ModuleList(_Judge(c, width, 0, spectral) for c in feature_channels)

    def forward(self, image: Tensor, features: Sequence[Tensor] = ()) -> list[Tensor]:
        if len(features) != len(self.on_features):
            raise ValueError(
                f"got {len(features)} feature maps for {len(self.on_features)} feature judges"
            )
        maps = [self.on_pixels(F.pixel_unshuffle(image, self.fold))]
        maps.extend(judge(x) for judge, x in zip(self.on_features, features, strict=True))
        return maps
