"""Children of two faces: genes of face regions crossed over, with mutation (after StyleGene).

StyleGene (Li et al. 2023) trains encoders between W+ and genes of face regions. Here the genes are
found in the generator itself: each channel of S belongs to the regions that it acts on, by how much
of its effect on the picture lies there (`style_channels.region_energies`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from restore.errors import InputError
from restore.latents.codes import Codes
from restore.latents.face_regions import REGIONS, region_masks
from restore.latents.objective import Target, pyramid_distance
from restore.latents.spaces import Generator, style_layers
from restore.latents.styles import check_styles, styles_to_w_plus

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
    layers = style_layers(generator)
    width = sum(layer.channels for layer in layers)
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
    for layer in layers:
        if layer.level in POSE_LEVELS:
            share[:, at : at + layer.channels] = 0
            share[-1, at : at + layer.channels] = 1
        at += layer.channels
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
