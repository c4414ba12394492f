"""The packaged heads of the prior for small pictures: found for the generator they belong to."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, cast

from restore.checkpoints.model_file import load_model_file, save_model_file
from restore.checkpoints.named_models import WEIGHTS
from restore.checkpoints.public_wheels import PRIOR_LICENCE
from restore.config.model_header import read_header

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import nn

    from restore.networks.mobile_stylegan import MobileStyleGAN, PriorHeads

PACKAGED = WEIGHTS / "prior_heads.safetensors"
ELSEWHERE = ("heads.", "mapping_layers.", "w_mean")  # no head of a picture reads them

_CARD = """# Heads of the public face prior for small pictures

What the prior's levels above a size do, worked through at that size; trained against the shrunken
1024x1024 picture by `python -m tools prior-heads`. They fit that generator alone.
PSNR against the shrunken picture (psi 1): {reached}.
"""


def fingerprint(generator: MobileStyleGAN) -> str:
    """SHA-256 of what a generator paints with, as float16: the same for both storage types."""
    digest = hashlib.sha256()
    for name, tensor in sorted(generator.state_dict().items()):
        if not name.startswith(ELSEWHERE):
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().half().contiguous().numpy().tobytes())
    return digest.hexdigest()


def load_prior_heads(
    generator: nn.Module, path: str | os.PathLike[str] = PACKAGED
) -> PriorHeads | None:
    """Heads for this very generator, frozen, on its device; None where the file holds another's.

    A generator that was fine-tuned paints other pictures, and any other has other layers.
    """
    from restore.networks.mobile_stylegan import MobileStyleGAN

    if not isinstance(generator, MobileStyleGAN) or not Path(path).is_file():
        return None
    if read_header(path).get("generator_sha256") != fingerprint(generator):
        return None
    heads = load_model_file(path).requires_grad_(False)
    return cast("PriorHeads", heads.to(generator.w_mean.device))


def save_prior_heads(
    path: str | os.PathLike[str],
    heads: PriorHeads,
    generator: MobileStyleGAN,
    reached: Mapping[int, float],
) -> None:
    """Write heads with the fingerprint of their generator; `reached`: size -> dB, for the card."""
    said = ", ".join(f"{size} px {value:.1f} dB" for size, value in sorted(reached.items()))
    header = {
        "architecture": "prior_heads",
        "arguments": {
            "channels": list(generator.channels.values()),
            "sizes": list(heads.sizes),
        },
        "range": "-1..1",
        "licence": PRIOR_LICENCE,
        "generator_sha256": fingerprint(generator),
        "card": _CARD.format(reached=said),
    }
    save_model_file(path, heads, header)
