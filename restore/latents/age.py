"""Age in years from a picture: ridge regression on frozen features of photos of known age."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from restore.errors import InputError
from restore.networks.identity import embed

CROP = 128  # px of the inner face that the features see
_INNER = (0.16, 0.92, 0.12, 0.88)  # top, bottom, left, right of it in the frame


@dataclass(frozen=True)
class AgeRegression:
    """`years` = features @ weight + bias; features of two frozen networks, standardised."""

    features: Callable[[Tensor], Tensor]
    mean: Tensor
    std: Tensor
    weight: Tensor
    bias: float

    @torch.no_grad()
    def years(self, images: Tensor) -> Tensor:
        """FFHQ-frame faces [n,3,s,s] RGB in [-1,1] -> years [n]."""
        x = (self.features(images) - self.mean) / self.std
        return x @ self.weight + self.bias


def age_features(texture: nn.Module, identity: nn.Module) -> Callable[[Tensor], Tensor]:
    """A function images [n,3,s,s] -> features [n,d]: pooled activations and the embedding.

    `texture` as `load_feature_network`, `identity` as `load_identity_network` give them.
    """

    @torch.no_grad()
    def features(images: Tensor) -> Tensor:
        size = images.shape[-1]
        top, bottom, left, right = (round(v * size) for v in _INNER)
        inner = images[..., top:bottom, left:right]
        inner = F.interpolate(
            inner, size=(CROP, CROP), mode="bilinear", antialias=True, align_corners=False
        )
        taps = texture(inner)[2:]
        pooled = [part for tap in taps for part in (tap.mean((2, 3)), tap.std((2, 3)))]
        return torch.cat([*pooled, embed(identity, images)], 1).float()

    return features


def fit_age(
    features: Callable[[Tensor], Tensor],
    batches: Iterable[Tensor],
    years: Tensor,
    ridge: float = 1000.0,
) -> AgeRegression:
    """Fit on batches of FFHQ-frame faces whose ages [n] are known, in the same order.

    `ridge` on standardised features; 1000 was best of 30 to 10,000 on held-out photos."""
    x = torch.cat([features(batch) for batch in batches]).double()
    if len(x) != len(years) or len(x) < 2:
        raise InputError(f"{len(x)} faces for {len(years)} ages; expected one age each")
    mean, std = x.mean(0), x.std(0).clamp_min(1e-6)
    x = (x - mean) / std
    y = years.double()
    gram = x.T @ x + ridge * torch.eye(x.shape[1], dtype=x.dtype)
    weight = torch.linalg.solve(gram, x.T @ (y - y.mean()))
    return AgeRegression(features, mean.float(), std.float(), weight.float(), float(y.mean()))
