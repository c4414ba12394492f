"""Damage of old prints: scratches, creases, dust, stains and torn or faded borders.

Every function takes pixels `[n,3,h,w]` in [0,1], strengths `[n]` in [0,1] (0 leaves a sample as it
is), the samples' draws and the size of one reference pixel in pixels at hand (`unit`).
"""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from restore.degradation.draws import Draws, normal_fields
from restore.degradation.noise import per_sample

MAX_SCRATCHES = 24
MAX_CREASES = 3
MAX_SPECKS = 240
MAX_STAINS = 3
_TAPS = 7
"""Pixels across a scratch or speck that are drawn: both are at most about 5 px wide."""


def add_scratches(x: Tensor, strength: np.ndarray, draws: Draws, unit: float) -> Tensor:
    """Thin, long, slightly bent lines along or across the print, lighter or darker than it.

    Each is a parabola over one axis; its coverage is written to the pixels near it only.
    """
    n, _, h, w = x.shape
    u = _table(draws, "scratches", n, MAX_SCRATCHES, 10, x)
    count = per_sample(1 + strength * (MAX_SCRATCHES - 1), x)[:, 0, 0]
    alive = torch.arange(MAX_SCRATCHES, device=x.device)[None] < count
    alpha = alive * (0.25 + 0.75 * u[..., 0]) * per_sample(0.4 + 0.6 * strength, x)[:, 0, 0]
    alpha = alpha * per_sample(strength > 0, x)[:, 0, 0]
    width = (0.6 + 2.2 * u[..., 1].square()) * unit
    down = u[..., 2] < 0.7  # film scratches run along the transport; the others across
    light = u[..., 3] < 0.75
    for vertical in (True, False):
        length, across = (h, w) if vertical else (w, h)
        t = (torch.arange(length, device=x.device, dtype=x.dtype) + 0.5) / length
        bend = (u[..., 5] - 0.5)[..., None] * 0.5 * (t - 0.5)
        bend = bend + (u[..., 6] - 0.5)[..., None] * 0.3 * (t - 0.5).square()
        centre = (u[..., 4, None] + bend) * across
        start, span = u[..., 7, None] * 1.2 - 0.4, 0.15 + u[..., 8, None]
        inside = ((t - start).clamp(0, 0.02) * 50) * ((start + span - t).clamp(0, 0.02) * 50)
        for bright in (True, False):
            chosen = (down == vertical) & (light == bright)
            cover = _splat_lines(centre, width, alpha * chosen, inside, across)
            cover = cover if vertical else cover.transpose(2, 3)
            x = torch.lerp(x, torch.full_like(x, 0.93 if bright else 0.08), cover)
    return x


def _splat_lines(
    centre: Tensor, width: Tensor, alpha: Tensor, inside: Tensor, across: int
) -> Tensor:
    """Coverage `[n,1,length,across]` of lines `[n,k]` whose middle is centre `[n,k,length]`."""
    n, _, length = centre.shape
    offsets = torch.arange(_TAPS, device=centre.device) - _TAPS // 2
    column = centre.floor()[..., None] + offsets
    distance = (column + 0.5 - centre[..., None]).abs()
    cover = (
        (0.5 * width[..., None, None] + 0.5 - distance)
        .clamp(0, 1)
        .minimum(width[..., None, None].clamp_max(1))
    )
    cover = cover * (alpha[..., None] * inside)[..., None]
    cover = cover * ((column >= 0) & (column < across))
    column = column.clamp(0, across - 1).long()
    plane = torch.zeros((n, length, across), dtype=centre.dtype, device=centre.device)
    # [n, k, length, taps] -> [n, length, k * taps]
    index = column.permute(0, 2, 1, 3).reshape(n, length, -1)
    values = cover.permute(0, 2, 1, 3).reshape(n, length, -1)
    return plane.scatter_reduce_(2, index, values, "amax")[:, None]


def add_dust(x: Tensor, strength: np.ndarray, draws: Draws, unit: float) -> Tensor:
    """Round specks of dust, light or dark, half a pixel to five pixels wide."""
    n, _, h, w = x.shape
    u = _table(draws, "dust", n, MAX_SPECKS, 6, x)
    count = per_sample(strength * MAX_SPECKS, x)[:, 0, 0]
    alive = torch.arange(MAX_SPECKS, device=x.device)[None] < count
    radius = (0.4 + 2.1 * u[..., 2] ** 3) * unit
    alpha = alive * (0.3 + 0.7 * u[..., 3])
    offsets = torch.arange(_TAPS, device=x.device) - _TAPS // 2
    cx, cy = u[..., 0] * w, u[..., 1] * h
    columns = cx.floor()[..., None] + offsets
    rows = cy.floor()[..., None] + offsets
    dx = (columns + 0.5 - cx[..., None])[..., None, :]
    dy = (rows + 0.5 - cy[..., None])[..., :, None] * (1 + u[..., 4, None, None])
    cover = (radius[..., None, None] + 0.5 - (dx.square() + dy.square()).sqrt()).clamp(0, 1)
    cover = cover.minimum((3 * radius.square())[..., None, None]) * alpha[..., None, None]
    valid = ((rows >= 0) & (rows < h))[..., :, None] & ((columns >= 0) & (columns < w))[
        ..., None, :
    ]
    index = rows.clamp(0, h - 1)[..., :, None] * w + columns.clamp(0, w - 1)[..., None, :]
    for bright in (True, False):
        chosen = ((u[..., 5] < 0.7) == bright)[..., None, None] & valid
        plane = torch.zeros((n, h * w), dtype=x.dtype, device=x.device)
        plane.scatter_reduce_(1, index.long().view(n, -1), (cover * chosen).view(n, -1), "amax")
        value = 0.95 if bright else 0.1
        x = torch.lerp(x, torch.full_like(x, value), plane.view(n, 1, h, w))
    return x


def add_creases(x: Tensor, strength: np.ndarray, draws: Draws, unit: float) -> Tensor:
    """Folds: a broken light line where the emulsion cracked, shaded on one of its sides."""
    n, _, h, w = x.shape
    u = _table(draws, "creases", n, MAX_CREASES, 6, x)
    rows, columns = _grid(h, w, x)
    wobble = _smooth_noise(draws, "creases.wobble", n, 12, (h, w), x)
    cracks = _smooth_noise(draws, "creases.cracks", n, 48, (h, w), x)
    s = per_sample(strength, x)
    for k in range(MAX_CREASES):
        v = [u[:, k, j].view(n, 1, 1, 1) for j in range(6)]
        there = s * (v[5] < (1.0 if k == 0 else 0.45)) * (s > 0)
        if not there.any():
            continue
        angle = v[0] * 2 * np.pi
        across = (columns - (0.2 + 0.6 * v[1]) * w) * angle.cos()
        across = across + (rows - (0.2 + 0.6 * v[2]) * h) * angle.sin()
        across = across + wobble * (1 + 3 * v[3]) * unit
        core = _fall((across / ((0.7 + 1.5 * v[4]) * unit)).square())
        core = core * (0.75 + 0.6 * cracks).clamp(0, 1) * there.sqrt()
        shade = _fall(across.abs() / (6 * unit)) * (across > 0) * there
        x = torch.lerp(x * (1 - 0.35 * shade), torch.full_like(x, 0.92), 0.9 * core)
    return x


def add_stains(x: Tensor, strength: np.ndarray, draws: Draws, unit: float) -> Tensor:
    """Dried drops: a yellow to brown tint with a darker rim, or bleached spots."""
    n, _, h, w = x.shape
    u = _table(draws, "stains", n, MAX_STAINS, 9, x)
    rows, columns = _grid(h, w, x)
    ragged = _smooth_noise(draws, "stains.edge", n, 8, (h, w), x)
    s = per_sample(strength, x)
    for k in range(MAX_STAINS):
        v = [u[:, k, j].view(n, 1, 1, 1) for j in range(9)]
        there = s * (v[4] < (1.0 if k == 0 else 0.5))
        if not there.any():
            continue
        radius = (15 + 100 * v[2].square()) * unit
        dx, dy = (columns - v[0] * w) / radius, (rows - v[1] * h) / (radius * (0.6 + 0.8 * v[3]))
        distance = (dx.square() + dy.square()).sqrt() + 0.12 * ragged
        body = (8 * (1 - distance)).clamp(0, 1)
        rim = _fall(((distance - 0.95) / 0.06).square())
        tint = torch.cat([0.92 - 0.15 * v[5], 0.80 - 0.25 * v[5], 0.55 - 0.3 * v[5]], 1)
        tint = torch.where(v[6] < 0.75, tint, torch.full_like(tint, 1.0))
        bleach = (v[6] >= 0.75) * 0.5
        cover = (body * (0.3 + 0.5 * v[7]) + rim * 0.4 * v[8]).clamp(0, 1) * there
        stained = x * tint
        stained = stained + bleach * (1 - stained)
        x = torch.lerp(x, stained, cover)
    return x


def tear_borders(x: Tensor, strength: np.ndarray, draws: Draws, unit: float) -> Tensor:
    """Edges that faded towards the paper, and a torn corner or edge with a white fibre rim."""
    n, _, h, w = x.shape
    u = _table(draws, "borders", n, 1, 10, x)[:, 0]
    v = [u[:, j].view(n, 1, 1, 1) for j in range(10)]
    rows, columns = _grid(h, w, x)
    s = per_sample(strength, x)
    ragged = _smooth_noise(draws, "borders.edge", n, 10, (h, w), x)
    fine = _smooth_noise(draws, "borders.fibre", n, 64, (h, w), x)
    side = torch.minimum(rows.minimum(h - rows), columns.minimum(w - columns))
    depth = (10 + 60 * v[0] * s) * unit
    faded = (1 - side / depth + 0.25 * ragged).clamp(0, 1).square() * (v[1] < 0.7) * s.sqrt()
    x = torch.lerp(x, (0.9 - 0.1 * v[2]).expand_as(x), 0.8 * faded)
    # a straight tear that cuts a corner or a side; negative lies beyond it
    corner_x, corner_y = (v[3] < 0.5) * 1.0 * w, (v[4] < 0.5) * 1.0 * h
    from_x, from_y = (columns - corner_x).abs(), (rows - corner_y).abs()
    slant = 0.5 + v[5]
    beyond = from_x * slant + from_y / slant - (20 + 110 * v[6] * s) * unit
    beyond = beyond + (5 * ragged + 1.2 * fine) * unit
    torn = (v[7] < 0.6) & (s > 0)
    fibre = (1 - beyond.abs() / (4 * unit)).clamp(0, 1) * torn
    x = torch.lerp(x, torch.full_like(x, 0.95), 0.85 * fibre)
    ground = torch.where(v[8] < 0.5, 0.92 + 0.08 * v[9], 0.25 * v[9])
    return torch.lerp(x, ground.expand_as(x), (0.5 - beyond / unit).clamp(0, 1) * torn)


DAMAGES = {
    "scratches": add_scratches,
    "creases": add_creases,
    "dust": add_dust,
    "stains": add_stains,
    "borders": tear_borders,
}


def _table(draws: Draws, name: str, n: int, rows: int, columns: int, like: Tensor) -> Tensor:
    values = draws.uniforms(f"damage.{name}", rows * columns).reshape(n, rows, columns)
    return torch.as_tensor(values).to(like.dtype).to(like.device)


def _fall(x: Tensor) -> Tensor:
    """exp(-x); as a power of two, because a CPU's exp is ten times slower where it underflows."""
    return torch.exp2(x * (-1 / math.log(2)))


def _grid(h: int, w: int, like: Tensor) -> tuple[Tensor, Tensor]:
    rows = torch.arange(h, dtype=like.dtype, device=like.device) + 0.5
    columns = torch.arange(w, dtype=like.dtype, device=like.device) + 0.5
    return rows.view(1, 1, h, 1), columns.view(1, 1, 1, w)


def _smooth_noise(
    draws: Draws, name: str, n: int, cells: int, size: tuple[int, int], like: Tensor
) -> Tensor:
    """Standard normal values on cells x cells points, bilinear between: `[n,1,h,w]`."""
    seeds = draws.field_seed(f"damage.{name}")
    coarse = normal_fields(seeds, [(cells, cells)] * n, 1, like.device).to(like.dtype)
    return F.interpolate(coarse, size=size, mode="bilinear", align_corners=False)
