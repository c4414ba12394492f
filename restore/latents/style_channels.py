"""Channels of S (StyleSpace): how locally each acts on a face, and edits along one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from restore.errors import InputError
from restore.latents.face_regions import REGIONS, mesh_points, region_masks
from restore.latents.paint import paint
from restore.latents.spaces import Generator, style_layers


@dataclass(frozen=True)
class StyleChannel:
    """One number of S. `share`: how much of its effect lies in `region`, 0..1.

    `effect`: root of the summed squared change of the image's pixels ([-1,1]) for one standard
    deviation of the channel, mean over faces. `std`: that deviation.
    """

    layer: int
    channel: int
    name: str
    region: str
    share: float
    effect: float
    std: float


def region_energies(
    generator: Generator,
    w: Tensor,
    size: int,
    mesh: nn.Module | None = None,
    probes: int = 4,
    seed: int = 0,
    show_progress: bool = False,
) -> Tensor:
    """Squared change of the pixels in each region for a unit of each channel: [r, sum c].

    Mean over the faces of codes w [n,w_dim] painted at `size`. For random signs v on the pixels of
    a region, E[(d<v,image>/ds)²] is the sum of (dpixel/ds)² over it (Hutchinson), so a few
    backward passes serve all channels at once: StyleSpace's (Wu et al. 2021) gradient maps without
    a pass for each channel. Rows are `REGIONS`; `mesh` finds them on each face, None takes the
    mean face's.
    """
    draws = torch.Generator().manual_seed(seed)
    total: Tensor | None = None
    for code in tqdm(w, desc="faces", disable=not show_progress):
        w_plus = code[None, None].expand(-1, generator.num_styles, -1)
        styles = [s.detach().requires_grad_(True) for s in generator.styles(w_plus)]
        image = paint(generator, styles, size)
        points = None
        if mesh is not None:
            found, presence = mesh_points(mesh, image.detach())
            points = found[0].numpy() if float(presence) > 0 else None
        masks = region_masks(size, points)
        energies = torch.zeros(len(REGIONS), sum(s.shape[1] for s in styles))
        for i, region in enumerate(REGIONS):
            weight = torch.from_numpy(np.sqrt(masks[region]))
            for _ in range(probes):
                signs = torch.randint(0, 2, image.shape, generator=draws).to(image) * 2 - 1
                slopes = torch.autograd.grad(
                    (image * signs * weight).sum(), styles, retain_graph=True
                )
                energies[i] += torch.cat([g[0] for g in slopes]).square() / probes
        total = energies if total is None else total + energies
    if total is None:
        raise InputError("no codes to look at; give one or more")
    return total / len(w)


def rank_channels(
    generator: Generator,
    energies: Tensor,
    deviations: Sequence[Tensor],
    least_effect: float = 0.25,
) -> dict[str, list[StyleChannel]]:
    """The channels of each region, the most local ones first.

    A channel belongs to the region that holds the largest part of its energy. Channels whose
    effect is under `least_effect` times the median of all do nothing to be seen and are left out.
    """
    std = torch.cat(list(deviations))
    if energies.shape != (len(REGIONS), len(std)):
        raise InputError(f"energies are {list(energies.shape)}; expected regions x channels")
    total = energies.sum(0)
    effect = total.sqrt() * std
    shares = energies / total.clamp_min(1e-20)
    best = shares.argmax(0)
    seen = effect >= least_effect * effect.median()
    ranked: dict[str, list[StyleChannel]] = {region: [] for region in REGIONS}
    places = [
        (i, c, f"{layer.name}[{c}]")
        for i, layer in enumerate(style_layers(generator))
        for c in range(layer.channels)
    ]
    order = shares.amax(0).argsort(descending=True)
    for index in order.tolist():
        if not bool(seen[index]):
            continue
        region = REGIONS[int(best[index])]
        layer, channel, name = places[index]
        ranked[region].append(
            StyleChannel(
                layer,
                channel,
                name,
                region,
                float(shares[int(best[index]), index]),
                float(effect[index]),
                float(std[index]),
            )
        )
    return ranked


def move_channels(styles: Sequence[Tensor], steps: Mapping[tuple[int, int], float]) -> list[Tensor]:
    """S with numbers added: `steps` maps (layer, channel) to what is added to [n,c]."""
    moved = [style.clone() for style in styles]
    for (layer, channel), step in steps.items():
        if not (0 <= layer < len(moved) and 0 <= channel < moved[layer].shape[1]):
            raise InputError(f"S has no layer {layer} with a channel {channel}")
        moved[layer][:, channel] += step
    return moved


def find_channel(generator: Generator, name: str) -> tuple[int, int]:
    """`LEVEL.PART[CHANNEL]`, as rankings print it -> (layer, channel)."""
    layers = style_layers(generator)
    label, _, rest = name.partition("[")
    for i, layer in enumerate(layers):
        number = rest.removesuffix("]")
        if layer.name == label and number.isdigit() and int(number) < layer.channels:
            return i, int(number)
    raise InputError(
        f"no channel {name!r}; expected for instance {layers[-1].name}[0] "
        f"(layers: {', '.join(layer.name for layer in layers)})"
    )
