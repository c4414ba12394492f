"""JPEG in torch: each sample of a canvas coded and decoded at its own quality, like libjpeg."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from restore.degradation.resize import Canvas, replicate_beyond
from restore.options.degradation import CHROMA_MODES

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

    chroma "420" halves the colour planes (what OpenCV and Pillow write by default), "422" only
    along the rows (cameras), "444" keeps them. Output is on the 8-bit grid. step_scale `[n]`
    multiplies the quantisation steps: the blocks of a picture seen at another size. With
    differentiable, every rounding x becomes round(x) + (x - round(x))^3 (Shin and Song 2017): close
    values and useful gradients, but no 8-bit grid.
    """
    if chroma not in CHROMA_MODES:
        raise ValueError(f"found chroma {chroma!r}, expected one of {CHROMA_MODES}")
    rounding: Rounding = _soft_round if differentiable else torch.round_
    x = canvas.pixels
    down, across = _CHROMA_FACTORS[chroma]
    height, width = x.shape[-2:]
    ycc = _to_ycc(rounding(x.clamp(0, 1).mul_(255)), rounding)
    padded = _round_up(height, 8 * down), _round_up(width, 8 * across)
    ycc = replicate_beyond(canvas.with_pixels(ycc), *padded)
    tables = quantisation_tables(quality)
    if step_scale is not None:
        tables = tables * np.asarray(step_scale)[:, None, None, None]
    steps = torch.as_tensor(tables).to(x.dtype).to(x.device)
    matrix = _BLOCK_DCT.to(x.dtype).to(x.device)
    luma_plane = _code_planes(ycc[:, :1], steps[:, 0], matrix, rounding)
    if chroma == "444":
        colour = _code_planes(ycc[:, 1:], steps[:, 1], matrix, rounding)
    else:
        colour = _halve(ycc[:, 1:], down, differentiable)
        colour = _code_planes(colour, steps[:, 1], matrix, rounding)
        parts = tuple((_parts(h, down), _parts(w, across)) for h, w in canvas.sizes)
        colour = colour[..., : _parts(height, down), : _parts(width, across)]
        colour = _double(Canvas(colour, parts), down, differentiable)
    rgb = _to_rgb(luma_plane[..., :height, :width], colour[..., :height, :width], rounding)
    return canvas.with_pixels(rgb.clamp(0, 255).div_(255))


_CHROMA_FACTORS = {"420": (2, 2), "422": (1, 2), "444": (1, 1)}
"""Pixels of luma down and across for one of colour."""


def _parts(length: int, unit: int) -> int:
    return -(-length // unit)


def _round_up(length: int, unit: int) -> int:
    return _parts(length, unit) * unit


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


def block_dct(side: int) -> Tensor:
    """`[side^2, side^2]`: a block's values, as a row vector, times it are its 2-D DCT-II (T.81)."""
    k = torch.arange(side, dtype=torch.float64)
    line = math.sqrt(2 / side) * torch.cos((2 * k[None] + 1) * k[:, None] * math.pi / (2 * side))
    line[0] *= math.sqrt(0.5)
    return torch.kron(line, line).T.contiguous()


_BLOCK_DCT = block_dct(8)


def _quantise(coefficients: Tensor, step: Tensor) -> Tensor:
    """libjpeg's: coefficients to whole eighths (jfdctint); halves away from zero (jcdctmgr)."""
    eighths = (coefficients * 8).round_()
    return eighths.abs().div_(step * 8).add_(0.5).floor_().copysign_(eighths)


def _code_planes(x: Tensor, steps: Tensor, matrix: Tensor, rounding: Rounding) -> Tensor:
    """Planes `[n,c,h,w]`, sides multiples of 8, quantised by steps `[n,8,8]` in the DCT domain."""
    n, c, h, w = x.shape
    blocks = to_blocks(x, 8)
    step = steps.reshape(n, 1, 64)
    if rounding is _soft_round:
        levels = rounding((blocks @ matrix) / step)
    else:
        levels = _quantise(blocks @ matrix, step)
    blocks = rounding(levels.mul_(step) @ matrix.T).clamp(-128, 127)
    return from_blocks(blocks, (n, c, h, w), 8)


def to_blocks(x: Tensor, side: int) -> Tensor:
    """Planes `[n,c,h,w]`, multiples of side, as blocks `[n, c * h * w / side^2, side^2]`."""
    n, c, h, w = x.shape
    x = x.reshape(n, c, h // side, side, w // side, side)
    return x.permute(0, 1, 2, 4, 3, 5).reshape(n, -1, side * side)


def from_blocks(blocks: Tensor, shape: tuple[int, int, int, int], side: int) -> Tensor:
    """The inverse of `to_blocks`."""
    n, c, h, w = shape
    x = blocks.view(n, c, h // side, w // side, side, side)
    return x.permute(0, 1, 2, 4, 3, 5).reshape(shape)


def _halve(x: Tensor, down: int, soft: bool) -> Tensor:
    """libjpeg's h2v2_downsample: sums of four, plus 1 and 2 in turn along a row, over 4, floor.

    With down 1 its h2v1_downsample: sums of two, plus 0 and 1 in turn, over 2.
    """
    rows = x[..., 0::2, :] + x[..., 1::2, :] if down == 2 else x
    mean = (rows[..., 0::2] + rows[..., 1::2]).mul_(0.5 / down)
    if soft:
        return mean
    pair = [0.25, 0.5] if down == 2 else [0.0, 0.5]
    bias = torch.tensor(pair, dtype=x.dtype, device=x.device).repeat(mean.shape[-1] // 2 + 1)
    return mean.add_(bias[: mean.shape[-1]]).floor_()


def _double(canvas: Canvas, down: int, soft: bool) -> Tensor:
    """libjpeg's fancy upsampling (h2v2_fancy_upsample): a triangle filter, 9/16 3/16 3/16 1/16.

    With down 1 its h2v1_fancy_upsample, 3/4 and 1/4 along the rows alone.
    """
    x = canvas.pixels
    height, width = x.shape[-2:]
    x = x if canvas.full else replicate_beyond(canvas, height, width)
    size = (down * height, 2 * width)
    doubled = F.interpolate(x, size=size, mode="bilinear", align_corners=False)
    if soft:
        return doubled
    # sums of sixteenths plus 8 and 7 in turn (of quarters plus 1 and 2), shifted down: rounding
    # that favours neither side
    pair = [8 / 16, 7 / 16] if down == 2 else [1 / 4, 2 / 4]
    bias = torch.tensor(pair, dtype=x.dtype, device=x.device).repeat(width)
    return doubled.add_(bias).floor_()
