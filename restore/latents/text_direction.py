"""Directions from words: StyleCLIP's global direction, by gradients through the generator."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from tqdm import tqdm

from restore.errors import InputError
from restore.latents.clip_model import ClipModel
from restore.latents.directions import Direction
from restore.latents.paint import paint
from restore.latents.spaces import Generator, WStatistics, style_layers
from restore.latents.styles import affine_maps, style_spread

PROMPTS = ("a photo of {}", "a portrait of {}", "a close-up photo of {}", "a picture of {}")
"""What texts are put into; embeddings are averaged, as CLIP's authors do."""


def text_difference(clip: ClipModel, text: str, neutral: str) -> Tensor:
    """The unit step [d] in CLIP's space from `neutral` to `text`."""

    def mean(words: str) -> Tensor:
        embedded = clip.texts([prompt.format(words) for prompt in PROMPTS]).mean(0)
        return embedded / embedded.norm()

    step = mean(text) - mean(neutral)
    if float(step.norm()) < 1e-6:
        raise InputError(f"{text!r} and {neutral!r} say the same to this model")
    return step / step.norm()


def relevances(
    generator: Generator,
    clip: ClipModel,
    step: Tensor,
    w: Tensor,
    deviations: Sequence[Tensor],
    size: int,
    show_progress: bool = False,
) -> list[Tensor]:
    """How far one deviation of each channel of S goes along `step`, mean over codes w: [c] a layer.

    StyleCLIP (Patashnik et al. 2021, section 6) moves one channel at a time and projects the
    difference of embeddings; this is its first order, the gradient, at one backward pass a face
    instead of two pictures for each of thousands of channels.
    """
    totals = [torch.zeros_like(deviation) for deviation in deviations]
    for code in tqdm(w, desc="faces", disable=not show_progress):
        w_plus = code[None, None].expand(-1, generator.num_styles, -1)
        styles = [s.detach().requires_grad_(True) for s in generator.styles(w_plus)]
        along = (clip.pictures(paint(generator, styles, size).clamp(-1, 1)) @ step).sum()
        for total, slope in zip(totals, torch.autograd.grad(along, styles), strict=True):
            total += slope[0] / len(w)
    return [total * deviation for total, deviation in zip(totals, deviations, strict=True)]


def text_direction(
    generator: Generator,
    clip: ClipModel,
    text: str,
    neutral: str,
    w: Tensor,
    statistics: WStatistics,
    channels: int = 100,
    size: int = 256,
    show_progress: bool = False,
) -> Direction:
    """The global direction from words: the `channels` most relevant channels of S move.

    Each moves by its relevance in deviations, the strongest one by a whole deviation for each unit.
    Given as a step of W+ whose styles are nearest to that (exact where a row serves one layer of
    at most w_dim channels, as in MobileStyleGAN).
    """
    if channels < 1:
        raise InputError(f"{channels} channels; expected 1 or more")
    deviations = [std for _, std in style_spread(generator, statistics)]
    step = text_difference(clip, text, neutral)
    found = relevances(generator, clip, step, w, deviations, size, show_progress)
    flat = torch.cat(found).abs()
    least = flat.topk(min(channels, len(flat))).values[-1]
    if float(flat.max()) == 0:
        raise InputError("no channel of this generator answers to these words")
    steps = [
        torch.where(r.abs() >= least, r, 0) / flat.max() * d
        for r, d in zip(found, deviations, strict=True)
    ]
    card = {
        "found_by": f"StyleCLIP global direction by gradients, {neutral!r} to {text!r}",
        "faces": len(w),
        "channels": min(channels, len(flat)),
    }
    unit = "one deviation of the channel of S that answers most"
    return Direction(text.replace(" ", "-"), styles_step(generator, steps), unit, card)


@torch.no_grad()
def styles_step(generator: Generator, steps: Sequence[Tensor]) -> Tensor:
    """The step of W+ [k,w_dim] whose change of styles is nearest to `steps`, [c] for each layer."""
    layers, maps = style_layers(generator), affine_maps(generator)
    vector = torch.zeros(generator.num_styles, generator.w_dim)
    for row in sorted({layer.row for layer in layers}):
        own = [i for i, layer in enumerate(layers) if layer.row == row]
        wanted = torch.cat([steps[i] for i in own]).double().cpu()
        if float(wanted.abs().max()) == 0:
            continue
        weight = torch.cat([maps[i][0] for i in own]).double().cpu()
        vector[row] = torch.linalg.lstsq(weight, wanted[:, None], driver="gelsd").solution[:, 0]
    return vector
