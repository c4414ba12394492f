"""The protocol's numbers as Markdown tables: quality, fidelity dial, aims, degradation head."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from restore.benchmarks.protocol import row_label
from restore.degradation.truth import DEGRADATION_NAMES, JPEG_UNIT, NOISE_UNIT

Rows = Mapping[str, Mapping[str, float]]

# metric -> (heading, decimals, higher is better; None: neither)
COLUMNS: Mapping[str, tuple[str, int, bool | None]] = {
    "psnr": ("PSNR", 2, True),
    "ssim": ("SSIM", 4, True),
    "lpips": ("LPIPS-squeeze (converted backbone)", 4, False),
    "niqe": ("NIQE (own statistics)", 2, False),
    "frechet": ("Fréchet (SqueezeNet)", 2, False),
    "identity": ("identity cosine (MobileFaceNet)", 3, True),
    "landmarks": ("landmarks, px of 512", 2, False),
    "w_distance": ("W+ to mean", 4, None),
    "gradient": ("gradient energy", 1, None),
    "detail": ("Laplacian energy", 2, None),
}

# name of the head -> (heading, unit, factor to that unit)
PARAMETERS: Mapping[str, tuple[str, str, float]] = dict(
    zip(
        DEGRADATION_NAMES,
        (
            ("log blur sigma", "ln px at 512", 1.0),
            ("log2 scale", "octaves", 1.0),
            ("noise sigma", "0..255", NOISE_UNIT),
            ("JPEG quality below 100", "steps", JPEG_UNIT),
            ("gray", "0..1", 1.0),
            ("damage", "0..1", 1.0),
        ),
        strict=True,
    )
)


def quality_table(rows: Rows, labels: Sequence[str], metrics: Sequence[str]) -> str:
    """One row a candidate; "–" where nothing was measured."""
    names = [*metrics, *(["w_distance"] if any("w_distance" in rows[r] for r in labels) else [])]
    heads = [_heading(name) for name in names]
    return markdown(["", *heads], [[r, *(_cell(rows[r], name) for name in names)] for r in labels])


def dial_table(rows: Rows, model: str, fidelities: Sequence[float]) -> str:
    """The fidelity dial of a model, and in its last row whether it is monotone."""
    senses = {"identity": 1, "psnr": 1, "gradient": -1, "detail": -1}
    labels = [row_label(model, f) for f in fidelities]
    names = [name for name in senses if name in rows[labels[0]]]
    body = [
        [f"{f:g}", *(_cell(rows[label], name) for name in names)]
        for f, label in zip(fidelities, labels, strict=True)
    ]
    verdicts = []
    for name in names:
        rising = senses[name] > 0
        good = monotone([rows[label][name] for label in labels], rising)
        verdicts.append(f"{'rises' if rising else 'falls'}: {'yes' if good else 'NO'}")
    heads = [COLUMNS[name][0] for name in names]
    return markdown(["fidelity", *heads], [*body, ["monotone", *verdicts]])


def monotone(values: Sequence[float], rising: bool) -> bool:
    """Whether the values never turn back, and end elsewhere than they began."""
    sign = 1 if rising else -1
    steps = [sign * (b - a) for a, b in pairwise(values)]
    return all(step >= 0 for step in steps) and sum(steps) > 0


def aims_table(rows: Rows, model: str, fidelities: Sequence[float]) -> str:
    """The project's aims on the recipe `gfpgan`, against the bicubic row."""
    base = rows["LQ, bicubic"]
    body = []
    for fidelity in fidelities:
        own = rows[row_label(model, fidelity)]
        for name, aim, value, reached in _aims(own, base, fidelity):
            body.append([f"{fidelity:g}", name, aim, value, "yes" if reached else "NO"])
    return markdown(["fidelity", "measure", "aim", "measured", "reached"], body)


def calibration_table(truth: Tensor, estimates: Tensor) -> str:
    """Error per parameter of the degradation head, truth and estimates [n,6]; "mean" is what
    always saying the mean of these faces would err."""
    body = []
    for i, (heading, unit, factor) in enumerate(PARAMETERS.values()):
        t, e = truth[:, i].double() * factor, estimates[:, i].double() * factor
        guess = (t - t.mean()).abs().mean()
        body.append(
            [
                f"{heading} ({unit})",
                f"{float((e - t).abs().mean()):.3f}",
                f"{float(guess):.3f}",
                f"{float((e - t).mean()):+.3f}",
                _number(correlation(t, e), 2),
            ]
        )
    heads = ["parameter", "mean absolute error", "of the mean", "bias", "correlation"]
    return markdown(heads, body)


def correlation(a: Tensor, b: Tensor) -> float:
    """Pearson's correlation; NaN where one side does not vary."""
    a, b = a - a.mean(), b - b.mean()
    norm = float(a.square().sum().sqrt() * b.square().sum().sqrt())
    return float((a * b).sum()) / norm if norm > 1e-9 else math.nan


def markdown(heads: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """A Markdown table, its first column to the left, the others to the right."""
    lines = [list(heads), ["---", *["---:"] * (len(heads) - 1)], *map(list, body)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _aims(
    own: Mapping[str, float], base: Mapping[str, float], fidelity: float
) -> list[tuple[str, str, str, bool]]:
    aims = []
    for name, share in (("lpips", 0.5), ("frechet", 0.35)):
        if name in own:
            ratio = own[name] / base[name] if base[name] else math.nan
            heading = COLUMNS[name][0]
            aims.append((heading, f"at most {share:g} of bicubic", f"{ratio:.2f}", ratio <= share))
    if "identity" in own:
        least = max(0.8, base["identity"])
        value = own["identity"]
        aims.append(("identity cosine", f"at least {least:.3f}", f"{value:.3f}", value >= least))
    if fidelity == 1 and "psnr" in own:
        gain = own["psnr"] - base["psnr"]
        aims.append(("PSNR", "not below bicubic", f"{gain:+.2f} dB", gain >= 0))
    return aims


def _heading(name: str) -> str:
    heading, _, higher = COLUMNS[name]
    return heading if higher is None else f"{heading} {'↑' if higher else '↓'}"


def _cell(row: Mapping[str, float], name: str) -> str:
    return _number(row.get(name, math.nan), COLUMNS[name][1])


def _number(value: float, decimals: int) -> str:
    return "–" if math.isnan(value) else f"{value:.{decimals}f}"


def finite(values: Mapping[str, float]) -> dict[str, float | None]:
    """The same for JSON, which knows no NaN."""
    return {name: value if torch.isfinite(torch.tensor(value)) else None
            for name, value in values.items()}  # fmt: skip
