"""The identity network: its teacher, accuracy on pairs, thresholds, guard, references."""

from __future__ import annotations

import argparse
import itertools
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from benchmarks.faces import pixels
from restore.data.frame import to_ffhq_frame
from restore.data.stores import open_store
from restore.degradation.degrade import degrade
from restore.degradation.recipe import RECIPES as ALL_RECIPES
from restore.degradation.recipe import Recipe
from restore.errors import InputError
from restore.pipeline.guard import FIDELITIES, LEAST_GAIN
from restore.pipeline.policies import in_photo_colours
from restore.pipeline.restorer import find_model_file
from restore.runtime.contract import Runtime
from restore.runtime.identity import load_identity
from restore.runtime.select import load_runtime
from restore.trust.identity import (
    PACKAGED_THRESHOLDS,
    IdentityEmbedder,
    References,
    choose_candidate,
    cosine,
)
from tools.identity import held_out_people, person_of

Array = NDArray[np.floating]


@dataclass(frozen=True)
class Accuracy:
    """Mean and standard error over the folds, in [0,1], and the mean threshold."""

    mean: float
    error: float
    threshold: float


def fold_accuracy(cosines: Array, same: NDArray[np.bool_], fold: NDArray[np.int64]) -> Accuracy:
    """LFW's protocol: each fold is judged by the threshold that is best on the others."""
    found, thresholds = [], []
    for k in np.unique(fold):
        inside = fold == k
        threshold = best_threshold(cosines[~inside], same[~inside])
        found.append(float(((cosines[inside] >= threshold) == same[inside]).mean()))
        thresholds.append(threshold)
    return Accuracy(
        float(np.mean(found)),
        float(np.std(found) / np.sqrt(max(len(found) - 1, 1))),
        float(np.mean(thresholds)),
    )


def best_threshold(cosines: Array, same: NDArray[np.bool_]) -> float:
    """The cosine at which the most pairs are judged right, midway between two of them."""
    order = np.argsort(cosines)
    values, truth = cosines[order], same[order]
    # with the threshold below values[i]: wrong ones of two persons at and above, of one below
    right = np.concatenate([[0], np.cumsum(~truth)]) + truth.sum()
    right = right - np.concatenate([[0], np.cumsum(truth)])
    i = int(right.argmax())
    low = values[i - 1] if i > 0 else values[0] - 1e-6
    high = values[i] if i < len(values) else values[-1] + 1e-6
    return float((low + high) / 2)


def threshold_at(different: Array, rate: float) -> float:
    """The least cosine at which at most `rate` of the pairs of two persons pass (FAR)."""
    return float(np.quantile(different, 1 - rate))


def pass_rate(same: Array, threshold: float) -> float:
    """Share of the pairs of one person at or above a threshold."""
    return float((same >= threshold).mean())


def equal_error(same: Array, different: Array) -> tuple[float, float]:
    """(rate, threshold) where false accepts and false rejects are equally many."""
    grid = np.linspace(-1, 1, 2001)
    rejects = np.searchsorted(np.sort(same), grid) / len(same)
    accepts = 1 - np.searchsorted(np.sort(different), grid) / len(different)
    i = int(np.abs(rejects - accepts).argmin())
    return float((rejects[i] + accepts[i]) / 2), float(grid[i])


def rank_correlation(a: Array, b: Array) -> float:
    """Spearman's rho of two lists without many ties."""
    first, second = (np.argsort(np.argsort(values)) - (len(values) - 1) / 2 for values in (a, b))
    return float((first * second).sum() / np.sqrt((first**2).sum() * (second**2).sum()))


def cross_cosines(
    a: Array, b: Array, person_a: NDArray[np.int64], person_b: NDArray[np.int64]
) -> Array:
    """Cosines of every row of a with every row of b of another person; rows of length 1."""
    found: Array = (a @ b.T)[person_a[:, None] != person_b[None]]
    return found


FOLDS = 10
ZOOM, CENTRE = 1.2, (256.0, 280.0)  # how the crops of such sets were aligned
SIZE = 256  # px of the FFHQ frame that faces are shown in


@dataclass(frozen=True, eq=False)
class People:
    """Photos uint8 RGB [n,c,c,3] of people that the packaged network never saw; person [n] ints."""

    crops: NDArray[np.uint8]
    person: NDArray[np.int64]
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.crops)


@dataclass(frozen=True, eq=False)
class Pairs:
    """Rows of photos a, b [m], whether they are one person [m], and the fold of each pair [m]."""

    a: NDArray[np.int64]
    b: NDArray[np.int64]
    same: NDArray[np.bool_]
    fold: NDArray[np.int64]


def read_people(path: str) -> People:
    """The held-out people of a store whose keys are Some_Name_0001.

    Raises InputError where nobody has two photos.
    """
    store = open_store(path)
    people = held_out_people(store.keys)
    keys = [key for key in sorted(store.keys) if person_of(key) in people]
    names = tuple(sorted(people))
    place = {name: i for i, name in enumerate(names)}
    person = np.array([place[person_of(key)] for key in keys])
    if len(keys) == len(names):
        raise InputError(f"{path}: nobody has two photos; expected names such as Some_Name_0001")
    return People(np.stack([store.image(key) for key in keys]), person, names)


def draw_pairs(person: NDArray[np.int64], each: int, seed: int = 0) -> Pairs:
    """At most `each` pairs of one person and as many of two, per fold; folds share no person.

    As LFW's protocol has it (Huang et al. 2007, view 2: ten folds, 300 pairs each). Without
    replacement; persons with many photos give more pairs.
    """
    draws = np.random.default_rng(seed)
    people = draws.permutation(np.unique(person))
    rows: list[tuple[int, int, bool, int]] = []
    for fold, group in enumerate(np.array_split(people, FOLDS)):
        of = defaultdict(list)
        for row in np.flatnonzero(np.isin(person, group)):
            of[int(person[row])].append(int(row))
        same = [pair for photos in of.values() for pair in itertools.combinations(photos, 2)]
        chosen = [same[i] for i in draws.permutation(len(same))[:each]]
        rows += [(a, b, True, fold) for a, b in chosen]
        photos = np.concatenate([np.array(v) for v in of.values()])
        seen: set[tuple[int, int]] = set()
        # the second of each pair is the second of a pair of one person: degraded once, used twice
        seconds = [b for _, b in chosen] or photos.tolist()
        for b in seconds:
            a = int(draws.choice(photos))
            if person[a] != person[b] and (a, b) not in seen:
                seen.add((a, b))
                rows.append((a, b, False, fold))
    table = np.array(rows, np.int64)
    return Pairs(table[:, 0], table[:, 1], table[:, 2].astype(bool), table[:, 3])


def only_in_pairs(people: People, pairs: Pairs) -> tuple[People, Pairs]:
    """The photos that pairs need, and the pairs with their rows counted among those."""
    rows = np.unique(np.concatenate([pairs.a, pairs.b]))
    kept = People(people.crops[rows], people.person[rows], people.names)
    moved = (np.searchsorted(rows, pairs.a), np.searchsorted(rows, pairs.b))
    return kept, Pairs(*moved, pairs.same, pairs.fold)


def in_frame(crops: NDArray[np.uint8], size: int = SIZE) -> torch.Tensor:
    """Crops of such a set in the plain FFHQ frame, float RGB [n,3,size,size] in [-1,1]."""
    planes = torch.from_numpy(crops).permute(0, 3, 1, 2).contiguous()
    return to_ffhq_frame(planes, size, ZOOM, CENTRE)[0]


def in_chunks(count: int, size: int = 32) -> Sequence[slice]:
    """Slices that cover `count` rows."""
    return [slice(start, min(start + size, count)) for start in range(0, count, size)]


Vectors = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class PeopleVectors:
    """Of each network: vectors of all clean photos [n,d], and of the degraded `rows` by recipe."""

    clean: Mapping[str, Vectors]
    rows: NDArray[np.int64]
    degraded: Mapping[str, Mapping[str, Vectors]]
    """recipe -> network -> [len(rows), d]"""

    def at(self, recipe: str, network: str, photos: NDArray[np.int64]) -> Vectors:
        """Degraded vectors of photos, which must be among `rows`."""
        return self.degraded[recipe][network][np.searchsorted(self.rows, photos)]


def recipe_at_512(name: str) -> Recipe:
    """A named recipe whose pixels are those of a 512 px crop, whatever size it is used at."""
    return replace(ALL_RECIPES[name], reference_size=512)


def people_vectors(
    people: People,
    rows: NDArray[np.int64],
    recipes: Sequence[str],
    networks: Mapping[str, IdentityEmbedder],
    seed: int = 0,
) -> PeopleVectors:
    """All photos clean, and the photos of `rows` (ascending) by each recipe."""
    clean = _embedded(people, np.arange(len(people)), None, networks, seed)
    degraded = {name: _embedded(people, rows, name, networks, seed) for name in recipes}
    return PeopleVectors(clean, rows, degraded)


def _embedded(
    people: People,
    rows: NDArray[np.int64],
    recipe: str | None,
    networks: Mapping[str, IdentityEmbedder],
    seed: int,
) -> dict[str, Vectors]:
    found: dict[str, list[Vectors]] = {name: [] for name in networks}
    for part in tqdm(in_chunks(len(rows)), desc=recipe or "clean", leave=False):
        images = in_frame(people.crops[rows[part]])
        if recipe is not None:
            numbers = [seed * 1_000_003 + int(row) for row in rows[part]]
            images = degrade(images, recipe_at_512(recipe), seeds=numbers).lq
        crops = pixels(images)
        for name, network in networks.items():
            found[name].append(network.embed(crops))
    return {name: np.concatenate(parts) for name, parts in found.items()}


Cosines = NDArray[np.floating]


def condition_cosines(
    people: People, pairs: Pairs, vectors: PeopleVectors, network: str, recipe: str | None
) -> tuple[Cosines, Cosines]:
    """(cosines of the drawn pairs [m], those of all photos of two persons), one side degraded."""
    clean = vectors.clean[network]
    if recipe is None:
        drawn = cosine(clean[pairs.a], clean[pairs.b])
        return drawn, cross_cosines(clean, clean, people.person, people.person)
    drawn = cosine(clean[pairs.a], vectors.at(recipe, network, pairs.b))
    degraded = vectors.degraded[recipe][network]
    return drawn, cross_cosines(degraded, clean, people.person[vectors.rows], people.person)


def verification_table(
    people: People, pairs: Pairs, vectors: PeopleVectors
) -> tuple[str, Mapping[tuple[str, str], tuple[Cosines, Cosines]]]:
    """The table as Markdown, and (network, condition) -> (cosines of one person, of two)."""
    lines = [
        "| network | one side | accuracy | equal error (at) | 1 in 100 at, passes "
        "| 1 in 1000 at, passes |",
        "|---|---|---|---|---|---|",
    ]
    held = {}
    for network in vectors.clean:
        for recipe in (None, *vectors.degraded):
            drawn, different = condition_cosines(people, pairs, vectors, network, recipe)
            same = drawn[pairs.same]
            accuracy = fold_accuracy(drawn, pairs.same, pairs.fold)
            rate, place = equal_error(same, different)
            cells = [f"{accuracy.mean:.1%} ± {accuracy.error:.1%}", f"{rate:.1%} ({place:.2f})"]
            for share in (1e-2, 1e-3):
                threshold = threshold_at(different, share)
                cells.append(f"{threshold:.3f}, {pass_rate(same, threshold):.1%}")
            lines.append(f"| {network} | {recipe or 'clean'} | {' | '.join(cells)} |")
            held[network, recipe or "clean"] = (same, different)
    return "\n".join(lines), held


def same_photo_table(vectors: PeopleVectors) -> str:
    """Cosine of a photo with its own degraded copy: what a perfect restoration would show."""
    lines = ["| network | recipe | 1 % | 5 % | 25 % | median |", "|---|---|---|---|---|---|"]
    for recipe, of_network in vectors.degraded.items():
        for network, degraded in of_network.items():
            own = cosine(vectors.clean[network][vectors.rows], degraded)
            shares = np.quantile(own, (0.01, 0.05, 0.25, 0.5))
            lines.append(f"| {network} | {recipe} | {' | '.join(f'{v:.2f}' for v in shares)} |")
    return "\n".join(lines)


def open_restorer(model: str, threads: int = 1) -> Runtime:
    """The restorer of a name or file on the CPU."""
    return load_runtime(find_model_file(model), device="cpu", threads=threads)


def framed(crops: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Stored crops [n,c,c,3] in the plain FFHQ frame of `size` px, uint8 [n,size,size,3]."""
    planes = torch.from_numpy(crops.transpose(0, 3, 1, 2).copy())
    return pixels(to_ffhq_frame(planes, size, ZOOM, CENTRE)[0])


def degraded(faces: NDArray[np.uint8], recipe: str, seeds: Sequence[int]) -> NDArray[np.uint8]:
    """Faces [n,s,s,3] degraded by a recipe, as the restorer gets them."""
    planes = torch.from_numpy(faces.transpose(0, 3, 1, 2).copy()).float() / 127.5 - 1
    return pixels(degrade(planes, recipe_at_512(recipe), seeds=list(seeds)).lq)


def restored(runtime: Runtime, lq: NDArray[np.uint8], fidelity: float) -> NDArray[np.uint8]:
    """What goes into the photo: the network's faces in the photo's colours, [n,s,s,3]."""
    found = runtime.run(lq, fidelity)[0]
    return np.stack([in_photo_colours(a, b) for a, b in zip(lq, found, strict=True)])


def guard_table(
    student: IdentityEmbedder,
    teacher: IdentityEmbedder,
    store: str,
    model: str,
    recipes: Sequence[str],
    count: int,
) -> str:
    """By recipe: the guard's cosine (student, input and output), the teacher's to the truth.

    `store`: 512 px crops. Outputs at fidelity 1, in the photo's colours, as the pipeline has them.
    """
    runtime = open_restorer(model)
    crops = open_store(store)
    keys = crops.keys[:count]
    faces = framed(np.stack([crops.image(key) for key in keys]), runtime.crop_size)
    threshold = PACKAGED_THRESHOLDS.same_person
    truth = teacher.embed(faces)
    lines = [
        f"{len(keys)} faces of 512 px a recipe. Guard: student, input and output; below: share "
        f"under the threshold {threshold:.2f}. Truth: teacher, output and clean face; input: "
        "teacher, input and clean face.",
        "",
        "| recipe | guard 5 %, median | below | truth 5 %, median | input median "
        "| rank correlation of guard and truth |",
        "|---|---|---|---|---|---|",
    ]
    every: list[tuple[np.ndarray, np.ndarray]] = []
    for recipe in recipes:
        guard, honest, before = [], [], []
        for i in tqdm(range(len(keys)), desc=recipe, leave=False):
            lq = degraded(faces[i : i + 1], recipe, [i])
            made = restored(runtime, lq, 1.0)
            guard.append(float(cosine(student.embed(lq), student.embed(made))[0]))
            honest.append(float(cosine(teacher.embed(made), truth[i : i + 1])[0]))
            before.append(float(cosine(teacher.embed(lq), truth[i : i + 1])[0]))
        own, real = np.array(guard), np.array(honest)
        every.append((own, real))
        cells = (
            f"{np.quantile(own, 0.05):.2f}, {np.median(own):.2f}",
            f"{(own < threshold).mean():.0%}",
            f"{np.quantile(real, 0.05):.2f}, {np.median(real):.2f}",
            f"{np.median(before):.2f}",
            f"{rank_correlation(own, real):.2f}",
        )
        lines.append(f"| {recipe} | {' | '.join(cells)} |")
    own, real = (np.concatenate(parts) for parts in zip(*every, strict=True))
    lines += ["", f"All recipes together: rank correlation {rank_correlation(own, real):.2f}."]
    return "\n".join(lines)


REFERENCE_RECIPES = ("gfpgan", "heavy")
_REFERENCES = 4  # photos of a person that are used at most


def references_table(
    student: IdentityEmbedder, teacher: IdentityEmbedder, store: str, model: str, count: int
) -> str:
    """Teacher's mean cosine of a restored photo to the person's other photos, by how it was chosen.

    The choice is the student's, the judge is the teacher. Each person's first photo is degraded and
    restored; the others are half the references, half (held back from the choice) the judge's.
    """
    runtime = open_restorer(model)
    people = read_people(store)
    persons = _with_photos(people, 3)[:count]
    dials = FIDELITIES if runtime.supports_fidelity else (1.0,)
    lines = [
        f"{len(persons)} people with three photos or more; mean cosine of the teacher, and its "
        "standard error, to photos of the person that the choice did not see.",
        "",
        f"| recipe | {' | '.join(f'fidelity {dial:g}' for dial in dials)} | chosen | best there is "
        "| chosen - fidelity 1 |",
        "|---|" + "---|" * (len(dials) + 3),
    ]
    for recipe in REFERENCE_RECIPES:
        scores, picks = [], []
        for person in tqdm(persons, desc=recipe, leave=False):
            rows = np.flatnonzero(people.person == person)[: 1 + 2 * _REFERENCES]
            first, others = rows[:1], rows[1:]
            shown, judged = others[::2], others[1::2]
            lq = degraded(framed(people.crops[first], runtime.crop_size), recipe, [int(first[0])])
            made = np.concatenate([restored(runtime, lq, dial) for dial in dials])
            photos = framed(people.crops[np.concatenate([shown, judged])], 256)
            known = References(student.embed(photos[: len(shown)]), ())
            picks.append(choose_candidate(student.embed(made), known, LEAST_GAIN)[0])
            vectors = teacher.embed(photos[len(shown) :])
            scores.append(cosine(teacher.embed(made)[:, None], vectors[None]).mean(1))
        table = np.stack(scores)
        chosen = table[np.arange(len(table)), picks]
        columns = [*table.T, chosen, table.max(1), chosen - table[:, 0]]
        cells = [f"{v.mean():.3f} ± {v.std() / len(v) ** 0.5:.3f}" for v in columns]
        lines.append(f"| {recipe} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _with_photos(people: People, least: int) -> list[int]:
    counts = np.bincount(people.person, minlength=len(people.names))
    return [int(person) for person in np.flatnonzero(counts >= least)]


RECIPES = ("mild", "gfpgan", "heavy", "old_photo")
PARTS = ("agreement", "pairs", "guard", "references")


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
    wanted = teacher.embed(pixels(frames))
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
        found = student.embed(pixels(shown))
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


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks identity")
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
    return parser
