"""The small picture inside a degraded one: what was there before the recipe enlarged it again."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from restore.degradation.resize import resize_matrix

_RIDGE = 1e-3
"""Weight of the smoothness of the solution: enough where the factor is close to 1 and the
enlargement nearly blind to a checkerboard, too little to be seen elsewhere."""


def small_picture(lq: Tensor, size: tuple[int, int], mode: str = "bilinear") -> np.ndarray:
    """The picture (height, width) that was enlarged to `lq` [3,h,w] RGB in [-1,1]: uint8 [h,w,3].

    A recipe ends with an enlargement by `mode`, a linear map with more rows than columns: least
    squares undo it, but for the rounding to 8 bit. Resampling rows (bicubic, Lanczos) start from
    here, or they would enlarge what is enlarged already. Where the recipe's small picture was not
    smaller, `lq` itself is returned.
    """
    height, width = lq.shape[-2:]
    x = lq.double()
    if size[0] < height:
        x = _inverse(mode, size[0], height) @ x
    if size[1] < width:
        x = x @ _inverse(mode, size[1], width).T
    pixels = (x.clamp(-1, 1) * 127.5 + 127.5).round().to(torch.uint8)
    return pixels.permute(1, 2, 0).contiguous().numpy()


def _inverse(mode: str, small: int, large: int) -> Tensor:
    """Float64 `[small, large]`: least squares with a little smoothness."""
    enlarge = resize_matrix(mode, small, large).double()
    bend = torch.eye(small, dtype=torch.float64).diff(n=2, dim=0) if small > 2 else enlarge[:0]
    normal = enlarge.T @ enlarge + _RIDGE * bend.T @ bend
    return torch.cholesky_solve(enlarge.T, torch.linalg.cholesky(normal))
