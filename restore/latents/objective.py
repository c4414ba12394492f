"""What a painted image has to match: targets within masks, as pixels, pyramids and features."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from restore.errors import InputError
from restore.networks.perceptual import LpipsLoss, at_size, masked_mean

LEAST_SIDE = 16  # px: below it a level of the pyramid says no more than a mean colour
LPIPS_LEAST = 31  # px of a side below which SqueezeNet's deepest layers are empty


@dataclass(frozen=True)
class Target:
    """An image [n,3,s,s] RGB in [-1,1] that is to be matched where `mask` [n,1,s,s] is not 0.

    `finest`: px of the finest level of the pyramid that counts; a rough scribble is matched in its
    colours alone by 16 or 32. None: the image's own size, and features as well. `weight` is this
    target's share of the loss. `through`: what the painted image goes through first, a degradation
    whose result has the target's size.
    """

    image: Tensor
    mask: Tensor | None = None
    finest: int | None = None
    weight: float = 1.0
    through: Callable[[Tensor], Tensor] | None = None

    def __post_init__(self) -> None:
        shape = tuple(self.image.shape)
        if self.image.ndim != 4 or shape[1] != 3 or shape[2] != shape[3]:
            raise InputError(f"a target has shape {shape}; expected square images [n,3,s,s]")
        if self.mask is not None and tuple(self.mask.shape) != (shape[0], 1, *shape[2:]):
            raise InputError(
                f"the mask of a target has shape {tuple(self.mask.shape)}; expected "
                f"{(shape[0], 1, *shape[2:])}"
            )

    @property
    def size(self) -> int:
        """Pixels of a side."""
        return int(self.image.shape[-1])


@dataclass(frozen=True)
class Weights:
    """Shares of the parts of the loss.

    `pyramid`: mean L1 over the levels from the image's size down to 16 px. `features`: LPIPS.
    `plausible`: squared distance of codes from the mean, in deviations (Mahalanobis). `together`:
    mean squared distance of the rows of a W+ from their mean, in deviations. `noise`: correlation
    of noise maps with their shifted selves (StyleGAN2, appendix D).
    """

    pyramid: float = 2.0
    features: float = 1.0
    plausible: float = 0.01
    together: float = 0.0
    noise: float = 1.0


def image_loss(
    image: Tensor, targets: Sequence[Target], weights: Weights, features: LpipsLoss | None
) -> Tensor:
    """Loss [n] of images [n,3,s,s] about [-1,1] against targets of the same size, or of the size
    that their `through` gives."""
    total = image.new_zeros(len(image))
    for target in targets:
        seen = image if target.through is None else target.through(image)
        if target.size != seen.shape[-1]:
            raise InputError(
                f"a target of {target.size} px for an image of {seen.shape[-1]} px; give one size"
            )
        part = weights.pyramid * pyramid_distance(seen, target)
        wanted = target.finest is None and features is not None and weights.features > 0
        if wanted and target.size >= LPIPS_LEAST:
            assert features is not None
            # features of a masked region still see its surroundings: both sides show the same there
            shown = seen
            if target.mask is not None:
                shown = seen * target.mask + target.image * (1 - target.mask)
            part = part + weights.features * features(shown, target.image, target.mask)
        total = total + target.weight * part
    return total


def pyramid_distance(image: Tensor, target: Target) -> Tensor:
    """Mean L1 within the mask over the levels of the pyramid [n]: each says as much as the next.

    A level is the masked mean of 2x2 pixels of the level before, so that nothing from outside the
    mask comes in.
    """
    a, b, mask = image, target.image, target.mask
    if mask is not None:
        a, b = a * mask, b * mask
    levels = []
    size = target.size
    while True:
        if target.finest is None or size <= target.finest:
            if mask is None:
                levels.append((a - b).abs().mean((1, 2, 3)))
            else:
                share = at_size(mask, a.shape[-2:], a.dtype)
                difference = (a - b).abs() / share.clamp_min(1e-3)
                levels.append(masked_mean(difference, share))
        if size // 2 < LEAST_SIDE:
            break
        a, b, size = F.avg_pool2d(a, 2), F.avg_pool2d(b, 2), size // 2
    if not levels:
        raise InputError(
            f"finest {target.finest} px: the pyramid of a target of {target.size} px ends at "
            f"{size} px; give that or more"
        )
    total = levels[0]
    for level in levels[1:]:
        total = total + level
    return total / len(levels)


def noise_correlation(noise: Tensor) -> Tensor:
    """How far noise maps [n,1,r,r] are from noise: [n], about 0 for independent values.

    Squared mean products with the map shifted by one pixel, over a pyramid down to 8 px
    (StyleGAN2, appendix D, eq. 8), of the map brought to mean 0 and deviation 1.
    """
    middle = noise.mean((1, 2, 3), keepdim=True)
    x = (noise - middle) / noise.std((1, 2, 3), keepdim=True).clamp_min(1e-8)
    total = noise.new_zeros(len(noise))
    while True:
        for dim in (2, 3):
            total = total + (x * x.roll(1, dim)).mean((1, 2, 3)).square()
        if x.shape[-1] <= 8:
            return total
        x = F.avg_pool2d(x, 2) * 2  # of independent values the deviation stays 1
