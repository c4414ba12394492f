"""Ways between codes: great circles in Z, straight lines in W, through several and back again."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from restore.errors import InputError
from restore.latents.codes import Codes
from restore.latents.spaces import Generator, z_of_seeds, z_to_w_plus


def slerp(first: Tensor, second: Tensor, t: float) -> Tensor:
    """Between z [...,d] along the great circle of their directions (Shoemake 1985), t in 0..1.

    Lengths go in a straight line, so that t 0 and 1 are the ends themselves.
    """
    a, b = first.norm(dim=-1, keepdim=True), second.norm(dim=-1, keepdim=True)
    u, v = first / a.clamp_min(1e-12), second / b.clamp_min(1e-12)
    angle = (u * v).sum(-1, keepdim=True).clamp(-1, 1).arccos()
    sine = angle.sin()
    # where the two point the same way every way between them is the straight one
    straight = sine.abs() < 1e-4
    safe = torch.where(straight, torch.ones_like(sine), sine)
    left = torch.where(straight, torch.full_like(sine, 1 - t), ((1 - t) * angle).sin() / safe)
    right = torch.where(straight, torch.full_like(sine, t), (t * angle).sin() / safe)
    return (left * u + right * v) * ((1 - t) * a + t * b)


def lerp(first: Codes, second: Codes, t: float) -> Codes:
    """Between two codes in a straight line, t in 0..1: in S where both have it, else in W+.

    Noise maps of either fade in and out; without them the generator's own stand.
    """
    w_plus = torch.lerp(first.w_plus, second.w_plus, t)
    styles = None
    if first.styles is not None and second.styles is not None:
        pairs = zip(first.styles, second.styles, strict=True)
        styles = tuple(torch.lerp(a, b, t) for a, b in pairs)
    noise = {
        k: torch.lerp(first.noise[k], second.noise[k], t)
        for k in set(first.noise) & set(second.noise)
    }
    return Codes(w_plus, styles, noise)


def walk_z(
    generator: Generator, seeds: Sequence[int], frames: int, truncation: float, loop: bool = False
) -> Iterator[Codes]:
    """Codes along great circles through the z of seeds, `frames` from each to the next.

    The last seed ends the walk, or with `loop` the walk goes on to the first and stops before it.
    """
    ends = z_of_seeds(generator, seeds)
    for i, t in steps(len(seeds), frames, loop):
        z = slerp(ends[i][None], ends[(i + 1) % len(seeds)][None], t)
        yield Codes(z_to_w_plus(generator, z, truncation))


def walk_codes(ends: Sequence[Codes], frames: int, loop: bool = False) -> Iterator[Codes]:
    """Codes along straight lines through given ones."""
    for i, t in steps(len(ends), frames, loop):
        yield lerp(ends[i], ends[(i + 1) % len(ends)], t)


def steps(count: int, frames: int, loop: bool) -> Iterator[tuple[int, float]]:
    """(leg, t) of each frame through `count` stations; each leg is eased in and out."""
    if count < 2 or frames < 1:
        raise InputError(f"{count} stations, {frames} frames a leg: expected 2 or more, 1 or more")
    legs = count if loop else count - 1
    for leg in range(legs):
        for k in range(frames):
            yield leg, eased(k / frames)
    if not loop:
        yield count - 2, 1.0


def eased(t: float) -> float:
    """A half cosine: no jerk at the stations."""
    return 0.5 - 0.5 * math.cos(math.pi * t)
