"""Accuracy on pairs of photos, clean and degraded, and the thresholds that follow."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from restore.benchmarks.identity_numbers import (
    cross_cosines,
    equal_error,
    fold_accuracy,
    pass_rate,
    threshold_at,
)
from restore.benchmarks.identity_pairs import Pairs, People
from restore.benchmarks.identity_vectors import PeopleVectors
from restore.trust.identity import cosine

Cosines = NDArray[np.floating]


def condition_cosines(
    people: People, pairs: Pairs, vectors: PeopleVectors, network: str, recipe: str | None
) -> tuple[Cosines, Cosines]:
    """(cosines of the drawn pairs [m], those of all photos of two persons), one side degraded."""
    clean = vectors.clean[network]
    if recipe is None:
        drawn = cosine(clean[pairs.a], clean[pairs.b])
        return drawn, cross_cosines(clean, clean, people.person, people.person)
    drawn = cosine(clean[pairs.a], vectors.at(recipe, network, pairs.b))
    worn = vectors.degraded[recipe][network]
    return drawn, cross_cosines(worn, clean, people.person[vectors.rows], people.person)


def verification_table(
    people: People, pairs: Pairs, vectors: PeopleVectors
) -> tuple[str, Mapping[tuple[str, str], tuple[Cosines, Cosines]]]:
    """The table as Markdown, and (network, condition) -> (cosines of one person, of two)."""
    lines = [
        "| network | one side | accuracy | equal error (at) | 1 in 100 at, passes "
        "| 1 in 1000 at, passes |",
        "|---|---|---|---|---|---|",
    ]
    held = {}
    for network in vectors.clean:
        for recipe in (None, *vectors.degraded):
            drawn, different = condition_cosines(people, pairs, vectors, network, recipe)
            same = drawn[pairs.same]
            accuracy = fold_accuracy(drawn, pairs.same, pairs.fold)
            rate, place = equal_error(same, different)
            cells = [f"{accuracy.mean:.1%} ± {accuracy.error:.1%}", f"{rate:.1%} ({place:.2f})"]
            for share in (1e-2, 1e-3):
                threshold = threshold_at(different, share)
                cells.append(f"{threshold:.3f}, {pass_rate(same, threshold):.1%}")
            lines.append(f"| {network} | {recipe or 'clean'} | {' | '.join(cells)} |")
            held[network, recipe or "clean"] = (same, different)
    return "\n".join(lines), held


def same_photo_table(vectors: PeopleVectors) -> str:
    """Cosine of a photo with its own degraded copy: what a perfect restoration would show."""
    lines = ["| network | recipe | 1 % | 5 % | 25 % | median |", "|---|---|---|---|---|---|"]
    for recipe, of_network in vectors.degraded.items():
        for network, worn in of_network.items():
            own = cosine(vectors.clean[network][vectors.rows], worn)
            shares = np.quantile(own, (0.01, 0.05, 0.25, 0.5))
            lines.append(f"| {network} | {recipe} | {' | '.join(f'{v:.2f}' for v in shares)} |")
    return "\n".join(lines)
