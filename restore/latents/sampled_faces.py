"""Codes sampled from the prior together with the measures of their faces, kept in one file."""

from __future__ import annotations

import json
import os
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from restore.errors import CheckpointError, InputError
from restore.latents.face_measures import FaceMeter
from restore.latents.paint import check_size, paint
from restore.latents.spaces import Generator, truncate, z_of_seeds

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
def paint_faces(generator: Generator, w_plus: Tensor, size: int, half: bool = False) -> Tensor:
    """W+ [n,k,w_dim] -> [n,3,size,size] RGB in [-1,1], the full-size faces averaged down.

    One by one: little memory, and on a CPU faster than a batch. `half`: bfloat16 convolutions.
    """
    check_size(generator, size)
    with torch.autocast(w_plus.device.type, torch.bfloat16) if half else nullcontext():
        faces = [paint(generator, generator.styles(code), size) for code in w_plus.split(1)]
    return torch.cat(faces).float().clamp(-1, 1)


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
    rows = _read(keep, names, first_seed, truncation)
    seeds = range(first_seed + len(rows), first_seed + count)
    for seed in tqdm(seeds, desc="faces", disable=not show_progress):
        w = truncate(generator.mapping(z_of_seeds(generator, [seed])), generator.w_mean, truncation)
        face = paint_faces(generator, w[:, None].expand(-1, generator.num_styles, -1), size)
        measured = meter(face)
        rows.append(torch.stack([measured[name][0] for name in names]).float())
        if keep is not None and (len(rows) % KEEP_EVERY == 0 or len(rows) == count):
            _write(keep, rows, names, first_seed, truncation)
    table = torch.stack(rows[:count])
    z = z_of_seeds(generator, range(first_seed, first_seed + count))
    w = truncate(generator.mapping(z), generator.w_mean, truncation)
    seen = table[:, -1] >= least_presence
    return MeasuredFaces(w[seen], table[seen, :-1], names[:-1])


def _write(
    path: Path, rows: list[Tensor], names: tuple[str, ...], first_seed: int, truncation: float
) -> None:
    from safetensors.torch import save_file

    path.parent.mkdir(parents=True, exist_ok=True)
    about = {"names": json.dumps(names), "first_seed": str(first_seed), "psi": f"{truncation:g}"}
    part = path.with_name(f".{path.name}.part")
    save_file({"measures": torch.stack(rows)}, part, metadata=about)
    os.replace(part, path)


def _read(
    path: Path | None, names: tuple[str, ...], first_seed: int, truncation: float
) -> list[Tensor]:
    if path is None or not path.is_file():
        return []
    from safetensors import safe_open

    try:
        with safe_open(path, "pt") as file:
            about = file.metadata() or {}
            table = file.get_tensor("measures")
    except Exception as error:  # safetensors' own error type is not public in all versions
        raise CheckpointError(f"{path} is no file of measured faces: {error}") from error
    expected = {"names": json.dumps(names), "first_seed": str(first_seed), "psi": f"{truncation:g}"}
    if about != expected:
        raise InputError(
            f"{path} holds other measures ({about}); expected {expected}: name another file"
        )
    return list(table)
