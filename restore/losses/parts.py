"""Facial component losses: one loop over left eye, right eye and mouth, each with its judge."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from restore.losses.adversarial import discriminator_loss, generator_loss
from restore.losses.perceptual import gram_distance

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
        judge = discriminators[name]
        loss = discriminator_loss(judge(real[name])[0], judge(fake[name])[0])
        total = total + known[:, PARTS.index(name)] * loss
    return total


def _known(boxes: Tensor) -> Tensor:
    """1 where a box has a finite area of over a pixel, 0 elsewhere: [n,3]."""
    sides = boxes[..., 2:] - boxes[..., :2]
    return (torch.isfinite(boxes).all(-1) & (sides > 1).all(-1)).float()


def _safe(boxes: Tensor) -> Tensor:
    # NaN in a grid would reach the gradients even at weight 0.
    return torch.nan_to_num(boxes, nan=0.0, posinf=0.0, neginf=0.0)
