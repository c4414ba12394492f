"""One face of two: crossover along masks, and children whose genes are regions of the face.

StyleGene (Li et al. 2023) trains encoders between W+ and genes of face regions. Here the genes are
found in the generator itself: each channel of S belongs to the regions that it acts on, by how much
of its effect on the picture lies there (`face_regions.region_energies`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from restore.errors import InputError
from restore.latents.codes import Codes, check_size, gaussian_blur, paint, paint_codes, styles_of
from restore.latents.face_regions import REGIONS, region_masks
from restore.latents.invert import Inversion, InvertOptions, Target, invert, pyramid_distance
from restore.latents.spaces import (
    Generator,
    WStatistics,
    check_styles,
    style_layers,
    styles_to_w_plus,
)
from restore.networks import mobile_stylegan, stylegan2
from restore.networks.perceptual import LpipsLoss

_BLENDED = (
    mobile_stylegan.StyledConv,
    mobile_stylegan.SeparableStyledConv,
    stylegan2.StyledConv,
)


def soft_masks(mask: Tensor, softness: float = 0.02) -> Tensor:
    """A mask [1,1,s,s] in 0..1 and its opposite, blurred: [2,1,s,s], which add up to 1.

    `softness`: standard deviation of the blur as a share of the side.
    """
    if mask.ndim != 4 or tuple(mask.shape[:2]) != (1, 1) or mask.shape[2] != mask.shape[3]:
        raise InputError(f"a mask of shape {tuple(mask.shape)}; expected a square one [1,1,s,s]")
    soft = mask.clamp(0, 1)
    sigma = softness * mask.shape[-1]
    if sigma > 0.2:
        soft = gaussian_blur(soft, sigma, max(1, round(3 * sigma)), "replicate")
    return torch.cat([soft, 1 - soft])


@torch.no_grad()
def blend(generator: Generator, parents: Codes, masks: Tensor, size: int) -> Tensor:
    """One picture [1,3,size,size] in [-1,1] of parents [p], each where its mask [p,1,s,s] is.

    Masks add up to 1. All parents are painted side by side; after every convolution their features
    are mixed by the masks at that level, so each place is painted in its parent's styles on common
    features, and what lies between them fits (the spatial blend of Image2StyleGAN++, section 5.4,
    at all levels). With one parent in all places the picture is that parent's.
    """
    check_size(generator, size)
    styles = styles_of(generator, parents)
    if masks.ndim != 4 or masks.shape[1] != 1 or len(masks) != len(styles[0]):
        raise InputError(
            f"masks of shape {tuple(masks.shape)} for {len(styles[0])} parents; give [p,1,s,s]"
        )
    total = masks.sum(0)
    if float((total - 1).abs().max()) > 1e-3:
        raise InputError(
            f"masks of a blend add up to {float(total.min()):.3g} .. {float(total.max()):.3g}; "
            "expected 1 everywhere"
        )

    def mix(module: nn.Module, inputs: object, features: Tensor) -> Tensor:
        return _mixed(features, masks).expand_as(features)

    blended = [module for module in generator.modules() if isinstance(module, _BLENDED)]
    handles = [module.register_forward_hook(mix) for module in blended]
    try:
        images = paint(generator, styles, size, parents.noise)
    finally:
        for handle in handles:
            handle.remove()
    return _mixed(images, masks).clamp(-1, 1)


def _mixed(x: Tensor, masks: Tensor) -> Tensor:
    """[p,c,h,w] by masks [p,1,s,s] -> [1,c,h,w]."""
    side = x.shape[-1]
    if side <= masks.shape[-1]:
        share = F.adaptive_avg_pool2d(masks, side)
    else:
        share = F.interpolate(masks, size=(side, side), mode="bilinear", align_corners=False)
    return (x * share).sum(0, keepdim=True)


def cross_by_search(
    generator: Generator,
    parents: Codes,
    masks: Tensor,
    size: int,
    statistics: WStatistics,
    options: InvertOptions | None = None,
    features: LpipsLoss | None = None,
    progress: str | None = None,
) -> Inversion:
    """One W+ code whose picture is the first of two parents inside the mask, the second outside.

    Image2StyleGAN++ (Abdal et al. 2020), section 5.2: both pictures are matched where their mask
    [2,1,size,size] is above a half; the seam between is left to the generator. The start is the
    parents' codes by the masks' shares.
    """
    if len(parents) != 2 or tuple(masks.shape) != (2, 1, size, size):
        raise InputError(
            f"{len(parents)} parents with masks {tuple(masks.shape)}; expected two and "
            f"{(2, 1, size, size)}"
        )
    images = paint_codes(generator, parents, size)
    sure = ((masks - 0.5) * 4).clamp(0, 1)  # 0 at the seam, 1 from three quarters on
    targets: Sequence[Target] = [Target(images[i : i + 1], sure[i : i + 1]) for i in range(2)]
    share = float(masks[0].mean())
    start = (share * parents.w_plus[:1] + (1 - share) * parents.w_plus[1:]).contiguous()
    return invert(generator, targets, "w_plus", start, statistics, options, features, progress)


POSE_LEVELS = (4, 8)
"""Levels in px that turn and frame the whole head: one gene for all of it."""


@dataclass(frozen=True)
class GeneMap:
    """Whose each channel of S is: `share` [g,c] over the genes `names`, columns add up to 1.

    The genes are the face regions, and "pose" for the levels that move the head as a whole.
    """

    names: tuple[str, ...]
    share: Tensor


@dataclass(frozen=True)
class Genes:
    """A child's draw: `first` [g], what the first parent gives of each gene (0..1, the second gives
    the rest), `mutation` [g] in 0..1, how much of it is a stranger's instead, `stranger` seeds."""

    first: Tensor
    mutation: Tensor
    stranger: tuple[int, ...]


@dataclass(frozen=True)
class DrawOptions:
    """`dominance`: 0 mixes all genes half and half, 1 takes each whole from one parent.

    `mutation_prob`: chance of a gene to mutate; `mutation`: how much of it then changes.
    """

    dominance: float = 0.7
    mutation_prob: float = 0.2
    mutation: float = 0.35

    def __post_init__(self) -> None:
        for name in ("dominance", "mutation_prob", "mutation"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"{name} {getattr(self, name)}: expected 0 to 1")


def gene_map(generator: Generator, energies: Tensor, sharpness: float = 2.0) -> GeneMap:
    """Channels to genes from `region_energies` [r, sum c].

    `sharpness`: power of the shares; above 1 a channel leans to the region it acts on most.
    """
    width = sum(generator.style_sizes)
    if tuple(energies.shape) != (len(REGIONS), width):
        raise InputError(
            f"energies {tuple(energies.shape)}; expected ({len(REGIONS)}, {width}), those of this "
            "generator"
        )
    # the largest is 1 before the power, or small energies would underflow to no share at all
    energies = energies / energies.amax(0, keepdim=True).clamp_min(1e-30)
    powers = energies.clamp_min(1e-6).pow(sharpness)
    share = torch.cat([powers / powers.sum(0), torch.zeros(1, width).to(powers)])
    at = 0
    for layer in style_layers(generator):
        own = slice(at, at + layer.channels)
        if layer.level in POSE_LEVELS:
            share[:, own], share[-1, own] = 0, 1
        at = own.stop
    return GeneMap((*REGIONS, "pose"), share)


def draw_genes(genes: GeneMap, seed: int, options: DrawOptions | None = None) -> Genes:
    """A child's genes, a function of the seed."""
    options = options or DrawOptions()
    draws = np.random.default_rng(seed)
    count = len(genes.names)
    whose = draws.integers(0, 2, count).astype(np.float64)
    soft = draws.uniform(0, 1, count)
    first = options.dominance * whose + (1 - options.dominance) * (0.5 + 0.25 * (soft - 0.5))
    mutates = draws.uniform(0, 1, count) < options.mutation_prob
    amount = np.where(mutates, options.mutation, 0.0)
    strangers = tuple(int(s) for s in draws.integers(0, 2**31, count))
    return Genes(torch.from_numpy(first).float(), torch.from_numpy(amount).float(), strangers)


def child_codes(
    generator: Generator,
    genes: GeneMap,
    drawn: Genes,
    first: Sequence[Tensor],
    second: Sequence[Tensor],
    strangers: Sequence[Tensor],
) -> Codes:
    """The child's S: of each channel what its genes say. Parents are styles [1,c].

    `strangers`: styles [g,c] of the faces that mutations come from, one for each gene. One parent
    twice and no mutation gives that parent.
    """
    check_styles(generator, first)
    check_styles(generator, second)
    share = genes.share.to(first[0])
    given, changed = drawn.first.to(first[0]), drawn.mutation.to(first[0])
    from_first = ((1 - changed) * given) @ share  # [c]
    from_second = ((1 - changed) * (1 - given)) @ share
    styles, at = [], 0
    for a, b, pool in zip(first, second, strangers, strict=True):
        own = slice(at, at + a.shape[1])
        mutated = (share[:, own] * changed[:, None] * pool).sum(0)
        styles.append(a * from_first[own] + b * from_second[own] + mutated)
        at = own.stop
    return Codes(styles_to_w_plus(generator, styles, cut=0.1)[0], tuple(styles))


@torch.no_grad()
def likeness(child: Tensor, first: Tensor, second: Tensor) -> Mapping[str, float]:
    """How much of each face region the child has of the first parent, 0..1, measured in pixels.

    d2 / (d1 + d2), with the distances of `pyramid_distance` of the pictures [1,3,s,s] in [-1,1]
    within the region: 1 is the first parent's, 0 the second's, 0.5 neither or both.
    """
    masks = region_masks(child.shape[-1])
    found = {}
    for region in REGIONS:
        mask = torch.from_numpy(masks[region]).to(child)[None, None]
        one, two = (float(pyramid_distance(child, Target(p, mask))) for p in (first, second))
        found[region] = 0.5 if one + two == 0 else two / (one + two)
    return found
