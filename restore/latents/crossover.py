"""Crossover of faces along masks: features blended at every level, or one code sought for both."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from restore.errors import InputError
from restore.latents.codes import Codes, styles_of
from restore.latents.invert import Inversion, InvertOptions, invert
from restore.latents.objective import Target
from restore.latents.paint import check_size, paint
from restore.latents.spaces import Generator, WStatistics
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
        radius = max(1, round(3 * sigma))
        places = torch.arange(-radius, radius + 1, dtype=mask.dtype, device=mask.device)
        line = torch.exp(-0.5 * (places / sigma).square())
        line = (line / line.sum()).reshape(1, 1, 1, -1)
        soft = F.pad(soft, [radius] * 4, mode="replicate")
        soft = F.conv2d(F.conv2d(soft, line), line.transpose(2, 3))
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
    hook = _mixing(masks)
    handles = [
        m.register_forward_hook(hook) for m in generator.modules() if isinstance(m, _BLENDED)
    ]
    try:
        images = paint(generator, styles, size, parents.noise)
    finally:
        for handle in handles:
            handle.remove()
    return _mixed(images, masks).clamp(-1, 1)


def _mixing(masks: Tensor) -> Callable[[nn.Module, object, Tensor], Tensor]:
    def hook(module: nn.Module, inputs: object, features: Tensor) -> Tensor:
        return _mixed(features, masks).expand_as(features)

    return hook


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
    check_size(generator, size)
    with torch.no_grad():
        images = paint(generator, styles_of(generator, parents), size, parents.noise).clamp(-1, 1)
    sure = ((masks - 0.5) * 4).clamp(0, 1)  # 0 at the seam, 1 from three quarters on
    targets: Sequence[Target] = [Target(images[i : i + 1], sure[i : i + 1]) for i in range(2)]
    share = float(masks[0].mean())
    start = (share * parents.w_plus[:1] + (1 - share) * parents.w_plus[1:]).contiguous()
    return invert(generator, targets, "w_plus", start, statistics, options, features, progress)
