"""`python -m tools directions`: find the directions that are packaged, age to eyes, and check them.

Faces are sampled and measured; each measure's slope over w gives the likeliest step that moves it
and holds the others, which is scaled on fresh faces and checked on others.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from restore.checkpoints.weights_file import read_tensors, write_tensors
from restore.commands.tree import exit_code_of
from restore.data.frame import to_ffhq_frame
from restore.data.stores import Store, open_store
from restore.errors import CheckpointError, InputError
from restore.latents.arguments import say
from restore.latents.codes import paint_faces
from restore.latents.directions import (
    Direction,
    DirectionSet,
    move,
    on_rows,
    rows_of_levels,
    save_directions,
)
from restore.latents.generate import load_generator
from restore.latents.spaces import Generator, measure_w, seeds_to_w_plus
from restore.losses.feature_files import (
    load_feature_network,
    load_identity_network,
    load_landmark_network,
)
from restore.metrics.paired import identity_measure
from restore.model_files import read_header
from restore.runtime.contract import keep_freed_memory
from tools.face_measures import AgeRegression, FaceMeter, age_features, fit_age

SIZE = 256  # px at which faces are measured
KEEP_EVERY = 100  # faces between two writes of the file


@dataclass(frozen=True)
class MeasuredFaces:
    """Codes `w` [n,w_dim] and `measures` [n,m] of their faces, columns by `names`."""

    w: Tensor
    measures: Tensor
    names: tuple[str, ...]

    def column(self, name: str) -> Tensor:
        """One measure [n]."""
        return self.measures[:, self.names.index(name)]


@torch.no_grad()
def measure_samples(
    generator: Generator,
    meter: FaceMeter,
    count: int,
    first_seed: int = 100_000,
    truncation: float = 0.9,
    keep: Path | None = None,
    least_presence: float = 5.0,
    show_progress: bool = False,
) -> MeasuredFaces:
    """Paint and measure `count` faces, one by one; faces that the mesh does not see are left out.

    `keep`: a .safetensors file that the work is written to as it goes, and gone on from.
    """
    if count < 1:
        raise InputError(f"{count} samples; expected 1 or more")
    names = (*meter.names, "presence")
    size = min(SIZE, generator.out_size)
    about = {"names": json.dumps(names), "first_seed": str(first_seed), "psi": f"{truncation:g}"}
    rows = [] if keep is None or not keep.is_file() else _read(keep, about)
    seeds = range(first_seed + len(rows), first_seed + count)
    for seed in tqdm(seeds, desc="faces", disable=not show_progress):
        w_plus = seeds_to_w_plus(generator, [seed], truncation)
        measured = meter(paint_faces(generator, w_plus, size))
        rows.append(torch.stack([measured[name][0] for name in names]).float())
        if keep is not None and (len(rows) % KEEP_EVERY == 0 or len(rows) == count):
            write_tensors(keep, {"measures": torch.stack(rows)}, about)
    table = torch.stack(rows[:count])
    w = seeds_to_w_plus(generator, range(first_seed, first_seed + count), truncation)[:, 0]
    seen = table[:, -1] >= least_presence
    return MeasuredFaces(w[seen], table[seen, :-1], names[:-1])


def _read(path: Path, expected: dict[str, str]) -> list[Tensor]:
    """The rows of a file of measures that was kept, which must be of the same kind."""
    about, tensors = read_header(path), read_tensors(path)
    about.pop("tensors")
    if "measures" not in tensors:
        raise CheckpointError(f"{path} is no file of measured faces")
    if about != expected:
        raise InputError(
            f"{path} holds other measures ({about}); expected {expected}: name another file"
        )
    return list(tensors["measures"])


@dataclass(frozen=True)
class Slopes:
    """Linear fits of measures over w: `weights` [m,w_dim] in measure per w; `r2` [m], held out."""

    weights: Tensor
    r2: Tensor


def fit_slopes(w: Tensor, measures: Tensor, ridge: float = 0.1, held_out: float = 0.2) -> Slopes:
    """Ridge regression of measures [n,m] (NaN is left out) over codes w [n,w_dim].

    `ridge`: as a share of the mean variance of w; 0.1 was best of 0.003 to 0.3 for most measures of
    2,000 faces. The last `held_out` of the samples give R²; the weights come from all.
    """
    if len(w) != len(measures) or len(w) < 10:
        raise InputError(f"{len(w)} codes for {len(measures)} measures; expected 10 or more pairs")
    cut = len(w) - max(2, round(held_out * len(w)))
    weights, scores = [], []
    for column in measures.T:
        known = torch.isfinite(column)
        first = known & (torch.arange(len(w)) < cut)
        slope, level = _ridge(w[first], column[first], ridge)
        rest = known & ~first
        error = (w[rest].double() @ slope + level - column[rest].double()).square().mean()
        scores.append(1 - error / column[rest].double().var(correction=0).clamp_min(1e-12))
        weights.append(_ridge(w[known], column[known], ridge)[0])
    return Slopes(torch.stack(weights).float(), torch.stack(scores).float())


def _ridge(w: Tensor, y: Tensor, ridge: float) -> tuple[Tensor, Tensor]:
    if len(w) < 2:
        raise InputError("a measure is missing for nearly all samples; draw more")
    x = w.double()
    mean, level = x.mean(0), y.double().mean()
    x = x - mean
    gram = x.T @ x / len(x)
    gram += ridge * gram.diagonal().mean() * torch.eye(len(gram), dtype=gram.dtype)
    slope = torch.linalg.solve(gram, x.T @ (y.double() - level) / len(x))
    return slope, level - mean @ slope


def shortest_change(covariance: Tensor, slopes: Tensor, target: int) -> Tensor:
    """The likeliest change of w [w_dim] that moves measure `target` by 1 and no other of `slopes`.

    Of all d with slopes @ d = e_target the one that is shortest in the metric of the codes'
    covariance C (so it stays where codes lie): d = C B (B^T C B)^-1 e, B = slopes^T. With one
    slope alone it is the covariance of w with the measure; holding others is InterFaceGAN's
    conditional manipulation. slopes [m,w_dim], covariance [w_dim,w_dim].
    """
    if not 0 <= target < len(slopes):
        raise InputError(f"target {target} of {len(slopes)} measures")
    spread = covariance.double() @ slopes.double().T  # [w_dim,m]
    gram = slopes.double() @ spread
    wanted = torch.zeros(len(slopes), dtype=gram.dtype)
    wanted[target] = 1
    try:
        found: Tensor = (spread @ torch.linalg.solve(gram, wanted)).float()
        return found
    except RuntimeError as error:
        raise InputError(
            "two of the measures say the same on these samples; hold fewer of them"
        ) from error


Identity = Callable[[Tensor, Tensor], Tensor]
"""Two batches of faces [n,3,s,s] in the FFHQ frame -> cosines [n]."""


@dataclass(frozen=True)
class Goal:
    """A direction to find: `measure` grows with strength; levels in px that it may change.

    `free`: measures that go along with it by nature and are not held; all others are.
    `one_sided`: there is nothing to take away from most faces (glasses), so that only strengths
    above 0 are held to it.
    """

    name: str
    measure: str
    levels: tuple[int, int]
    says: str
    free: tuple[str, ...] = ()
    one_sided: bool = False


GOALS: tuple[Goal, ...] = (
    Goal("age", "age", (4, 64), "younger to older", ("skin_light", "hair_light")),
    Goal("smile", "smile", (16, 64), "serious to smiling", ("mouth_open", "eyes_open")),
    Goal("mouth", "mouth_open", (16, 64), "closed to open mouth", ("smile", "eyes_open")),
    Goal("glasses", "glasses", (4, 32), "without to with glasses", ("eyes_open",), True),
    Goal("yaw", "yaw", (4, 8), "turned to the image's left to its right", ("light_side",)),
    Goal("pitch", "pitch", (4, 8), "looking down to looking up", ("eyes_open", "hair_length")),
    Goal("hair-length", "hair_length", (4, 32), "short to long hair", ("hair_light",)),
    Goal("hair-light", "hair_light", (8, 256), "dark to light hair", ("background_light",)),
    Goal("light-side", "light_side", (32, 256), "lit from the image's left to its right", ()),
    Goal("skin-light", "skin_light", (64, 512), "less to more light on the face", ()),
    Goal("eyes", "eyes_open", (16, 64), "narrow to wide open eyes", ("smile", "mouth_open")),
)
"""What is looked for."""


@dataclass(frozen=True)
class Check:
    """What a direction did to fresh faces.

    `own`: change of its measure for each strength, in standard deviations of that measure, mean.
    `right`: share of faces whose measure moved with the sign of the strength, at the largest ones;
    `right_up` at the largest one above 0 alone.
    `others`: change of the other measures from -1 to 1, halved, in their deviations. `identity`:
    mean cosine to the unmoved face for each strength; empty without a network.
    """

    strengths: tuple[float, ...]
    own: tuple[float, ...]
    right: float
    right_up: float
    others: dict[str, float]
    identity: tuple[float, ...]
    faces: int

    def does_what_it_says(self, held: Sequence[str], one_sided: bool = False) -> bool:
        """Its measure rises with strength, in nearly all faces, and by more than held ones do.

        At least half a deviation for each unit. `one_sided` judges strengths above 0 alone, and
        asks only that the trait is there.
        """
        pairs = list(zip(self.strengths, self.own, strict=True))
        if one_sided:  # there or not: no more of it at 2 than at 1
            steps = [p for p in pairs if p[0] > 0]
            rising, slope = all(own > 0 for _, own in steps), steps[-1][1] / steps[-1][0]
        else:
            rising = all(a[1] < b[1] for a, b in pairwise(pairs))
            slope = (pairs[-1][1] - pairs[0][1]) / (pairs[-1][0] - pairs[0][0])
        aside = max((abs(self.others[name]) for name in held if name in self.others), default=0.0)
        right = self.right_up if one_sided else self.right
        return rising and right >= 0.9 and slope >= 0.5 and aside < slope


@torch.no_grad()
def measure_codes(
    generator: Generator, meter: FaceMeter, w_plus: Tensor, half: bool = False
) -> tuple[Tensor, Tensor]:
    """Faces of codes [n,k,w_dim] and their measures [n,m] in the order of `meter.names`."""
    faces = paint_faces(generator, w_plus, min(SIZE, generator.out_size), half)
    measured = meter(faces)
    return faces, torch.stack([measured[name] for name in meter.names], 1)


def find_direction(
    generator: Generator, samples: MeasuredFaces, goal: Goal, covariance: Tensor
) -> Direction:
    """The direction of one measure: one standard deviation of it for each unit, held ones still.

    Linear, from the fits over the samples; `calibrate` brings it to what it really does.
    """
    held = [n for n in samples.names if n != goal.measure and n not in goal.free]
    names = [goal.measure, *held]
    deviations = torch.stack([samples.column(n).nan_to_num().std() for n in names])
    table = torch.stack([samples.column(n) for n in names], 1) / deviations.clamp_min(1e-9)
    slopes = fit_slopes(samples.w, table)
    vector = shortest_change(covariance, slopes.weights, 0)
    card = {
        "found_by": f"ridge regression of {goal.measure} over w of {len(samples.w)} faces, "
        "the shortest change by the codes' covariance that holds the other measures",
        "says": goal.says,
        "measure": goal.measure,
        "held": held,
        "levels": list(goal.levels),
        "one_sided": goal.one_sided,
        "r2_held_out": round(float(slopes.r2[0]), 3),
    }
    unit = f"one standard deviation of {goal.measure} ({float(deviations[0]):.3g})"
    rows = rows_of_levels(generator, *goal.levels)
    return Direction(goal.name, on_rows(generator, vector, rows), unit, card)


@torch.no_grad()
def calibrate(
    generator: Generator,
    meter: FaceMeter,
    direction: Direction,
    deviation: float,
    w_plus: Tensor,
    largest: float = 4.0,
    half: bool = False,
) -> Direction:
    """The direction rescaled so that its measure moves by `deviation` for each unit from -1 to 1.

    Raises InputError where it does not move its measure at all.
    """
    measure = meter.names.index(str((direction.card or {})["measure"]))
    low, high = (
        measure_codes(generator, meter, move(w_plus, direction, s), half)[1][:, measure]
        for s in (-1, 1)
    )
    gain = float((high - low).mean()) / 2 / deviation
    if gain <= 0.05:
        raise InputError(
            f"direction {direction.name!r} moves its measure by {gain:.3g} of what it should; "
            "it is not found on this generator"
        )
    return direction.scaled(min(1 / gain, largest))


@torch.no_grad()
def check_direction(
    generator: Generator,
    meter: FaceMeter,
    direction: Direction,
    deviations: Tensor,
    w_plus: Tensor,
    strengths: Sequence[float] = (-2, -1, 1, 2),
    identity: Identity | None = None,
    half: bool = False,
) -> Check:
    """Measure what a direction does to the faces of codes [n,k,w_dim]; deviations [m]."""
    index = meter.names.index(str((direction.card or {})["measure"]))
    base, before = measure_codes(generator, meter, w_plus, half)
    changes, cosines = [], []
    for strength in strengths:
        faces, after = measure_codes(generator, meter, move(w_plus, direction, strength), half)
        changes.append((after - before) / deviations)
        if identity is not None:
            cosines.append(round(float(identity(faces, base).mean()), 3))
    table = torch.stack(changes)  # [strengths,n,m]
    own = table[..., index]
    signs = torch.tensor(strengths).sign()[[0, -1]]
    right = float(((own[[0, -1]] * signs[:, None]) > 0).float().mean())
    above, below = min(s for s in strengths if s > 0), max(s for s in strengths if s < 0)
    apart = table[list(strengths).index(above)] - table[list(strengths).index(below)]
    sides = apart.mean(0) / (above - below)
    others = {n: round(float(v), 3) for n, v in zip(meter.names, sides, strict=True)}
    del others[meter.names[index]]
    return Check(
        tuple(map(float, strengths)),
        tuple(round(float(v), 3) for v in own.mean(1)),
        round(right, 3),
        round(float((own[-1] > 0).float().mean()), 3),
        others,
        tuple(cosines),
        len(w_plus),
    )


def with_check(direction: Direction, check: Check) -> Direction:
    """The direction, its card told what was measured."""
    measured = {
        "strengths": list(check.strengths),
        "own_change_in_std": list(check.own),
        "moved_the_right_way": check.right,
        "moved_up": check.right_up,
        "others_in_std_per_unit": check.others,
        "identity_cosine": list(check.identity),
        "faces": check.faces,
    }
    return replace(direction, card={**(direction.card or {}), "measured": measured})


def find_directions(
    generator: Generator,
    meter: FaceMeter,
    samples: MeasuredFaces,
    goals: Sequence[Goal] = GOALS,
    faces: int = 16,
    identity: Identity | None = None,
    first_seed: int = 900_000,
    psi: float = 0.7,
    half: bool = False,
    show_progress: bool = False,
) -> tuple[list[Direction], dict[str, str]]:
    """Find, calibrate and check; returns those that do what they say, and why others were left out.

    Calibration and check see two different sets of `faces` fresh faces each.
    """
    covariance = measure_w(generator).covariance
    deviations = torch.stack([samples.column(n).nan_to_num().std() for n in meter.names])
    first = seeds_to_w_plus(generator, range(first_seed, first_seed + faces), psi)
    second = seeds_to_w_plus(generator, range(first_seed + faces, first_seed + 2 * faces), psi)
    kept, refused = [], {}
    for goal in tqdm(goals, desc="directions", disable=not show_progress):
        if goal.measure not in meter.names:
            refused[goal.name] = f"no network measures {goal.measure}"
            continue
        try:
            direction = find_direction(generator, samples, goal, covariance)
            own = float(deviations[meter.names.index(goal.measure)])
            direction = calibrate(generator, meter, direction, own, first, half=half)
        except InputError as error:
            refused[goal.name] = str(error)
            continue
        check = check_direction(
            generator, meter, direction, deviations, second, identity=identity, half=half
        )
        direction = with_check(direction, check)
        held = (direction.card or {})["held"]
        if check.does_what_it_says(held, goal.one_sided):
            kept.append(direction)
        else:
            worst = max(held, key=lambda name: abs(check.others[name]))
            refused[goal.name] = (
                f"its measure moves by {check.own}, rightly in {check.right:.0%} of the faces; "
                f"{worst} moves by {check.others[worst]} for each unit"
            )
    return kept, refused


CARD = """# Directions of the packaged prior

Found by `python -m tools directions` on {count} sampled faces; strength 1 is one
standard deviation of the measure that the direction is named after, among them. Each was scaled on
{faces} fresh faces and checked on {faces} others; those whose measure did not follow, or that moved
another measure more, are not in this file. They change pictures of faces; they say nothing about
anybody. They carry the prior's correlations (FFHQ) as far as the measures held do not undo them.
"""
AGE_BATCH = 8


def main(argv: Sequence[str] | None = None) -> int:
    """Find directions and write the file; errors of the user are one line and exit code 2."""
    parser = argparse.ArgumentParser("python -m tools directions", description=__doc__)
    parser.add_argument("--model", default="default-prior", help="a generator's file, or a name")
    parser.add_argument("--mesh", type=Path, required=True, help="FaceMesh 468 weights")
    text = "MobileFaceNet weights: identity kept; for age"
    parser.add_argument("--identity", type=Path, help=text)
    parser.add_argument("--texture", type=Path, help="SqueezeNet 1.1 weights; for age")
    parser.add_argument("--ages", type=Path, help="CSV with the columns name, age")
    text = "the crops that it names (folder, tar, array)"
    parser.add_argument("--age-faces", type=Path, help=text)
    text = "of their template; 1: FFHQ's"
    parser.add_argument("--age-zoom", type=float, default=1.2, help=text)
    parser.add_argument("--age-count", type=int, default=2400, help="of them, at random")
    parser.add_argument("--count", type=int, default=2000, help="faces that are sampled")
    text = "fresh faces for scale and check each"
    parser.add_argument("--faces", type=int, default=16, help=text)
    parser.add_argument("--keep", type=Path, help="file that the samples' measures are kept in")
    parser.add_argument("--half", action="store_true", help="checks paint in bfloat16: faster")
    parser.add_argument("--only", nargs="*", default=[], help="names of directions to look for")
    parser.add_argument("-o", "--output", type=Path, required=True, help="NAME.safetensors")
    return exit_code_of(lambda: find_and_save(parser.parse_args(argv)))


def find_and_save(arguments: argparse.Namespace) -> int:
    """Sample, measure, fit, check, and write the directions that hold."""
    goals = [goal for goal in GOALS if not arguments.only or goal.name in arguments.only]
    known = [goal.name for goal in GOALS]
    strange = sorted(set(arguments.only) - set(known))
    if strange:
        raise InputError(f"--only {', '.join(strange)}: unknown; there are {', '.join(known)}")
    if arguments.faces < 2:
        raise InputError(f"--faces {arguments.faces}: expected 2 or more")
    keep_freed_memory()
    generator = load_generator(arguments.model)
    meter = FaceMeter(load_landmark_network(arguments.mesh), _age(arguments))
    identity: Identity | None = None
    if arguments.identity is not None:
        cosine = identity_measure(load_identity_network(arguments.identity))

        def identity(a: Tensor, b: Tensor) -> Tensor:
            return cosine(a, b, None)

    samples = measure_samples(
        generator, meter, arguments.count, keep=arguments.keep, show_progress=True
    )
    kept, refused = find_directions(
        generator, meter, samples, goals, arguments.faces, identity,
        half=arguments.half, show_progress=True,
    )  # fmt: skip
    lines = [f"{name} is left out: {why}" for name, why in refused.items()]
    if not kept:
        raise InputError("no direction held its check; sample more faces. " + "; ".join(lines))
    card = CARD.format(count=len(samples.w), faces=arguments.faces)
    save_directions(arguments.output, DirectionSet(tuple(kept), generator.w_mean, card))
    names = ", ".join(d.name for d in kept)
    size = arguments.output.stat().st_size / 1000
    return say(f"{arguments.output}: {names}; {size:.0f} kB", *lines)


def _age(arguments: argparse.Namespace) -> AgeRegression | None:
    """The age regression, where all that it needs was given."""
    needs = (arguments.ages, arguments.age_faces, arguments.texture, arguments.identity)
    if all(path is None for path in needs[:3]):
        return None
    if any(path is None for path in needs):
        raise InputError("age needs --ages, --age-faces, --texture and --identity, all four")
    ages = _read_ages(arguments.ages)
    store = open_store(arguments.age_faces)
    keys = [key for key in store.keys if _stem(key) in ages]
    order = np.arange(len(keys))
    np.random.default_rng(0).shuffle(order)
    keys = [keys[i] for i in order[: arguments.age_count]]
    if len(keys) < 20:
        raise InputError(
            f"{len(keys)} crops of {arguments.age_faces} have an age in {arguments.ages}; "
            "expected 20 or more"
        )
    features = age_features(
        load_feature_network(arguments.texture), load_identity_network(arguments.identity)
    )
    years = torch.tensor([ages[_stem(key)] for key in keys])
    return fit_age(features, _batches(store, keys, arguments.age_zoom), years)


def _stem(name: str) -> str:
    """The name of a crop without the extension that some stores keep."""
    return name.removesuffix(Path(name).suffix)


def _batches(store: Store, keys: list[str], zoom: float) -> Iterator[Tensor]:
    for start in tqdm(range(0, len(keys), AGE_BATCH), desc="ages"):
        crops = np.stack([store.image(key) for key in keys[start : start + AGE_BATCH]])
        planes = torch.from_numpy(crops).permute(0, 3, 1, 2)
        centre = (256.0, 280.0) if zoom != 1 else (256.0, 256.0)
        yield to_ffhq_frame(planes, 256, zoom, centre, mode="bilinear")[0]


def _read_ages(path: Path) -> dict[str, float]:
    """Age in years by the crop's name without its extension."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        return {_stem(row["name"]): float(row["age"]) for row in rows}
    except (OSError, KeyError, ValueError) as error:
        raise InputError(
            f"{path} is no table of ages ({type(error).__name__}: {error}); expected CSV with the "
            "columns name, age"
        ) from error


if __name__ == "__main__":
    raise SystemExit(main())
