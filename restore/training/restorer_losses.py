"""The losses of the restorer's generator, each per sample, weighted and tilted by its fidelity."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from restore.losses.codes import code_loss
from restore.losses.degradation import degradation_loss
from restore.losses.identity import identity_loss
from restore.losses.parts import PART_SIZES, part_generator_losses
from restore.losses.perceptual import LpipsLoss, VggPerceptualLoss
from restore.losses.pixel import charbonnier_loss, l1_loss
from restore.losses.pyramid import pyramid_loss
from restore.networks.prior_restorer import PriorRestorer

Tilt = tuple[float, float]
EVEN: Tilt = (1.0, 1.0)


@dataclass(frozen=True)
class RestorerBatch:
    """What a step of the restorer sees, on the device.

    `lq`, `gt` [n,3,s,s] RGB in [-1,1]; `mask` [n,1,s,s], 1 where gt is a photo and no reflected
    border; `fidelity` [n] in [0,1]; `truth` [n,6] targets of the degradation head, or None;
    `boxes` [n,3,4] of the parts in pixels of gt, NaN where unknown, or None; `w` [n,w_dim] codes
    of generated faces, `known` [n] 1 where they are, or None.
    """

    lq: Tensor
    gt: Tensor
    mask: Tensor
    fidelity: Tensor
    truth: Tensor | None = None
    boxes: Tensor | None = None
    w: Tensor | None = None
    known: Tensor | None = None
    places: Tensor | None = None
    """[n,2] in [0,1): where the windows of the perceptual losses lie, down and across."""


@dataclass(frozen=True)
class LossWeights:
    """Weights of the terms, 0 off; tilts are factors at fidelity 0 and 1, linear between."""

    pixel: float = 0.0
    charbonnier_epsilon: float | None = None
    """Charbonnier instead of L1."""
    pyramid: float = 0.0
    pyramid_until: int | None = None
    """Step from which the pyramid loss is left out."""
    lpips: float = 0.0
    perceptual: float = 0.0
    style: float = 0.0
    identity: float = 0.0
    degradation: float = 0.0
    degradation_shares: tuple[float, ...] | None = None
    codes: float = 0.0
    code_distance: float = 0.0
    gan: float = 0.0
    parts_gan: float = 0.0
    parts_style: float = 0.0
    pixel_tilt: Tilt = EVEN
    perceptual_tilt: Tilt = EVEN
    identity_tilt: Tilt = EVEN
    gan_tilt: Tilt = EVEN


@dataclass(frozen=True)
class RestorerLosses:
    """Weights, and the frozen networks that the losses read."""

    weights: LossWeights
    lpips: LpipsLoss | None = None
    perceptual: VggPerceptualLoss | None = None
    identity: nn.Module | None = None
    w_mean: Tensor | None = None
    w_variance: float = 1.0
    above_level: int = 0
    """Only maps above this level in px follow the fidelity."""
    window: int | None = None
    """px of the square in which larger images are compared by features."""
    parts: Mapping[str, nn.Module] = field(default_factory=dict)
    """Part discriminators, for their features."""

    def part_sizes(self, size: int) -> dict[str, int]:
        """Sides of the part crops in a face of `size` px, multiples of 4: name -> px."""
        return {name: max(8, round(px * size / 512 / 4) * 4) for name, px in PART_SIZES.items()}


@dataclass(frozen=True)
class Painted:
    """A restored batch in training: `image` [n,3,s,s]; `sides` of the pyramid, finest last."""

    image: Tensor
    sides: list[Tensor]
    w_plus: Tensor | None
    degradation: Tensor | None


def paint(
    network: nn.Module,
    lq: Tensor,
    fidelity: Tensor | None,
    size: int,
    input_size: int,
    above_level: int = 0,
    sides: bool = False,
) -> Painted:
    """Run a restorer: lq [n,3,r,r] is brought to `input_size`, the image has `size`.

    Networks of plugins give an image, or (image, side images) as GFPGAN's do, and no fidelity.
    """
    if lq.shape[-1] != input_size:
        lq = F.interpolate(lq, (input_size, input_size), mode="bilinear", align_corners=False)
        if network_is_channels_last(network):
            lq = lq.contiguous(memory_format=torch.channels_last)
    if not isinstance(network, PriorRestorer):
        made = network(lq)
        image, extra = made if isinstance(made, tuple) else (made, [])
        if image.shape[-1] != size:
            image = F.interpolate(image, (size, size), mode="bilinear", antialias=True)
        return Painted(image, list(extra or []), None, None)
    painted_sides: list[Tensor] = []
    with_sides = getattr(network.encoder, "encode_with_side_images", None)
    if sides and with_sides is not None:
        encoding, painted_sides = with_sides(lq)
    else:
        encoding = network.encoder(lq)
    low = {k: v for k, v in encoding.conditions.items() if k <= above_level}
    high = {k: v for k, v in encoding.conditions.items() if k > above_level}
    conditions = {**low, **network.dialled(high, fidelity)}
    image = network.decoder.synthesis(encoding.w_plus, conditions, size)
    painted_sides = [s for s in painted_sides if s.shape[-1] <= size]
    return Painted(image, painted_sides, encoding.w_plus, encoding.degradation)


def network_is_channels_last(network: nn.Module) -> bool:
    """Whether a 3x3 convolution of the network lies in memory as channels_last."""
    for parameter in network.parameters():
        if parameter.ndim == 4 and min(parameter.shape[1:]) > 1:
            return parameter.is_contiguous(memory_format=torch.channels_last)
    return False


def tilted(tilt: Tilt, fidelity: Tensor) -> Tensor:
    """The factor of each sample `[n]`."""
    return tilt[0] + (tilt[1] - tilt[0]) * fidelity


def restorer_terms(
    losses: RestorerLosses, painted: Painted, batch: RestorerBatch, step: int
) -> dict[str, Tensor]:
    """Every term but the adversarial one of the whole face: name -> `[n]`, weighted.

    Half precision of the network ends here: all terms are computed in float32.
    """
    w, f = losses.weights, batch.fidelity
    image, gt, mask = painted.image.float(), batch.gt, batch.mask
    terms: dict[str, Tensor] = {}
    to_pixels = tilted(w.pixel_tilt, f)
    if w.pixel:
        epsilon = w.charbonnier_epsilon
        loss = (
            l1_loss(image, gt, mask) if epsilon is None
            else charbonnier_loss(image, gt, mask, epsilon)
        )  # fmt: skip
        terms["l_g_pix"] = w.pixel * to_pixels * loss
    if w.pyramid and painted.sides and (w.pyramid_until is None or step < w.pyramid_until):
        loss = pyramid_loss([s.float() for s in painted.sides], gt, mask)
        terms["l_g_pyramid"] = w.pyramid * to_pixels * loss
    to_features = tilted(w.perceptual_tilt, f)
    seen = [windows(x, losses.window, batch.places) for x in (image, gt, mask)]
    if losses.lpips is not None and w.lpips:
        terms["l_g_lpips"] = w.lpips * to_features * losses.lpips(*seen)
    if losses.perceptual is not None:
        perceptual, style = losses.perceptual(*seen)
        if w.perceptual:
            terms["l_g_percep"] = w.perceptual * to_features * perceptual
        if w.style:
            terms["l_g_style"] = w.style * to_features * style
    if losses.identity is not None and w.identity:
        loss = identity_loss(losses.identity, image, gt)
        terms["l_identity"] = w.identity * tilted(w.identity_tilt, f) * loss
    terms.update(_part_terms(losses, image, batch))
    terms.update(encoder_terms(losses, painted.w_plus, painted.degradation, batch))
    return terms


def windows(images: Tensor, window: int | None, places: Tensor | None) -> Tensor:
    """A square of `window` px of each image [n,c,h,w], at its place [n,2] in [0,1)."""
    room = images.shape[-1] - (window or 0)
    if window is None or places is None or room <= 0:
        return images
    corners = (places * (room + 1)).long().tolist()
    cut = [x[:, y : y + window, c : c + window] for x, (y, c) in zip(images, corners, strict=True)]
    return torch.stack(cut)


def encoder_terms(
    losses: RestorerLosses,
    w_plus: Tensor | None,
    degradation: Tensor | None,
    batch: RestorerBatch,
) -> dict[str, Tensor]:
    """The terms on what the encoder reads: degradation and codes."""
    w = losses.weights
    terms: dict[str, Tensor] = {}
    if w.degradation and degradation is not None and batch.truth is not None:
        loss = degradation_loss(degradation.float(), batch.truth, w.degradation_shares)
        terms["l_degradation"] = w.degradation * loss
    if w_plus is None:
        return terms
    if w.codes and batch.w is not None:
        loss = code_loss(w_plus.float(), batch.w, losses.w_variance, batch.known)
        terms["l_codes"] = w.codes * loss
    if w.code_distance and losses.w_mean is not None:
        loss = code_loss(w_plus.float(), losses.w_mean.expand(len(w_plus), -1), losses.w_variance)
        if batch.known is not None:
            loss = loss * (1 - batch.known)
        terms["l_code_distance"] = w.code_distance * loss
    return terms


def _part_terms(losses: RestorerLosses, image: Tensor, batch: RestorerBatch) -> dict[str, Tensor]:
    w = losses.weights
    if not losses.parts or batch.boxes is None or not (w.parts_gan or w.parts_style):
        return {}
    sizes = losses.part_sizes(image.shape[-1])
    made = part_generator_losses(
        losses.parts, image, batch.gt, batch.boxes, sizes, style=bool(w.parts_style)
    )
    to_gan = tilted(w.gan_tilt, batch.fidelity)
    terms = {"l_g_gan_parts": w.parts_gan * to_gan * made["part_gan"]}
    if w.parts_style:
        terms["l_g_style_parts"] = w.parts_style * to_gan * made["part_style"]
    return terms
