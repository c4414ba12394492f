"""Directions without labels: SeFa from the decoder's weights, GANSpace from samples of w."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from restore.errors import InputError
from restore.latents.directions import Direction, on_rows
from restore.latents.spaces import Generator, measure_w, style_layers
from restore.latents.styles import affine_maps


@torch.no_grad()
def sefa(
    generator: Generator,
    count: int = 8,
    rows: Sequence[int] | None = None,
    normalise: bool = True,
) -> list[Direction]:
    """The `count` unit directions that change the styles of the given rows most, strongest first.

    They are the right singular vectors of the stacked modulation weights A [sum c,w_dim]
    (SeFa, Shen and Zhou 2021, eq. 7: the top eigenvectors of A^T A). `normalise` brings each
    channel's weights to length 1 first, as the authors' code does. The sign is fixed: the largest
    entry is above 0. `rows` None takes all of W+.
    """
    chosen = range(generator.num_styles) if rows is None else rows
    layers = style_layers(generator)
    maps = affine_maps(generator)
    stacked = [m[0] for m, layer in zip(maps, layers, strict=True) if layer.row in set(chosen)]
    if not stacked:
        raise InputError(f"rows {list(chosen)} hold no layer; rows go to {generator.num_styles}")
    matrix = torch.cat(stacked).double()
    if normalise:
        matrix = matrix / matrix.norm(dim=1, keepdim=True).clamp_min(1e-12)
    _check_count(count, generator)
    _, strengths, vectors = torch.linalg.svd(matrix, full_matrices=False)
    directions = []
    for i in range(min(count, len(vectors))):
        vector = vectors[i] * torch.sign(vectors[i][vectors[i].abs().argmax()])
        card = {"found_by": "SeFa", "singular_value": round(float(strengths[i]), 4)}
        full = on_rows(generator, vector.float(), list(chosen))
        directions.append(Direction(f"sefa-{i}", full, "length 1 in w", card))
    return directions


def ganspace(
    generator: Generator,
    count: int = 8,
    rows: Sequence[int] | None = None,
    samples: int = 16384,
    seed: int = 0,
) -> list[Direction]:
    """Principal axes of w (GANSpace, Härkönen et al. 2020), each one standard deviation long."""
    _check_count(count, generator)
    statistics = measure_w(generator, samples, seed, count)
    total = float(statistics.covariance.diagonal().sum())
    chosen = range(generator.num_styles) if rows is None else rows
    directions = []
    for i, axis in enumerate(statistics.axes):
        axis = axis * torch.sign(axis[axis.abs().argmax()])
        card = {"found_by": "GANSpace", "share": round(float(axis.square().sum()) / total, 4)}
        full = on_rows(generator, axis, list(chosen))
        directions.append(Direction(f"pca-{i}", full, card=card))
    return directions


def _check_count(count: int, generator: Generator) -> None:
    if not 1 <= count <= generator.w_dim:
        raise InputError(f"{count} directions; expected 1 to {generator.w_dim}")
