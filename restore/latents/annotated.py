"""Codes of two kinds, from two folders of photos or told apart by a measure; their boundary."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from restore.errors import InputError
from restore.faces.detect import load_detector
from restore.latents.boundaries import Boundary, fit_boundary
from restore.latents.directions import Direction, on_rows
from restore.latents.encoder_start import encoder_start
from restore.latents.photos import framed_face
from restore.latents.spaces import Generator

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


def split_by_measure(w: Tensor, measure: Tensor, share: float = 0.3) -> tuple[Tensor, Tensor]:
    """The codes whose measure is lowest and highest, `share` of all on each side."""
    known = torch.isfinite(measure)
    w, measure = w[known], measure[known]
    count = int(share * len(w))
    if not 0 < share <= 0.5 or count < 2:
        raise InputError(f"share {share} of {len(w)} codes; expected two or more on each side")
    order = measure.argsort()
    return w[order[:count]], w[order[-count:]]
