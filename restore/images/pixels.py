"""Pixel arrays: 8 and 16 bits, gray, colour and alpha, luma, turned upright."""

from __future__ import annotations

import numpy as np

LUMA = np.array([0.299, 0.587, 0.114], np.float32)
"""ITU-R BT.601 luma of R, G, B, as in PIL's "L" and OpenCV's RGB2GRAY."""


def to_uint8(pixels: np.ndarray) -> np.ndarray:
    """uint8 or uint16 pixels of any shape -> uint8, rounded (65535 = 257 x 255)."""
    if pixels.dtype == np.uint8:
        return pixels
    # (v + 128) // 257 without leaving 16 bits: v / 257 rounded, since 257 * 255 = 65535
    return ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)


def to_rgb(pixels: np.ndarray) -> np.ndarray:
    """[h,w] or [h,w,3] -> [h,w,3], same dtype; gray is repeated."""
    return np.repeat(pixels[:, :, None], 3, axis=2) if pixels.ndim == 2 else pixels


def to_gray(rgb: np.ndarray) -> np.ndarray:
    """RGB [...,3] uint8 -> the same shape with R = G = B = luma (BT.601)."""
    luma = np.rint(rgb.astype(np.float32) @ LUMA).clip(0, 255).astype(np.uint8)
    return np.repeat(luma[..., None], 3, axis=-1)


def looks_gray(pixels: np.ndarray, tolerance: int = 6, share: float = 0.999) -> bool:
    """Is a photo [h,w] or [h,w,3] a black-and-white one?

    True where in a `share` of the pixels (looked at on a grid of at most about 1000 x 1000) the
    channels differ by at most `tolerance` of 255 levels: JPEG chroma noise is below, a faded
    colour print or a sepia tone above.
    """
    if pixels.ndim == 2:
        return True
    step_y, step_x = (max(1, side // 1000) for side in pixels.shape[:2])
    sample = to_uint8(pixels[::step_y, ::step_x])
    spread = sample.max(axis=2) - sample.min(axis=2)
    return bool(np.mean(spread <= tolerance) >= share)


def over_white(pixels: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Lay pixels [h,w] or [h,w,c] with `alpha` [h,w] (same dtype) over white; same dtype."""
    top = np.float32(np.iinfo(pixels.dtype).max)
    cover = alpha.astype(np.float32) / top
    if pixels.ndim == 3:
        cover = cover[:, :, None]
    mixed = pixels.astype(np.float32) * cover + top * (1 - cover)
    found: np.ndarray = np.rint(mixed).clip(0, top).astype(pixels.dtype)
    return found


def split_alpha(planes: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """[h,w,c], c = 1..4 -> (pixels [h,w] or [h,w,3], alpha [h,w] or None), contiguous."""
    channels = planes.shape[2]
    alpha = np.ascontiguousarray(planes[:, :, -1]) if channels in (2, 4) else None
    pixels = planes[:, :, 0] if channels <= 2 else planes[:, :, :3]
    return np.ascontiguousarray(pixels), alpha


def turn_upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Turn pixels [h,w] or [h,w,c] as stored with EXIF `orientation` 1..8 upright.

    Exif 2.32, table 6: 2 mirrored, 3 upside down, 4 flipped, 5 transposed, 6 needs a quarter turn
    clockwise, 7 transversed, 8 needs a quarter turn anticlockwise.
    """
    if orientation == 1:
        return pixels
    turned = {
        2: lambda p: p[:, ::-1],
        3: lambda p: p[::-1, ::-1],
        4: lambda p: p[::-1],
        5: lambda p: p.swapaxes(0, 1),
        6: lambda p: np.rot90(p, -1),
        7: lambda p: p[::-1, ::-1].swapaxes(0, 1),
        8: lambda p: np.rot90(p, 1),
    }[orientation](pixels)
    return np.ascontiguousarray(turned)
