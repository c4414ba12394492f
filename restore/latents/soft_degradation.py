"""A degradation that gradients go through: blur, shrinking by area, JPEG, of one face picture."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from restore.degradation.blur import blur, gaussian_kernels
from restore.degradation.jpeg import jpeg
from restore.degradation.resize import full_canvas, resize_each
from restore.errors import InputError


@dataclass(frozen=True)
class SoftDegradation:
    """What lies between a good face and the picture at hand.

    `size`: px of a side of the small picture. `blur_sigma`: px of the small picture, 0 none.
    `jpeg_quality`: 1..100 of the small picture, None for none. `gray`: the small picture is gray.
    """

    size: int
    blur_sigma: float = 0.0
    jpeg_quality: int | None = None
    gray: bool = False

    def __post_init__(self) -> None:
        if self.size < 4:
            raise InputError(f"a small picture of {self.size} px holds no face; expected 4 or more")
        if not 0 <= self.blur_sigma <= self.size:
            raise InputError(f"blur {self.blur_sigma} px; expected 0 to {self.size}")
        if self.jpeg_quality is not None and not 1 <= self.jpeg_quality <= 100:
            raise InputError(f"JPEG quality {self.jpeg_quality}; expected 1 to 100")

    def __call__(self, images: Tensor) -> Tensor:
        """[n,3,s,s] RGB in about [-1,1] -> [n,3,size,size], differentiable."""
        if images.shape[-1] < self.size:
            raise InputError(
                f"pictures of {images.shape[-1]} px cannot be degraded to {self.size} px; paint "
                "them larger"
            )
        canvas = full_canvas((images.clamp(-1, 1) + 1) / 2)
        sigma = self.blur_sigma * images.shape[-1] / self.size
        if sigma > 0.1:
            # three deviations on each side, as far as the picture's mirror image reaches
            radius = min(round(3 * sigma) + 1, images.shape[-1] - 1)
            each = torch.full((len(images),), sigma, device=images.device)
            zero = torch.zeros_like(each)
            canvas = blur(canvas, gaussian_kernels(2 * radius + 1, each, each, zero))
        if images.shape[-1] != self.size:
            canvas = resize_each(
                canvas, [(self.size, self.size)] * len(images), ["area"] * len(images)
            )
        if self.gray:
            luma = canvas.pixels.new_tensor([0.299, 0.587, 0.114])[:, None, None]
            gray = (canvas.pixels * luma).sum(1, keepdim=True)
            canvas = canvas.with_pixels(gray.expand_as(canvas.pixels))
        if self.jpeg_quality is not None:
            quality = np.full(len(images), self.jpeg_quality)
            canvas = jpeg(canvas, quality, differentiable=True)
        return canvas.pixels * 2 - 1


def painted_size(full: int, small: int) -> int:
    """Px to paint for a small picture: the smallest whole part of the full size that has at least
    two pixels under each of its own (64 or more), so that its grid does not show."""
    size = full
    while size // 2 >= max(2 * small, 64):
        size //= 2
    return size
