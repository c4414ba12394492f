"""Measures the face prior: styles, w, heads, cost, float16, Frechet distances, faces found, sheets.

`--blind` measures instead, group by group, how well real faces are rebuilt (prior_blind.py).
"""

from __future__ import annotations

import argparse
import zlib
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from restore.benchmarks.prior_blind import add_blind_arguments, run_blind, source_of
from restore.benchmarks.prior_cost import cost_table
from restore.benchmarks.protocol import open_faces
from restore.checkpoints.prior_heads_file import load_prior_heads
from restore.data.frame import to_ffhq_frame
from restore.data.stores import open_store
from restore.errors import InputError
from restore.images.contact_sheet import grid_sheet
from restore.latents.generate import generate_faces, load_generator, render, to_uint8
from restore.latents.spaces import (
    Generator,
    level_rows,
    measure_w,
    mix,
    style_layers,
    z_of_seeds,
    z_to_w_plus,
)
from restore.metrics.frechet import FrechetMetric
from restore.networks.mobile_stylegan import MobileStyleGAN
from restore.runtime.memory import keep_freed_memory
from restore.training.size_heads import head_psnr

TRUNCATIONS = (1.0, 0.7, 0.5)
BANK_SIZE = 512
FRECHET_SIZE = 256
PARTS = ("styles", "w", "heads", "float16", "cost", "frechet", "detect", "sheets")


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line of this benchmark."""
    parser = argparse.ArgumentParser(prog="python -m restore.benchmarks prior", description=__doc__)
    parser.add_argument("--model", default="default-prior", help="a generator, by name or file")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--count", type=int, default=64, help="faces painted per truncation")
    parser.add_argument("--bank", type=Path, help=".npz of painted faces: read if there, else made")
    parser.add_argument("--faces", type=Path, help="folder with faces256-val.tar, -train-*.tar")
    parser.add_argument("--features", type=Path, help="SqueezeNet 1.1 or VGG19 weights (Frechet)")
    parser.add_argument("--heads-count", type=int, default=8, help="full-size images for the dB")
    parser.add_argument("--sheets", type=Path, help="folder for the level and truncation sheets")
    parser.add_argument("--threads", type=int, default=2)
    add_blind_arguments(parser)
    return parser.parse_args(argv)


def style_table(generator: Generator) -> str:
    """The layers of S: entry, level, row of W+, channels."""
    rows = [
        f"{i:3d}  {layer.name:12s} row {layer.row:2d}  {layer.channels:4d} channels"
        for i, layer in enumerate(style_layers(generator))
    ]
    return "\n".join([*rows, f"S has {sum(generator.style_sizes)} numbers"])


def w_table(generator: Generator, count: int) -> str:
    """Mean and spread of w, and how few axes carry it."""
    known = measure_w(generator, count, rank=512)
    variances = known.axes.square().sum(1)
    shares = (variances.cumsum(0) / variances.sum()).tolist()
    w = generator.mapping(z_of_seeds(generator, range(10_000, 10_256)))
    plausible = measure_w(generator, count, rank=128)
    return (
        f"{count} z: std of w {known.std:.3f}; |mean| {known.mean.norm():.2f}; the stored mean "
        f"differs by at most {(known.mean - generator.w_mean).abs().max():.3f}\n"
        "share of the variance in the first axes: "
        + ", ".join(f"{k}: {shares[k - 1]:.3f}" for k in (1, 8, 32, 64, 128, 256))
        + f"\ndistance of 256 new codes on 128 axes: {plausible.distance(w).mean():.3f} "
        f"± {plausible.distance(w).std():.3f}"
    )


def heads_table(model: str, count: int) -> str:
    """dB of each lower size against the shrunken full-size image, mean over images."""
    generator = cast(MobileStyleGAN, load_generator(model, keep_heads=True))
    rows = []
    heads = load_prior_heads(generator)
    if heads is not None:
        found = head_psnr(generator, partial(heads, generator), heads.sizes, count)
        rows += [f"{size:5d} px  {value:.1f} dB" for size, value in found.items()]
    own = head_psnr(
        generator, lambda w_plus, size: generator.synthesis(w_plus, size=size),
        [int(size) for size in generator.heads], count,
    )  # fmt: skip
    rows += [f"{size:5d} px  {value:.1f} dB  restorer's" for size, value in own.items()]
    return "\n".join(rows)


def float16_cost(generator: Generator, count: int = 3) -> str:
    """What storing the weights as float16 changes in w and in the full-size image."""
    kept = {name: value.clone() for name, value in generator.state_dict().items()}
    z = z_of_seeds(generator, range(1, count + 1))
    w = generator.mapping(z)
    before = [render(generator, z_to_w_plus(generator, z[i : i + 1])) for i in range(count)]
    short = {k: v.half().float() if v.is_floating_point() else v for k, v in kept.items()}
    generator.load_state_dict(short)
    w_error = (generator.mapping(z) - w).abs().max()
    after = [render(generator, z_to_w_plus(generator, z[i : i + 1])) for i in range(count)]
    generator.load_state_dict(kept)
    difference = torch.cat(after) - torch.cat(before)
    decibel = 10 * torch.log10(4 / difference.square().mean().clamp_min(1e-12))
    return f"w differs by {w_error:.4f}, images by {difference.abs().max():.4f}, {decibel:.1f} dB"


def paint_bank(generator: Generator, count: int, path: Path | None) -> dict[float, np.ndarray]:
    """Truncation -> faces uint8 [count,512,512,3] of seeds 1..count, shrunk from the full size."""
    if path is not None and path.is_file():
        with np.load(path) as stored:
            bank = {psi: stored[str(psi)] for psi in TRUNCATIONS}
        if min(len(faces) for faces in bank.values()) < count:
            raise InputError(f"{path} holds fewer than {count} faces; delete it or lower --count")
        return {psi: faces[:count] for psi, faces in bank.items()}
    bank = {}
    for psi in TRUNCATIONS:
        full = generate_faces(generator, range(1, count + 1), psi)
        bank[psi] = np.stack([_shrunk(face, BANK_SIZE) for face in full])
    if path is not None:
        np.savez(path, **{str(psi): faces for psi, faces in bank.items()})
    return bank


def _shrunk(face: np.ndarray, size: int) -> np.ndarray:
    if face.shape[0] <= size:
        return face
    image = torch.from_numpy(face).permute(2, 0, 1)[None].float()
    return F.adaptive_avg_pool2d(image, size)[0].permute(1, 2, 0).round().byte().numpy()


def real_faces(folder: Path, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """(val [n,3,s,s], train [n,3,s,s], mask [1,1,s,s]) in the FFHQ frame of 256 px.

    For each held-out face there is a training face of the same source (the prefix of its name).
    """
    val = open_faces(folder, FRECHET_SIZE, count)
    val_images, masks = val.framed(val.names)
    shards = [open_store(path, "tar") for path in sorted(folder.glob("faces256-train-*.tar"))]
    places = {name: shard for shard in shards for name in shard.keys}
    pool: dict[str, list[str]] = {}
    for name in sorted(places, key=lambda n: zlib.crc32(n.encode())):
        pool.setdefault(source_of(name), []).append(name)
    chosen = [pool[source_of(name)].pop() for name in val.names]
    crops = [torch.from_numpy(places[n].image(n).copy()).permute(2, 0, 1) for n in chosen]
    return val_images, to_ffhq_frame(torch.stack(crops), FRECHET_SIZE)[0], masks[:1]


def frechet_table(bank: dict[float, np.ndarray], folder: Path, network: torch.nn.Module) -> str:
    """Distances of the painted faces to real ones, masked to the real crops' valid square."""
    count = min(len(faces) for faces in bank.values())
    val, train, mask = real_faces(folder, count)
    metric = FrechetMetric(network)

    def distance(first: Tensor, second: Tensor) -> float:
        pairs = zip(first.split(8), second.split(8), strict=True)
        # the border is black on both sides, so that it says nothing
        parts = [
            metric.measure(a * mask, b * mask, mask.expand(len(a), -1, -1, -1)) for a, b in pairs
        ]
        return metric.finish(torch.stack(parts).sum(0))

    rows = [f"val to train, the floor: {distance(val, train):.3f}"]
    for psi, faces in bank.items():
        images = torch.from_numpy(faces[: len(val)]).permute(0, 3, 1, 2).float() / 127.5 - 1
        images = F.adaptive_avg_pool2d(images, FRECHET_SIZE)
        rows.append(f"truncation {psi}: to val {distance(images, val):.3f}")
    return f"{len(val)} images a side, {FRECHET_SIZE} px, masked\n" + "\n".join(rows)


def detection_table(bank: dict[float, np.ndarray], threads: int) -> str:
    """Share of painted faces in which the default detector finds a face, and its score."""
    from restore.faces.detect import load_detector

    detector = load_detector(threads=threads)
    rows = []
    for psi, faces in bank.items():
        found = [detector.detect(face) for face in faces]
        scores = [faces_in[0].score for faces_in in found if faces_in]
        several = sum(len(faces_in) > 1 for faces_in in found)
        rows.append(
            f"truncation {psi}: a face in {len(scores)} of {len(found)}, median score "
            f"{np.median(scores) if scores else float('nan'):.2f}, more than one in {several}"
        )
    return "\n".join(rows)


def write_sheets(generator: Generator, folder: Path, size: int = 192) -> str:
    """truncation.jpg: psi from 1 to 0 for four seeds. levels.jpg: one level from another person."""
    folder.mkdir(parents=True, exist_ok=True)
    sweep, captions = [], []
    for seed in (2, 7, 11, 24):
        for psi in (1.0, 0.7, 0.5, 0.25, 0.0, -0.5):
            w_plus = z_to_w_plus(generator, z_of_seeds(generator, [seed]), psi)
            sweep.append(to_uint8(render(generator, w_plus, size))[0])
            captions.append(f"seed {seed}, psi {psi:g}")
    grid_sheet(sweep, captions, 6).save(folder / "truncation.jpg", quality=85)
    pictures, captions = [], []
    for first, second in ((2, 13), (24, 14), (7, 11)):
        base = z_to_w_plus(generator, z_of_seeds(generator, [first]), 0.7)
        other = z_to_w_plus(generator, z_of_seeds(generator, [second]), 0.7)
        row = [("person", base), ("other", other)]
        row += [(f"{level} px", mix(base, other, r)) for level, r in level_rows(generator).items()]
        pictures += [to_uint8(render(generator, codes, size))[0] for _, codes in row]
        captions += [name for name, _ in row]
    columns = 2 + len(level_rows(generator))
    grid_sheet(pictures, captions, columns).save(folder / "levels.jpg", quality=85)
    return f"{folder}: truncation.jpg, levels.jpg"


def main(argv: Sequence[str] | None = None) -> int:
    """Print every part that was asked for, each as soon as it is measured."""
    arguments = parse_arguments(argv)
    torch.set_num_threads(arguments.threads)
    keep_freed_memory()
    if arguments.blind:
        for line in run_blind(arguments):
            print(line, flush=True)
        return 0
    with torch.no_grad():
        for title, measure in _parts(load_generator(arguments.model), arguments):
            print(f"## {title}\n{measure()}\n", flush=True)
    return 0


def _parts(
    generator: Generator, arguments: argparse.Namespace
) -> list[tuple[str, Callable[[], str]]]:
    """The parts that were asked for; raises InputError at once for a missing argument."""
    parts: dict[str, tuple[str, Callable[[], str]]] = {
        "styles": ("styles", lambda: style_table(generator)),
        "w": ("w", lambda: w_table(generator, 16384)),
        "float16": ("float16 storage of float32 weights", lambda: float16_cost(generator)),
        "cost": ("time and memory per image", lambda: cost_table(generator, arguments.threads)),
    }
    if isinstance(generator, MobileStyleGAN):
        count = arguments.heads_count
        title = f"heads, dB against the shrunken full size, {count} images"
        parts["heads"] = (title, lambda: heads_table(arguments.model, count))
    if {"frechet", "detect"} & set(arguments.parts):
        parts |= _bank_parts(generator, arguments)
    if arguments.sheets is not None:
        parts["sheets"] = ("sheets", lambda: write_sheets(generator, arguments.sheets))
    return [parts[name] for name in PARTS if name in parts and name in arguments.parts]


def _bank_parts(
    generator: Generator, arguments: argparse.Namespace
) -> dict[str, tuple[str, Callable[[], str]]]:
    """The parts that look at the same painted faces, which are made when the first asks."""
    from restore.losses.feature_files import load_feature_network

    bank: dict[float, np.ndarray] = {}

    def faces() -> dict[float, np.ndarray]:
        if not bank:
            bank.update(paint_bank(generator, arguments.count, arguments.bank))
        return bank

    parts: dict[str, tuple[str, Callable[[], str]]] = {
        "detect": ("faces found", lambda: detection_table(faces(), arguments.threads))
    }
    if "frechet" in arguments.parts:
        if arguments.faces is None or arguments.features is None:
            raise InputError("frechet needs --faces FOLDER and --features FILE, or other --parts")
        network = load_feature_network(arguments.features)
        title = f"Frechet distance on {type(network).__name__}"
        parts["frechet"] = (title, lambda: frechet_table(faces(), arguments.faces, network))
    return parts
