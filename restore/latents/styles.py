"""S, the styles of every layer: their affine maps of w, their spread, the way back to W+."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from restore.errors import InputError
from restore.latents.spaces import Generator, WStatistics, style_layers


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
    maps, layers = affine_maps(generator), style_layers(generator)
    n, rows = styles[0].shape[0], generator.num_styles
    w_plus = generator.w_mean.expand(n, rows, -1).clone()
    for row in range(rows):
        own = [i for i, layer in enumerate(layers) if layer.row == row]
        weight = torch.cat([maps[i][0] for i in own]).double()
        bias = torch.cat([maps[i][1] for i in own]).double()
        wanted = torch.cat([styles[i] for i in own], 1).double() - bias
        rest = wanted - generator.w_mean.double() @ weight.T
        # gelsd keeps the shortest of all solutions, but only CPUs have it
        step = torch.linalg.lstsq(weight.cpu(), rest.T.cpu(), rcond=cut, driver="gelsd").solution.T
        w_plus[:, row] += step.to(w_plus)
    again = generator.styles(w_plus)
    squares = torch.cat([(a - b).square() for a, b in zip(again, styles, strict=True)], 1)
    return w_plus, squares.mean(1).sqrt()
