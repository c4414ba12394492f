"""fit: one training from its last state to its end, whatever is trained."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from restore.training.distributed import Ranks, summed
from restore.training.experiment_folder import ExperimentFolder
from restore.training.log import Log
from restore.training.progress import Progress
from restore.training.schedules import Schedule
from restore.training.state import random_state, restore_random_state, save_state
from restore.training.stop import Clock, StopSignals, TrainingError
from restore.training.task import Task


@dataclass(frozen=True)
class Pace:
    """How often what happens: steps, and minutes of wall clock where named so; None is never."""

    total_steps: int
    max_minutes: float | None = None
    print_every: int = 100
    save_every: int = 5000
    save_minutes: float | None = 5.0
    validate_every: int | None = None
    validate_minutes: float | None = None
    keep: int = 3


@dataclass(frozen=True)
class Run:
    """A training, ready to go."""

    name: str
    task: Task
    pace: Pace
    schedule: Schedule
    folder: ExperimentFolder
    log: Log
    ranks: Ranks
    progress: Progress
    validate: Callable[[Progress], Mapping[str, float]] | None = None
    last_validation: dict[str, float] = field(default_factory=dict)
    after_save: Callable[[Progress], None] | None = None
    """Called on the first rank after each save, to export what the run ships."""


def fit(run: Run) -> str:
    """Train until the last step, the end of the budget or a signal; says which of them it was.

    Ends with a complete state saved, also by SIGTERM and SIGINT. Raises `TrainingError` when a
    number is not finite or the disk is full: the last saved state stays.
    """
    progress, pace = run.progress, run.pace
    clock, saved, validated = Clock(pace.max_minutes), Clock(), Clock()
    seconds_before = progress.seconds
    meter = _Meter(progress.images)
    with StopSignals() as signals:
        ending = "total_iter" if progress.step >= pace.total_steps else ""
        while not ending:
            share = clock.seconds() / (60 * pace.max_minutes) if pace.max_minutes else 0.0
            run.task.trained.set_rates(run.schedule.factor(progress.step, share))
            meter.add(run.task.step(progress))
            progress.step += 1
            progress.seconds = seconds_before + clock.seconds()

            if progress.step % pace.print_every == 0:
                run.log.write("train", progress, meter.means(progress.images, run.ranks))

            due = _due(run, clock, saved, validated, signals.received)
            ending = due.ending
            if due.validate and not ending:
                _validate(run)
                validated = Clock()
            if due.save or ending:
                save(run)
                saved = Clock()
        if ending != "signal" and run.validate is not None:
            _validate(run)
            save(run)
    run.log.say(f"ended by {signals.received or ending} at step {progress.step}")
    return signals.received or ending


@dataclass(frozen=True)
class _Due:
    save: bool
    validate: bool
    ending: str


def _due(run: Run, clock: Clock, saved: Clock, validated: Clock, received: str | None) -> _Due:
    """What follows this step, the same on all ranks: the first one's clocks, anyone's signal."""
    pace, step, first = run.pace, run.progress.step, run.ranks.first
    flags = torch.tensor(
        [
            float(received is not None),
            float(first and clock.spent()),
            float(first and _passed(saved, pace.save_minutes)),
            float(first and _passed(validated, pace.validate_minutes)),
        ]
    )
    signalled, spent, save_now, validate_now = (summed(flags, run.ranks) > 0).tolist()
    ending = "signal" if signalled else "max_minutes" if spent else ""
    if not ending and step >= pace.total_steps:
        ending = "total_iter"
    validate = pace.validate_every is not None and step % pace.validate_every == 0
    return _Due(
        save=save_now or step % pace.save_every == 0,
        validate=run.validate is not None and (validate or validate_now),
        ending=ending,
    )


def _passed(since: Clock, minutes: float | None) -> bool:
    return minutes is not None and since.seconds() >= 60 * minutes


def _validate(run: Run) -> None:
    assert run.validate is not None
    values = run.validate(run.progress)
    run.log.write("val", run.progress, values)
    run.last_validation.clear()
    run.last_validation.update(values)


def save(run: Run) -> None:
    """Write the complete state, then the weights; only the first rank writes."""
    if not run.ranks.first:
        return
    progress = run.progress
    try:
        save_state(run.folder.states, progress.step, content_of(run), run.pace.keep)
        for name, network in run.task.trained.networks.items():
            average = run.task.trained.averages.get(name)
            run.folder.save_weights(name, progress.step, network, average, run.pace.keep)
        if run.after_save is not None:
            run.after_save(progress)
    except OSError as error:
        raise TrainingError(
            f"the state of step {progress.step} could not be written ({error}); the state before "
            f"it in {run.folder.states} is whole. Make room on the disk and resume"
        ) from error


def content_of(run: Run) -> dict[str, Any]:
    """The complete state, to be saved."""
    return {
        "name": run.name,
        "progress": run.progress.state_dict(),
        "trained": run.task.trained.state_dict(),
        "task": run.task.state_dict(),
        "random": random_state(),
        "saved": time.time(),
    }


def resume(run: Run, content: Mapping[str, Any], ignore: tuple[str, ...] = ()) -> None:
    """Put a run where a saved state left it."""
    run.progress.load_state_dict(content["progress"])
    run.task.trained.load_state_dict(content["trained"], ignore)
    run.task.load_state_dict(content["task"])
    if run.ranks.first:
        restore_random_state(content["random"])
    run.log.say(f"resumed at step {run.progress.step}, {run.progress.images} images")


class _Meter:
    """Sums of what the steps logged since it was last read."""

    def __init__(self, images: int) -> None:
        self._clear(images)

    def _clear(self, images: int) -> None:
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}
        self._images = images
        self._start = time.monotonic()

    def add(self, values: Mapping[str, Tensor]) -> None:
        """Take one step's values; nothing is read from the device yet."""
        for name, value in values.items():
            self._sums[name] = self._sums.get(name, 0) + value.detach()
            self._counts[name] = self._counts.get(name, 0) + 1

    def means(self, images: int, ranks: Ranks) -> dict[str, float]:
        """The means over steps and ranks, and images per second; starts anew."""
        names = sorted(self._sums)
        stacked = torch.stack([self._sums[n].cpu() / self._counts[n] for n in names])
        means = (summed(stacked, ranks) / ranks.world).tolist()
        speed = (images - self._images) / max(1e-9, time.monotonic() - self._start)
        self._clear(images)
        return {**dict(zip(names, means, strict=True)), "images_per_second": speed}
