"""The directions that people ask for, found by measures of a prior's own faces, and checked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from torch import Tensor
from tqdm import tqdm

from restore.errors import InputError
from restore.latents.boundaries import fit_slopes, shortest_change
from restore.latents.directions import Direction, move, on_rows, rows_of_levels
from restore.latents.face_measures import FaceMeter
from restore.latents.sampled_faces import SIZE, MeasuredFaces, paint_faces
from restore.latents.spaces import Generator, measure_w, to_w_plus, truncate, z_of_seeds

Identity = Callable[[Tensor, Tensor], Tensor]
"""Two batches of faces [n,3,s,s] in the FFHQ frame -> cosines [n]."""


@dataclass(frozen=True)
class Wanted:
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


WANTED: tuple[Wanted, ...] = (
    Wanted("age", "age", (4, 64), "younger to older", ("skin_light", "hair_light")),
    Wanted("smile", "smile", (16, 64), "serious to smiling", ("mouth_open", "eyes_open")),
    Wanted("mouth", "mouth_open", (16, 64), "closed to open mouth", ("smile", "eyes_open")),
    Wanted("glasses", "glasses", (4, 32), "without to with glasses", ("eyes_open",), True),
    Wanted("yaw", "yaw", (4, 8), "turned to the image's left to its right", ("light_side",)),
    Wanted("pitch", "pitch", (4, 8), "looking down to looking up", ("eyes_open", "hair_length")),
    Wanted("hair-length", "hair_length", (4, 32), "short to long hair", ("hair_light",)),
    Wanted("hair-light", "hair_light", (8, 256), "dark to light hair", ("background_light",)),
    Wanted("light-side", "light_side", (32, 256), "lit from the image's left to its right", ()),
    Wanted("skin-light", "skin_light", (64, 512), "less to more light on the face", ()),
    Wanted("eyes", "eyes_open", (16, 64), "narrow to wide open eyes", ("smile", "mouth_open")),
)
"""What `directions find` looks for."""


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
    generator: Generator, samples: MeasuredFaces, wanted: Wanted, covariance: Tensor
) -> Direction:
    """The direction of one measure: one standard deviation of it for each unit, held ones still.

    Linear, from the fits over the samples; `calibrate` brings it to what it really does.
    """
    held = [n for n in samples.names if n != wanted.measure and n not in wanted.free]
    names = [wanted.measure, *held]
    deviations = torch.stack([samples.column(n).nan_to_num().std() for n in names])
    table = torch.stack([samples.column(n) for n in names], 1) / deviations.clamp_min(1e-9)
    slopes = fit_slopes(samples.w, table)
    vector = shortest_change(covariance, slopes.weights, 0)
    card = {
        "found_by": f"ridge regression of {wanted.measure} over w of {len(samples.w)} faces, "
        "the shortest change by the codes' covariance that holds the other measures",
        "says": wanted.says,
        "measure": wanted.measure,
        "held": held,
        "levels": list(wanted.levels),
        "one_sided": wanted.one_sided,
        "r2_held_out": round(float(slopes.r2[0]), 3),
    }
    unit = f"one standard deviation of {wanted.measure} ({float(deviations[0]):.3g})"
    rows = rows_of_levels(generator, *wanted.levels)
    return Direction(wanted.name, on_rows(generator, vector, rows), unit, card)


def fresh_codes(generator: Generator, count: int, first_seed: int, psi: float) -> Tensor:
    """W+ [count,k,w_dim] of faces that no fit has seen."""
    z = z_of_seeds(generator, range(first_seed, first_seed + count))
    return to_w_plus(generator, truncate(generator.mapping(z), generator.w_mean, psi))


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
    wanted: Sequence[Wanted] = WANTED,
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
    first = fresh_codes(generator, faces, first_seed, psi)
    second = fresh_codes(generator, faces, first_seed + faces, psi)
    kept, refused = [], {}
    for one in tqdm(wanted, desc="directions", disable=not show_progress):
        if one.measure not in meter.names:
            refused[one.name] = f"no network measures {one.measure}"
            continue
        try:
            direction = find_direction(generator, samples, one, covariance)
            own = float(deviations[meter.names.index(one.measure)])
            direction = calibrate(generator, meter, direction, own, first, half=half)
        except InputError as error:
            refused[one.name] = str(error)
            continue
        check = check_direction(
            generator, meter, direction, deviations, second, identity=identity, half=half
        )
        direction = with_check(direction, check)
        held = (direction.card or {})["held"]
        if check.does_what_it_says(held, one.one_sided):
            kept.append(direction)
        else:
            worst = max(held, key=lambda name: abs(check.others[name]))
            refused[one.name] = (
                f"its measure moves by {check.own}, rightly in {check.right:.0%} of the faces; "
                f"{worst} moves by {check.others[worst]} for each unit"
            )
    return kept, refused
