"""Directions of edits in W+: what one is, moving codes along it, the file that carries them."""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from restore.config.model_header import read_header
from restore.errors import CheckpointError, InputError
from restore.latents.codes import Codes
from restore.latents.spaces import Generator, level_rows

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
                    "python -m restore.latents directions find"
                )
        difference = float((self.w_mean - generator.w_mean.cpu().float()).norm())
        if difference > 0.05 * float(self.w_mean.norm()) + 1e-6:
            raise InputError(
                "these directions were found on another generator: its mean code differs by "
                f"{difference:.3g}; find directions on this one: "
                "python -m restore.latents directions find"
            )


def save_directions(path: str | os.PathLike[str], found: DirectionSet) -> None:
    """Write the file, atomically: rows in use as float16, names, units and cards in the header."""
    from safetensors.torch import save_file

    tensors = {"w_mean": found.w_mean.half().contiguous()}
    described = []
    for direction in found.directions:
        rows = direction.rows
        if not rows:
            raise InputError(f"direction {direction.name!r} is zero everywhere")
        kept = direction.vector[list(rows)]
        same = bool((kept - kept[:1]).abs().max() == 0)  # one vector on all rows, kept once
        tensors[direction.name] = (kept[:1] if same else kept).half().contiguous()
        described.append(
            {
                "name": direction.name,
                "rows": list(rows),
                "num_styles": direction.vector.shape[0],
                "unit": direction.unit,
                "card": dict(direction.card or {}),
            }
        )
    metadata = {
        "format": DIRECTIONS_FORMAT,
        "directions": json.dumps(described),
        "card": found.card,
    }
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        save_file(tensors, part, metadata=metadata)
        part.chmod(0o644)  # safetensors leaves 0600; a packaged file is for every user
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def load_directions(path: str | os.PathLike[str] | None = None) -> DirectionSet:
    """Read a file of directions; None is the packaged one, found on the packaged prior."""
    from safetensors.torch import load_file

    path = PACKAGED if path is None else Path(path)
    if not path.is_file():
        raise CheckpointError(
            f"no file of directions at {path}; python -m restore.latents directions find writes one"
        )
    header = read_header(path)
    if header.get("format") != DIRECTIONS_FORMAT:
        raise CheckpointError(
            f"{path} holds no directions: its format is {header.get('format')!r}, expected "
            f"{DIRECTIONS_FORMAT!r}"
        )
    tensors = load_file(path)
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
