"""A maker's training as a run of `restore.training.fit`: its folder, log, clock and last state."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from restore.options.training import CosineOptions
from restore.training.distributed import Ranks
from restore.training.experiment import (
    CsvSink,
    ExperimentFolder,
    Log,
    Progress,
    TextSink,
    load_state,
    newest_state,
)
from restore.training.fit import Pace, Run, Schedule, Task, fit, resume


def train(
    name: str,
    task: Task,
    root: Path,
    pace: Pace,
    schedule: Schedule,
    go_on: bool,
    validate: Callable[[Progress], Mapping[str, float]] | None = None,
    after_save: Callable[[Progress], None] | None = None,
) -> Run:
    """Train `task` to its end in the folder `root`; `go_on` from the newest state there, if any."""
    folder = ExperimentFolder(root)
    folder.create(keep_old=True)
    text = TextSink(root, name)
    log = Log([text, CsvSink(root / "metrics.csv")], text.logger)
    run = Run(
        name, task, pace, schedule, folder, log, Ranks(), Progress(), validate, {}, after_save
    )
    state = newest_state(folder.states) if go_on else None
    if state is not None:
        resume(run, load_state(state))
    try:
        fit(run)
    finally:
        log.close()
    return run


def cosine(steps: int, warmup: int, min_factor: float, by_time: bool) -> Schedule:
    """A rate that falls on a cosine, by the steps or by the minutes of the pace."""
    by = "time" if by_time else "iter"
    curve = CosineOptions(type="CosineAnnealingLR", min_factor=min_factor, by=by)  # type: ignore[arg-type]
    return Schedule(curve, steps, warmup)


def group(weights: Iterable[nn.Parameter], rate: float, decay: float = 0.0) -> dict[str, Any]:
    """A group of an optimiser with the base rate that `fit` multiplies."""
    return {"params": list(weights), "lr": rate, "base_lr": rate, "weight_decay": decay}


def warm_decay(decay: float, step: int) -> float:
    """The decay of a moving average: early on it follows the weights."""
    return min(decay, (1 + step) / (10 + step))


def in_full_precision() -> torch.autocast:
    """Context in which losses are computed in float32 inside a step in bfloat16."""
    return torch.autocast("cpu", enabled=False)
