"""The variables of an inversion: W, W+ or S around a start, in units of their deviations."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from restore.errors import InputError
from restore.latents.codes import Codes
from restore.latents.spaces import Generator, WStatistics, to_w_plus
from restore.latents.styles import style_spread, styles_to_w_plus

SPACES = ("w", "w_plus", "s")


@dataclass(frozen=True)
class CodeVariables:
    """What is moved: `moved` tensors that need gradients, each a step from the start in standard
    deviations, so that one learning rate serves every space and layer.

    `space`: "w", "w_plus" or "s". `start`: [n,w_dim], [n,k,w_dim], or a list of styles [n,c].
    `along_axes`: steps in W and W+ go along the principal axes of w, each in its own deviation.
    """

    space: str
    generator: Generator
    statistics: WStatistics
    start: tuple[Tensor, ...]
    units: tuple[Tensor, ...]
    moved: tuple[Tensor, ...]
    along_axes: bool = False

    def values(self) -> list[Tensor]:
        """Where the variables stand, in the units of the space."""
        if self.along_axes:
            return [self.start[0] + self.moved[0] @ self.statistics.axes]
        return [s + u * m for s, u, m in zip(self.start, self.units, self.moved, strict=True)]

    def styles(self) -> list[Tensor]:
        """S of the variables, differentiable."""
        values = self.values()
        if self.space == "s":
            return values
        w_plus = values[0]
        if self.space == "w":
            w_plus = to_w_plus(self.generator, w_plus)
        return self.generator.styles(w_plus)

    def implausible(self) -> Tensor:
        """Squared distance [n] from the mean in deviations: about 1 for what the mapping gives."""
        values = self.values()
        if self.space == "s":
            spread = style_spread(self.generator, self.statistics)
            parts = [((v - m) / s).square() for v, (m, s) in zip(values, spread, strict=True)]
            return torch.cat(parts, 1).mean(1)
        squares = self.statistics.squared_distance(values[0])
        return squares if self.space == "w" else squares.mean(1)

    def apart(self) -> Tensor:
        """Mean squared distance [n] of the rows of W+ from their mean, in deviations; else 0."""
        if self.space != "w_plus":
            return self.moved[0].new_zeros(len(self.moved[0]))
        w_plus = self.values()[0]
        distance = (w_plus - w_plus.mean(1, keepdim=True)).square().mean((1, 2))
        return distance / self.statistics.std**2

    @torch.no_grad()
    def codes(self) -> Codes:
        """The codes as they stand now, without gradients."""
        values = [v.detach().clone() for v in self.values()]
        if self.space == "s":
            return Codes(styles_to_w_plus(self.generator, values, cut=0.1)[0], tuple(values))
        if self.space == "w":
            return Codes(to_w_plus(self.generator, values[0]).contiguous())
        return Codes(values[0])


def code_variables(
    generator: Generator,
    statistics: WStatistics,
    space: str,
    w_plus: Tensor,
    along_axes: bool = False,
) -> CodeVariables:
    """Variables of a space at the start W+ [n,k,w_dim]; of a W the mean of its rows.

    `along_axes` keeps W and W+ to the directions in which the mapping's codes vary, and moves along
    each as far as they do; entries by themselves also go where no face is, and fit more.

    Raises InputError for another space or a start of another shape.
    """
    if space not in SPACES:
        raise InputError(f"space {space!r}: expected one of {', '.join(SPACES)}")
    expected = (generator.num_styles, generator.w_dim)
    if w_plus.ndim != 3 or tuple(w_plus.shape[1:]) != expected:
        raise InputError(
            f"the start has shape {tuple(w_plus.shape)}; expected W+ "
            f"[n,{expected[0]},{expected[1]}]"
        )
    w_plus = w_plus.detach()
    if space == "s":
        start = tuple(s.detach() for s in generator.styles(w_plus))
        units = tuple(std for _, std in style_spread(generator, statistics))
    else:
        start = (w_plus.mean(1) if space == "w" else w_plus.contiguous(),)
        # One unit for all entries: in those of its own deviation a weak entry would hardly move.
        units = (torch.full((), statistics.std, device=w_plus.device),)
    if along_axes and space != "s":
        count = len(statistics.axes)
        steps = start[0].new_zeros(*start[0].shape[:-1], count).requires_grad_()
        return CodeVariables(space, generator, statistics, start, units, (steps,), True)
    moved = tuple(torch.zeros_like(s).requires_grad_() for s in start)
    return CodeVariables(space, generator, statistics, start, units, moved)


def mean_start(generator: Generator, count: int) -> Tensor:
    """The mean face as a start: W+ [count,k,w_dim]."""
    return generator.w_mean.expand(count, generator.num_styles, -1).clone()
