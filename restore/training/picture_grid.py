"""Pictures of a validation side by side in one file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor


def picture_grid(columns: Sequence[Tensor]) -> Tensor:
    """Columns [n,3,s,s] in [-1,1] of one size side by side: uint8 [n s, k s, 3] RGB."""
    size = columns[-1].shape[-1]
    same = [
        c if c.shape[-1] == size
        else F.interpolate(c.float(), (size, size), mode="bilinear", antialias=True)
        for c in columns
    ]  # fmt: skip
    rows = torch.cat([c.float().cpu() for c in same], dim=3)  # [n,3,s,k s]
    grid = rows.permute(0, 2, 3, 1).reshape(-1, rows.shape[3], 3)
    return ((grid.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)


def save_grid(path: Path, columns: Sequence[Tensor]) -> None:
    """Write the grid as PNG or JPEG, by the ending of `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture_grid(columns).numpy()).save(path, quality=95)
