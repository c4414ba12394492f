"""`children`: children of two faces, and what each has of whom."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from restore.latents.commands.arguments import add_identity, add_model, add_truncation
from restore.latents.commands.face_argument import FACE_HELP

if TYPE_CHECKING:
    import numpy as np

    from restore.latents.kinship import GeneMap
    from restore.latents.spaces import Generator


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line of `children`."""
    parser.add_argument("first", metavar="FIRST", help=FACE_HELP)
    parser.add_argument("second", metavar="SECOND", help=FACE_HELP)
    add_model(parser)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=6, help="children of this seed")
    parser.add_argument("--dominance", type=float, default=0.7, help="0 all mixed, 1 either or")
    parser.add_argument("--mutation-prob", type=float, default=0.2, help="of each gene")
    parser.add_argument("--mutation", type=float, default=0.35, help="how much of it changes")
    parser.add_argument("--genes", type=Path, help="keep the map of genes here, and read it again")
    parser.add_argument("--gene-faces", type=int, default=2, help="faces that it is measured on")
    add_truncation(parser)
    add_identity(parser)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--codes", type=Path, help="keep the children's codes")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    parser.add_argument("-o", "--output", type=Path, default=Path("children.png"))


def run(arguments: argparse.Namespace) -> str:
    """Draw the family; returns its tables."""
    import torch

    from restore.errors import InputError
    from restore.latents.codes import Codes, paint_codes, save_codes, styles_of
    from restore.latents.commands.face_argument import (
        face_codes,
        face_name,
        identity_rows,
        load_identity_or_none,
    )
    from restore.latents.generate import load_generator, to_uint8
    from restore.latents.kinship import DrawOptions, child_codes, draw_genes, likeness
    from restore.latents.paint import check_size
    from restore.latents.sheets import grid_sheet
    from restore.latents.spaces import to_styles, z_of_seeds, z_to_w_plus
    from restore.runtime.memory import keep_freed_memory

    if arguments.count < 1:
        raise InputError(f"--count {arguments.count}: expected 1 or more")
    options = DrawOptions(arguments.dominance, arguments.mutation_prob, arguments.mutation)
    keep_freed_memory()
    generator = load_generator(arguments.model)
    size = check_size(generator, arguments.size)
    network = load_identity_or_none(arguments)
    genes = _genes(arguments, generator)
    psi = arguments.truncation
    words = (arguments.first, arguments.second)
    parents = [face_codes(text, generator, psi) for text in words]
    styles = [styles_of(generator, parent) for parent in parents]
    images = [paint_codes(generator, parent, size) for parent in parents]
    children, tables = [], []
    for number in range(arguments.count):
        drawn = draw_genes(genes, arguments.seed * 100_003 + number, options)
        pool = to_styles(
            generator, z_to_w_plus(generator, z_of_seeds(generator, drawn.stranger), psi)
        )
        child = child_codes(generator, genes, drawn, styles[0], styles[1], pool)
        image = paint_codes(generator, child, size)
        measured = likeness(image, images[0], images[1])
        for i, name in enumerate(genes.names):
            seen = f"{measured[name]:.0%}" if name in measured else "-"
            tables.append(
                f"| {number + 1} | {name} | {float(drawn.first[i]):.0%} "
                f"| {float(drawn.mutation[i]):.0%} | {seen} |"
            )
        children.append(child)
        images.append(image)
    pictures = [to_uint8(image)[0] for image in images]
    names = [face_name(words[0]), face_name(words[1])]
    captions = [*names, *(f"child {i + 1}" for i in range(arguments.count))]
    lines = [
        f"| child | gene | of {names[0]} | mutated | seen of {names[0]} |",
        "|---|---|---|---|---|",
    ]
    lines += tables
    if network is not None:
        captions, text = _distances(identity_rows(network, pictures), captions, network.name)
        lines.append(text)
    if arguments.codes is not None:
        whole = [torch.cat(layer) for layer in zip(*(c.styles for c in children), strict=True)]
        w_plus = torch.cat([child.w_plus for child in children])
        save_codes(arguments.codes, Codes(w_plus, tuple(whole)), captions[2:])
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    grid_sheet(pictures, captions, min(4, len(pictures))).save(arguments.output)
    return "\n".join([f"{arguments.output}: two parents, {arguments.count} children", *lines])


def _distances(rows: np.ndarray, captions: list[str], network: str) -> tuple[list[str], str]:
    """Captions with each child's distance to both parents, and the table."""
    cosines = rows @ rows[:2].T
    new = list(captions)
    lines = [
        f"\nidentity distance (1 - cosine, {network}); between the parents "
        f"{1 - cosines[0, 1]:.2f}\n\n| child | to {captions[0]} | to {captions[1]} |\n|---|---|---|"
    ]
    for i in range(2, len(captions)):
        one, two = 1 - cosines[i]
        new[i] = f"{captions[i]}: {one:.2f}, {two:.2f}"
        lines.append(f"| {i - 1} | {one:.2f} | {two:.2f} |")
    return new, "\n".join(lines)


def _genes(arguments: argparse.Namespace, generator: Generator) -> GeneMap:
    """The map of genes: from its file, or measured on the generator (and kept)."""
    from safetensors.torch import load_file, save

    from restore.errors import InputError
    from restore.images.files_write import write_atomically
    from restore.latents.kinship import gene_map
    from restore.latents.spaces import z_of_seeds
    from restore.latents.style_channels import region_energies

    path = arguments.genes
    if path is not None and path.is_file():
        tensors = load_file(path)
        if "energies" not in tensors:
            raise InputError(f"{path} holds no map of genes; name another file")
        return gene_map(generator, tensors["energies"])
    w = generator.mapping(z_of_seeds(generator, range(900, 900 + arguments.gene_faces)))
    w = generator.w_mean + 0.7 * (w - generator.w_mean)
    size = max(64, generator.out_size // 8)
    energies = region_energies(
        generator, w, min(size, generator.out_size), probes=2, show_progress=not arguments.quiet
    )
    if path is not None:
        write_atomically(path, save({"energies": energies.contiguous()}))
    return gene_map(generator, energies)
