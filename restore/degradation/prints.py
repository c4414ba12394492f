"""PrintDraw and age_print: what film, paper and years do to a picture before it is scanned."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from torch import Tensor

from restore.degradation import color
from restore.degradation.canvas import full_canvas
from restore.degradation.damage import DAMAGES
from restore.degradation.draws import Draws
from restore.degradation.noise import add_film_grain
from restore.degradation.recipe import Recipe
from restore.degradation.texture import emboss_paper, halftone


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
        return draws.uniform(f"print.{name}.strength", low, high) * happens

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
    return parts


def age_print(x: Tensor, draw: PrintDraw, draws: Draws) -> Tensor:
    """Pixels `[n,3,h,w]` in [0,1]: grain of the film, tone and light of the print, its texture,
    its fading and its damage, in this order.
    """
    if draw.grain.any():
        x = add_film_grain(full_canvas(x), draw.grain, draw.grain_size, draw.grain_seed).pixels
    x = _toned(x, draw)
    if draw.exposure.any():
        x = color.uneven_exposure(x, draw.exposure, draw.corners)
    if draw.halftone.any():
        colorless = (draw.gray > 0) | (draw.sepia > 0)
        x = halftone(x, draw.halftone, draw.halftone_period, colorless, draws)
    if draw.cast.any():
        x = color.cast(x, np.exp(draw.cast * (1 - draw.gray[:, None])))
    if draw.fade.any():
        x = color.fade(x, 1 - draw.fade, draw.fade * draw.black, 1 - draw.fade)
    if draw.haze.any():
        x = color.haze(x, 1 - draw.haze, draw.air)
    if draw.paper.any():
        x = emboss_paper(x, draw.paper, draw.paper_period, draw.woven, draws)
    for k, add in enumerate(DAMAGES.values()):
        strength = draw.damage * draw.parts[:, k]
        if strength.any():
            x = add(x, strength, draws, draw.unit)
    return x.clamp(0, 1)


def _toned(x: Tensor, draw: PrintDraw) -> Tensor:
    if draw.gray.any():
        x = color.to_gray(x, draw.gray)
    if draw.sepia.any():
        x = color.tone(x, draw.sepia)
    return x
