"""Measures of a face from its picture: turn, smile, light, glasses, hair, age; one number each."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from restore.errors import InputError
from restore.latents.face_regions import FRAME, mesh_points
from restore.latents.generate import luminance
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


MEASURES = {
    "yaw": "turn of the head in degrees, from the mesh's depths; above 0 towards the image's right",
    "pitch": "nod of the head in degrees, from the mesh's depths; above 0 upwards",
    "smile": "lift of the mouth's corners over its middle plus its width, in widths of the face",
    "mouth_open": "gap between the lips over the height of the face",
    "eyes_open": "height of the eyes over their width",
    "light_side": "(right - left) / sum of the cheeks' luminance; above 0 lit from the right",
    "skin_light": "luminance of cheeks and forehead, 0..1",
    "glasses": "horizontal edges on the bridge of the nose and under the eyes over those of skin",
    "hair_light": "luminance of the hair above the forehead, 0..1",
    "hair_length": "how far the colours beside jaw and neck are from what is behind, RGB of -1..1",
    "background_light": "luminance of the upper corners, 0..1",
    "age": "years, by a regression fitted on photos of known age",
}
"""Names of the measures and what they say."""


@dataclass(frozen=True)
class FaceMeter:
    """The networks that the measures need: a face mesh, and an age regression or none."""

    mesh: nn.Module
    age: AgeRegression | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The measures that it gives."""
        return tuple(n for n in MEASURES if n != "age" or self.age is not None)

    @torch.no_grad()
    def __call__(self, images: Tensor) -> dict[str, Tensor]:
        """FFHQ-frame faces [n,3,s,s] RGB in [-1,1] -> measures [n] by name, float32.

        `presence`, the mesh's own logit that there is a face, comes along.
        """
        points, presence = mesh_points(self.mesh, images)
        measured = {**geometry(points), **shades(images, points), "presence": presence}
        if self.age is not None:
            measured["age"] = self.age.years(images)
        return measured


def geometry(points: Tensor) -> dict[str, Tensor]:
    """Pose and expression of mesh points [n,468,3]."""
    p = points.float()

    def apart(a: int, b: int) -> Tensor:
        found: Tensor = (p[:, a] - p[:, b]).norm(dim=1)
        return found

    across, up = p[:, 454] - p[:, 234], p[:, 10] - p[:, 152]
    width, height = across.norm(dim=1), up.norm(dim=1)
    down = -up / height[:, None]
    lips = (p[:, 13] + p[:, 14]) / 2
    corners = (p[:, 61] + p[:, 291]) / 2
    lift = ((lips - corners) * down).sum(1) / width
    eyes = (apart(159, 145) / apart(33, 133) + apart(386, 374) / apart(362, 263)) / 2
    return {
        "yaw": torch.rad2deg(torch.atan2(across[:, 2], across[:, 0])),
        "pitch": torch.rad2deg(torch.atan2(up[:, 2], -up[:, 1])),
        "smile": lift + 0.5 * apart(61, 291) / width,
        "mouth_open": apart(13, 14) / height,
        "eyes_open": eyes,
    }


def shades(images: Tensor, points: Tensor) -> dict[str, Tensor]:
    """Light, glasses and hair of images [n,3,s,s] with mesh points [n,468,3]."""
    p = points[..., :2].float()
    across, up = p[:, 454] - p[:, 234], p[:, 10] - p[:, 152]
    unit = across.norm(dim=1)  # the face's width

    def seen(centres: list[Tensor], radius: float, count: int = 9) -> Tensor:
        return patches(images, torch.stack(centres, 1), radius * unit, count)

    cheeks = luminance(seen([p[:, 50], p[:, 280], p[:, 151]], 0.07)).mean((2, 3))
    left, right = cheeks[:, 0], cheeks[:, 1]
    crown = seen([p[:, 10] + k * up for k in (0.12, 0.18)], 0.05)
    hair = crown.flatten(3).median(3).values.mean(1)  # [n,3]
    corners = torch.tensor([[28.0, 28.0], [484.0, 28.0]]).to(p).expand(len(p), -1, -1)
    background = patches(images, corners, 24 + 0 * unit).flatten(3).mean(3)  # [n,2,3]
    return {
        "light_side": (right - left) / (right + left + 1e-3),
        "skin_light": cheeks.mean(1),
        "glasses": _frames(images, p, unit),
        "hair_light": luminance(hair[:, :, None, None])[:, 0, 0],
        "hair_length": _beside_neck(images, p, across, up),
        "background_light": luminance(background[..., None, None])[..., 0, 0].mean(1),
    }


def patches(images: Tensor, centres: Tensor, radius: Tensor, count: int = 9) -> Tensor:
    """Square samples [n,m,3,count,count] of images [n,3,s,s] around centres [n,m,2] (512 px).

    `radius` [n]: half the side in 512 px, one for each face. Beyond the border the edge repeats.
    """
    n, m = centres.shape[:2]
    line = torch.linspace(-1, 1, count, device=images.device)
    steps = torch.stack(torch.meshgrid(line, line, indexing="ij")[::-1], -1)  # [c,c,2] as x, y
    places = centres[:, :, None, None] + steps * radius[:, None, None, None, None]
    grid = ((places + 0.5) * 2 / FRAME - 1).to(images).reshape(n, m * count, count, 2)
    found = F.grid_sample(images, grid, padding_mode="border", align_corners=False)
    return found.reshape(n, 3, m, count, count).transpose(1, 2)


def _frames(images: Tensor, p: Tensor, unit: Tensor) -> Tensor:
    """Horizontal edges where a pair of glasses has its bridge and lower rims, over the cheek's."""
    bridge = (p[:, 168] + p[:, 6]) / 2
    rims = [p[:, 230], p[:, 450]]
    places = torch.stack([bridge, *rims, p[:, 50], p[:, 280]], 1)
    light = luminance(patches(images, places, 0.075 * unit, 15))  # [n,5,15,15]
    smooth = F.avg_pool2d(light, (1, 5), stride=1)  # along the rim: hair and pores cancel
    edges = (smooth[:, :, 2:] - smooth[:, :, :-2]).abs().amax(2).mean(2)
    contrast = light.mean((2, 3)).clamp_min(0.05)
    strength = edges / contrast
    return strength[:, 0] + 0.5 * strength[:, 1:3].mean(1) - 0.5 * strength[:, 3:].mean(1)


def _beside_neck(images: Tensor, p: Tensor, across: Tensor, up: Tensor) -> Tensor:
    """How far the colours beside cheeks and jaw are from those further out at the same height.

    Long hair differs there from what is behind the head; short hair leaves that in view.
    """
    near, far = [], []
    for side, jaw in ((-1, 234), (1, 454)):
        for k in (0.3, 0.45, 0.6, 0.75):
            place = p[:, jaw] + side * 0.07 * across - k * up
            near.append(place)
            edge = torch.full_like(place[:, 0], 12.0 if side < 0 else 500.0)
            far.append(torch.stack([edge, place[:, 1]], 1))
    radius = 0.05 * across.norm(dim=1)
    seen = patches(images, torch.stack([*near, *far], 1), radius).flatten(3).mean(3)
    beside, behind = seen.split(len(near), dim=1)
    found: Tensor = (beside - behind).norm(dim=-1).mean(1)
    return found
