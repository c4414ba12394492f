"""Pyramid loss: the decoder's side pictures against the good image at their sizes (GFPGAN)."""

from __future__ import annotations

from collections.abc import Iterable

import torch.nn.functional as F
from torch import Tensor

from restore.losses.pixel import l1_loss


def pyramid_loss(side_images: Iterable[Tensor], gt: Tensor, mask: Tensor | None = None) -> Tensor:
    """Sum over the side images [n,3,r,r] of their L1 to `gt` [n,3,s,s] averaged down: `[n]`.

    GFPGAN (gfpgan_model.py, `construct_img_pyramid`) halves the image bilinearly again and again,
    which is this average.
    """
    total = gt.new_zeros(len(gt))
    for side in side_images:
        height, width = side.shape[-2:]
        total = total + l1_loss(side, F.adaptive_avg_pool2d(gt, (height, width)), mask)
    return total
