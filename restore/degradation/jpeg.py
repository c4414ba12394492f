"""JPEG in torch: each sample of a canvas coded and decoded at its own quality, like libjpeg."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from restore.degradation.canvas import Canvas, replicate_beyond

# ITU-T T.81 (1992), tables K.1 and K.2, row by row
LUMA_TABLE = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)
CHROMA_TABLE = (
    (17, 18, 24, 47, 99, 99, 99, 99),
    (18, 21, 26, 66, 99, 99, 99, 99),
    (24, 26, 56, 99, 99, 99, 99, 99),
    (47, 66, 99, 99, 99, 99, 99, 99),
    (99, 99, 99, 99, 99, 99, 99, 99),
    (99, 99, 99, 99, 99, 99, 99, 99),
    (99, 99, 99, 99, 99, 99, 99, 99),
    (99, 99, 99, 99, 99, 99, 99, 99),
)
CHROMA_MODES = ("420", "444")

Rounding = Callable[[Tensor], Tensor]
"""May work in place: it is given fresh tensors only."""


def quantisation_tables(quality: np.ndarray) -> np.ndarray:
    """Float64 `[n,2,8,8]`: the tables of luma and chroma at quality `[n]` in 1..100.

    The Independent JPEG Group's scaling (libjpeg's jpeg_quality_scaling), baseline: 1..255.
    """
    quality = np.asarray(quality, dtype=np.float64)
    scale = np.where(quality < 50, np.floor(5000.0 / np.maximum(quality, 1)), 200.0 - 2 * quality)
    base = np.array([LUMA_TABLE, CHROMA_TABLE], dtype=np.float64)
    return np.clip(np.floor((base[None] * scale[:, None, None, None] + 50) / 100), 1, 255)


def jpeg(
    canvas: Canvas,
    quality: np.ndarray,
    chroma: str = "420",
    step_scale: np.ndarray | None = None,
    differentiable: bool = False,
) -> Canvas:
    """What a JPEG file of quality `[n]` (whole numbers 1..100) makes of pixels in [0,1].

    chroma "420" halves the colour planes (what OpenCV and Pillow write by default), "444" keeps
    them. Output is on the 8-bit grid. step_scale `[n]` multiplies the quantisation steps: the
    blocks of a picture seen at another size. With differentiable, every rounding x becomes
    round(x) + (x - round(x))^3 (Shin and Song 2017): close values and useful gradients, but no
    8-bit grid.
    """
    if chroma not in CHROMA_MODES:
        raise ValueError(f"found chroma {chroma!r}, expected one of {CHROMA_MODES}")
    rounding: Rounding = _soft_round if differentiable else torch.round_
    x = canvas.pixels
    unit = 16 if chroma == "420" else 8
    height, width = x.shape[-2:]
    ycc = _to_ycc(rounding(x.clamp(0, 1).mul_(255)), rounding)
    ycc = replicate_beyond(canvas.with_pixels(ycc), _round_up(height, unit), _round_up(width, unit))
    tables = quantisation_tables(quality)
    if step_scale is not None:
        tables = tables * np.asarray(step_scale)[:, None, None, None]
    steps = torch.as_tensor(tables).to(x.dtype).to(x.device)
    matrix = _BLOCK_DCT.to(x.dtype).to(x.device)
    luma_plane = _code_planes(ycc[:, :1], steps[:, 0], matrix, rounding)
    if chroma == "444":
        colour = _code_planes(ycc[:, 1:], steps[:, 1], matrix, rounding)
    else:
        colour = _halve(ycc[:, 1:], differentiable)
        colour = _code_planes(colour, steps[:, 1], matrix, rounding)
        halves = tuple(((h + 1) // 2, (w + 1) // 2) for h, w in canvas.sizes)
        top, left = (height + 1) // 2, (width + 1) // 2
        colour = _double(Canvas(colour[..., :top, :left], halves), differentiable)
    rgb = _to_rgb(luma_plane[..., :height, :width], colour[..., :height, :width], rounding)
    return canvas.with_pixels(rgb.clamp(0, 255).div_(255))


def _round_up(length: int, unit: int) -> int:
    return -(-length // unit) * unit


def _soft_round(x: Tensor) -> Tensor:
    rounded = x.detach().round()
    return rounded + (x - rounded) ** 3


# ITU-T T.871 (JFIF): BT.601 over the full 8-bit range, centred at 128
_RGB_TO_YCC = (
    (0.299, 0.587, 0.114),
    (-0.168735892, -0.331264108, 0.5),
    (0.5, -0.418687589, -0.081312411),
)


_YCC_TO_RGB = ((0.0, 1.402), (-0.344136286, -0.714136286), (1.772, 0.0))
"""What Cb and Cr add to luma in R, G and B."""


def _to_ycc(rgb: Tensor, rounding: Rounding) -> Tensor:
    """8-bit RGB -> YCbCr with 128 taken off every plane (what the DCT wants)."""
    matrix = torch.tensor(_RGB_TO_YCC, dtype=rgb.dtype, device=rgb.device)
    ycc = rounding(matrix @ rgb.flatten(2)).view(rgb.shape)
    # chroma of 128 (pure blue, pure red) does not fit 8 bits; luma is 0..255 by itself
    offset = torch.tensor([128.0, 0.0, 0.0], dtype=rgb.dtype, device=rgb.device)
    return (ycc - offset.view(1, 3, 1, 1)).clamp_max_(127)


def _to_rgb(y: Tensor, colour: Tensor, rounding: Rounding) -> Tensor:
    matrix = torch.tensor(_YCC_TO_RGB, dtype=y.dtype, device=y.device)
    n, _, h, w = y.shape
    return rounding(matrix @ colour.flatten(2)).view(n, 3, h, w).add_(y + 128)


def _block_dct() -> Tensor:
    """`[64,64]`: a block of 8 x 8 values, as a row vector, times it is its 2-D DCT-II (T.81)."""
    k = torch.arange(8, dtype=torch.float64)
    line = 0.5 * torch.cos((2 * k[None] + 1) * k[:, None] * math.pi / 16)
    line[0] *= math.sqrt(0.5)
    return torch.kron(line, line).T.contiguous()


_BLOCK_DCT = _block_dct()


def _quantise(coefficients: Tensor, step: Tensor) -> Tensor:
    """libjpeg's: coefficients to whole eighths (jfdctint); halves away from zero (jcdctmgr)."""
    eighths = (coefficients * 8).round_()
    return eighths.abs().div_(step * 8).add_(0.5).floor_().copysign_(eighths)


def _code_planes(x: Tensor, steps: Tensor, matrix: Tensor, rounding: Rounding) -> Tensor:
    """Planes `[n,c,h,w]`, sides multiples of 8, quantised by steps `[n,8,8]` in the DCT domain."""
    n, c, h, w = x.shape
    blocks = x.reshape(n, c, h // 8, 8, w // 8, 8).permute(0, 1, 2, 4, 3, 5).reshape(n, -1, 64)
    step = steps.reshape(n, 1, 64)
    if rounding is _soft_round:
        levels = rounding((blocks @ matrix) / step)
    else:
        levels = _quantise(blocks @ matrix, step)
    blocks = rounding(levels.mul_(step) @ matrix.T).clamp(-128, 127)
    blocks = blocks.view(n, c, h // 8, w // 8, 8, 8).permute(0, 1, 2, 4, 3, 5)
    return blocks.reshape(n, c, h, w)


def _halve(x: Tensor, soft: bool) -> Tensor:
    """libjpeg's h2v2_downsample: sums of four, plus 1 and 2 in turn along a row, over 4, floor."""
    rows = x[..., 0::2, :] + x[..., 1::2, :]
    mean = (rows[..., 0::2] + rows[..., 1::2]).mul_(0.25)
    if soft:
        return mean
    bias = torch.tensor([0.25, 0.5], dtype=x.dtype, device=x.device).repeat(mean.shape[-1] // 2 + 1)
    return mean.add_(bias[: mean.shape[-1]]).floor_()


def _double(canvas: Canvas, soft: bool) -> Tensor:
    """libjpeg's fancy upsampling (h2v2_fancy_upsample): a triangle filter, 9/16 3/16 3/16 1/16."""
    x = canvas.pixels
    height, width = x.shape[-2:]
    x = x if canvas.full else replicate_beyond(canvas, height, width)
    doubled = F.interpolate(x, size=(2 * height, 2 * width), mode="bilinear", align_corners=False)
    if soft:
        return doubled
    # sums of sixteenths plus 8 and 7 in turn, shifted down: rounding that favours neither side
    bias = torch.tensor([8 / 16, 7 / 16], dtype=x.dtype, device=x.device).repeat(width)
    return doubled.add_(bias).floor_()
