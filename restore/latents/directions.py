"""Directions of edits in W+: moving codes, their file and sheets, SeFa, GANSpace, boundaries."""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from restore.checkpoints.weights_file import read_tensors, write_tensors
from restore.errors import CheckpointError, InputError
from restore.faces.detect import load_detector
from restore.images.contact_sheet import grid_sheet
from restore.latents.codes import Codes, paint, paint_faces
from restore.latents.face_regions import StyleChannel, move_channels
from restore.latents.generate import to_uint8
from restore.latents.photos import encoder_start, framed_face
from restore.latents.spaces import Generator, affine_maps, level_rows, measure_w, style_layers
from restore.model_files import read_header

DIRECTIONS_FORMAT = "restore-directions/1"
PACKAGED = Path(__file__).resolve().parents[1] / "weights" / "directions.safetensors"


@dataclass(frozen=True)
class Direction:
    """One way to change a face: `vector` [k,w_dim] is added to W+ for each unit of strength.

    `unit` says what strength 1 is. `card`: how it was found and what was measured, JSON values.
    """

    name: str
    vector: Tensor
    unit: str = "one standard deviation of w along the direction"
    card: Mapping[str, Any] | None = None

    @property
    def rows(self) -> tuple[int, ...]:
        """The rows of W+ that it changes."""
        return tuple(torch.nonzero(self.vector.abs().amax(1) > 0)[:, 0].tolist())

    def scaled(self, factor: float) -> Direction:
        """The same way, `factor` times as far for each unit."""
        return Direction(self.name, self.vector * factor, self.unit, self.card)


def move(w_plus: Tensor, direction: Direction, strength: float | Tensor) -> Tensor:
    """W+ [n,k,w_dim] moved by `strength` (one number, or [n]); 0 returns the same values."""
    if tuple(w_plus.shape[1:]) != tuple(direction.vector.shape):
        raise InputError(
            f"direction {direction.name!r} is {list(direction.vector.shape)}, the codes are "
            f"{list(w_plus.shape)}: it belongs to another generator"
        )
    steps = torch.as_tensor(strength, dtype=w_plus.dtype, device=w_plus.device).reshape(-1, 1, 1)
    return w_plus + steps * direction.vector.to(w_plus)


def move_codes(generator: Generator, codes: Codes, direction: Direction, strength: float) -> Codes:
    """The codes moved: W+ and, where S leads, S by what the affine maps make of the change."""
    moved = move(codes.w_plus, direction, strength)
    if codes.styles is None:
        return replace(codes, w_plus=moved)
    steps = zip(generator.styles(moved), generator.styles(codes.w_plus), strict=True)
    styles = tuple(s + (b - a) for s, (b, a) in zip(codes.styles, steps, strict=True))
    return replace(codes, w_plus=moved, styles=styles)


def rows_of_levels(generator: Generator, first: int, last: int) -> tuple[int, ...]:
    """The rows of W+ that act at levels of `first` to `last` px."""
    levels = level_rows(generator)
    rows = [row for level, found in levels.items() if first <= level <= last for row in found]
    if not rows:
        raise InputError(f"no level from {first} to {last} px; there are {sorted(levels)} px")
    return tuple(rows)


def on_rows(generator: Generator, vector: Tensor, rows: Sequence[int]) -> Tensor:
    """A direction of W [w_dim] on the given rows of W+ [k,w_dim], nothing on the others."""
    if vector.shape != (generator.w_dim,):
        raise InputError(f"vector is {list(vector.shape)}; expected [{generator.w_dim}]")
    full = vector.new_zeros(generator.num_styles, generator.w_dim)
    full[list(rows)] = vector
    return full


@dataclass(frozen=True)
class DirectionSet:
    """Named directions of one generator, known by its `w_mean` [w_dim]."""

    directions: tuple[Direction, ...]
    w_mean: Tensor
    card: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        """Names in the order of the file."""
        return tuple(d.name for d in self.directions)

    def __iter__(self) -> Iterator[Direction]:
        return iter(self.directions)

    def get(self, name: str) -> Direction:
        """A direction by its name; InputError lists what there is."""
        for direction in self.directions:
            if direction.name == name:
                return direction
        near = difflib.get_close_matches(name, self.names, 1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise InputError(f"no direction {name!r}{hint} There are: {', '.join(self.names)}")

    def check(self, generator: Generator) -> None:
        """Raises InputError where the generator is not the one that these were found on."""
        shape = (generator.num_styles, generator.w_dim)
        for direction in self.directions:
            if tuple(direction.vector.shape) != shape:
                raise InputError(
                    f"direction {direction.name!r} is for {list(direction.vector.shape)} codes, "
                    f"this generator has {list(shape)}; find directions on it: "
                    "python -m tools directions"
                )
        difference = float((self.w_mean - generator.w_mean.cpu().float()).norm())
        if difference > 0.05 * float(self.w_mean.norm()) + 1e-6:
            raise InputError(
                "these directions were found on another generator: its mean code differs by "
                f"{difference:.3g}; find directions on this one: "
                "python -m tools directions"
            )


def save_directions(path: str | os.PathLike[str], found: DirectionSet) -> None:
    """Write the file, atomically: rows in use as float16, names, units and cards in the header."""
    tensors = {"w_mean": found.w_mean.half().contiguous()}
    described = []
    for direction in found.directions:
        rows = direction.rows
        if not rows:
            raise InputError(f"direction {direction.name!r} is zero everywhere")
        kept = direction.vector[list(rows)]
        same = bool((kept - kept[:1]).abs().max() == 0)  # one vector on all rows, kept once
        tensors[direction.name] = (kept[:1] if same else kept).half().contiguous()
        size, card = len(direction.vector), dict(direction.card or {})
        entry = {"name": direction.name, "rows": list(rows), "num_styles": size}
        described.append({**entry, "unit": direction.unit, "card": card})
    about = json.dumps(described)
    metadata = {"format": DIRECTIONS_FORMAT, "directions": about, "card": found.card}
    write_tensors(path, tensors, metadata)


def load_directions(path: str | os.PathLike[str] | None = None) -> DirectionSet:
    """Read a file of directions; None is the packaged one, found on the packaged prior."""
    path = PACKAGED if path is None else Path(path)
    if not path.is_file():
        raise CheckpointError(
            f"no file of directions at {path}; python -m tools directions writes one"
        )
    header = read_header(path)
    if header.get("format") != DIRECTIONS_FORMAT:
        raise CheckpointError(
            f"{path} holds no directions: its format is {header.get('format')!r}, expected "
            f"{DIRECTIONS_FORMAT!r}"
        )
    tensors = read_tensors(path)
    try:
        w_mean = tensors["w_mean"].float()
        directions = tuple(
            _read_one(entry, tensors, len(w_mean)) for entry in json.loads(header["directions"])
        )
    except (KeyError, TypeError, ValueError, IndexError, RuntimeError) as error:
        raise CheckpointError(f"{path} is damaged: {type(error).__name__}: {error}") from error
    return DirectionSet(directions, w_mean, header.get("card", ""))


def _read_one(entry: Mapping[str, Any], tensors: Mapping[str, Tensor], w_dim: int) -> Direction:
    vector = torch.zeros(entry["num_styles"], w_dim)
    vector[entry["rows"]] = tensors[entry["name"]].float()
    return Direction(entry["name"], vector, entry["unit"], entry["card"])


STEPS = (-3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0)


def direction_sheet(
    generator: Generator,
    direction: Direction,
    w_plus: Tensor,
    steps: Sequence[float] = STEPS,
    size: int = 128,
) -> Image.Image:
    """One row for each code of W+ [n,k,w_dim], moved by each of `steps`."""
    pictures: list[np.ndarray] = []
    captions: list[str] = []
    for code in w_plus:
        moved = move(code[None].expand(len(steps), -1, -1), direction, torch.tensor(list(steps)))
        pictures.extend(to_uint8(paint_faces(generator, moved, size)))
        captions.extend(f"{direction.name} {step:+g}" if step else "as it is" for step in steps)
    return grid_sheet(pictures, captions, len(steps))


@torch.no_grad()
def channel_sheet(
    generator: Generator,
    channels: Sequence[StyleChannel],
    w_plus: Tensor,
    steps: Sequence[float] = (-10.0, -5.0, 0.0, 5.0, 10.0),
    size: int = 128,
) -> Image.Image:
    """One row for each channel, on the first code of W+; steps in the channel's deviations."""
    pictures: list[np.ndarray] = []
    captions: list[str] = []
    styles = generator.styles(w_plus[:1])
    for channel in channels:
        for step in steps:
            change = {(channel.layer, channel.channel): step * channel.std}
            face = paint(generator, move_channels(styles, change), size)
            pictures.extend(to_uint8(face))
            captions.append(f"{channel.name} {step:+g}")
    return grid_sheet(pictures, captions, len(steps))


@torch.no_grad()
def sefa(
    generator: Generator, count: int = 8, rows: Sequence[int] | None = None, normalise: bool = True
) -> list[Direction]:
    """The `count` unit directions that change the styles of the given rows most, strongest first.

    They are the right singular vectors of the stacked modulation weights A [sum c,w_dim]
    (SeFa, Shen and Zhou 2021, eq. 7: the top eigenvectors of A^T A). `normalise` brings each
    channel's weights to length 1 first, as the authors' code does. The sign is fixed: the largest
    entry is above 0. `rows` None takes all of W+.
    """
    chosen = _chosen_rows(generator, count, rows)
    pairs = zip(affine_maps(generator), style_layers(generator), strict=True)
    stacked = [weight for (weight, _), layer in pairs if layer.row in chosen]
    if not stacked:
        raise InputError(f"rows {chosen} hold no layer; rows go to {generator.num_styles}")
    matrix = torch.cat(stacked).double()
    if normalise:
        matrix = matrix / matrix.norm(dim=1, keepdim=True).clamp_min(1e-12)
    _, strengths, vectors = torch.linalg.svd(matrix, full_matrices=False)
    directions = []
    for i in range(min(count, len(vectors))):
        vector = vectors[i] * torch.sign(vectors[i][vectors[i].abs().argmax()])
        card = {"found_by": "SeFa", "singular_value": round(float(strengths[i]), 4)}
        full = on_rows(generator, vector.float(), chosen)
        directions.append(Direction(f"sefa-{i}", full, "length 1 in w", card))
    return directions


def ganspace(
    generator: Generator,
    count: int = 8,
    rows: Sequence[int] | None = None,
    samples: int = 16384,
    seed: int = 0,
) -> list[Direction]:
    """Principal axes of w (GANSpace, Härkönen et al. 2020), each one standard deviation long."""
    chosen = _chosen_rows(generator, count, rows)
    statistics = measure_w(generator, samples, seed, count)
    total = float(statistics.covariance.diagonal().sum())
    directions = []
    for i, axis in enumerate(statistics.axes):
        axis = axis * torch.sign(axis[axis.abs().argmax()])
        card = {"found_by": "GANSpace", "share": round(float(axis.square().sum()) / total, 4)}
        directions.append(Direction(f"pca-{i}", on_rows(generator, axis, chosen), card=card))
    return directions


def _chosen_rows(generator: Generator, count: int, rows: Sequence[int] | None) -> list[int]:
    if not 1 <= count <= generator.w_dim:
        raise InputError(f"{count} directions; expected 1 to {generator.w_dim}")
    return list(range(generator.num_styles) if rows is None else rows)


@dataclass(frozen=True)
class Boundary:
    """A plane between two sets of codes: unit `normal` [w_dim] towards the second set.

    `accuracy`: share told rightly among codes that were held out. `distance`: how far the means
    of the two sets lie apart along the normal, the unit of an edit.
    """

    normal: Tensor
    accuracy: float
    distance: float


def fit_boundary(
    first: Tensor, second: Tensor, penalty: float = 1.0, folds: int = 5, seed: int = 0
) -> Boundary:
    """Linear boundary between codes [n,w_dim] without and with a trait (InterFaceGAN).

    Logistic regression with an L2 penalty on standardised codes, both sets weighing the same;
    `accuracy` is balanced and cross-validated over `folds`.
    """
    if min(len(first), len(second)) < 2:
        raise InputError(
            f"a boundary needs two codes or more on each side, got {len(first)} and {len(second)}"
        )
    x = torch.cat([first, second]).double()
    y = torch.cat([torch.zeros(len(first)), torch.ones(len(second))]).double()
    mean, scale = x.mean(0), x.std().clamp_min(1e-12)
    x = (x - mean) / scale
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
    folds = min(folds, len(first), len(second))
    right, fold = torch.zeros(len(x)), torch.empty(len(x), dtype=torch.long)
    for label in (0, 1):  # every fold has both sides
        members = order[y[order] == label]
        fold[members] = torch.arange(len(members)) % folds
    for k in range(folds):
        slope, level = _logistic(x[fold != k], y[fold != k], penalty)
        told = (x[fold == k] @ slope + level > 0).double()
        right[fold == k] = (told == y[fold == k]).float()
    slope, _ = _logistic(x, y, penalty)
    normal = (slope / slope.norm().clamp_min(1e-12)).float()
    balanced = (right[y == 0].mean() + right[y == 1].mean()) / 2
    apart = float((second.float().mean(0) - first.float().mean(0)) @ normal)
    return Boundary(normal, float(balanced), apart)


def _logistic(x: Tensor, y: Tensor, penalty: float) -> tuple[Tensor, Tensor]:
    """Newton's method (IRLS) on the penalised likelihood; few steps reach rounding."""
    share = torch.where(y > 0, 0.5 / y.mean(), 0.5 / (1 - y.mean()))
    wide = torch.cat([x, torch.ones(len(x), 1, dtype=x.dtype)], 1)
    hold = penalty * torch.eye(wide.shape[1], dtype=x.dtype)
    hold[-1, -1] = 1e-6
    weight = torch.zeros(wide.shape[1], dtype=x.dtype)
    for _ in range(30):
        p = torch.sigmoid(wide @ weight)
        slope = wide.T @ (share * (p - y)) + hold @ weight
        curve = wide.T @ (wide * (share * p * (1 - p))[:, None]) + hold
        step = torch.linalg.solve(curve, slope)
        weight = weight - step
        if float(step.abs().max()) < 1e-9:
            break
    return weight[:-1], weight[-1]


PHOTO_SIZE = 512  # px that photos are framed at for the encoder
BATCH = 4


def photo_codes(
    folder: Path, generator: Generator, restorer: str = "default", show_progress: bool = False
) -> Tensor:
    """w [n,w_dim] of the largest face of each photo of a folder, by a restorer's encoder.

    The mean over the rows of W+ that the encoder gives. Photos without a face are left out;
    InputError where fewer than two remain.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder; expected one of photos")
    detector = load_detector()
    faces = []
    for path in tqdm(sorted(folder.iterdir()), desc=folder.name, disable=not show_progress):
        if path.is_file():
            try:
                faces.append(framed_face(path, PHOTO_SIZE, detector).image)
            except InputError:
                continue
    if len(faces) < 2:
        raise InputError(f"{folder}: {len(faces)} photos with a face; a boundary needs two or more")
    batches = torch.cat(faces).split(BATCH)
    return torch.cat([encoder_start(restorer, generator, b).mean(1) for b in batches])


def boundary_direction(
    generator: Generator,
    name: str,
    without: Tensor,
    with_trait: Tensor,
    rows: tuple[int, ...],
    how: str,
) -> tuple[Direction, Boundary]:
    """A direction from codes w [n,w_dim] without a trait to codes with it (InterFaceGAN).

    Strength 1 is half of the distance of the two sets' means along the normal, but at least a
    standard deviation of all codes, so that an encoder whose codes hardly leave the mean still
    gives steps that can be seen.
    """
    boundary = fit_boundary(without, with_trait)
    together = torch.cat([without, with_trait])
    deviation = float((together @ boundary.normal).std())
    step = max(boundary.distance / 2, deviation)
    card = {
        "found_by": f"logistic regression between codes ({how})",
        "codes": [len(without), len(with_trait)],
        "accuracy_held_out": round(boundary.accuracy, 3),
    }
    vector = on_rows(generator, boundary.normal * step, rows)
    unit = "half of the distance of the two sets, or a deviation of their codes if larger"
    return Direction(name, vector, unit, card), boundary
