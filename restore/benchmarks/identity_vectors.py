"""Vectors of people's photos by several networks, clean and degraded, each picture made once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from restore.benchmarks.identity_pairs import People, as_pixels, in_chunks, in_frame
from restore.degradation.degrade import degrade
from restore.degradation.recipe import RECIPES, Recipe
from restore.trust.identity import IdentityEmbedder

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
    return replace(RECIPES[name], reference_size=512)


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
        pixels = as_pixels(images)
        for name, network in networks.items():
            found[name].append(network.embed(pixels))
    return {name: np.concatenate(parts) for name, parts in found.items()}
