"""Photos of named people: who is in them, and pairs of one and of two persons in ten folds."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from restore.data.frame import to_ffhq_frame
from restore.data.stores import open_store
from restore.errors import InputError
from restore.training.identity_split import held_out_people, person_of

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


def as_pixels(images: torch.Tensor) -> NDArray[np.uint8]:
    """Float RGB [n,3,h,w] in [-1,1] -> uint8 [n,h,w,3]."""
    pixels = ((images.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    return pixels.permute(0, 2, 3, 1).contiguous().numpy()


def in_chunks(count: int, size: int = 32) -> Sequence[slice]:
    """Slices that cover `count` rows."""
    return [slice(start, min(start + size, count)) for start in range(0, count, size)]
