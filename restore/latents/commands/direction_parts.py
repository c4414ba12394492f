"""The parts of `directions`: each takes its arguments and returns the lines to print."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from restore.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from restore.latents.directions import Direction
    from restore.latents.spaces import Generator


def run_list(arguments: argparse.Namespace) -> str:
    """Names, units and measurements of a file."""
    from restore.latents.directions import load_directions

    lines = []
    for direction in load_directions(arguments.file):
        card = dict(direction.card or {})
        lines.append(f"{direction.name}: {card.get('says', card.get('found_by', ''))}")
        lines.append(f"    strength 1 is {direction.unit}; rows of W+ {_span(direction.rows)}")
        measured = card.get("measured")
        if measured:
            steps = ", ".join(
                f"{s:+g}: {v:+.2f}"
                for s, v in zip(measured["strengths"], measured["own_change_in_std"], strict=True)
            )
            one_sided = card.get("one_sided", False)
            right = measured["moved_up" if one_sided else "moved_the_right_way"]
            identity = ", ".join(f"{v:.2f}" for v in measured["identity_cosine"])
            lines.append(
                f"    on {measured['faces']} fresh faces {steps}; the right way in {right:.0%}"
                f"{' (upwards)' if one_sided else ''}; identity cosine {identity or 'not taken'}"
            )
    return "\n".join(lines)


def _span(rows: Sequence[int]) -> str:
    return f"{rows[0]} to {rows[-1]}" if rows else "none"


def _faces(arguments: argparse.Namespace) -> tuple[Generator, Tensor]:
    from restore.latents.generate import load_generator
    from restore.latents.spaces import z_of_seeds, z_to_w_plus
    from restore.runtime.memory import keep_freed_memory

    keep_freed_memory()
    generator = load_generator(arguments.model)
    z = z_of_seeds(generator, arguments.seeds)
    return generator, z_to_w_plus(generator, z, arguments.truncation)


def run_sheet(arguments: argparse.Namespace) -> str:
    """A sheet for each direction."""
    from restore.latents.directions import load_directions

    found = load_directions(arguments.file)
    chosen = [found.get(name) for name in arguments.direction] or list(found)
    generator, codes = _faces(arguments)
    found.check(generator)
    return _sheets(arguments, generator, codes, chosen)


def _sheets(
    arguments: argparse.Namespace,
    generator: Generator,
    codes: Tensor,
    directions: Sequence[Direction],
) -> str:
    from restore.latents.direction_sheets import direction_sheet

    arguments.output.mkdir(parents=True, exist_ok=True)
    lines = []
    for direction in directions:
        path = arguments.output / f"{direction.name}.png"
        direction_sheet(generator, direction, codes, size=arguments.size).save(path)
        lines.append(f"{path}: strengths -3 to 3; 1 is {direction.unit}")
    return "\n".join(lines)


def _rows(arguments: argparse.Namespace, generator: Generator) -> tuple[int, ...]:
    from restore.latents.directions import rows_of_levels

    if arguments.levels is None:
        return tuple(range(generator.num_styles))
    return rows_of_levels(generator, *arguments.levels)


def run_free(arguments: argparse.Namespace) -> str:
    """SeFa or GANSpace: a file and a sheet of each direction."""
    from restore.latents.closed_form import ganspace, sefa
    from restore.latents.directions import DirectionSet, save_directions

    generator, codes = _faces(arguments)
    method = sefa if arguments.part == "sefa" else ganspace
    directions = method(generator, arguments.count, _rows(arguments, generator))
    path = arguments.output / f"{arguments.part}.safetensors"
    save_directions(path, DirectionSet(tuple(directions), generator.w_mean))
    return f"{path}\n" + _sheets(arguments, generator, codes, directions)


def run_channels(arguments: argparse.Namespace) -> str:
    """The ranking as a table, and a sheet of the most local channel of each region."""
    from restore.latents.direction_sheets import channel_sheet
    from restore.latents.spaces import measure_w
    from restore.latents.style_channels import rank_channels, region_energies
    from restore.latents.styles import style_spread
    from restore.losses.feature_files import load_landmark_network

    generator, codes = _faces(arguments)
    mesh = None if arguments.mesh is None else load_landmark_network(arguments.mesh)
    energies = region_energies(
        generator, codes[:, 0], arguments.size, mesh, arguments.probes, show_progress=True
    )
    deviations = [std for _, std in style_spread(generator, measure_w(generator))]
    ranked = rank_channels(generator, energies, deviations)
    lines = ["| region | channel | share of its effect there | effect of a deviation |"]
    lines.append("|---|---|---|---|")
    first = []
    for region, channels in ranked.items():
        first.extend(channels[:1])
        for c in channels[: arguments.top]:
            lines.append(f"| {region} | {c.name} | {c.share:.2f} | {c.effect:.2f} |")
    arguments.output.mkdir(parents=True, exist_ok=True)
    path = arguments.output / "channels.png"
    channel_sheet(generator, first, codes, size=arguments.size).save(path)
    table = arguments.output / "channels.md"
    table.write_text("\n".join(lines) + "\n", "utf-8")
    return "\n".join([*lines, f"{path}, {table}"])


def run_boundary(arguments: argparse.Namespace) -> str:
    """A direction from two folders of photos."""
    from restore.latents.annotated import boundary_direction, photo_codes
    from restore.latents.directions import DirectionSet, save_directions
    from restore.latents.generate import load_generator

    generator = load_generator(arguments.model)
    rows = _rows(arguments, generator)
    without, with_trait = (
        photo_codes(folder, generator, arguments.restorer, True)
        for folder in (arguments.without, arguments.with_trait)
    )
    how = f"photos read by the encoder of {arguments.restorer}"
    name = arguments.name
    direction, boundary = boundary_direction(generator, name, without, with_trait, rows, how)
    save_directions(arguments.output, DirectionSet((direction,), generator.w_mean))
    return (
        f"{arguments.output}: {name} from {len(without)} and {len(with_trait)} faces; tells "
        f"{boundary.accuracy:.0%} of held-out ones rightly"
    )


def run_text(arguments: argparse.Namespace) -> str:
    """A direction from words."""
    from restore.latents.clip_model import load_clip
    from restore.latents.directions import DirectionSet, save_directions
    from restore.latents.spaces import measure_w
    from restore.latents.text_direction import text_direction

    if arguments.faces < 1:
        raise InputError(f"--faces {arguments.faces}: expected 1 or more")
    clip = load_clip(arguments.clip, arguments.clip_model, arguments.clip_config)
    arguments.seeds = list(range(arguments.seed, arguments.seed + arguments.faces))
    generator, codes = _faces(arguments)
    statistics = measure_w(generator)
    direction = text_direction(
        generator, clip, arguments.text, arguments.neutral, codes[:, 0], statistics,
        arguments.channels, arguments.size, True,
    )  # fmt: skip
    save_directions(arguments.output, DirectionSet((direction,), generator.w_mean))
    return f"{arguments.output}: {direction.name}, {len(direction.rows)} rows of W+"


def run_find(arguments: argparse.Namespace) -> str:
    """The directions that people ask for."""
    from restore.latents.commands.direction_find import find_and_save

    return find_and_save(arguments)


PARTS: Mapping[str, Callable[[argparse.Namespace], str]] = {
    "list": run_list,
    "sheet": run_sheet,
    "find": run_find,
    "sefa": run_free,
    "ganspace": run_free,
    "channels": run_channels,
    "boundary": run_boundary,
    "text": run_text,
}
"""Name of a part -> what runs it."""
