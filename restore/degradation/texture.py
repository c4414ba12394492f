"""What ink and paper do to a picture: a halftone screen, paper grain, embossed print texture."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from restore.degradation.draws import Draws, normal_fields
from restore.degradation.noise import per_sample

_SCREEN_ANGLES = (15.0, 75.0, 45.0)
"""Degrees that the screens of cyan, magenta and yellow (here R, G, B) are turned by, so that they
make no moire; the gray of a newspaper is screened at 45."""


def halftone(
    x: Tensor, strength: np.ndarray, period: np.ndarray, gray: np.ndarray, draws: Draws
) -> Tensor:
    """`[n,3,h,w]` in [0,1] printed in dots: blend by strength `[n]` with its screened self.

    period `[n]` px between dots; gray `[n]` bool: one screen for all channels. A dot's ink spreads
    over an eighth of the period, so tone is kept on average but for clipping at black and white.
    """
    h, w = x.shape[-2:]
    turn = draws.uniform("texture.screen.turn", -5, 5)
    angles = np.where(gray[:, None], 45.0, np.asarray(_SCREEN_ANGLES)[None]) + turn[:, None]
    screen = _screen(angles, period, (h, w), x)
    soft = 0.35
    # the screen's values are spread evenly over 0..1, so the mean of the dots is the tone
    dots = ((x - screen) / soft + 0.5).clamp(0, 1)
    return torch.lerp(x, dots, per_sample(strength, x))


def _screen(angles: np.ndarray, period: np.ndarray, size: tuple[int, int], like: Tensor) -> Tensor:
    n = len(period)
    rows = torch.arange(size[0], dtype=like.dtype, device=like.device).view(1, 1, -1, 1)
    columns = torch.arange(size[1], dtype=like.dtype, device=like.device).view(1, 1, 1, -1)
    turn = torch.as_tensor(np.deg2rad(angles)).to(like.dtype).to(like.device).view(n, 3, 1, 1)
    wave = 2 * np.pi / per_sample(np.maximum(period, 2.0), like)
    a = ((columns * turn.cos() + rows * turn.sin()) * wave).cos()
    b = ((rows * turn.cos() - columns * turn.sin()) * wave).cos()
    # the sum of two cosines is symmetric about 0; its distribution is made about even by a sine
    return 0.5 + 0.5 * torch.sin((a + b) * (np.pi / 4))


def emboss_paper(
    x: Tensor, strength: np.ndarray, period: np.ndarray, woven: np.ndarray, draws: Draws
) -> Tensor:
    """Light on rough paper: `[n,3,h,w]` times 1 + strength * relief.

    woven `[n]` bool: the regular relief of silk or linen prints with the given period in px; else
    the irregular fibres of matt paper, about a period long. strength `[n]` is the relief's
    standard deviation, about.
    """
    n, _, h, w = x.shape
    relief = torch.zeros((n, 1, h, w), dtype=x.dtype, device=x.device)
    if woven.any():
        turn = draws.uniform("texture.paper.turn", 0, 90)
        angles = np.stack([turn, turn, turn], 1)
        pattern = (_screen(angles, period, (h, w), x)[:, :1] - 0.5) * 3
        relief = relief + pattern * per_sample(woven, x)
    if not woven.all():
        seeds = draws.field_seed("texture.paper.fibres")
        # lattices of unlike periods have unlike sizes: one by one
        fields = []
        for i in range(n):
            cell = max(float(period[i]) / 2, 1.0)
            cells = (max(2, round(h / cell)), max(2, round(w / cell)))
            coarse = normal_fields(seeds[i : i + 1], [cells], 1, x.device).to(x.dtype)
            fields.append(F.interpolate(coarse, size=(h, w), mode="bilinear"))
        relief = relief + torch.cat(fields) * 1.5 * per_sample(~woven, x)
    return x * (1 + relief * per_sample(strength, x))
