"""The restorer: an encoder that reads a bad face, and a frozen generator that paints a good one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Conditions = Mapping[int, tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Encoding:
    """What an encoder reads from a batch of bad faces.

    `w_plus` [n,k,w_dim]; `conditions`: level in pixels -> (scale, shift), each [n,c,level,level],
    where (1, 0) changes nothing; `degradation` [n,6] raw output of the degradation head, or None.
    """

    w_plus: Tensor
    conditions: Conditions
    degradation: Tensor | None = None


@dataclass(frozen=True)
class Restored:
    """A restored batch: `image` [n,3,s,s] RGB about [-1,1] (not clamped), codes, head output."""

    image: Tensor
    w_plus: Tensor
    degradation: Tensor | None = None


class Decoder(Protocol):
    """What the restorer asks of a generator; both StyleGAN2 and MobileStyleGAN give it."""

    num_styles: int
    w_dim: int
    out_size: int

    def synthesis(
        self, w_plus: Tensor, conditions: Conditions | None = None, size: int | None = None
    ) -> Tensor:
        """Codes [n,k,w_dim] and conditions -> image [n,3,size,size]."""
        ...


if TYPE_CHECKING:

    class DecoderModule(nn.Module, Decoder):
        """A module that is a `Decoder` too: Python has no other way to say both of a type."""


def blend_conditions(conditions: Conditions, fidelity: float | Tensor | None) -> Conditions:
    """Move the SFT maps towards the identity: scale' = 1 + f (scale - 1), shift' = f shift.

    `fidelity` in [0,1], a float or [n]; None means 1. At 1 the photo leads, at 0 the prior paints.
    """
    if fidelity is None:
        return conditions
    blended = {}
    for level, (scale, shift) in conditions.items():
        f = torch.as_tensor(fidelity, dtype=scale.dtype, device=scale.device).reshape(-1, 1, 1, 1)
        blended[level] = (1 + f * (scale - 1), f * shift)
    return blended


def sharpen_conditions(conditions: Conditions, fidelity: float | Tensor | None) -> Conditions:
    """Strengthen the finest detail of SFT maps: m' = m + (1 - f) (m - mean of 3x3 around it).

    The dial of networks that were trained without one: at 1 the maps as they are, at 0 their detail
    doubled, so that the image is sharper and further from the photo. Fading the maps out, as
    `blend_conditions` does, only makes images of such a network faint (docs/trust.md).
    `fidelity` in [0,1], a float or [n]; None means 1.
    """
    if fidelity is None:
        return conditions
    sharpened = {}
    for level, maps in conditions.items():
        f = torch.as_tensor(fidelity, dtype=maps[0].dtype, device=maps[0].device)
        detail = [m - F.avg_pool2d(m, 3, 1, 1, count_include_pad=False) for m in maps]
        scale, shift = (
            m + (1 - f.reshape(-1, 1, 1, 1)) * d for m, d in zip(maps, detail, strict=True)
        )
        sharpened[level] = scale, shift
    return sharpened


def modulate_half(features: Tensor, condition: tuple[Tensor, Tensor]) -> Tensor:
    """Spatial feature transform (arXiv 1804.02815, eq. 2) on the second half of the channels.

    `features` [n,c,h,w]; scale and shift [n,c/2,h,w], or [n,c,h,w] to transform all channels.
    """
    scale, shift = condition
    kept = features.shape[1] - scale.shape[1]
    if kept == 0:
        return features * scale + shift
    same, moved = features.split([kept, scale.shape[1]], dim=1)
    return torch.cat([same, moved * scale + shift], dim=1)


class PriorRestorer(nn.Module):
    """Encoder, spatial feature transforms, decoder.

    `forward(lq [n,3,s,s] RGB in [-1,1], fidelity, size)` -> `Restored`; fidelity in [0,1] or None
    (1); `size` of the image in pixels, that of `lq` unless given (any that the decoder gives).
    """

    decoder: DecoderModule

    def __init__(self, encoder: nn.Module, decoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = cast("DecoderModule", decoder)

    def dialled(self, conditions: Conditions, fidelity: float | Tensor | None) -> Conditions:
        """The maps at a fidelity, by the encoder's own dial where it has one."""
        dial = getattr(self.encoder, "dial", blend_conditions)
        turned: Conditions = dial(conditions, fidelity)
        return turned

    def forward(
        self, lq: Tensor, fidelity: float | Tensor | None = None, size: int | None = None
    ) -> Restored:
        encoding: Encoding = self.encoder(lq)
        conditions = self.dialled(encoding.conditions, fidelity)
        image = self.decoder.synthesis(encoding.w_plus, conditions, size or lq.shape[-1])
        return Restored(image, encoding.w_plus, encoding.degradation)
