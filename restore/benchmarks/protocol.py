"""The evaluation protocol of the restorer: held-out faces, fixed recipes and seeds, masked metrics.

Faces are the crops of `faces256-val.tar` or `faces512-val.tar`, put back into the FFHQ frame of
their own size: a 256 px crop is compared at 256 px, where it still has its detail. Each is degraded
by a seed made of the recipe's and the crop's name, so that no batch, count or order changes it.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from restore.benchmarks.candidates import Reference, RestorerModel
from restore.benchmarks.small_picture import small_picture
from restore.data.frame import to_ffhq_frame
from restore.data.stores import Store, open_store
from restore.degradation.degrade import degrade, draw_stages
from restore.degradation.draws import draws_from
from restore.degradation.recipe import RECIPES, Recipe
from restore.errors import InputError
from restore.metrics.table import MetricSuite

SIZES = (64, 128, 256, 512)
"""px of the frame; those below 512 are made of the crops of 256 px."""
PROTOCOL_RECIPES = ("mild", "gfpgan", "heavy", "old_photo")
REFERENCE_SIZE = 512
"""A recipe's pixels are those of a crop of this size, so that a 256 px crop is degraded as much as
the 512 px one of its photo; `gfpgan` itself counts pixels at hand, and was written for 512."""


@dataclass(frozen=True)
class ProtocolFaces:
    """Crops by name, and the size of the frame that they are put into."""

    store: Store
    names: tuple[str, ...]
    size: int
    set_name: str

    def framed(self, names: Sequence[str]) -> tuple[Tensor, Tensor]:
        """(gt [n,3,s,s] RGB in [-1,1] on the 8-bit grid, mask [n,1,s,s]: 0 in the border)."""
        crops = []
        for name in names:
            crop = self.store.image(name)
            if crop.shape[0] != crop.shape[1]:
                raise InputError(f"{self.set_name}: {name} is {crop.shape}, expected a square crop")
            crops.append(torch.from_numpy(crop.copy()).permute(2, 0, 1)[None])
        framed = [to_ffhq_frame(crop, self.size) for crop in crops]
        images = torch.cat([image for image, _ in framed])
        return (images * 127.5 + 127.5).round() / 127.5 - 1, torch.cat([m for _, m in framed])


@dataclass(frozen=True)
class Batch:
    """`lq`, `gt` [n,3,s,s] RGB in [-1,1]; `mask` [n,1,s,s]; what was done, `truth` [n,6] in the
    units of the degradation head; `small`: the degraded pictures before they were enlarged, RGB
    uint8 [h_i,w_i,3]."""

    names: tuple[str, ...]
    lq: Tensor
    gt: Tensor
    mask: Tensor
    truth: Tensor
    small: tuple[np.ndarray, ...]


@dataclass
class RecipeResult:
    """What was measured on one recipe: rows label -> metric -> value, in the order of the table.

    `estimates`: model -> [N,6], for models that have a degradation head; `truth` [N,6].
    `pictures`: column -> uint8 RGB pictures of the first faces, for a sheet.
    """

    recipe: str
    rows: dict[str, dict[str, float]] = field(default_factory=dict)
    truth: Tensor = field(default_factory=lambda: torch.zeros(0, 6))
    estimates: dict[str, Tensor] = field(default_factory=dict)
    pictures: dict[str, list[np.ndarray]] = field(default_factory=dict)


def open_faces(
    folder: Path, size: int, count: int | None = None, part: str = "val", without: int = 0
) -> ProtocolFaces:
    """The set of that size in `folder`; `count` faces spread evenly over the sorted names, or all.

    `without`: the faces that this count would choose are left out first.
    Raises `InputError` where the folder or its tar is missing.
    """
    if size not in SIZES:
        raise InputError(f"size {size}: expected one of {', '.join(map(str, SIZES))} px")
    stored = max(size, 256)
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder; give the one that holds faces{stored}-{part}.tar")
    path = folder / f"faces{stored}-{part}.tar"
    if not path.is_file():
        raise InputError(
            f"{folder} holds no {path.name}; it is needed for --size {size}: a tar of square "
            "crops on the FFHQ template zoomed 1.2"
        )
    store = open_store(path, "tar")
    names = sorted(store.keys)
    if without:
        seen = set(spread(names, without))
        names = [name for name in names if name not in seen]
    return ProtocolFaces(store, spread(names, count), size, path.stem)


def spread(names: Sequence[str], count: int | None) -> tuple[str, ...]:
    """`count` names at even distances (they are sorted by source), all when None or more."""
    if count is None or count >= len(names):
        return tuple(names)
    if count < 1:
        raise InputError(f"count {count}: expected 1 face or more")
    return tuple(names[i * len(names) // count] for i in range(count))


def find_protocol_recipe(name: str) -> Recipe:
    """A named recipe of one pass, its pixels those of a 512 px crop, without colour jitter.

    The jitter of training shifts colours at random: no restorer can know by how much, so it would
    measure luck. Raises `InputError` for another, with the known ones.
    """
    single = [n for n, r in RECIPES.items() if r.second is None and r.final_sinc_prob == 0]
    if name not in single:
        raise InputError(f"recipe {name!r}: expected one of {', '.join(single)}")
    return replace(
        RECIPES[name],
        reference_size=REFERENCE_SIZE,
        color_jitter_prob=0.0,
        color_jitter_pt_prob=0.0,
    )


def seed_of(recipe: str, face: str) -> int:
    """The seed of one face under one recipe."""
    return zlib.crc32(f"{recipe}/{face}".encode())


def batches(faces: ProtocolFaces, recipe: str, batch_size: int) -> Iterator[Batch]:
    """The degraded faces of a recipe, in order."""
    kind = find_protocol_recipe(recipe)
    for start in range(0, len(faces.names), batch_size):
        names = faces.names[start : start + batch_size]
        good, mask = faces.framed(names)
        seeds = [seed_of(recipe, name) for name in names]
        done = degrade(good, kind, seeds=seeds)
        stage = draw_stages(kind, draws_from(len(names), None, seeds), (faces.size, faces.size))[0]
        small = tuple(
            small_picture(lq, (int(h), int(w)), kind.upsample_modes[0])
            for lq, h, w in zip(done.lq, stage.height, stage.width, strict=True)
        )
        yield Batch(names, done.lq, done.gt, mask, done.truth.as_target(), small)


@torch.no_grad()
def measure_recipe(
    faces: ProtocolFaces,
    recipe: str,
    references: Mapping[str, Reference],
    models: Sequence[RestorerModel],
    fidelities: Sequence[float],
    suites: Callable[[], MetricSuite],
    batch_size: int = 4,
    keep_pictures: int = 0,
    progress: bool = False,
) -> RecipeResult:
    """Every reference, and every model at every fidelity, over the faces of one recipe.

    Only one batch of pictures is held at a time; model rows are named by `row_label`, and have
    "w_distance" where the model tells its codes.
    """
    result = RecipeResult(recipe)
    columns: dict[str, MetricSuite] = {}
    truths: list[Tensor] = []
    estimates: dict[str, list[Tensor]] = {}
    distances: dict[str, list[Tensor]] = {}

    def take(label: str, images: Tensor, batch: Batch) -> None:
        if label not in columns:
            columns[label] = suites()
        columns[label].update(images, batch.gt, batch.mask)
        _keep(result.pictures, label, images, keep_pictures)

    bar = tqdm(total=len(faces.names), desc=recipe, unit="face", disable=not progress)
    for batch in batches(faces, recipe, batch_size):
        truths.append(batch.truth)
        for label, reference in references.items():
            take(label, reference(batch.lq, batch.small), batch)
        for model in models:
            painted = model.restore(batch.lq, fidelities)
            for fidelity, images in zip(fidelities, painted.images, strict=True):
                take(row_label(model.label, fidelity), images, batch)
            if painted.degradation is not None:
                estimates.setdefault(model.label, []).append(painted.degradation)
            if painted.w_distance is not None:
                distances.setdefault(model.label, []).append(painted.w_distance)
        _keep(result.pictures, "ground truth", batch.gt, keep_pictures)
        bar.update(len(batch.names))
    bar.close()
    result.truth = torch.cat(truths)
    result.estimates = {label: torch.cat(parts) for label, parts in estimates.items()}
    result.rows = {label: suite.result() for label, suite in columns.items()}
    for label, parts in distances.items():
        for fidelity in fidelities:
            mean = float(torch.cat(parts).double().mean())
            result.rows[row_label(label, fidelity)]["w_distance"] = mean
    return result


def row_label(model: str, fidelity: float) -> str:
    """The label of a model's row."""
    return f"{model}, fidelity {fidelity:g}"


def _keep(
    pictures: dict[str, list[np.ndarray]], label: str, images: Tensor, keep_pictures: int
) -> None:
    kept = pictures.setdefault(label, [])
    for image in images[: max(keep_pictures - len(kept), 0)]:
        pixels = (image.clamp(-1, 1) * 127.5 + 127.5).round().to(torch.uint8)
        kept.append(pixels.permute(1, 2, 0).cpu().numpy())
