"""Sheets of directions: faces in rows, strengths in columns."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from restore.latents.directions import Direction, move
from restore.latents.generate import to_uint8
from restore.latents.paint import paint
from restore.latents.sampled_faces import paint_faces
from restore.latents.sheets import grid_sheet
from restore.latents.spaces import Generator
from restore.latents.style_channels import StyleChannel, move_channels

STEPS = (-3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0)


def direction_sheet(
    generator: Generator,
    direction: Direction,
    w_plus: Tensor,
    steps: Sequence[float] = STEPS,
    size: int = 128,
) -> Image.Image:
    """One row for each code of W+ [n,k,w_dim], moved by each of `steps`."""
    pictures: list[np.ndarray] = []
    captions: list[str] = []
    for code in w_plus:
        moved = move(code[None].expand(len(steps), -1, -1), direction, torch.tensor(list(steps)))
        pictures.extend(to_uint8(paint_faces(generator, moved, size)))
        captions.extend(f"{direction.name} {step:+g}" if step else "as it is" for step in steps)
    return grid_sheet(pictures, captions, len(steps))


@torch.no_grad()
def channel_sheet(
    generator: Generator,
    channels: Sequence[StyleChannel],
    w_plus: Tensor,
    steps: Sequence[float] = (-10.0, -5.0, 0.0, 5.0, 10.0),
    size: int = 128,
) -> Image.Image:
    """One row for each channel, on the first code of W+; steps in the channel's deviations."""
    pictures: list[np.ndarray] = []
    captions: list[str] = []
    styles = generator.styles(w_plus[:1])
    for channel in channels:
        for step in steps:
            change = {(channel.layer, channel.channel): step * channel.std}
            face = paint(generator, move_channels(styles, change), size)
            pictures.extend(to_uint8(face))
            captions.append(f"{channel.name} {step:+g}")
    return grid_sheet(pictures, captions, len(steps))
