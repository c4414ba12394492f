"""An open_clip model that the user has on disk: loaded without any download, pictures and texts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from restore.errors import CheckpointError, InputError, MissingExtraError

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
