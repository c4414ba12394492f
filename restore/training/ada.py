"""Adaptive discriminator augmentation (arXiv 2006.06676): on the device, differentiable, drawn per
sample; its strength follows how sure the discriminator is of real images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from restore.training.sample_draws import SampleDraws

NUM_DRAWS = 24
_SHIFT = 0.125  # of the image's side, as in the paper's table of strengths


def augment(images: Tensor, strength: float, uniforms: Tensor) -> Tensor:
    """Images [n,3,s,s] in [-1,1] under the paper's geometric and colour changes (appendix B).

    Each change is made with chance `strength`; `uniforms` [n,24] in [0,1) are the draws of each
    sample. The border is a reflection; sampling is bilinear, where the paper pads with wavelets.
    """
    if strength <= 0:
        return images
    u = uniforms.to(images.device, torch.float32)
    out = images.float()
    grid = F.affine_grid(_geometry(u, strength, images.shape[-1]), list(out.shape), False)
    out = F.grid_sample(out, grid, padding_mode="reflection", align_corners=False)
    matrix, shift = _colour(u, strength)
    return (torch.einsum("nij,njhw->nihw", matrix, out) + shift[:, :, None, None]).to(images.dtype)


def augment_draws(draws: SampleDraws, purpose: str, numbers: Sequence[int]) -> Tensor:
    """The uniforms `[n,24]` of samples, row by row the sample's own."""
    rows = [draws.numpy(purpose, n).random(NUM_DRAWS) for n in numbers]
    return torch.from_numpy(np.stack(rows).astype(np.float32))


def _geometry(u: Tensor, p: float, size: int) -> Tensor:
    """Output -> input [n,2,3] in grid_sample's units, changes in the paper's order."""
    n = len(u)
    one, zero = torch.ones(n, device=u.device), torch.zeros(n, device=u.device)
    on = [u[:, i] < p for i in range(8)]
    # one minus a chance twice, so that rotation happens at all with chance p
    turn_p = 1 - math.sqrt(1 - min(p, 1.0))
    flip = torch.where(on[0] & (u[:, 8] < 0.5), -one, one)
    quarter = torch.where(on[1], torch.floor(u[:, 9] * 4) * (math.pi / 2), zero)
    whole = [
        torch.where(on[2], torch.round((2 * u[:, i] - 1) * _SHIFT * size) * 2 / size, zero)
        for i in (10, 11)
    ]
    scale = torch.where(on[3], torch.exp2(0.2 * _normal(u[:, 12])), one)
    first = torch.where(u[:, 4] < turn_p, (2 * u[:, 13] - 1) * math.pi, zero)
    stretch = torch.where(on[5], torch.exp2(0.2 * _normal(u[:, 14])), one)
    second = torch.where(u[:, 6] < turn_p, (2 * u[:, 15] - 1) * math.pi, zero)
    part = [torch.where(on[7], 2 * _SHIFT * _normal(u[:, i]), zero) for i in (16, 17)]
    steps = [
        _matrix(flip, zero, zero, one),
        _turn(quarter),
        _matrix(one, zero, zero, one, *whole),
        _matrix(1 / scale, zero, zero, 1 / scale),
        _turn(first),
        _matrix(1 / stretch, zero, zero, stretch),
        _turn(second),
        _matrix(one, zero, zero, one, *part),
    ]
    total = steps[0]
    for step in steps[1:]:
        total = total @ step
    return total[:, :2]


def _colour(u: Tensor, p: float) -> tuple[Tensor, Tensor]:
    """RGB matrix [n,3,3] and shift [n,3]: brightness, contrast, luma flip, hue, saturation."""
    n = len(u)
    eye = torch.eye(3, device=u.device).expand(n, 3, 3)
    gray = torch.full((3,), 1 / math.sqrt(3), device=u.device)
    luma = torch.outer(gray, gray).expand(n, 3, 3)
    chance = torch.frac(u[:, 18:23] * 997)  # five chances and five sizes out of five draws
    sizes = u[:, 18:23]
    on = (chance < p).float()
    brightness = on[:, 0] * 0.2 * _normal(sizes[:, 0])
    contrast = torch.exp2(on[:, 1] * 0.5 * _normal(sizes[:, 1]))
    flip = on[:, 2] * (sizes[:, 2] < 0.5).float()
    hue = on[:, 3] * (2 * sizes[:, 3] - 1) * math.pi
    saturation = torch.exp2(on[:, 4] * _normal(sizes[:, 4]))
    matrix = eye * contrast[:, None, None]
    shift = (brightness * contrast)[:, None].expand(n, 3)
    flipper = eye - 2 * luma * flip[:, None, None]
    # Rodrigues' rotation about the gray axis
    cross = torch.tensor([[0.0, -1, 1], [1, 0, -1], [-1, 1, 0]], device=u.device) / math.sqrt(3)
    cos, sin = hue.cos()[:, None, None], hue.sin()[:, None, None]
    turner = cos * eye + sin * cross + (1 - cos) * luma
    saturater = luma + (eye - luma) * saturation[:, None, None]
    after = saturater @ turner @ flipper
    return after @ matrix, (after @ shift[:, :, None])[:, :, 0]


def _normal(u: Tensor) -> Tensor:
    """Unit normal from uniform, cut at about 3.5 deviations."""
    return torch.erfinv((2 * u - 1).clamp(-0.9995, 0.9995)) * math.sqrt(2)


def _matrix(
    a: Tensor, b: Tensor, c: Tensor, d: Tensor, x: Tensor | None = None, y: Tensor | None = None
) -> Tensor:
    zero, one = torch.zeros_like(a), torch.ones_like(a)
    rows = (a, b, zero if x is None else x, c, d, zero if y is None else y, zero, zero, one)
    return torch.stack(rows, 1).view(-1, 3, 3)


def _turn(angle: Tensor) -> Tensor:
    return _matrix(angle.cos(), -angle.sin(), angle.sin(), angle.cos())


@dataclass
class AdaptiveStrength:
    """The strength p, moved so that the mean sign of D on real images stays at `target`.

    p can go from 0 to 1 within `ramp_images`; it is adjusted every `every` steps (paper, 3.1).
    """

    strength: float = 0.0
    target: float = 0.6
    ramp_images: float = 500_000.0
    largest: float = 0.8
    adaptive: bool = True
    every: int = 4
    signs: float = 0.0
    images: int = 0
    steps: int = 0

    def update(self, mean_sign: float, images: int) -> None:
        """Take r_t of one step over all ranks and the number of its real images."""
        self.signs += mean_sign * images
        self.images += images
        self.steps += 1
        if self.adaptive and self.steps >= self.every:
            up = 1 if self.signs / self.images > self.target else -1
            moved = self.strength + up * self.images / self.ramp_images
            self.strength = min(self.largest, max(0.0, moved))
            self.signs, self.images, self.steps = 0.0, 0, 0

    def state_dict(self) -> dict[str, float]:
        """What changes."""
        return {k: getattr(self, k) for k in ("strength", "signs", "images", "steps")}

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Take it back."""
        for name, value in state.items():
            setattr(self, name, value)
