"""`directions find`: sample, measure, fit, check, and write the directions that hold."""

from __future__ import annotations

import argparse
import csv
from pathlib import Path
from typing import TYPE_CHECKING

from restore.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from restore.data.stores import Store
    from restore.latents.age import AgeRegression
    from restore.latents.find_directions import Identity

CARD = """# Directions of the packaged prior

Found by `python -m restore.latents directions find` on {count} sampled faces; strength 1 is one
standard deviation of the measure that the direction is named after, among them. Each was scaled on
{faces} fresh faces and checked on {faces} others; those whose measure did not follow, or that moved
another measure more, are not in this file. They change pictures of faces; they say nothing about
anybody. They carry the prior's correlations (FFHQ) as far as the measures held do not undo them.
"""
AGE_BATCH = 8


def find_and_save(arguments: argparse.Namespace) -> str:
    """Run the search; returns the lines to print."""
    from restore.latents.directions import DirectionSet, save_directions
    from restore.latents.face_measures import FaceMeter
    from restore.latents.find_directions import WANTED, find_directions
    from restore.latents.generate import load_generator
    from restore.latents.sampled_faces import measure_samples
    from restore.losses.feature_files import load_identity_network, load_landmark_network
    from restore.metrics.identity import identity_measure
    from restore.runtime.memory import keep_freed_memory

    wanted = [w for w in WANTED if not arguments.only or w.name in arguments.only]
    strange = set(arguments.only) - {w.name for w in WANTED}
    if strange:
        known = ", ".join(w.name for w in WANTED)
        raise InputError(f"--only {', '.join(sorted(strange))}: unknown; there are {known}")
    if arguments.faces < 2:
        raise InputError(f"--faces {arguments.faces}: expected 2 or more")
    keep_freed_memory()
    generator = load_generator(arguments.model)
    meter = FaceMeter(load_landmark_network(arguments.mesh), _age(arguments))
    identity: Identity | None = None
    if arguments.identity is not None:
        cosine = identity_measure(load_identity_network(arguments.identity))

        def identity(a: Tensor, b: Tensor) -> Tensor:
            return cosine(a, b, None)

    samples = measure_samples(
        generator, meter, arguments.count, keep=arguments.keep, show_progress=True
    )
    kept, refused = find_directions(
        generator,
        meter,
        samples,
        wanted,
        arguments.faces,
        identity,
        half=arguments.half,
        show_progress=True,
    )
    lines = [f"{name} is left out: {why}" for name, why in refused.items()]
    if not kept:
        raise InputError("no direction held its check; sample more faces. " + "; ".join(lines))
    card = CARD.format(count=len(samples.w), faces=arguments.faces)
    save_directions(arguments.output, DirectionSet(tuple(kept), generator.w_mean, card))
    names = ", ".join(d.name for d in kept)
    size = arguments.output.stat().st_size / 1000
    return "\n".join([f"{arguments.output}: {names}; {size:.0f} kB", *lines])


def _age(arguments: argparse.Namespace) -> AgeRegression | None:
    """The age regression, where all that it needs was given."""
    from restore.data.stores import open_store
    from restore.latents.age import age_features, fit_age
    from restore.losses.feature_files import load_feature_network, load_identity_network

    needs = (arguments.ages, arguments.age_faces, arguments.texture, arguments.identity)
    if all(path is None for path in needs[:3]):
        return None
    if any(path is None for path in needs):
        raise InputError("age needs --ages, --age-faces, --texture and --identity, all four")
    ages = _read_ages(arguments.ages)
    store = open_store(arguments.age_faces)
    keys = _drawn([k for k in store.keys if _stem(k) in ages], arguments.age_count)
    if len(keys) < 20:
        raise InputError(
            f"{len(keys)} crops of {arguments.age_faces} have an age in {arguments.ages}; "
            "expected 20 or more"
        )
    import torch

    features = age_features(
        load_feature_network(arguments.texture), load_identity_network(arguments.identity)
    )
    years = torch.tensor([ages[_stem(key)] for key in keys])
    return fit_age(features, _batches(store, keys, arguments.age_zoom), years)


def _stem(name: str) -> str:
    """The name of a crop without the extension that some stores keep."""
    return name.removesuffix(Path(name).suffix)


def _drawn(keys: list[str], count: int) -> list[str]:
    import numpy as np

    order = np.arange(len(keys))
    np.random.default_rng(0).shuffle(order)
    return [keys[i] for i in order[:count]]


def _batches(store: Store, keys: list[str], zoom: float) -> Iterator[Tensor]:
    import numpy as np
    import torch
    from tqdm import tqdm

    from restore.data.frame import to_ffhq_frame

    for start in tqdm(range(0, len(keys), AGE_BATCH), desc="ages"):
        crops = np.stack([store.image(key) for key in keys[start : start + AGE_BATCH]])
        planes = torch.from_numpy(crops).permute(0, 3, 1, 2)
        centre = (256.0, 280.0) if zoom != 1 else (256.0, 256.0)
        yield to_ffhq_frame(planes, 256, zoom, centre, mode="bilinear")[0]


def _read_ages(path: Path) -> dict[str, float]:
    """Age in years by the crop's name without its extension."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        return {_stem(row["name"]): float(row["age"]) for row in rows}
    except (OSError, KeyError, ValueError) as error:
        raise InputError(
            f"{path} is no table of ages ({type(error).__name__}: {error}); expected CSV with the "
            "columns name, age"
        ) from error
