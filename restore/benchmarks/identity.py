"""The identity network: agreement with its teacher, accuracy on pairs, thresholds, speed, guard."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from restore.benchmarks.identity_guard import guard_table
from restore.benchmarks.identity_numbers import rank_correlation, threshold_at
from restore.benchmarks.identity_pairs import (
    CENTRE,
    ZOOM,
    as_pixels,
    draw_pairs,
    only_in_pairs,
    read_people,
)
from restore.benchmarks.identity_plot import cosine_plot
from restore.benchmarks.identity_references import references_table
from restore.benchmarks.identity_vectors import people_vectors, recipe_at_512
from restore.benchmarks.identity_verification import same_photo_table, verification_table
from restore.data.frame import to_ffhq_frame
from restore.data.stores import open_store
from restore.degradation.degrade import degrade
from restore.runtime.identity import load_identity
from restore.trust.identity import IdentityEmbedder, cosine

RECIPES = ("mild", "gfpgan", "heavy", "old_photo")
PARTS = ("agreement", "pairs", "speed", "guard", "references")


def main(argv: Sequence[str] | None = None) -> int:
    """Print the parts that were asked for, as Markdown."""
    arguments = _parser().parse_args(argv)
    student = load_identity(arguments.network)
    teacher = load_identity(arguments.teacher)
    print(f"network {student.name}; teacher {teacher.name}")
    for part in arguments.parts:
        print(f"\n## {part}\n")
        if part == "agreement":
            print(agreement(student, teacher, arguments.val))
        elif part == "speed":
            print(speed(student, teacher))
        elif part == "pairs":
            print(pairs_part(student, teacher, arguments))
        elif part == "guard":
            print(guard_table(student, teacher, arguments.val512, arguments.model, RECIPES,
                              arguments.faces))  # fmt: skip
        else:
            print(references_table(student, teacher, arguments.people, arguments.model,
                                   arguments.persons))  # fmt: skip
    return 0


def agreement(student: IdentityEmbedder, teacher: IdentityEmbedder, store: str) -> str:
    """How near the student is to the teacher (which sees the clean face), by recipe."""
    import torch

    crops = open_store(store)
    planes = np.stack([crops.image(key) for key in crops.keys]).transpose(0, 3, 1, 2)
    frames = to_ffhq_frame(torch.from_numpy(planes.copy()), 256, ZOOM, CENTRE)[0]
    wanted = teacher.embed(as_pixels(frames))
    upper = np.triu_indices(len(wanted), 1)
    lines = [
        f"{len(wanted)} faces of {Path(store).name}, none of them in the training.",
        "",
        "| student sees | cosine to the teacher, mean (5 %) | rank correlation of pair cosines |",
        "|---|---|---|",
    ]
    for recipe in (None, *RECIPES):
        shown = frames
        if recipe is not None:
            shown = degrade(frames, recipe_at_512(recipe), seeds=list(range(len(frames)))).lq
        found = student.embed(as_pixels(shown))
        own = cosine(found, wanted)
        rank = rank_correlation((found @ found.T)[upper], (wanted @ wanted.T)[upper])
        lines.append(
            f"| {recipe or 'clean'} | {own.mean():.3f} ({np.quantile(own, 0.05):.3f}) "
            f"| {rank:.3f} |"
        )
    return "\n".join(lines)


def pairs_part(
    student: IdentityEmbedder, teacher: IdentityEmbedder, arguments: argparse.Namespace
) -> str:
    """Verification of held-out people, the same photo degraded, and the picture."""
    people = read_people(arguments.people)
    held_out = f"{len(people)} photos of {len(people.names)} people that the student never saw"
    people, pairs = only_in_pairs(
        people, draw_pairs(people.person, arguments.pairs, arguments.seed)
    )
    networks = {"student": student, "teacher": teacher}
    rows = np.unique(pairs.b)
    vectors = people_vectors(people, rows, RECIPES, networks, arguments.seed)
    table, held = verification_table(people, pairs, vectors)
    stranger = threshold_at(
        np.concatenate([held["student", name][1] for name in ("clean", *RECIPES)]), 1e-3
    )
    if arguments.output:
        panels = {
            name if name == "clean" else f"one side {name}": held["student", name]
            for name in ("clean", *RECIPES)
        }
        cosine_plot(panels, stranger).save(arguments.output, quality=85)
    same = int(pairs.same.sum())
    return "\n".join(
        [
            f"{held_out}; {same} pairs of one person, {len(pairs.same) - same} of two, ten folds, "
            f"{len(people)} photos.",
            "Thresholds that 1 in 100 and 1 in 1000 strangers pass: over all pairs of two persons "
            "among these photos.",
            "",
            table,
            "",
            f"Student, all five conditions together: 1 in 1000 strangers passes {stranger:.3f}.",
            "",
            "A photo and its own degraded copy:",
            "",
            same_photo_table(vectors),
        ]
    )


def speed(student: IdentityEmbedder, teacher: IdentityEmbedder) -> str:
    """CPU milliseconds a face, one thread each, crops of 512 px; the best of five runs."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    crops = np.random.default_rng(0).integers(0, 256, (4, 512, 512, 3)).astype(np.uint8)
    lines = ["| network | CPU ms a face |", "|---|---|"]
    try:
        for name, network in (("student", student), ("teacher (torch)", teacher)):
            network.embed(crops)
            taken = []
            for _ in range(5):
                start = time.process_time()
                network.embed(crops)
                taken.append((time.process_time() - start) / len(crops))
            lines.append(f"| {name} | {min(taken) * 1e3:.1f} |")
    finally:
        torch.set_num_threads(before)
    return "\n".join(lines)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m restore.benchmarks identity")
    add = parser.add_argument
    add("--teacher", required=True, help="file of the network to compare with (MobileFaceNet)")
    add("--people", required=True, help="store of 256 or 128 px crops named Some_Name_0001")
    add("--val", required=True, help="store of crops that the training left out (agreement)")
    add("--val512", required=True, help="store of 512 px crops (guard)")
    add("--network", help="identity network; default: the packaged one")
    add("--model", default="default", help="restorer of guard and references")
    add("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    add("--pairs", type=int, default=100, help="of one person and of two, in each of ten folds")
    add("--faces", type=int, default=24, help="faces of the guard, for each recipe")
    add("--persons", type=int, default=40, help="people of the references")
    add("--seed", type=int, default=0)
    add("-o", "--output", help="picture of the cosines (.jpg, .png)")
    return parser
