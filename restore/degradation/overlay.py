"""What lies sharp and clean over a bad face, or before a good one: lettering, margins, covers.

A restorer must leave such things alone, so gt carries them as well. They are drawn on the CPU from
a sample's own seed, so that every device and batch split gets the same ones, and blended in where
the picture is.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from restore.degradation.draws import Draws
from restore.degradation.occluders import OCCLUDERS, paint_occluder
from restore.degradation.recipe import Recipe
from restore.geometry import ffhq_template

Layer = tuple[NDArray[np.float32], NDArray[np.float32]]
"""Colours RGB [h,w,3] in [0,1] and how much of them is seen [h,w,1]."""

SMALLEST = 32
"""px of the shorter side below which nothing is laid over a picture: no letter could be read."""

_FONTS = (
    cv2.FONT_HERSHEY_SIMPLEX,
    cv2.FONT_HERSHEY_PLAIN,
    cv2.FONT_HERSHEY_DUPLEX,
    cv2.FONT_HERSHEY_COMPLEX,
    cv2.FONT_HERSHEY_TRIPLEX,
    cv2.FONT_HERSHEY_SCRIPT_SIMPLEX,
)
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.,:-!?()"


def occlude(recipe: Recipe, x: Tensor, draws: Draws) -> Tensor:
    """Good faces `[n,3,h,w]` in [0,1], with `occluder_prob` something painted before them.

    The faces are taken to lie as FFHQ's do, somewhat zoomed. Where the shorter side is under
    `SMALLEST` nothing is painted.
    """
    chosen = np.flatnonzero(draws.happens("occluder", recipe.occluder_prob))
    h, w = x.shape[-2:]
    if len(chosen) == 0 or min(h, w) < SMALLEST:
        return x
    x = x.clone()
    seeds = draws.field_seed("occluder.paint")
    side = max(h, w)
    for i in chosen:
        random = np.random.default_rng(int(seeds[i]))
        picture = (x[i] * 255).round().to(torch.uint8).permute(1, 2, 0).cpu().numpy()
        square = np.pad(picture, ((0, side - h), (0, side - w), (0, 0)), mode="edge")
        points = ffhq_template(side, float(random.uniform(1.0, 1.25)))
        # what it is made of is cut from the picture itself: a sample hangs on no other
        painted, _ = paint_occluder(square, points, square[None], random, OCCLUDERS)
        layer = torch.from_numpy(painted[:h, :w].astype(np.float32) / 255).permute(2, 0, 1)
        # untouched pixels keep their values between the 8-bit steps
        changed = torch.from_numpy((painted != square).any(2)[:h, :w])
        x[i] = torch.where(changed.to(x.device), layer.to(x), x[i])
    return x


def lay_over(recipe: Recipe, lq: Tensor, gt: Tensor, draws: Draws) -> tuple[Tensor, Tensor] | None:
    """lq and gt `[n,3,h,w]` in [0,1] with the same overlays; None where there are none.

    In this order: a background of another sharpness, lettering, a margin, a cut-off.
    """
    h, w = lq.shape[-2:]
    if min(h, w) < SMALLEST:
        return None
    kinds = ("background", "caption", "margin", "cut")
    happens = {k: draws.happens(k, getattr(recipe, f"{k}_prob")) for k in kinds}
    chosen = np.flatnonzero(np.any(list(happens.values()), axis=0))
    if len(chosen) == 0:
        return None
    lq, gt = lq.clamp(0, 1), gt.clone()
    strengths = {k: draws.uniform(f"{k}.strength", *getattr(recipe, f"{k}_range")) for k in kinds}
    seeds = {k: draws.field_seed(f"{k}.paint") for k in kinds}
    for i in chosen:
        pair = torch.stack([lq[i], gt[i]])
        for kind in kinds:
            if happens[kind][i]:
                random = np.random.default_rng(int(seeds[kind][i]))
                pair = _LAY[kind](pair, float(strengths[kind][i]), random)
        lq[i], gt[i] = pair
    return lq, gt


def _background(pair: Tensor, strength: float, random: np.random.Generator) -> Tensor:
    """Outside a soft ellipse around the face: the good picture itself, or gravel."""
    h, w = pair.shape[-2:]
    y = (np.arange(h)[:, None] + 0.5) / h - random.uniform(0.5, 0.58)
    x = (np.arange(w)[None] + 0.5) / w - random.uniform(0.47, 0.53)
    radius = np.hypot(x / random.uniform(0.34, 0.46), y / random.uniform(0.42, 0.54))
    edge = random.uniform(0.03, 0.25)
    alpha = (np.clip((radius - 1) / edge, 0, 1) * strength)[..., None].astype(np.float32)
    if random.random() < 0.4:  # a face pasted on, or retouched: the rest is as sharp as gt
        seen = _like(alpha, pair)
        return torch.stack([torch.lerp(pair[0], pair[1], seen), pair[1]])
    relief = np.zeros((h, w), np.float32)
    cell = random.uniform(1.2, 8) * max(h, w) / 512
    for _ in range(int(random.integers(1, 4))):
        size = max(2, round(w / cell)), max(2, round(h / cell))
        noise = random.standard_normal(size[::-1]).astype(np.float32)
        relief += cv2.resize(noise, (w, h), interpolation=cv2.INTER_CUBIC)
        cell *= random.uniform(1.7, 3)
    if random.random() < 0.5:  # stones, leaves: hard edges
        relief = np.tanh(2 * relief)
    ground = random.uniform(0.15, 0.8) + random.normal(0, 0.05, 3)
    if bool((pair[1, 0] - pair[1, 1]).abs().max() < 1e-3):  # a gray photo lies on gray gravel
        ground[:] = ground.mean()
    colours = ground + relief[..., None] * random.uniform(0.05, 0.2)
    return _blend(pair, (np.clip(colours, 0, 1).astype(np.float32), alpha))


def _caption(pair: Tensor, size: float, random: np.random.Generator) -> Tensor:
    """Lines of lettering, letters `size` of the height tall, on a bar or on the picture itself."""
    h, w = pair.shape[-2:]
    colours, alpha = np.zeros((h, w, 3)), np.zeros((h, w))
    letter = max(5.0, size * h)
    rows = int(random.integers(1, 4))
    line = letter * random.uniform(1.3, 1.7)
    top = random.choice([random.uniform(0, 0.12), random.uniform(0.72, 0.95), random.random()])
    top = float(np.clip(top * h, 0, max(h - rows * line, 0)))
    ink, ground = _ink(random)
    if random.random() < 0.5:
        bar = slice(max(0, round(top - 0.3 * letter)), round(top + rows * line + 0.1 * letter))
        left = 0 if random.random() < 0.7 else int(random.integers(w // 3))
        colours[bar, left:], alpha[bar, left:] = ground, random.uniform(0.6, 1.0)
    font = int(random.choice(_FONTS))
    (_, height), _ = cv2.getTextSize("H", font, 1.0, 1)
    thick = max(1, round(letter * random.uniform(0.06, 0.16)))
    letters = np.zeros((h, w), np.uint8)
    start = random.uniform(-0.1, 0.4) * w
    for row in range(rows):
        words = random.choice(list(_LETTERS), (8, 7))
        text = " ".join("".join(word[: random.integers(1, 8)]) for word in words)
        at = (round(start), round(top + row * line + letter))
        cv2.putText(letters, text, at, font, letter / height, 255, thick, cv2.LINE_AA)
    if random.random() < 0.3:  # an outline, as subtitles have
        halo = cv2.dilate(letters, np.ones((3, 3), np.uint8), iterations=max(1, thick // 2))
        seen = (halo / 255)[..., None]
        colours = colours * (1 - seen) + np.asarray(ground) * seen
        alpha = np.maximum(alpha, halo / 255)
    seen = (letters / 255)[..., None]
    colours = colours * (1 - seen) + np.asarray(ink) * seen
    alpha = np.maximum(alpha, letters / 255)
    return _blend(pair, (colours.astype(np.float32), alpha[..., None].astype(np.float32)))


def _margin(pair: Tensor, share: float, random: np.random.Generator) -> Tensor:
    """The page around a picture, on one side or more, up to `share` of its width."""
    h, w = pair.shape[-2:]
    paper = random.uniform(0.85, 1.0) + random.normal(0, 0.01, 3)
    if random.random() < 0.3:
        paper = random.random(3)
    colours = np.ones((h, w, 3), np.float32) * np.clip(paper, 0, 1)
    alpha = np.zeros((h, w, 1), np.float32)
    sides = random.random(4) < 0.45
    sides[random.integers(4)] = True
    for side, there in enumerate(sides):
        depth = max(1, round(share * random.uniform(0.4, 1) * (h if side < 2 else w)))
        if there:
            alpha[_edge(side, depth)] = 1
    if random.random() < 0.3:  # a printed frame line
        rim = cv2.morphologyEx(alpha[..., 0], cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8))
        colours[rim > 0], alpha[rim > 0] = random.uniform(0, 0.4), 1
    return _blend(pair, (colours.astype(np.float32), alpha))


def _cut(pair: Tensor, share: float, random: np.random.Generator) -> Tensor:
    """Where the photo ends, up to `share` of the crop: black, white or its reflection beyond."""
    h, w = pair.shape[-2:]
    ground = random.choice(["black", "white", "reflected"])
    out = pair.clone()
    for side in random.choice(4, 1 + int(random.random() < 0.25), replace=False):
        length = h if side < 2 else w
        depth = min(max(1, round(share * random.uniform(0.3, 1) * length)), length // 2)
        beyond = (slice(None), slice(None), *_edge(int(side), depth))
        if ground == "reflected":
            dim = 2 if side < 2 else 3
            at = np.arange(length)
            at = np.maximum(at, 2 * depth - 1 - at)
            at = at if side % 2 == 0 else length - 1 - at[::-1]
            out = out.index_select(dim, torch.as_tensor(at.copy(), device=out.device))
        else:
            out[beyond] = 0.0 if ground == "black" else 1.0
    return out


_LAY = {"background": _background, "caption": _caption, "margin": _margin, "cut": _cut}


def _edge(side: int, depth: int) -> tuple[slice, slice]:
    """Rows and columns of a strip along the top, bottom, left or right."""
    strip = slice(None, depth) if side % 2 == 0 else slice(-depth, None)
    return (strip, slice(None)) if side < 2 else (slice(None), strip)


def _ink(random: np.random.Generator) -> tuple[Any, Any]:
    """Colours of letters and of the ground behind them, far apart in brightness."""
    if random.random() < 0.6:
        pair = np.array([random.uniform(0.85, 1.0), random.uniform(0.0, 0.15)])
        ink, ground = np.repeat(pair[:, None], 3, 1)
    else:
        ink, ground = random.random(3), random.random(3) * 0.3
        ink = ink + (1 - ink.max())
    return (ink, ground) if random.random() < 0.65 else (ground, ink)


def _like(layer: NDArray[np.float32], like: Tensor) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(layer)).permute(2, 0, 1).to(like)


def _blend(pair: Tensor, layer: Layer) -> Tensor:
    colours, alpha = (_like(part, pair) for part in layer)
    return torch.lerp(pair, colours.expand_as(pair), alpha.expand_as(pair))
