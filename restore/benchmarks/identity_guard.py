"""Does the guard's number tell the truth: input against output, and output against the truth."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from tqdm import tqdm

from restore.benchmarks.identity_numbers import rank_correlation
from restore.benchmarks.identity_restoring import framed, open_restorer, restored, worn
from restore.data.stores import open_store
from restore.trust.identity import PACKAGED_THRESHOLDS, IdentityEmbedder, cosine


def guard_table(
    student: IdentityEmbedder,
    teacher: IdentityEmbedder,
    store: str,
    model: str,
    recipes: Sequence[str],
    count: int,
) -> str:
    """By recipe: the guard's cosine (student, input and output), the teacher's to the truth.

    `store`: 512 px crops. Outputs at fidelity 1, in the photo's colours, as the pipeline has them.
    """
    runtime = open_restorer(model)
    crops = open_store(store)
    keys = crops.keys[:count]
    faces = framed(np.stack([crops.image(key) for key in keys]), runtime.crop_size)
    threshold = PACKAGED_THRESHOLDS.same_person
    truth = teacher.embed(faces)
    lines = [
        f"{len(keys)} faces of 512 px a recipe. Guard: student, input and output; below: share "
        f"under the threshold {threshold:.2f}. Truth: teacher, output and clean face; input: "
        "teacher, input and clean face.",
        "",
        "| recipe | guard 5 %, median | below | truth 5 %, median | input median "
        "| rank correlation of guard and truth |",
        "|---|---|---|---|---|---|",
    ]
    every: list[tuple[np.ndarray, np.ndarray]] = []
    for recipe in recipes:
        guard, honest, before = [], [], []
        for i in tqdm(range(len(keys)), desc=recipe, leave=False):
            lq = worn(faces[i : i + 1], recipe, [i])
            made = restored(runtime, lq, 1.0)
            guard.append(float(cosine(student.embed(lq), student.embed(made))[0]))
            honest.append(float(cosine(teacher.embed(made), truth[i : i + 1])[0]))
            before.append(float(cosine(teacher.embed(lq), truth[i : i + 1])[0]))
        own, real = np.array(guard), np.array(honest)
        every.append((own, real))
        cells = (
            f"{np.quantile(own, 0.05):.2f}, {np.median(own):.2f}",
            f"{(own < threshold).mean():.0%}",
            f"{np.quantile(real, 0.05):.2f}, {np.median(real):.2f}",
            f"{np.median(before):.2f}",
            f"{rank_correlation(own, real):.2f}",
        )
        lines.append(f"| {recipe} | {' | '.join(cells)} |")
    own, real = (np.concatenate(parts) for parts in zip(*every, strict=True))
    lines += ["", f"All recipes together: rank correlation {rank_correlation(own, real):.2f}."]
    return "\n".join(lines)
