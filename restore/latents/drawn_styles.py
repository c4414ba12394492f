"""Styles that our own code draws over a face: ink, halftone, sepia plate; targets to train on."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from restore.errors import InputError
from restore.latents.face_measures import luminance
from restore.latents.windows import Window

PAPER, INK = (0.965, 0.94, 0.88), (0.09, 0.09, 0.14)
CREAM, BLUE = (0.97, 0.95, 0.9), (0.12, 0.19, 0.42)
PLATE_DARK, PLATE_LIGHT = (0.17, 0.09, 0.04), (0.97, 0.89, 0.72)


def ink(picture: Tensor, window: Window | None = None) -> Tensor:
    """Brush lines where luminance has edges (XDoG, Winnemöller 2011), dark washes, on paper."""
    unit = _unit(picture, window)
    light = luminance(picture)[:, None]
    fine, broad = _blurred(light, 2.4 * unit), _blurred(light, 4.2 * unit)
    sharp = fine + 9 * (fine - broad)
    lines = torch.sigmoid((sharp - 0.34) * 14)
    wash = _blurred(light, 4 * unit)
    tones = (
        0.72 + 0.16 * torch.sigmoid((wash - 0.28) * 30) + 0.12 * torch.sigmoid((wash - 0.55) * 30)
    )
    return _toned((lines * tones).clamp(0, 1), INK, PAPER)


def halftone(picture: Tensor, window: Window | None = None) -> Tensor:
    """A newspaper's screen: dots at 45 degrees whose size follows the luminance, blue on cream."""
    unit = _unit(picture, window)
    light = _blurred(luminance(picture)[:, None], 3 * unit)
    y, x = _places(picture, window)
    turn = math.pi / (8.0 * unit)  # rows of dots 8 px apart at 1024, every other one shifted
    screen = torch.cos(x * turn) * torch.cos(y * turn)
    value = torch.sigmoid((light * 1.15 - 0.5 + 0.42 * screen) * 9)
    return _toned(value, BLUE, CREAM)


def sepia(picture: Tensor, window: Window | None = None) -> Tensor:
    """An albumen plate: blue-sensitive emulsion, brown to cream, soft, dark towards the corners."""
    unit = _unit(picture, window)
    values = (picture + 1) / 2
    # the emulsion saw blue and little red: skin darkens, skies and eyes pale
    seen = (values * values.new_tensor((0.12, 0.33, 0.55))[:, None, None]).sum(1, keepdim=True)
    soft = _blurred(seen, 1.2 * unit)
    exposed = (1.35 * soft).clamp(max=1)
    curve = exposed * exposed * (3 - 2 * exposed)
    y, x = _places(picture, window)
    full = picture.shape[-1] if window is None else window.full
    away = ((x / full - 0.5).square() + (y / full - 0.5).square()).sqrt() / 0.707
    return _toned(curve * (1 - 0.55 * away.clamp(0, 1).pow(2.5)), PLATE_DARK, PLATE_LIGHT)


DRAWN: Mapping[str, Callable[[Tensor, Window | None], Tensor]] = {
    "ink": ink,
    "halftone": halftone,
    "sepia": sepia,
}
"""Name -> function (picture [n,3,s,s] RGB in [-1,1], window) -> the same drawn, [-1,1].

With a window the picture is that part of a larger one: strokes keep the size and the place that
they have on the whole. Borders of a window are blurred by reflection, a few pixels deep.
"""


def find_style(name: str) -> Callable[[Tensor, Window | None], Tensor]:
    """A drawn style by its name; InputError lists them."""
    if name not in DRAWN:
        raise InputError(f"no drawn style {name!r}; there are {', '.join(DRAWN)}")
    return DRAWN[name]


def _unit(picture: Tensor, window: Window | None) -> float:
    return (picture.shape[-1] if window is None else window.full) / 1024


def _places(picture: Tensor, window: Window | None) -> tuple[Tensor, Tensor]:
    top, left = (0, 0) if window is None else (window.top, window.left)
    height, width = picture.shape[-2:]
    y = torch.arange(height, device=picture.device) + top + 0.5
    x = torch.arange(width, device=picture.device) + left + 0.5
    return y[:, None].to(picture), x[None].to(picture)


def _blurred(plane: Tensor, sigma: float) -> Tensor:
    radius = min(max(1, math.ceil(2.5 * sigma)), min(plane.shape[-2:]) - 1)
    steps = torch.arange(-radius, radius + 1, device=plane.device).to(plane)
    line = torch.exp(-0.5 * (steps / max(sigma, 0.2)).square())
    line = line / line.sum()
    padded = F.pad(plane, (radius,) * 4, mode="reflect")
    return F.conv2d(F.conv2d(padded, line[None, None, None]), line[None, None, :, None])


def _toned(value: Tensor, dark: tuple[float, ...], light: tuple[float, ...]) -> Tensor:
    low = value.new_tensor(dark)[:, None, None]
    high = value.new_tensor(light)[:, None, None]
    return (low + value * (high - low)) * 2 - 1
