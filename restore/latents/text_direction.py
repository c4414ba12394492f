"""Directions from words: StyleCLIP's global direction, through an open_clip model on disk."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from restore.errors import CheckpointError, InputError, MissingExtraError
from restore.latents.codes import free_styles, paint
from restore.latents.directions import Direction
from restore.latents.spaces import Generator, WStatistics, style_spread, styles_step

# The normalisation of OpenAI's CLIP, which most open_clip models share, for pictures in 0..1.
_MEAN, _STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


@dataclass(frozen=True)
class ClipModel:
    """`network` of open_clip, frozen; `tokenise`: texts -> numbers [n,length]."""

    network: nn.Module
    tokenise: Callable[[Sequence[str]], Tensor]

    def pictures(self, images: Tensor) -> Tensor:
        """Unit embeddings [n,d] of images [n,3,s,s] RGB in [-1,1]; differentiable."""
        visual: Any = self.network.visual
        size = visual.image_size
        height, width = (size, size) if isinstance(size, int) else size
        shrink = min(height, width) < images.shape[-1]
        seen = F.interpolate(
            images, (height, width), mode="bicubic", align_corners=False, antialias=shrink
        )
        mean = seen.new_tensor(getattr(visual, "image_mean", None) or _MEAN)[:, None, None]
        std = seen.new_tensor(getattr(visual, "image_std", None) or _STD)[:, None, None]
        encoded = self.network.encode_image(((seen + 1) / 2 - mean) / std)  # type: ignore[operator]
        return F.normalize(encoded.float(), dim=1)

    @torch.no_grad()
    def texts(self, texts: Sequence[str]) -> Tensor:
        """Unit embeddings [n,d] of texts."""
        if not texts or not all(text.strip() for text in texts):
            raise InputError("an empty text says nothing; expected words")
        encoded = self.network.encode_text(self.tokenise(list(texts)))  # type: ignore[operator]
        return F.normalize(encoded.float(), dim=1)


def load_clip(weights: Path, architecture: str, config: Path | None = None) -> ClipModel:
    """An open_clip model from a weights file (.safetensors, .pt, .bin; never unpickled freely).

    `architecture`: its name in open_clip, for instance ViT-B-32; `config`: a JSON file of another
    form, whose stem is then the name. Nothing is fetched. Raises MissingExtraError without
    open_clip, CheckpointError where the file does not fit.
    """
    try:
        import open_clip
    except ImportError as error:
        raise MissingExtraError("open_clip_torch", "clip", "A direction from words") from error
    if not weights.is_file():
        raise CheckpointError(f"no open_clip weights at {weights}; give a file on this machine")
    if config is not None:
        if not config.is_file():
            raise CheckpointError(f"no model configuration at {config}; expected a JSON file")
        open_clip.add_model_config(config)
        architecture = config.stem
    if architecture not in open_clip.list_models():
        raise InputError(
            f"open_clip has no architecture {architecture!r}; for instance ViT-B-32, ViT-L-14, RN50"
        )
    try:
        network = open_clip.create_model(architecture, pretrained=None, load_weights=False)
        open_clip.load_checkpoint(network, str(weights), weights_only=True)
        tokenise = open_clip.get_tokenizer(architecture)
    except Exception as error:  # open_clip passes on whatever torch, JSON or safetensors raise
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise CheckpointError(
            f"{weights} is not open_clip's {architecture}: {reason}; give the architecture that "
            "the weights are of"
        ) from error
    return ClipModel(network.eval().requires_grad_(False), tokenise)


PROMPTS = ("a photo of {}", "a portrait of {}", "a close-up photo of {}", "a picture of {}")
"""What texts are put into; embeddings are averaged, as CLIP's authors do."""


def text_difference(clip: ClipModel, text: str, neutral: str) -> Tensor:
    """The unit step [d] in CLIP's space from `neutral` to `text`."""

    def mean(words: str) -> Tensor:
        embedded = clip.texts([prompt.format(words) for prompt in PROMPTS]).mean(0)
        found: Tensor = embedded / embedded.norm()
        return found

    step = mean(text) - mean(neutral)
    if float(step.norm()) < 1e-6:
        raise InputError(f"{text!r} and {neutral!r} say the same to this model")
    found: Tensor = step / step.norm()
    return found


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
        styles = free_styles(generator, code)
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
    pairs = zip(found, deviations, strict=True)
    steps = [(torch.where(r.abs() >= least, r, 0) / flat.max() * d)[None] for r, d in pairs]
    how = f"StyleCLIP global direction by gradients, {neutral!r} to {text!r}"
    card = {"found_by": how, "faces": len(w), "channels": min(channels, len(flat))}
    unit = "one deviation of the channel of S that answers most"
    vector = styles_step(generator, steps)[0].cpu()
    return Direction(text.replace(" ", "-"), vector, unit, card)
