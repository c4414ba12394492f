"""The latent spaces Z, W, W+ and S of a generator: ways between them, truncation, plausibility."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from restore.errors import InputError
from restore.networks.mobile_stylegan import MobileStyleGAN, principal_axes
from restore.networks.stylegan2 import StyleGAN2Generator

Generator = MobileStyleGAN | StyleGAN2Generator
"""What this folder works on: mapping, w_mean, styles, synthesis (docs/architecture.md)."""


@dataclass(frozen=True)
class StyleLayer:
    """One entry of S: the layer it scales, the level in px it acts at, its row of W+, channels."""

    name: str
    level: int
    row: int
    channels: int


def style_layers(generator: Generator) -> tuple[StyleLayer, ...]:
    """The layers of S in order of use, for both families.

    MobileStyleGAN: `conv_4`; `up`, `conv1`, `conv2` of each level; `to_rgb`; row i is style i. An
    `up` is counted to the level that it leads to. StyleGAN2: `conv2`, `to_rgb` at 4 px, then
    `conv1`, `conv2`, `to_rgb`; a to_rgb shares its row with the next level's `conv1`.
    """
    sizes = generator.style_sizes
    if isinstance(generator, MobileStyleGAN):
        places = [("conv_4", 4)]
        places += [(part, r) for r in generator.levels for part in ("up", "conv1", "conv2")]
        places.append(("to_rgb", generator.levels[-1]))
        rows = list(range(len(places)))
    else:
        places, rows = [("conv2", 4), ("to_rgb", 4)], [0, 1]
        for i in range(1, (len(sizes) - 2) // 3 + 1):
            places += [(part, 4 << i) for part in ("conv1", "conv2", "to_rgb")]
            rows += [2 * i - 1, 2 * i, 2 * i + 1]
    return tuple(
        StyleLayer(f"{level}.{part}", level, row, channels)
        for (part, level), row, channels in zip(places, rows, sizes, strict=True)
    )


def level_rows(generator: Generator) -> dict[int, tuple[int, ...]]:
    """Level in px -> the rows of W+ that act there; each row belongs to one level only.

    A row that two layers share (StyleGAN2) is counted to the first of them.
    """
    rows: dict[int, list[int]] = {}
    seen: set[int] = set()
    for layer in style_layers(generator):
        if layer.row not in seen:
            seen.add(layer.row)
            rows.setdefault(layer.level, []).append(layer.row)
    return {level: tuple(found) for level, found in rows.items()}


def z_of_seeds(generator: Generator, seeds: Sequence[int]) -> Tensor:
    """Unit normal z [n,z_dim], each row a function of its seed alone."""
    width = getattr(generator, "z_dim", generator.w_dim)
    rows = [torch.randn(width, generator=torch.Generator().manual_seed(int(s))) for s in seeds]
    z = torch.stack(rows) if rows else torch.empty(0, width)
    return z.to(generator.w_mean.device)


def truncate(w: Tensor, w_mean: Tensor, psi: float) -> Tensor:
    """w̄ + ψ (w - w̄) (StyleGAN, section B), for w [n,w_dim] or W+ [n,k,w_dim]; 1 changes nothing."""
    return w if psi == 1 else w_mean + psi * (w - w_mean)


def to_w_plus(generator: Generator, w: Tensor) -> Tensor:
    """w [n,w_dim] -> W+ [n,k,w_dim], the same code for every layer."""
    if w.ndim != 2 or w.shape[1] != generator.w_dim:
        raise InputError(f"w has shape {tuple(w.shape)}; expected [n, {generator.w_dim}]")
    return w[:, None].expand(-1, generator.num_styles, -1)


def z_to_w_plus(generator: Generator, z: Tensor, psi: float = 1.0) -> Tensor:
    """z [n,z_dim] -> truncated W+ [n,k,w_dim]."""
    return to_w_plus(generator, truncate(generator.mapping(z), generator.w_mean, psi))


def to_styles(generator: Generator, w_plus: Tensor) -> list[Tensor]:
    """W+ [n,k,w_dim] -> S, one [n,c] per entry of `style_layers`, for the full-size image."""
    return generator.styles(w_plus)


def mix(first: Tensor, second: Tensor, rows: Sequence[int]) -> Tensor:
    """W+ `first` with the given rows taken from `second` (style mixing), both [n,k,w_dim]."""
    mixed = first.clone()
    mixed[:, list(rows)] = second[:, list(rows)]
    return mixed


@dataclass(frozen=True)
class WStatistics:
    """Where codes lie: mean [w_dim], covariance [w_dim,w_dim], float32.

    `axes` [r,w_dim] are the strongest principal axes, each as long as its standard deviation.
    """

    mean: Tensor
    covariance: Tensor
    axes: Tensor

    @property
    def std(self) -> float:
        """Root of the mean variance of an entry of w."""
        return float(self.covariance.diagonal().mean().sqrt())

    def explained(self) -> float:
        """Share of the variance that the axes carry."""
        return float(self.axes.square().sum() / self.covariance.diagonal().sum())

    def distance(self, w: Tensor) -> Tensor:
        """How far codes [...,w_dim] lie from the mean, in standard deviations: [...].

        Root mean square of the coordinates along the axes, each in its own deviation
        (Mahalanobis): about 1 for what the mapping gives, ψ for a truncated code. Far above 1 is
        a code that no z leads to.
        """
        return self.squared_distance(w).sqrt()

    def squared_distance(self, w: Tensor) -> Tensor:
        """The square of `distance`, whose gradient is there at the mean as well."""
        lengths = self.axes.norm(dim=1, keepdim=True).clamp_min(1e-12)
        coordinates = (w - self.mean) @ (self.axes / lengths.square()).T
        return coordinates.square().mean(-1)


@torch.no_grad()
def measure_w(
    generator: Generator, count: int = 16384, seed: int = 0, rank: int = 128
) -> WStatistics:
    """Statistics of w over at least `count` z; `rank` axes are kept."""
    draws = torch.Generator().manual_seed(seed)
    width = getattr(generator, "z_dim", generator.w_dim)
    blocks = range(0, max(count, 2), 4096)
    device = generator.w_mean.device
    codes = [
        generator.mapping(torch.randn(4096, width, generator=draws).to(device)) for _ in blocks
    ]
    w = torch.cat(codes).double()
    covariance = torch.cov(w.T).float()
    return WStatistics(w.mean(0).float(), covariance, principal_axes(covariance, rank))
