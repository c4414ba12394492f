"""Adversarial losses per sample: logistic, R1, path length, and those of the facial parts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from restore.losses.reconstruction import gram_distance
from restore.networks.perceptual import masked_mean

# What a discriminator says: [n,1] or a map [n,1,h,w], or several maps of different sizes.
Logits = Tensor | Sequence[Tensor]


def generator_loss(fake: Logits, mask: Tensor | None = None) -> Tensor:
    """softplus(-D(fake)) `[n]` (Goodfellow 2014, non-saturating), maps weighing the same."""
    return _mean_over_maps([F.softplus(-_float(m)) for m in _maps(fake)], mask)


def discriminator_loss(real: Logits, fake: Logits, mask: Tensor | None = None) -> Tensor:
    """softplus(-D(real)) + softplus(D(fake)) `[n]`; `mask` [n,1,h,w] weighs places of maps."""
    on_real = _mean_over_maps([F.softplus(-_float(m)) for m in _maps(real)], mask)
    return on_real + _mean_over_maps([F.softplus(_float(m)) for m in _maps(fake)], mask)


def r1_penalty(real_logits: Logits, real: Tensor) -> Tensor:
    """Squared norm of the gradient of D on real images `[n]` (Mescheder 2018, eq. 9).

    `real` [n,3,h,w] must have required gradients before D saw it. Of a map the mean over places
    counts, several maps are summed. The caller multiplies by gamma / 2, and by the interval when
    it is lazy.
    """
    score = sum(_float(m).flatten(1).mean(1).sum() for m in _maps(real_logits))
    (gradient,) = torch.autograd.grad(score, real, create_graph=True)  # type: ignore[arg-type]
    return _float(gradient).square().sum((1, 2, 3))


def path_length_penalty(
    image: Tensor,
    w_plus: Tensor,
    mean_length: Tensor,
    generator: torch.Generator | None = None,
    decay: float = 0.01,
) -> tuple[Tensor, Tensor]:
    """StyleGAN2's path length regulariser (eq. 4): penalty `[n]` and the new running mean `[]`.

    `image` [n,3,h,w] was synthesised from `w_plus` [n,k,d], which requires gradients;
    `mean_length` [] is the running mean so far (0 at the start).
    """
    noise = torch.randn(image.shape, generator=generator, device=image.device, dtype=image.dtype)
    noise = noise / math.sqrt(image.shape[2] * image.shape[3])
    (gradient,) = torch.autograd.grad((image * noise).sum(), w_plus, create_graph=True)
    lengths = gradient.square().sum(2).mean(1).sqrt()
    new_mean = mean_length + decay * (lengths.detach().mean() - mean_length)
    return (lengths - new_mean).square(), new_mean


def _maps(logits: Logits) -> Sequence[Tensor]:
    return [logits] if isinstance(logits, Tensor) else logits


def _float(x: Tensor) -> Tensor:
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def _mean_over_maps(maps: Sequence[Tensor], mask: Tensor | None) -> Tensor:
    # A single number per image has no places to weigh.
    means = [masked_mean(m, mask) if m.ndim == 4 else m.flatten(1).mean(1) for m in maps]
    return torch.stack(means).mean(0)


PARTS = ("left_eye", "right_eye", "mouth")  # the order of the boxes; left is the image's left
# GFPGAN's crop sides in a 512 face.
PART_SIZES = {"left_eye": 80, "right_eye": 80, "mouth": 120}
# GFPGAN weighs the Gram distance of the earlier features by one half.
_STYLE_WEIGHTS = (0.5, 1.0)


def crop_parts(
    image: Tensor, boxes: Tensor, sizes: Mapping[str, int] = PART_SIZES
) -> dict[str, Tensor]:
    """Square crops of the parts named in `sizes`: name -> [n,3,k,k].

    `boxes` [n,3,4] in the order of `PARTS`: x0, y0, x1, y1 in pixel coordinates of `image`
    [n,3,h,w] (centre of pixel i at i). Sampling is bilinear, one sample per output pixel, as
    torchvision's `roi_align(aligned=False, sampling_ratio=1)` does it.
    """
    sides = boxes.new_tensor([image.shape[3], image.shape[2]])
    crops = {}
    for name, size in sizes.items():
        low, high = boxes[:, PARTS.index(name)].split(2, dim=1)
        steps = (torch.arange(size, device=boxes.device, dtype=boxes.dtype) + 0.5) / size
        places = low[:, None] + steps[None, :, None] * (high - low)[:, None]  # [n,k,2]
        places = (places + 0.5) * 2 / sides - 1
        grid = torch.stack(
            (
                places[:, None, :, 0].expand(-1, size, -1),
                places[:, :, None, 1].expand(-1, -1, size),
            ),
            dim=-1,
        )
        with torch.autocast(image.device.type, enabled=False):
            crops[name] = F.grid_sample(
                image, grid.to(image), padding_mode="border", align_corners=False
            )
    return crops


def part_generator_losses(
    discriminators: Mapping[str, nn.Module],
    restored: Tensor,
    gt: Tensor,
    boxes: Tensor,
    sizes: Mapping[str, int] = PART_SIZES,
    style: bool = True,
) -> dict[str, Tensor]:
    """`{"part_gan": [n], "part_style": [n]}`, each summed over the parts (GFPGAN eq. 4, 5).

    A discriminator returns (logits, two feature maps). Parts whose box is empty or not finite
    (unknown: profile faces, missing landmarks) count 0.
    """
    fake, known = crop_parts(restored, _safe(boxes), sizes), _known(boxes)
    real = crop_parts(gt, _safe(boxes), sizes) if style else {}
    gan = restored.new_zeros(len(restored))
    style_sum = gan
    for name, crop in fake.items():
        weight = known[:, PARTS.index(name)]
        logits, features = discriminators[name](crop)
        gan = gan + weight * generator_loss(logits)
        if style:
            with torch.no_grad():
                _, wanted = discriminators[name](real[name])
            for factor, a, b in zip(_STYLE_WEIGHTS, features, wanted, strict=True):
                style_sum = style_sum + factor * weight * gram_distance(a, b)
    return {"part_gan": gan, "part_style": style_sum}


def part_discriminator_loss(
    discriminators: Mapping[str, nn.Module],
    restored: Tensor,
    gt: Tensor,
    boxes: Tensor,
    sizes: Mapping[str, int] = PART_SIZES,
) -> Tensor:
    """The discriminators' side of it, summed over the parts: `[n]`; `restored` is detached."""
    known = _known(boxes)
    fake = crop_parts(restored.detach(), _safe(boxes), sizes)
    real = crop_parts(gt, _safe(boxes), sizes)
    total = gt.new_zeros(len(gt))
    for name in sizes:
        discriminator = discriminators[name]
        loss = discriminator_loss(discriminator(real[name])[0], discriminator(fake[name])[0])
        total = total + known[:, PARTS.index(name)] * loss
    return total


def _known(boxes: Tensor) -> Tensor:
    """1 where a box has a finite area of over a pixel, 0 elsewhere: [n,3]."""
    sides = boxes[..., 2:] - boxes[..., :2]
    return (torch.isfinite(boxes).all(-1) & (sides > 1).all(-1)).float()


def _safe(boxes: Tensor) -> Tensor:
    # NaN in a grid would reach the gradients even at weight 0.
    return torch.nan_to_num(boxes, nan=0.0, posinf=0.0, neginf=0.0)
