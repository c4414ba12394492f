"""`invert`: the code of a photo's face in W, W+ or S, a file of codes and a sheet to look at."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from restore.latents.commands.arguments import add_features, add_model, add_search

if TYPE_CHECKING:
    from restore.latents.objective import Target
    from restore.latents.photos import FramedFace


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line of `invert`."""
    parser.add_argument("photo", type=Path, help="a photo with a face; our detector finds it")
    add_model(parser)
    parser.add_argument("--space", choices=("w", "w_plus", "s"), default="w_plus")
    parser.add_argument(
        "--start",
        default="mean",
        help="'mean', or a restorer ('default', a file) whose encoder gives the start",
    )
    add_search(parser, 150)
    parser.add_argument("--rate", type=float, default=0.1, help="deviations a step")
    add_features(parser)
    parser.add_argument("--noise", action="store_true", help="noise maps move as well")
    parser.add_argument("--size", type=int, default=256, help="px at which the face is matched")
    parser.add_argument("--face", type=int, default=0, help="0 the largest face of the photo")
    parser.add_argument("--mask", type=Path, help="white counts, black is free; as large as photo")
    parser.add_argument("--edit", type=Path, help="the photo painted over: followed in its colours")
    parser.add_argument("--edit-mask", type=Path, help="white where the edit is followed")
    parser.add_argument("--edit-finest", type=int, default=32, help="px of its finest level")
    parser.add_argument("--tune", type=int, default=0, help="steps of pivotal tuning afterwards")
    parser.add_argument("-o", "--output", type=Path, default=Path("face.safetensors"))
    parser.add_argument("--sheet", type=Path, help="photo and result; default beside the codes")


def run(arguments: argparse.Namespace) -> str:
    """Invert; returns the lines to print."""
    from restore.latents.codes import paint_codes, save_codes
    from restore.latents.commands.face_argument import load_features
    from restore.latents.encoder_start import encoder_start
    from restore.latents.generate import load_generator, to_uint8
    from restore.latents.generator_file import save_generator
    from restore.latents.invert import InvertOptions, invert
    from restore.latents.paint import check_size
    from restore.latents.photos import framed_face
    from restore.latents.pivotal import TuneOptions, tune
    from restore.latents.sheets import grid_sheet
    from restore.latents.spaces import measure_w
    from restore.latents.variables import mean_start
    from restore.metrics.psnr_ssim import psnr
    from restore.runtime.memory import keep_freed_memory

    options = InvertOptions(arguments.steps, arguments.rate, arguments.noise, half=arguments.half)
    keep_freed_memory()
    generator = load_generator(arguments.model, arguments.device)
    check_size(generator, arguments.size)
    features = load_features(arguments.features, arguments.device)
    face = framed_face(arguments.photo, arguments.size, number=arguments.face)
    targets = [_on(target, arguments.device) for target in _targets(arguments, face)]
    image = targets[0].image
    if arguments.start == "mean":
        start = mean_start(generator, 1)
    else:
        start = encoder_start(arguments.start, generator, image)
    label = None if arguments.quiet else arguments.space
    found = invert(
        generator, targets, arguments.space, start, measure_w(generator), options, features, label
    )
    save_codes(arguments.output, found.codes, [arguments.photo.name])
    result = paint_codes(generator, found.codes, arguments.size)
    pictures, captions = [to_uint8(image)[0], to_uint8(result)[0]], ["photo", arguments.space]
    score = float(psnr(result, image, targets[0].mask))
    lines = [
        f"{arguments.output}: {arguments.space}, {arguments.steps} steps, PSNR {score:.2f} dB, "
        f"{found.seconds:.0f} s"
    ]
    if arguments.edit is not None:
        pictures.insert(1, to_uint8(targets[1].image)[0])
        captions.insert(1, "edit")
    if arguments.tune:
        label = None if arguments.quiet else "tuning"
        tuned = tune(
            generator, found.codes, targets[0], TuneOptions(arguments.tune), features, label,
            arguments.half,
        )  # fmt: skip
        path = arguments.output.with_name(f"{arguments.output.stem}_tuned.safetensors")
        save_generator(path, tuned.generator, f"Tuned to the face of {arguments.photo.name}.")
        result = paint_codes(tuned.generator, found.codes, arguments.size)
        pictures.append(to_uint8(result)[0])
        captions.append("tuned")
        score = float(psnr(result, image, targets[0].mask))
        lines.append(f"{path}: tuned generator, PSNR {score:.2f} dB, {tuned.seconds:.0f} s")
    sheet = arguments.sheet or arguments.output.with_suffix(".png")
    sheet.parent.mkdir(parents=True, exist_ok=True)
    grid_sheet(pictures, captions, len(pictures)).save(sheet)
    return "\n".join([*lines, f"{sheet}: {', '.join(captions)}"])


def _targets(arguments: argparse.Namespace, face: FramedFace) -> list[Target]:
    """The photo where nothing is painted over, and the edit's colours where it is."""
    from restore.errors import InputError
    from restore.latents.objective import Target
    from restore.latents.photos import framed_like, framed_mask

    mask = face.mask if arguments.mask is None else framed_mask(arguments.mask, face)
    if (arguments.edit is None) != (arguments.edit_mask is None):
        raise InputError("--edit and --edit-mask go together; give both or none")
    if arguments.edit is None:
        return [Target(face.image, mask)]
    edited = framed_mask(arguments.edit_mask, face)
    followed = Target(framed_like(arguments.edit, face), edited, arguments.edit_finest)
    return [Target(face.image, mask * (1 - edited)), followed]


def _on(target: Target, device: str) -> Target:
    from dataclasses import replace

    mask = None if target.mask is None else target.mask.to(device)
    return replace(target, image=target.image.to(device), mask=mask)
