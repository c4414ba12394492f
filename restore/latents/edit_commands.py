"""What `edit`, `directions` and `stylise` do: from words and files to pictures."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterable, Iterator
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from restore.checkpoints.load import load_network
from restore.errors import CheckpointError, InputError
from restore.faces.detect import load_detector
from restore.latents import directions, stylise
from restore.latents.arguments import say
from restore.latents.codes import Codes, save_codes
from restore.latents.commands import (
    at_least,
    bar_label,
    face_codes,
    face_picture,
    load_features,
    open_generator,
    save_sheet,
)
from restore.latents.directions import Direction, DirectionSet, load_directions, save_directions
from restore.latents.face_regions import rank_channels, region_energies
from restore.latents.generate import (
    generate_faces,
    load_generator,
    save_generator,
    swap_layers,
    to_uint8,
)
from restore.latents.invert import InvertOptions, Target, invert, mean_start
from restore.latents.photos import crop_size_of, framed_face, image_tensor
from restore.latents.spaces import Generator, measure_w, seeds_to_w_plus, style_spread
from restore.latents.text_direction import load_clip, text_direction
from restore.losses.feature_files import load_feature_network, load_landmark_network
from restore.networks.prior_restorer import PriorRestorer
from restore.runtime.contract import keep_freed_memory

LOGGED = 20  # steps that the losses of a training's last line are averaged over


def run_edit(arguments: Namespace) -> int:
    """A face moved along directions."""
    names, strengths, size = arguments.direction, arguments.strength, arguments.size
    if len(strengths) == 1:
        strengths = strengths * len(names)
    if len(strengths) != len(names):
        raise InputError(
            f"{len(names)} directions and {len(strengths)} strengths; give one strength for each"
        )
    found = load_directions(arguments.file)
    chosen = [found.get(name) for name in names]
    generator = open_generator(arguments)
    found.check(generator)
    before = after = _codes_to_edit(arguments, generator)
    for direction, strength in zip(chosen, strengths, strict=True):
        after = directions.move_codes(generator, after, direction, strength)
    done = ", ".join(f"{n} {s:+g}" for n, s in zip(names, strengths, strict=True))
    picture = face_picture(generator, after, size)
    if arguments.pair:
        plain = face_picture(generator, before, size)
        save_sheet(arguments.output, [plain, picture], ["as it is", done], 2)
    else:
        arguments.output.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(arguments.output)
    if arguments.codes is not None:
        save_codes(arguments.codes, after, [done])
    return say(f"{arguments.output}: {done}")


def _codes_to_edit(arguments: Namespace, generator: Generator) -> Codes:
    if arguments.input is None:
        word = arguments.code if arguments.seed is None else str(arguments.seed)
        return face_codes(word, generator, arguments.truncation)
    face = framed_face(arguments.input, min(256, generator.out_size))
    target = Target(face.image.to(arguments.device), face.mask.to(arguments.device))
    return invert(
        generator, [target], "w_plus", mean_start(generator, 1), measure_w(generator),
        InvertOptions(arguments.steps, half=arguments.half), load_features(arguments),
        bar_label(arguments, "inverting"),
    ).codes  # fmt: skip


def run_directions_list(arguments: Namespace) -> int:
    """Names, units and measurements of a file."""
    lines = []
    for direction in load_directions(arguments.file):
        card = dict(direction.card or {})
        rows = f"{direction.rows[0]} to {direction.rows[-1]}" if direction.rows else "none"
        lines.append(f"{direction.name}: {card.get('says', card.get('found_by', ''))}")
        lines.append(f"    strength 1 is {direction.unit}; rows of W+ {rows}")
        measured = card.get("measured")
        if measured:
            changes = zip(measured["strengths"], measured["own_change_in_std"], strict=True)
            steps = ", ".join(f"{s:+g}: {v:+.2f}" for s, v in changes)
            one_sided = card.get("one_sided", False)
            right = measured["moved_up" if one_sided else "moved_the_right_way"]
            identity = ", ".join(f"{v:.2f}" for v in measured["identity_cosine"])
            lines.append(
                f"    on {measured['faces']} fresh faces {steps}; the right way in {right:.0%}"
                f"{' (upwards)' if one_sided else ''}; identity cosine {identity or 'not taken'}"
            )
    return say(*lines)


def _several(arguments: Namespace) -> tuple[Generator, Tensor]:
    """The generator, and W+ [n,k,w_dim] of the faces of --seeds."""
    generator = open_generator(arguments)
    return generator, seeds_to_w_plus(generator, arguments.seeds, arguments.truncation)


def _direction_sheets(
    arguments: Namespace, generator: Generator, codes: Tensor, chosen: Iterable[Direction]
) -> Iterator[str]:
    """Write a sheet for each direction; the lines to print."""
    arguments.output.mkdir(parents=True, exist_ok=True)
    for direction in chosen:
        path = arguments.output / f"{direction.name}.png"
        sheet = directions.direction_sheet(generator, direction, codes, size=arguments.size)
        sheet.save(path)
        yield f"{path}: strengths -3 to 3; 1 is {direction.unit}"


def run_directions_sheet(arguments: Namespace) -> int:
    """A sheet for each direction of a file."""
    found = load_directions(arguments.file)
    chosen = [found.get(name) for name in arguments.direction] or list(found)
    generator, codes = _several(arguments)
    found.check(generator)
    return say(*_direction_sheets(arguments, generator, codes, chosen))


def _rows(arguments: Namespace, generator: Generator) -> tuple[int, ...]:
    if arguments.levels is None:
        return tuple(range(generator.num_styles))
    return directions.rows_of_levels(generator, *arguments.levels)


def run_directions_sefa(arguments: Namespace) -> int:
    """SeFa or GANSpace: a file and a sheet of each direction."""
    generator, codes = _several(arguments)
    method = directions.sefa if arguments.part == "sefa" else directions.ganspace
    found = method(generator, arguments.count, _rows(arguments, generator))
    path = arguments.output / f"{arguments.part}.safetensors"
    save_directions(path, DirectionSet(tuple(found), generator.w_mean))
    return say(str(path), *_direction_sheets(arguments, generator, codes, found))


run_directions_ganspace = run_directions_sefa


def run_directions_channels(arguments: Namespace) -> int:
    """The ranking as a table, and a sheet of the most local channel of each region."""
    generator, codes = _several(arguments)
    mesh = None if arguments.mesh is None else load_landmark_network(arguments.mesh)
    energies = region_energies(
        generator, codes[:, 0], arguments.size, mesh, arguments.probes, show_progress=True
    )
    deviations = [std for _, std in style_spread(generator, measure_w(generator))]
    ranked = rank_channels(generator, energies, deviations)
    lines = ["| region | channel | share of its effect there | effect of a deviation |"]
    lines.append("|---|---|---|---|")
    for region, channels in ranked.items():
        for c in channels[: arguments.top]:
            lines.append(f"| {region} | {c.name} | {c.share:.2f} | {c.effect:.2f} |")
    arguments.output.mkdir(parents=True, exist_ok=True)
    path, table = (arguments.output / f"channels.{ext}" for ext in ("png", "md"))
    first = [channels[0] for channels in ranked.values() if channels]
    directions.channel_sheet(generator, first, codes, size=arguments.size).save(path)
    table.write_text("\n".join(lines) + "\n", "utf-8")
    return say(*lines, f"{path}, {table}")


def run_directions_boundary(arguments: Namespace) -> int:
    """A direction from two folders of photos."""
    generator, name = load_generator(arguments.model), arguments.name
    rows = _rows(arguments, generator)
    without, with_trait = (
        directions.photo_codes(folder, generator, arguments.restorer, True)
        for folder in (arguments.without, arguments.with_trait)
    )
    how = f"photos read by the encoder of {arguments.restorer}"
    direction, boundary = directions.boundary_direction(
        generator, name, without, with_trait, rows, how
    )
    save_directions(arguments.output, DirectionSet((direction,), generator.w_mean))
    return say(
        f"{arguments.output}: {name} from {len(without)} and {len(with_trait)} faces; tells "
        f"{boundary.accuracy:.0%} of held-out ones rightly"
    )


def run_directions_text(arguments: Namespace) -> int:
    """A direction from words."""
    at_least(1, arguments.faces, "--faces")
    clip = load_clip(arguments.clip, arguments.clip_model, arguments.clip_config)
    generator = open_generator(arguments)
    seeds = range(arguments.seed, arguments.seed + arguments.faces)
    w = seeds_to_w_plus(generator, seeds, arguments.truncation)[:, 0]
    direction = text_direction(
        generator, clip, arguments.text, arguments.neutral, w, measure_w(generator),
        arguments.channels, arguments.size, True,
    )  # fmt: skip
    save_directions(arguments.output, DirectionSet((direction,), generator.w_mean))
    return say(f"{arguments.output}: {direction.name}, {len(direction.rows)} rows of W+")


# Styles.


def run_stylise_draw(arguments: Namespace) -> int:
    """Draw a style on faces of nobody: pictures to train on."""
    at_least(1, arguments.count, "--count")
    style = stylise.find_style(arguments.style)
    generator = open_generator(arguments)
    seeds = range(arguments.seed, arguments.seed + arguments.count)
    arguments.output.mkdir(parents=True, exist_ok=True)
    for seed, face in zip(
        seeds, generate_faces(generator, seeds, arguments.truncation), strict=True
    ):
        pixels = to_uint8(style(image_tensor(face), None))[0]
        Image.fromarray(pixels).save(arguments.output / f"{arguments.style}{seed:05d}.png")
    return say(f"{arguments.output}: {arguments.count} faces in {arguments.style}")


def _model_file(path: Path) -> Path:
    if path.suffix != ".safetensors":
        raise InputError(f"-o {path}: expected a name that ends in .safetensors")
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def run_stylise_train(arguments: Namespace) -> int:
    """Fine-tune a copy of the prior, by an option file."""
    output = _model_file(arguments.output)
    options = stylise.load_stylise_options(arguments.opt, arguments.force_yml)
    keep_freed_memory()
    generator, path = load_generator(options.model), options.feature_network
    features = None if path is None else load_feature_network(path)
    if options.drawn is not None:
        target = stylise.drawn_target(options.drawn)
        source = f"drawings ({options.drawn})"
    else:
        pictures = stylise.load_pictures(str(options.pictures), generator.out_size)
        target, source = stylise.picture_target(pictures), f"{len(pictures)} pictures"
    result = stylise.stylise(generator, target, options, features, not arguments.quiet)
    steps, last = len(result.history), result.history[-LOGGED:]
    means = {name: sum(h[name] for h in last) / len(last) for name in last[0]}
    losses = ", ".join(f"{name} {value:.3f}" for name, value in means.items())
    card = (
        f"{options.name}: a copy of {options.model}, fine-tuned on {source} for {steps} steps "
        f"of {options.batch_size} windows of {options.window} px, layers from "
        f"{options.from_level} px on, by `restore latents stylise train` "
        f"(torch {torch.__version__}). Last losses: {losses}"
    )
    save_generator(output, result.generator, card)
    return say(f"{output}: {steps} steps on {source}; last losses: {losses}")


def run_stylise_swap(arguments: Namespace) -> int:
    """Coarse layers of one generator, fine ones of another."""
    output, level = _model_file(arguments.output), arguments.level
    coarse, fine = load_generator(arguments.coarse), load_generator(arguments.fine)
    mixed = swap_layers(coarse, fine, level, arguments.softness)
    text = f"{arguments.coarse} below {level} px, {arguments.fine} from there on"
    save_generator(output, mixed, f"Layers swapped: {text}")
    return say(f"{output}: {text}")


def run_stylise_paint(arguments: Namespace) -> int:
    """Restore the faces of photos and paint them stylised."""
    if not 0 <= arguments.fidelity <= 1:
        raise InputError(f"-w {arguments.fidelity}: expected 0 to 1")
    restorer, stylised = load_network(arguments.restorer), load_generator(arguments.stylised)
    if not isinstance(restorer, PriorRestorer):
        kind = type(restorer).__name__
        raise CheckpointError(f"{arguments.restorer} holds a {kind}; expected a restorer")
    size = crop_size_of(arguments.restorer) or restorer.decoder.out_size
    detector = load_detector()
    arguments.output.mkdir(parents=True, exist_ok=True)
    lines = []
    for path in arguments.input:
        face = framed_face(path, size, detector).image
        painted = stylise.restored_in_style(restorer, stylised, face, size, arguments.fidelity)
        target = arguments.output / f"{path.stem}_stylised.png"
        Image.fromarray(to_uint8(painted)[0]).save(target)
        lines.append(f"{target}: the largest face of {path}")
    return say(*lines)
