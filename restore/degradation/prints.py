"""What film, paper, ink and years do to a picture before it is scanned, and changes of colour."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from restore.degradation.damage import DAMAGES
from restore.degradation.draws import Draws, normal_fields
from restore.degradation.noise import add_film_grain, luma, per_sample
from restore.degradation.recipe import Recipe
from restore.degradation.resize import full_canvas

SEPIA = (
    (0.393, 0.769, 0.189),
    (0.349, 0.686, 0.168),
    (0.272, 0.534, 0.131),
)
"""The customary sepia matrix (RGB rows), scaled below so that white stays white."""


def shift_colors(x: Tensor, shift: np.ndarray) -> Tensor:
    """`[n,3,h,w]` in [0,1] plus shift `[n,3]` in 0..1 units, clamped (GFPGAN's color_jitter)."""
    return (x + _channels(shift, x)).clamp_(0, 1)


def to_gray(x: Tensor, amount: np.ndarray) -> Tensor:
    """Blend towards BT.601 luma by amount `[n]` in [0,1]."""
    return _blend(x, luma(x), 1 - amount)


def tone(x: Tensor, amount: np.ndarray) -> Tensor:
    """Blend towards a sepia print of the picture's luma by amount `[n]` in [0,1]."""
    y = luma(x)
    rows = np.asarray(SEPIA).sum(1)
    tint = torch.tensor(rows / rows.max(), dtype=x.dtype, device=x.device).view(1, 3, 1, 1)
    # the tint belongs to the mid-tones: paper white and full black hold less of it
    sepia = y * (tint + (1 - tint) * y)
    return _blend(x, sepia, 1 - amount)


def fade(x: Tensor, contrast: np.ndarray, black: np.ndarray, saturation: np.ndarray) -> Tensor:
    """Bleached dye: saturation and contrast `[n]` times what they were, blacks lifted to black."""
    y = luma(x)
    x = _blend(x, y, saturation)
    return x.mul_(per_sample(contrast, x)).add_(per_sample(black, x))


def cast(x: Tensor, gains: np.ndarray) -> Tensor:
    """Each channel to the power of its gain `[n,3]`: a dye layer that lost density, or gained it.

    A power leaves black and white where they are, as a cast of ageing dyes mostly does.
    """
    return x.clamp(0, 1).clamp_min(1e-4).pow(_channels(gains, x))


def uneven_exposure(x: Tensor, strength: np.ndarray, corners: np.ndarray) -> Tensor:
    """Brightness times a smooth field through four corner values `[n,4]` in [-1,1].

    2^(strength * field): strength `[n]` in stops. The field is bilinear with smoothed ends.
    """
    n, _, h, w = x.shape
    rows, columns = _smooth_ramp(h, x), _smooth_ramp(w, x)
    c = torch.as_tensor(corners).to(x.dtype).to(x.device)
    top = torch.lerp(c[:, 0:1], c[:, 1:2], columns[None])
    bottom = torch.lerp(c[:, 2:3], c[:, 3:4], columns[None])
    field = torch.lerp(top[:, None, :], bottom[:, None, :], rows[None, :, None])
    stops = field.view(n, 1, h, w) * per_sample(strength, x)
    return x * torch.exp2(stops)


def haze(x: Tensor, transmission: np.ndarray, air: np.ndarray) -> Tensor:
    """Koschmieder's law: x t + a (1 - t), transmission t `[n]`, air light a `[n,3]`."""
    return _blend(x, _channels(air, x), transmission)


def adjust_brightness(x: Tensor, factor: np.ndarray) -> Tensor:
    """torchvision's adjust_brightness with a factor `[n]`."""
    return (x * per_sample(factor, x)).clamp_(0, 1)


def adjust_contrast(x: Tensor, factor: np.ndarray) -> Tensor:
    """torchvision's adjust_contrast: blend with the mean luma of the sample."""
    # luma is linear: that of the mean colour is the mean of the pixels' luma
    mean = luma(x.mean(dim=(2, 3), keepdim=True))
    return _blend(x, mean, factor).clamp_(0, 1)


def adjust_saturation(x: Tensor, factor: np.ndarray) -> Tensor:
    """torchvision's adjust_saturation: blend with the luma of each pixel."""
    return _blend(x, luma(x), factor).clamp_(0, 1)


def adjust_hue(x: Tensor, turn: np.ndarray) -> Tensor:
    """torchvision's adjust_hue: the hue of HSV turned by turn `[n]` in [-0.5, 0.5] of a circle."""
    r, g, b = x[:, :1], x[:, 1:2], x[:, 2:3]
    value = torch.maximum(r, g).maximum(b)
    low = torch.minimum(r, g).minimum(b)
    chroma = value - low
    # in sixths of the circle, from the two channels that are not the largest; 0 for gray
    hue = torch.where(
        value == r,
        g - b,
        torch.where(value == g, (b - r).add_(chroma, alpha=2), (r - g).add_(chroma, alpha=4)),
    )
    hue = hue.div_(chroma.clamp_min(1e-12)).add_(per_sample(6 * turn, x))
    hue.sub_(hue.div(6).floor_(), alpha=6)
    # Smith (1978): how far each channel stands above the lowest, by the distance of the hue
    heights = (
        (hue - 3).abs_().sub_(1),
        (hue - 2).abs_().neg_().add_(2),
        (hue - 4).abs_().neg_().add_(2),
    )
    return torch.cat(heights, 1).clamp_(0, 1).mul_(chroma).add_(low)


def jitter(x: Tensor, orders: np.ndarray, factors: np.ndarray) -> Tensor:
    """torchvision's ColorJitter for n samples: orders `[n,4]`, a permutation of the four
    adjustments for each sample (brightness, contrast, saturation, hue), factors `[n,4]` theirs.
    """
    if len(orders) == 1:
        for which in orders[0]:
            x = _ADJUSTMENTS[which](x, factors[:, which])
        return x
    out = x.clone()
    for position in range(4):
        for which, adjust in enumerate(_ADJUSTMENTS):
            chosen = np.flatnonzero(orders[:, position] == which)
            if len(chosen):
                index = torch.as_tensor(chosen, device=x.device)
                out[index] = adjust(out[index], factors[chosen, which])
    return out


_ADJUSTMENTS = (adjust_brightness, adjust_contrast, adjust_saturation, adjust_hue)


def _blend(x: Tensor, other: Tensor, amount: np.ndarray) -> Tensor:
    """x where amount `[n]` is 1, other where it is 0; other may have one channel, or one pixel."""
    weight = per_sample(amount, x)
    return (x * weight).add_(other * (1 - weight))


def _channels(values: np.ndarray, like: Tensor) -> Tensor:
    return torch.as_tensor(values).to(like.dtype).to(like.device)[:, :, None, None]


def _smooth_ramp(length: int, like: Tensor) -> Tensor:
    t = (torch.arange(length, dtype=like.dtype, device=like.device) + 0.5) / length
    return t * t * (3 - 2 * t)


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


@dataclass(frozen=True)
class PrintDraw:
    """What the print of each of n samples went through; arrays of n rows, zero for nothing."""

    gray: np.ndarray
    sepia: np.ndarray
    grain: np.ndarray
    grain_size: np.ndarray
    grain_seed: np.ndarray
    fade: np.ndarray
    black: np.ndarray
    cast: np.ndarray
    exposure: np.ndarray
    corners: np.ndarray
    haze: np.ndarray
    air: np.ndarray
    halftone: np.ndarray
    halftone_period: np.ndarray
    paper: np.ndarray
    paper_period: np.ndarray
    woven: np.ndarray
    damage: np.ndarray
    parts: np.ndarray
    """Bool `[n, len(DAMAGES)]`: which kinds of damage there are, in the order of DAMAGES."""
    unit: float
    """Pixels at hand that one pixel of the recipe is."""

    def take(self, index: np.ndarray) -> PrintDraw:
        """The draws of some of the samples."""
        return PrintDraw(
            **{f.name: getattr(self, f.name)[index] for f in fields(self) if f.name != "unit"},
            unit=self.unit,
        )

    def any(self) -> bool:
        """Whether anything happens to any of the samples."""
        acts = (self.gray, self.sepia, self.grain, self.fade, self.exposure, self.haze, self.damage)
        return any(bool(a.any()) for a in (*acts, self.cast, self.halftone, self.paper))

    def tone_target(self, x: Tensor) -> Tensor | None:
        """gt in [0,1] as the fresh print shows it: gray or toned; None where nothing changes."""
        if not (self.gray.any() or self.sepia.any()):
            return None
        return _toned(x, self)


def draw_print(recipe: Recipe, draws: Draws, height: int) -> PrintDraw:
    """Draw the ageing of prints for pictures of the given height."""
    ratio = 1.0 if recipe.reference_size is None else height / recipe.reference_size

    def strength(name: str) -> np.ndarray:
        happens = draws.happens(f"print.{name}", getattr(recipe, f"{name}_prob"))
        low, high = getattr(recipe, f"{name}_range")
        found: np.ndarray = draws.uniform(f"print.{name}.strength", low, high) * happens
        return found

    gray = draws.happens("print.gray", recipe.print_gray_prob).astype(np.float64)
    sepia = draws.happens("print.sepia", recipe.sepia_prob) & (gray == 0)
    return PrintDraw(
        gray=gray,
        sepia=sepia * draws.uniform("print.sepia.strength", 0.7, 1.0),
        grain=strength("grain"),
        grain_size=draws.uniform("print.grain.size", 0.5, 1.1) * ratio,
        grain_seed=draws.field_seed("print.grain.field"),
        fade=strength("fade"),
        black=draws.uniform("print.black", 0.2, 0.9),
        cast=(draws.uniforms("print.cast.channels", 3) * 2 - 1) * strength("cast")[:, None],
        exposure=strength("exposure"),
        corners=draws.uniforms("print.corners", 4) * 2 - 1,
        haze=strength("haze"),
        air=0.7 + 0.3 * draws.uniforms("print.air", 3),
        halftone=strength("halftone"),
        halftone_period=draws.uniform("print.halftone.period", *recipe.halftone_period) * ratio,
        paper=strength("paper"),
        paper_period=draws.uniform("print.paper.period", 3, 9) * ratio,
        woven=draws.happens("print.paper.woven", 0.3),
        damage=strength("damage"),
        parts=_draw_parts(recipe, draws),
        unit=ratio,
    )


def _draw_parts(recipe: Recipe, draws: Draws) -> np.ndarray:
    listed = np.array([name in recipe.damage_list for name in DAMAGES])
    order = draws.uniforms("print.damage.parts", len(DAMAGES))
    parts = (order < recipe.damage_part_prob) & listed
    # the one whose number is the least is always there
    least = np.argmin(np.where(listed, order, 2.0), axis=1)
    parts[np.arange(len(draws)), least] = True
    found: np.ndarray = parts
    return found


def age_print(x: Tensor, draw: PrintDraw, draws: Draws) -> Tensor:
    """Pixels `[n,3,h,w]` in [0,1]: grain of the film, tone and light of the print, its texture,
    its fading and its damage, in this order.
    """
    if draw.grain.any():
        x = add_film_grain(full_canvas(x), draw.grain, draw.grain_size, draw.grain_seed).pixels
    x = _toned(x, draw)
    if draw.exposure.any():
        x = uneven_exposure(x, draw.exposure, draw.corners)
    if draw.halftone.any():
        colorless = (draw.gray > 0) | (draw.sepia > 0)
        x = halftone(x, draw.halftone, draw.halftone_period, colorless, draws)
    if draw.cast.any():
        x = cast(x, np.exp(draw.cast * (1 - draw.gray[:, None])))
    if draw.fade.any():
        x = fade(x, 1 - draw.fade, draw.fade * draw.black, 1 - draw.fade)
    if draw.haze.any():
        x = haze(x, 1 - draw.haze, draw.air)
    if draw.paper.any():
        x = emboss_paper(x, draw.paper, draw.paper_period, draw.woven, draws)
    for k, add in enumerate(DAMAGES.values()):
        strength = draw.damage * draw.parts[:, k]
        if strength.any():
            x = add(x, strength, draws, draw.unit)
    return x.clamp(0, 1)


def _toned(x: Tensor, draw: PrintDraw) -> Tensor:
    if draw.gray.any():
        x = to_gray(x, draw.gray)
    if draw.sepia.any():
        x = tone(x, draw.sepia)
    return x


def recolor(recipe: Recipe, x: Tensor, draws: Draws) -> tuple[Tensor, np.ndarray]:
    """The colour changes of the option files, x may change; also which samples became gray."""
    if recipe.color_jitter_prob > 0:
        chosen = draws.happens("color_jitter", recipe.color_jitter_prob)
        shift = (draws.uniforms("color_jitter.shift", 3) * 2 - 1) * recipe.color_jitter_shift / 255
        if chosen.any():
            x = shift_colors(x, shift * chosen[:, None])
    gray = draws.happens("gray", recipe.gray_prob)
    if gray.any():
        x = to_gray(x, gray.astype(np.float64))
    chosen = np.flatnonzero(draws.happens("color_jitter_pt", recipe.color_jitter_pt_prob))
    if len(chosen):
        limits = np.array([recipe.brightness, recipe.contrast, recipe.saturation, recipe.hue])
        unit = draws.uniforms("color_jitter_pt.factors", 4)
        factors = limits[:, 0] + (limits[:, 1] - limits[:, 0]) * unit
        orders = np.argsort(draws.uniforms("color_jitter_pt.order", 4), axis=1)
        at = torch.as_tensor(chosen, device=x.device)
        x[at] = jitter(x[at].clamp(0, 1), orders[chosen], factors[chosen])
    return x, gray


def tint(recipe: Recipe, x: Tensor, gray: np.ndarray, draws: Draws) -> Tensor:
    """A scan's cast over the gray samples: mostly warm, as paper yellows, else cold."""
    chosen = draws.happens("tint", recipe.tint_prob) & gray
    if not chosen.any():
        return x
    strength = draws.uniform("tint.strength", *recipe.tint_range) * chosen
    warm, green = draws.uniform("tint.warm", -0.4, 1.0), draws.uniform("tint.green", -0.2, 0.2)
    return cast(x, np.exp(np.stack([-warm, green, warm], 1) * strength[:, None]))
