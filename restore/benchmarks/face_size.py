"""Does the generator's last level pay? Faces of 1024 px against the enlarged ones of 512 px.

    python -m restore.benchmarks face_size --lpips squeezenet1_1_features.safetensors --count 8

No photo set at hand has faces of 1024 px, so the truth is painted by the prior itself (seeds that
no training used), shrunk to 512 px and degraded; that flatters whatever the prior paints.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from restore.benchmarks.protocol import find_protocol_recipe, seed_of
from restore.benchmarks.protocol_metrics import detail_energy
from restore.benchmarks.protocol_tables import markdown
from restore.checkpoints.load import load_network
from restore.degradation.degrade import degrade
from restore.errors import InputError
from restore.images.contact_sheet import grid_sheet
from restore.losses.feature_files import load_feature_network, load_lpips_heads
from restore.metrics.lpips import lpips_measure
from restore.metrics.psnr_ssim import psnr
from restore.networks.prior_restorer import PriorRestorer
from restore.runtime.memory import keep_freed_memory

FIRST_SEED = 900_000


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table, and draw the sheet that was asked for."""
    args = _parser().parse_args(argv)
    keep_freed_memory()
    network = load_network(args.model)
    if not isinstance(network, PriorRestorer) or network.decoder.out_size <= args.size:
        raise InputError(f"{args.model} is no restorer whose generator paints over {args.size} px")
    features = load_feature_network(args.lpips)
    lpips = lpips_measure(features, load_lpips_heads("squeeze"))
    sums: dict[str, list[tuple[float, float, float]]] = {}
    pictures: list[np.ndarray] = []
    labels: list[str] = []
    for index in range(args.count):
        gt = painted(network, FIRST_SEED + index, args.truncation)
        small = F.interpolate(gt, (args.size, args.size), mode="area")
        seed = seed_of(args.recipe, str(index))
        lq = degrade(small, find_protocol_recipe(args.recipe), seeds=[seed]).lq
        for label, image in candidates(network, lq, args.size).items():
            row = (
                float(psnr(image, gt)), float(lpips(image, gt, None)), float(detail_energy(image)),
            )  # fmt: skip
            sums.setdefault(label, []).append(row)
            if index < args.sheet_faces:
                pictures.append(middle(image))
                labels.append(label)
        sums.setdefault("truth", []).append((float("nan"), 0.0, float(detail_energy(gt))))
        if index < args.sheet_faces:
            pictures.append(middle(gt))
            labels.append("truth")
    body = [
        [label, *(_cell(v, d) for v, d in zip(np.mean(rows, 0), (2, 4, 2), strict=True))]
        for label, rows in sums.items()
    ]
    print(f"{args.model}, {args.recipe}, {args.count} painted faces of {gt.shape[-1]} px\n")
    print(markdown(["", "PSNR", "LPIPS-squeeze", "Laplacian energy"], body))
    if args.sheet:
        grid_sheet(pictures, labels, len(sums)).save(args.sheet)
    return 0


def _cell(value: float, decimals: int) -> str:
    return "–" if np.isnan(value) else f"{value:.{decimals}f}"


def painted(network: PriorRestorer, seed: int, truncation: float) -> Tensor:
    """A face of the restorer's own prior, [1,3,s,s] on the 8-bit grid."""
    decoder = network.decoder
    z = torch.randn(1, decoder.w_dim, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        w = decoder.mapping(z)  # type: ignore[operator]
        w = decoder.w_mean + truncation * (w - decoder.w_mean)
        image = decoder.synthesis(w[:, None].expand(-1, decoder.num_styles, -1))
    return (image.clamp(-1, 1) * 127.5).round() / 127.5


@torch.no_grad()
def candidates(network: PriorRestorer, lq: Tensor, size: int) -> Mapping[str, Tensor]:
    """Ways to a face of the generator's full size from lq [1,3,size,size], by label."""
    encoding = network.encoder(lq)
    decoder = network.decoder
    near = decoder.synthesis(encoding.w_plus, encoding.conditions, size).clamp(-1, 1)
    full = decoder.synthesis(encoding.w_plus, encoding.conditions, decoder.out_size)
    enlarged = _bicubic(near, decoder.out_size)
    detail = full - _bicubic(F.interpolate(full, (size, size), mode="area"), decoder.out_size)
    return {
        f"{size} px, enlarged": enlarged,
        f"{decoder.out_size} px": full.clamp(-1, 1),
        f"{size} px, detail of {decoder.out_size} px": (enlarged + detail).clamp(-1, 1),
    }


def middle(image: Tensor) -> np.ndarray:
    """The inner half as uint8 RGB, at its own size: there one sees what detail there is."""
    q = image.shape[-1] // 4
    pixels = (image[0, :, q : 3 * q, q : 3 * q] * 127.5 + 127.5).round().to(torch.uint8)
    return pixels.permute(1, 2, 0).numpy()


def _bicubic(image: Tensor, size: int) -> Tensor:
    return F.interpolate(image, (size, size), mode="bicubic").clamp(-1, 1)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "restore.benchmarks face_size",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--model", default="default", help="a restorer")
    add("--lpips", type=Path, required=True, help="SqueezeNet's weights")
    add("--count", type=int, default=8)
    add("--size", type=int, default=512, help="px that the restorer gives now")
    add("--recipe", default="gfpgan")
    add("--truncation", type=float, default=0.7)
    add("--sheet", type=Path, help="picture of the middle of some faces")
    add("--sheet-faces", type=int, default=2)
    return parser
