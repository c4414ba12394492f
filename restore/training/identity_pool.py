"""IdentityPool: inner faces, clean and degraded, with what the teacher says of them, on the disk.

Made once before a distillation, so that a step costs a lookup: `views.npy` uint8 [n,1+v,128,112,3]
(the clean face first), `targets.npy` float32 [n,d], `maps.npy` float16 [n,2,c,7,6].
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import nn
from tqdm import tqdm

from restore.data.stores import Store, open_store
from restore.degradation.degrade import degrade
from restore.faces.align import warp
from restore.geometry import ffhq_template, similarity
from restore.networks.identity import MobileFaceNet
from restore.training.identity_options import CropSource
from restore.training.identity_split import held_out_people, person_of
from restore.trust.identity import VIEW, VIEW_POINTS

SQUARE = 144
"""px of the square that is degraded: the FFHQ frame would have 148 px at the view's scale."""
MARGIN = 8
"""px that a stored view is larger than the network's on each side: room for jitter."""
CHUNK = 64


@dataclass(frozen=True, eq=False)
class IdentityPool:
    """Mapped arrays of a pool folder and the keys of its rows."""

    views: NDArray[np.uint8]
    targets: NDArray[np.float32]
    maps: NDArray[np.float16]
    keys: tuple[str, ...]


def make_pool(
    folder: Path,
    sources: Sequence[CropSource],
    teacher: MobileFaceNet,
    recipe: str,
    variants: int,
    seed: int,
) -> IdentityPool:
    """The pool of `folder`, made where it is missing or unfinished; goes on where it stopped.

    A pool of other crops, recipe or seed in the same folder is replaced.
    """
    rows = list(_rows(sources))
    height, width = VIEW[0] + 2 * MARGIN, VIEW[1] + 2 * MARGIN
    shapes = {
        "views": (np.uint8, (len(rows), 1 + variants, height, width, 3)),
        "targets": (np.float32, (len(rows), 128)),
        "maps": (np.float16, (len(rows), 2, 128, 7, 6)),
    }
    asked = [[str(s), s.zoom, list(s.centre)] for s in sources]
    named = json.dumps([asked, [key for _, key, _ in rows], recipe, variants, seed])
    digest = hashlib.sha256(named.encode()).hexdigest()
    folder.mkdir(parents=True, exist_ok=True)
    journal = folder / "journal.json"
    done = _done(journal, digest)
    arrays: dict[str, Any] = {}
    for name, (dtype, shape) in shapes.items():
        path = folder / f"{name}.npy"
        mode = "r+" if done and path.is_file() else "w+"
        arrays[name] = np.lib.format.open_memmap(path, mode, dtype, shape)
        done = done if mode == "r+" else 0
    with tqdm(total=len(rows), initial=done, desc="faces for the student", unit="face") as bar:
        for start in range(done, len(rows), CHUNK):
            part = slice(start, min(start + CHUNK, len(rows)))
            _fill(arrays, part, rows[part], teacher, recipe, variants, seed)
            for array in arrays.values():
                array.flush()
            journal.write_text(json.dumps({"digest": digest, "done": part.stop}), "utf-8")
            bar.update(part.stop - start)
    return IdentityPool(keys=tuple(key for _, key, _ in rows), **arrays)


def teacher_targets(teacher: MobileFaceNet, views: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Views [n,3,112,96] in [-1,1] -> (unit vectors [n,128], maps [n,2,128,7,6]).

    The vector is the mean of both mirror images' embeddings: a face has no side. Maps are those of
    the last block, of the image and of its mirror image.
    """
    maps, vectors = [], []
    # bfloat16 moves a vector by 0.002 of its length at most and takes 40 % off on CPUs that have it
    with torch.inference_mode(), torch.autocast(views.device.type, torch.bfloat16):
        for image in (views, views.flip(3)):
            x = image.contiguous(memory_format=torch.channels_last)
            found = teacher.blocks(teacher.dw_conv1(teacher.conv1(x)))
            pooled = teacher.linear1(teacher.linear7(teacher.conv2(found)))
            maps.append(found.float())
            vectors.append(F.normalize(torch.flatten(pooled, 1).float(), dim=1))
    return F.normalize(vectors[0] + vectors[1], dim=1), torch.stack(maps, 1)


def square_view(crop: NDArray[np.uint8], source: CropSource) -> NDArray[np.uint8]:
    """A crop [s,s,3] -> the inner face and what surrounds it, [144,144,3], at the view's scale."""
    points = ffhq_template(crop.shape[0], source.zoom, source.centre)
    shift = np.array([(SQUARE - VIEW[1]) / 2, (SQUARE - VIEW[0]) / 2])
    matrix = similarity(points, np.array(VIEW_POINTS) + shift)
    return np.asarray(warp(crop, matrix, SQUARE, SQUARE), np.uint8)


def _rows(sources: Sequence[CropSource]) -> Iterator[tuple[Store, str, CropSource]]:
    for source in sources:
        store = open_store(source.path)
        left_out = held_out_people(store.keys) if source.people else frozenset()
        yield from ((store, k, source) for k in store.keys if person_of(k) not in left_out)


def _done(journal: Path, digest: str) -> int:
    if not journal.is_file():
        return 0
    content = json.loads(journal.read_text("utf-8"))
    return int(content["done"]) if content["digest"] == digest else 0


def _fill(
    arrays: dict[str, Any],
    part: slice,
    rows: Sequence[tuple[Store, str, CropSource]],
    teacher: MobileFaceNet,
    recipe: str,
    variants: int,
    seed: int,
) -> None:
    squares = np.stack([square_view(store.image(key), source) for store, key, source in rows])
    clean = torch.from_numpy(squares).permute(0, 3, 1, 2).float() / 127.5 - 1
    top, left = (SQUARE - VIEW[0]) // 2, (SQUARE - VIEW[1]) // 2
    inner = clean[:, :, top : top + VIEW[0], left : left + VIEW[1]]
    targets, maps = teacher_targets(teacher, inner)
    arrays["targets"][part] = targets.numpy()
    arrays["maps"][part] = maps.half().numpy()
    top, left = top - MARGIN, left - MARGIN
    height, width = VIEW[0] + 2 * MARGIN, VIEW[1] + 2 * MARGIN
    for v in range(1 + variants):
        shown = clean
        if v:
            numbers = [seed * 1_000_003 + (part.start + i) * 131 + v for i in range(len(rows))]
            shown = degrade(clean, recipe, seeds=numbers).lq
        pixels = ((shown + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
        cut = pixels[:, :, top : top + height, left : left + width]
        arrays["views"][part, v] = cut.permute(0, 2, 3, 1).numpy()


def load_teacher(path: str | Path) -> MobileFaceNet:
    """The teacher, frozen; raises CheckpointError where the file holds another network."""
    from restore.errors import CheckpointError
    from restore.losses.feature_files import load_identity_network

    network: nn.Module = load_identity_network(path)
    if not isinstance(network, MobileFaceNet):
        raise CheckpointError(
            f"{path} holds a {type(network).__name__}; the student learns the last map of a "
            "MobileFaceNet"
        )
    return network.to(memory_format=torch.channels_last)
