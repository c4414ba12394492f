"""The latent spaces Z, W, W+ and S of a generator: ways between them, truncation, statistics."""

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


def z_width(generator: Generator) -> int:
    """z_dim; a MobileStyleGAN's z is as wide as its w."""
    return int(getattr(generator, "z_dim", generator.w_dim))


def z_of_seeds(generator: Generator, seeds: Sequence[int]) -> Tensor:
    """Unit normal z [n,z_dim], each row a function of its seed alone."""
    width = z_width(generator)
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


def seeds_to_w_plus(generator: Generator, seeds: Sequence[int], psi: float = 1.0) -> Tensor:
    """The truncated W+ [n,k,w_dim] of the faces of seeds."""
    return z_to_w_plus(generator, z_of_seeds(generator, seeds), psi)


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
        found: Tensor = coordinates.square().mean(-1)
        return found


@torch.no_grad()
def measure_w(
    generator: Generator, count: int = 16384, seed: int = 0, rank: int = 128
) -> WStatistics:
    """Statistics of w over at least `count` z; `rank` axes are kept."""
    draws = torch.Generator().manual_seed(seed)
    width, device = z_width(generator), generator.w_mean.device
    blocks = range(0, max(count, 2), 4096)
    z = (torch.randn(4096, width, generator=draws).to(device) for _ in blocks)
    w = torch.cat([generator.mapping(block) for block in z]).double()
    covariance = torch.cov(w.T).float()
    return WStatistics(w.mean(0).float(), covariance, principal_axes(covariance, rank))


def affine_maps(generator: Generator) -> list[tuple[Tensor, Tensor]]:
    """(A [c,w_dim], b [c]) of each style layer in the order of `style_layers`: s = A w + b."""
    return [(affine.weight, affine.bias) for affine in generator.affines]


def style_spread(generator: Generator, statistics: WStatistics) -> list[tuple[Tensor, Tensor]]:
    """(mean [c], standard deviation [c]) of each style over the codes of the mapping."""
    spread = []
    for weight, bias in affine_maps(generator):
        mean = weight @ statistics.mean + bias
        # the diagonal of A C A^T
        variance = ((weight @ statistics.covariance) * weight).sum(1)
        spread.append((mean, variance.clamp_min(1e-12).sqrt()))
    return spread


def check_styles(generator: Generator, styles: Sequence[Tensor]) -> None:
    """InputError unless `styles` has one [n,c] for each style layer of the generator."""
    layers = style_layers(generator)
    if len(styles) != len(layers):
        raise InputError(
            f"{len(styles)} styles; this generator has {len(layers)}, from {layers[0].name} to "
            f"{layers[-1].name}: they are another generator's, or of a smaller image"
        )
    for layer, style in zip(layers, styles, strict=True):
        if style.ndim != 2 or style.shape[1] != layer.channels:
            raise InputError(
                f"style {layer.name} has shape {tuple(style.shape)}, expected [n,{layer.channels}]"
            )


@torch.no_grad()
def styles_to_w_plus(
    generator: Generator, styles: Sequence[Tensor], cut: float | None = None
) -> tuple[Tensor, Tensor]:
    """The W+ [n,k,w_dim] whose styles are nearest to S, and what is left over: RMS [n] of S.

    Least squares per row of W+ (rows that serve two layers fit both), of all solutions the one
    nearest to the mean. What came from a W+ comes back with the same styles, to rounding. `cut`:
    directions of w whose styles move less than this share of the strongest one's stay at the mean;
    styles that come from no W+ otherwise lead to codes far from any face.
    """
    check_styles(generator, styles)
    mean = generator.w_mean.double()
    changes = [
        style.double() - bias.double() - mean @ weight.double().T
        for style, (weight, bias) in zip(styles, affine_maps(generator), strict=True)
    ]
    w_plus = generator.w_mean + styles_step(generator, changes, cut)
    again = generator.styles(w_plus)
    squares = torch.cat([(a - b).square() for a, b in zip(again, styles, strict=True)], 1)
    return w_plus, squares.mean(1).sqrt()


@torch.no_grad()
def styles_step(
    generator: Generator, changes: Sequence[Tensor], cut: float | None = None
) -> Tensor:
    """The step of W+ [n,k,w_dim] whose change of S is nearest to `changes`, [n,c] for each layer.

    Of all solutions the shortest one; `cut` as for `styles_to_w_plus`.
    """
    maps, layers = affine_maps(generator), style_layers(generator)
    step = generator.w_mean.new_zeros(len(changes[0]), generator.num_styles, generator.w_dim)
    for row in range(generator.num_styles):
        own = [i for i, layer in enumerate(layers) if layer.row == row]
        weight = torch.cat([maps[i][0] for i in own]).double().cpu()
        wanted = torch.cat([changes[i] for i in own], 1).double().cpu()
        # gelsd keeps the shortest of all solutions, but only CPUs have it
        found = torch.linalg.lstsq(weight, wanted.T, rcond=cut, driver="gelsd").solution.T
        step[:, row] = found.to(step)
    return step
