"""`stylise draw|train|swap|paint`: a copy of the prior that paints in the style of pictures."""

from __future__ import annotations

import argparse
from pathlib import Path

from restore.errors import InputError
from restore.latents.commands.arguments import add_model, add_truncation

LOGGED = 20  # steps that the last line averages over


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line of `stylise`."""
    parts = parser.add_subparsers(dest="part", required=True)
    draw = parts.add_parser("draw", help="draw a style on faces of nobody: pictures to train on")
    add_model(draw)
    add_truncation(draw, 0.8)
    draw.add_argument("--style", required=True, help="ink, halftone or sepia")
    draw.add_argument("--count", type=int, default=40)
    draw.add_argument("--seed", type=int, default=5000, help="of the first face")
    draw.add_argument("-o", "--output", type=Path, required=True, help="a folder")
    train = parts.add_parser("train", help="fine-tune a copy of the prior, by an option file")
    train.add_argument("-opt", type=Path, required=True, help="options/stylise_*.yml")
    train.add_argument("--force_yml", nargs="+", default=[], metavar="KEY=VALUE")
    train.add_argument("--quiet", action="store_true", help="no progress bar")
    train.add_argument("-o", "--output", type=Path, required=True, help="NAME.safetensors")
    swap = parts.add_parser("swap", help="coarse layers of one generator, fine ones of another")
    swap.add_argument("--coarse", default="default-prior", help="shape and person come from here")
    swap.add_argument("--fine", required=True, help="texture and colour come from here")
    swap.add_argument("--level", type=int, required=True, help="px from which the fine one paints")
    swap.add_argument("--softness", type=float, default=0.0, help="octaves of the change; 0 a cut")
    swap.add_argument("-o", "--output", type=Path, required=True, help="NAME.safetensors")
    paint = parts.add_parser("paint", help="restore the faces of photos and paint them stylised")
    paint.add_argument("-i", "--input", type=Path, nargs="+", required=True)
    paint.add_argument("--stylised", required=True, help="a file that train or swap wrote")
    paint.add_argument("--restorer", default="default")
    paint.add_argument("-w", "--fidelity", type=float, default=1.0, help="0..1")
    paint.add_argument("-o", "--output", type=Path, required=True, help="a folder")


def run(arguments: argparse.Namespace) -> str:
    """Run one part; returns the lines to print."""
    parts = {"draw": _draw, "train": _train, "swap": _swap, "paint": _paint}
    return parts[arguments.part](arguments)


def _draw(arguments: argparse.Namespace) -> str:
    import torch
    from PIL import Image

    from restore.latents.drawn_styles import find_style
    from restore.latents.generate import generate_faces, load_generator, to_uint8

    if arguments.count < 1:
        raise InputError(f"--count {arguments.count}: expected 1 or more")
    style = find_style(arguments.style)
    generator = load_generator(arguments.model)
    seeds = range(arguments.seed, arguments.seed + arguments.count)
    arguments.output.mkdir(parents=True, exist_ok=True)
    faces = generate_faces(generator, seeds, arguments.truncation)
    for seed, face in zip(seeds, faces, strict=True):
        plain = torch.from_numpy(face).permute(2, 0, 1)[None].float() / 127.5 - 1
        pixels = to_uint8(style(plain, None))[0]
        Image.fromarray(pixels).save(arguments.output / f"{arguments.style}{seed:05d}.png")
    return f"{arguments.output}: {arguments.count} faces in {arguments.style}"


def _train(arguments: argparse.Namespace) -> str:
    import torch

    from restore.latents.generate import load_generator
    from restore.latents.generator_file import save_generator
    from restore.latents.style_pictures import load_pictures
    from restore.latents.stylise import drawn_target, picture_target, stylise
    from restore.latents.stylise_options import load_stylise_options
    from restore.losses.feature_files import load_feature_network
    from restore.runtime.memory import keep_freed_memory

    if arguments.output.suffix != ".safetensors":
        raise InputError(f"-o {arguments.output}: expected a name that ends in .safetensors")
    options = load_stylise_options(arguments.opt, arguments.force_yml)
    keep_freed_memory()
    generator = load_generator(options.model)
    path = options.feature_network
    features = None if path is None else load_feature_network(path)
    if options.drawn is not None:
        target, source = drawn_target(options.drawn), f"drawings ({options.drawn})"
    else:
        assert options.pictures is not None
        pictures = load_pictures(options.pictures, generator.out_size)
        target, source = picture_target(pictures), f"{len(pictures)} pictures"
    result = stylise(generator, target, options, features, not arguments.quiet)
    steps = len(result.history)
    last = result.history[-LOGGED:]
    means = {name: sum(h[name] for h in last) / len(last) for name in last[0]}
    losses = ", ".join(f"{name} {value:.3f}" for name, value in means.items())
    card = (
        f"{options.name}: a copy of {options.model}, fine-tuned on {source} for {steps} steps "
        f"of {options.batch_size} windows of {options.window} px, layers from "
        f"{options.from_level} px on, by `python -m restore.latents stylise train` "
        f"(torch {torch.__version__}). Last losses: {losses}"
    )
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    save_generator(arguments.output, result.generator, card)
    return f"{arguments.output}: {steps} steps on {source}; last losses: {losses}"


def _swap(arguments: argparse.Namespace) -> str:
    from restore.latents.generate import load_generator
    from restore.latents.generator_file import save_generator
    from restore.latents.layer_swap import swap_layers

    if arguments.output.suffix != ".safetensors":
        raise InputError(f"-o {arguments.output}: expected a name that ends in .safetensors")
    coarse, fine = load_generator(arguments.coarse), load_generator(arguments.fine)
    mixed = swap_layers(coarse, fine, arguments.level, arguments.softness)
    text = f"{arguments.coarse} below {arguments.level} px, {arguments.fine} from there on"
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    save_generator(arguments.output, mixed, f"Layers swapped: {text}")
    return f"{arguments.output}: {text}"


def _paint(arguments: argparse.Namespace) -> str:
    from PIL import Image

    from restore.faces.detect import load_detector
    from restore.latents.encoder_start import crop_size_of
    from restore.latents.generate import load_generator, to_uint8
    from restore.latents.photos import framed_face
    from restore.latents.style_pictures import load_restorer, restored_in_style

    if not 0 <= arguments.fidelity <= 1:
        raise InputError(f"-w {arguments.fidelity}: expected 0 to 1")
    restorer, stylised = load_restorer(arguments.restorer), load_generator(arguments.stylised)
    size = crop_size_of(arguments.restorer) or restorer.decoder.out_size
    detector = load_detector()
    arguments.output.mkdir(parents=True, exist_ok=True)
    lines = []
    for path in arguments.input:
        face = framed_face(path, size, detector).image
        painted = restored_in_style(restorer, stylised, face, size, arguments.fidelity)
        target = arguments.output / f"{path.stem}_stylised.png"
        Image.fromarray(to_uint8(painted)[0]).save(target)
        lines.append(f"{target}: the largest face of {path}")
    return "\n".join(lines)
