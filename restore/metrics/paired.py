"""Metrics that compare image with image `[n]`: PSNR, SSIM, LPIPS, identity, landmarks."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from restore.networks.identity import align_to_network, crop_scale, identity_cosine
from restore.networks.perceptual import LpipsLoss

# MATLAB's rgb2ycbcr (BT.601), for RGB in 0..255: weights and offset of Y
_LUMA = (65.481 / 255, 128.553 / 255, 24.966 / 255)
_LUMA_OFFSET = 16.0
PSNR_OF_EQUAL = 100.0  # dB; infinity would swallow the mean over a folder


def psnr(restored: Tensor, gt: Tensor, mask: Tensor | None = None, luma: bool = False) -> Tensor:
    """10 log10(255² / mse) per image `[n]`, at most 100 dB; NaN where the mask is empty.

    Images [n,3,h,w] RGB in [-1,1], mask [n,1,h,w].
    """
    error = (_bytes(restored, luma) - _bytes(gt, luma)).square().mean(1, keepdim=True)
    mse = _weighted(error, mask)
    return (10 * torch.log10(255**2 / mse.clamp_min(1e-12))).clamp_max(PSNR_OF_EQUAL)


def ssim(restored: Tensor, gt: Tensor, mask: Tensor | None = None, luma: bool = False) -> Tensor:
    """Structural similarity (Wang 2004) per image `[n]`: Gaussian 11x11 of sigma 1.5, no padding.

    Of a mask [n,1,h,w] only places count whose whole window lies inside; NaN when none does.
    """
    a, b = _bytes(restored, luma), _bytes(gt, luma)
    mu_a, mu_b = _blur(a), _blur(b)
    var_a = _blur(a * a) - mu_a.square()
    var_b = _blur(b * b) - mu_b.square()
    covariance = _blur(a * b) - mu_a * mu_b
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    score = ((2 * mu_a * mu_b + c1) * (2 * covariance + c2)) / (
        (mu_a.square() + mu_b.square() + c1) * (var_a + var_b + c2)
    )
    inner = None if mask is None else 1 - F.max_pool2d(1 - mask.double(), 11, 1)
    return _weighted(score.mean(1, keepdim=True), inner)


def to_luma(image: Tensor) -> Tensor:
    """Y of BT.601 in 16..235 `[n,1,h,w]` float64 from RGB [n,3,h,w] in [-1,1]."""
    rgb = image.double() * 127.5 + 127.5
    return (rgb * rgb.new_tensor(_LUMA)[:, None, None]).sum(1, keepdim=True) + _LUMA_OFFSET


def _bytes(image: Tensor, luma: bool) -> Tensor:
    return to_luma(image) if luma else image.double() * 127.5 + 127.5


def _blur(x: Tensor) -> Tensor:
    places = torch.arange(-5, 6, dtype=x.dtype, device=x.device)
    row = torch.exp(-places.square() / (2 * 1.5**2))
    row = (row / row.sum()).expand(x.shape[1], 1, 1, 11)
    x = F.conv2d(x, row, groups=x.shape[1])
    return F.conv2d(x, row.transpose(2, 3), groups=x.shape[1])


def _weighted(values: Tensor, mask: Tensor | None) -> Tensor:
    if mask is None:
        return values.mean((1, 2, 3))
    weights = mask.to(values)
    # 0 / 0 is the NaN that says "not measured".
    return (values * weights).sum((1, 2, 3)) / weights.sum((1, 2, 3))


def lpips_measure(
    network: nn.Module, heads: Sequence[Tensor] | None
) -> Callable[[Tensor, Tensor, Tensor | None], Tensor]:
    """A function (restored, gt, mask) -> `[n]` distances; lower is nearer.

    With lpips' own heads on the same kind of backbone it is LPIPS; when the backbone's weights
    were converted from another release say so: "LPIPS-squeeze (converted backbone)".
    """
    distance = LpipsLoss(network, heads)

    def per_image(restored: Tensor, gt: Tensor, mask: Tensor | None) -> Tensor:
        with torch.no_grad():
            found: Tensor = distance(restored, gt, mask)
            return found

    return per_image


def identity_measure(network: nn.Module) -> Callable[[Tensor, Tensor, Tensor | None], Tensor]:
    """A function (restored, gt, mask) -> cosines `[n]` in [-1,1] of FFHQ-frame faces.

    The mask is not used: the network crops the inner face itself.
    """

    def per_image(restored: Tensor, gt: Tensor, mask: Tensor | None) -> Tensor:
        with torch.no_grad():
            return identity_cosine(network, restored, gt)

    return per_image


def landmark_measure(
    network: nn.Module, presence: float = 0.0
) -> Callable[[Tensor, Tensor, Tensor | None], Tensor]:
    """A function (restored, gt, mask) -> mean distance `[n]` over the points, FFHQ-frame faces.

    The unit is pixels of a 512 crop whatever the size of the images. NaN where the network finds
    no face in the ground truth (its presence logit is under `presence`); a restored picture
    without a face is measured, and badly. The mask is not used.
    """

    def per_image(restored: Tensor, gt: Tensor, mask: Tensor | None) -> Tensor:
        with torch.no_grad():
            first, _ = network(align_to_network(restored, network))
            second, logit = network(align_to_network(gt, network))
        distance = (first - second)[..., :2].norm(dim=-1).mean(1) * crop_scale(network, 512)
        return torch.where(logit < presence, torch.nan, distance)

    return per_image
