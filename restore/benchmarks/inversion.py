"""Inversion of held-out real faces in W, W+ and S: PSNR, LPIPS, identity, seconds a face.

Faces are those of the protocol (256 px crops in the FFHQ frame, their border masked), or photos,
whose face our own detector finds. Pictures are the generator's full-size ones averaged down to
256 px, both where codes are sought and where they are measured: no size head takes part.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from restore.benchmarks.protocol import open_faces
from restore.benchmarks.protocol_metrics import WEIGHT_FILES
from restore.errors import InputError
from restore.latents.codes import Codes, paint_codes
from restore.latents.encoder_start import encoder_start
from restore.latents.generate import load_generator, to_uint8
from restore.latents.invert import InvertOptions, invert
from restore.latents.objective import Target
from restore.latents.photos import framed_face
from restore.latents.pivotal import TuneOptions, tune
from restore.latents.sheets import grid_sheet
from restore.latents.spaces import Generator, WStatistics, measure_w
from restore.latents.variables import SPACES, mean_start
from restore.losses.feature_files import load_lpips_heads
from restore.metrics.psnr_ssim import psnr
from restore.networks.identity import identity_cosine
from restore.networks.perceptual import LpipsLoss
from restore.runtime.memory import keep_freed_memory

COLUMNS = ("PSNR", "LPIPS-squeeze", "identity cosine", "distance of w", "CPU s a face", "s a face")


@dataclass(frozen=True)
class _Tools:
    generator: Generator
    statistics: WStatistics
    features: LpipsLoss
    identity: torch.nn.Module


@dataclass(frozen=True)
class _Found:
    codes: Codes
    cpu: float = 0.0
    seconds: float = 0.0


@dataclass(frozen=True)
class _Face:
    name: str
    image: Tensor
    mask: Tensor


def main(argv: Sequence[str] | None = None) -> int:
    """`python -m restore.benchmarks inversion`: prints Markdown; bad input raises RestoreError."""
    args = _parser().parse_args(argv)
    keep_freed_memory()
    if args.threads:
        torch.set_num_threads(args.threads)
    faces = list(_faces(args))
    tools = _tools(args)
    options = InvertOptions(args.steps, args.rate, half=args.half)
    print(
        f"{len(faces)} faces, {args.steps} steps at rate {args.rate:g}, from the {args.start}, "
        f"{'bfloat16' if args.half else 'float32'}, {args.device}, "
        f"{torch.get_num_threads()} threads\n\n| codes | {' | '.join(COLUMNS)} |\n|---|"
        + "---|"
        * len(COLUMNS),
        flush=True,
    )
    pictures = {face.name: [to_uint8(face.image)[0]] for face in faces}
    starts = [_start(face, tools.generator, args) for face in faces]
    captions = ["photo"]
    rows = {"start": [_Found(Codes(start)) for start in starts]}
    _print_row(f"{args.start} (start)", faces, rows["start"], tools, pictures)
    captions.append(args.start)
    for space in args.spaces:
        found = []
        for face, start in zip(faces, starts, strict=True):
            target = [Target(face.image, face.mask)]
            label = None if args.quiet else f"{space} {face.name}"
            began = time.process_time()
            result = invert(
                tools.generator, target, space, start, tools.statistics, options,
                tools.features, label,
            )  # fmt: skip
            spent = time.process_time() - began
            found.append(_Found(result.codes, spent, result.seconds))
            if args.each:
                image = paint_codes(tools.generator, result.codes, args.size)
                _print_values(f"{space}, {face.name}", [_measure(face, image, found[-1], tools)])
        rows[space] = found
        _print_row(space, faces, found, tools, pictures)
        captions.append(space)
    if args.tune:
        _tuned(faces, rows[args.spaces[0]], tools, args, pictures)
        captions.append("tuned")
    if args.sheet:
        flat = [picture for face in faces for picture in pictures[face.name]]
        grid_sheet(flat, captions * len(faces), len(captions)).save(args.sheet)
    return 0


def _tuned(
    faces: Sequence[_Face],
    found: Sequence[_Found],
    tools: _Tools,
    args: argparse.Namespace,
    pictures: dict[str, list],
) -> None:
    values = []
    for face, one in zip(faces, found, strict=True):
        codes, began = one.codes, time.process_time()
        tuned = tune(
            tools.generator, codes, Target(face.image, face.mask), TuneOptions(args.tune),
            tools.features, None if args.quiet else f"tuning {face.name}", args.half,
        )  # fmt: skip
        image = paint_codes(tuned.generator, codes, args.size)
        pictures[face.name].append(to_uint8(image)[0])
        spent = one.cpu + time.process_time() - began
        both = _Found(codes, spent, one.seconds + tuned.seconds)
        values.append(_measure(face, image, both, tools))
    _print_values(f"{args.spaces[0]}, pivotal tuning of {args.tune} steps", values)


def _print_row(
    label: str,
    faces: Sequence[_Face],
    found: Sequence[_Found],
    tools: _Tools,
    pictures: dict[str, list],
) -> None:
    values = []
    for face, one in zip(faces, found, strict=True):
        image = paint_codes(tools.generator, one.codes, face.image.shape[-1])
        pictures[face.name].append(to_uint8(image)[0])
        values.append(_measure(face, image, one, tools))
    _print_values(label, values)


@torch.no_grad()
def _measure(face: _Face, image: Tensor, found: _Found, tools: _Tools) -> tuple[float, ...]:
    return (
        float(psnr(image, face.image, face.mask)),
        float(tools.features(image, face.image, face.mask)),
        float(identity_cosine(tools.identity, image, face.image)),
        float(tools.statistics.distance(found.codes.w_plus).mean()),
        found.cpu,
        found.seconds,
    )


def _print_values(label: str, values: Sequence[tuple[float, ...]]) -> None:
    means = [sum(column) / len(values) for column in zip(*values, strict=True)]
    cells = [f"{means[0]:.2f}", *(f"{m:.3f}" for m in means[1:3]), f"{means[3]:.2f}"]
    print(f"| {label} | {' | '.join([*cells, *(f'{m:.0f}' for m in means[4:])])} |", flush=True)


def _start(face: _Face, generator: Generator, args: argparse.Namespace) -> Tensor:
    if args.start == "mean":
        return mean_start(generator, 1)
    return encoder_start(args.restorer, generator, face.image)


def _faces(args: argparse.Namespace) -> Iterator[_Face]:
    if args.photos:
        for path in args.photos:
            framed = framed_face(path, args.size)
            image, mask = framed.image.to(args.device), framed.mask.to(args.device)
            yield _Face(path.name, image, mask)
        return
    if args.faces is None:
        raise InputError("give --faces, the folder with faces256-val.tar, or --photos")
    faces = open_faces(args.faces, args.size, args.count)
    for name in faces.names:
        image, mask = faces.framed([name])
        yield _Face(name, image.to(args.device), mask.to(args.device))


def _tools(args: argparse.Namespace) -> _Tools:
    loaded = {}
    for tool in ("feature_network", "identity_network"):
        name, load = WEIGHT_FILES[tool]
        loaded[tool] = load(args.weights / name).to(args.device)
    features = LpipsLoss(loaded["feature_network"], load_lpips_heads("squeeze")).to(args.device)
    generator = load_generator(args.model, args.device)
    statistics = measure_w(generator)
    return _Tools(generator, statistics, features, loaded["identity_network"])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "restore.benchmarks inversion",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--faces", type=Path, help="folder with faces256-val.tar")
    add("--photos", type=Path, nargs="+", help="photos instead, one face of each")
    add("--weights", type=Path, required=True, help="folder with the networks that measure")
    add("--model", default="default-prior", help="the generator")
    add("--restorer", default="default", help="whose encoder gives the start")
    add("--start", choices=("mean", "encoder"), default="mean")
    add("--spaces", nargs="+", choices=SPACES, default=list(SPACES))
    add("--steps", type=int, default=100)
    add("--rate", type=float, default=0.1)
    add("--tune", type=int, default=0, help="steps of pivotal tuning after the first space")
    add("--count", type=int, default=6, help="faces, evenly spread over the set")
    add("--size", type=int, default=256)
    add("--half", action="store_true", help="bfloat16")
    add("--device", default="cpu")
    add("--threads", type=int)
    add("--sheet", type=Path, help="a picture of all faces; of real people, so not to be kept")
    add("--each", action="store_true", help="a row for every face as well")
    add("--quiet", action="store_true", help="no progress bar")
    return parser
