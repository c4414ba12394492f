"""Does the choice by reference photos keep the person: people with several photos, one restored."""

from __future__ import annotations

import numpy as np
from tqdm import tqdm

from restore.benchmarks.identity_pairs import People, read_people
from restore.benchmarks.identity_restoring import framed, open_restorer, restored, worn
from restore.pipeline.guard import FIDELITIES, LEAST_GAIN
from restore.trust.identity import IdentityEmbedder, References, choose_candidate, cosine

RECIPES = ("gfpgan", "heavy")
_REFERENCES = 4  # photos of a person that are used at most


def references_table(
    student: IdentityEmbedder, teacher: IdentityEmbedder, store: str, model: str, count: int
) -> str:
    """Teacher's mean cosine of a restored photo to the person's other photos, by how it was chosen.

    The choice is the student's, the judge is the teacher. Each person's first photo is degraded and
    restored; the others are half the references, half (held back from the choice) the judge's.
    """
    runtime = open_restorer(model)
    people = read_people(store)
    persons = _with_photos(people, 3)[:count]
    dials = FIDELITIES if runtime.supports_fidelity else (1.0,)
    lines = [
        f"{len(persons)} people with three photos or more; mean cosine of the teacher, and its "
        "standard error, to photos of the person that the choice did not see.",
        "",
        f"| recipe | {' | '.join(f'fidelity {dial:g}' for dial in dials)} | chosen | best there is "
        "| chosen - fidelity 1 |",
        "|---|" + "---|" * (len(dials) + 3),
    ]
    for recipe in RECIPES:
        scores, picks = [], []
        for person in tqdm(persons, desc=recipe, leave=False):
            rows = np.flatnonzero(people.person == person)[: 1 + 2 * _REFERENCES]
            first, others = rows[:1], rows[1:]
            shown, judged = others[::2], others[1::2]
            lq = worn(framed(people.crops[first], runtime.crop_size), recipe, [int(first[0])])
            made = np.concatenate([restored(runtime, lq, dial) for dial in dials])
            photos = framed(people.crops[np.concatenate([shown, judged])], 256)
            known = References(student.embed(photos[: len(shown)]), ())
            picks.append(choose_candidate(student.embed(made), known, LEAST_GAIN)[0])
            vectors = teacher.embed(photos[len(shown) :])
            scores.append(cosine(teacher.embed(made)[:, None], vectors[None]).mean(1))
        table = np.stack(scores)
        chosen = table[np.arange(len(table)), picks]
        columns = [*table.T, chosen, table.max(1), chosen - table[:, 0]]
        cells = [f"{v.mean():.3f} ± {v.std() / len(v) ** 0.5:.3f}" for v in columns]
        lines.append(f"| {recipe} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _with_photos(people: People, least: int) -> list[int]:
    counts = np.bincount(people.person, minlength=len(people.names))
    return [int(person) for person in np.flatnonzero(counts >= least)]
