"""fit: one training from its last state to its end, whatever is trained."""

from __future__ import annotations

import copy
import math
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import FrameType
from typing import Any, Protocol

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from restore.errors import CheckpointError, InputError, RestoreError
from restore.options.training import ConstantOptions, CosineOptions, MultiStepOptions, TrainOptions
from restore.training.distributed import Ranks, summed
from restore.training.experiment import (
    ExperimentFolder,
    Log,
    Progress,
    random_state,
    restore_random_state,
    save_state,
)


class TrainingError(RestoreError):
    """Training cannot go on; the last saved state is good."""


class StopSignals:
    """Context in which SIGTERM and SIGINT ask the loop to end after the step at hand.

    A second signal of the same kind acts as it did before. Outside the main thread, where handlers
    cannot be set, nothing is caught.
    """

    def __init__(self) -> None:
        self.received: str | None = None
        self._before: dict[int, object] = {}

    def __enter__(self) -> StopSignals:
        for number in (signal.SIGTERM, signal.SIGINT):
            try:
                self._before[number] = signal.signal(number, self._note)
            except ValueError:
                break
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        self._before.clear()

    def _note(self, number: int, _: FrameType | None) -> None:
        self.received = signal.Signals(number).name
        signal.signal(number, self._before[number])  # type: ignore[arg-type]


class Clock:
    """Seconds since the run began, and how much of its budget is spent; None is no limit.

    `before`: seconds that count as passed already.
    """

    def __init__(self, minutes: float | None = None, before: float = 0.0) -> None:
        self.start = time.monotonic() - before
        self.minutes = minutes

    def seconds(self) -> float:
        """Wall-clock seconds of this run."""
        return time.monotonic() - self.start

    def share(self) -> float:
        """How much of the budget is used up; 0 without one."""
        return self.seconds() / (60 * self.minutes) if self.minutes else 0.0

    def spent(self) -> bool:
        """Whether the budget is used up."""
        return self.minutes is not None and self.seconds() >= 60 * self.minutes


@dataclass(frozen=True)
class Schedule:
    """What factor of its base rate an optimiser has.

    Warm-up rises linearly over `warmup` steps; then the curve: a constant, a factor `gamma` at
    each of the milestones (steps), or a cosine that ends at `min_factor`.
    """

    curve: MultiStepOptions | CosineOptions | ConstantOptions
    total: int
    warmup: int = 0

    def factor(self, step: int, time_share: float = 0.0) -> float:
        """The factor at `step`, counted from 0; `time_share` of the run's minutes has passed."""
        rise = (step + 1) / (self.warmup + 1) if step < self.warmup else 1.0
        if isinstance(self.curve, MultiStepOptions):
            return rise * self.curve.gamma ** sum(step >= m for m in self.curve.milestones)
        if isinstance(self.curve, CosineOptions):
            share = time_share if self.curve.by == "time" else step / self.total
            swing = 0.5 * (1 + math.cos(math.pi * min(1.0, share)))
            return rise * (self.curve.min_factor + (1 - self.curve.min_factor) * swing)
        return rise


def schedule_of(options: TrainOptions) -> Schedule:
    """The schedule that an option file asks for."""
    return Schedule(options.scheduler, options.total_iter, max(0, options.warmup_iter))


def averaged_copy(network: nn.Module) -> nn.Module:
    """A copy to hold the average; frozen weights are shared with `network`, not copied."""
    shared = {id(p): p for p in network.parameters() if not p.requires_grad}
    return copy.deepcopy(network, memo=shared).requires_grad_(False).eval()


@torch.no_grad()
def ema_update(average: nn.Module, network: nn.Module, decay: float) -> None:
    """average = decay average + (1 - decay) network; buffers are copied.

    Call it once after each step of the optimiser, with `0.5 ** (images of the step / half-life)`.
    """
    pairs = zip(average.parameters(), network.parameters(), strict=True)
    trained = [(mean, now.to(mean.dtype)) for mean, now in pairs if now.requires_grad]
    if trained:
        means, weights = zip(*trained, strict=True)
        torch._foreach_lerp_(means, weights, 1 - decay)
    for held, current in zip(average.buffers(), network.buffers(), strict=True):
        held.copy_(current)


@dataclass(frozen=True)
class Trained:
    """Networks by BasicSR's names (net_g, net_d, ...), averages and optimisers of a task."""

    networks: Mapping[str, nn.Module]
    averages: Mapping[str, nn.Module]
    optimisers: Mapping[str, torch.optim.Optimizer] = field(default_factory=dict)

    def state_dict(self) -> dict[str, Any]:
        """Everything that training changes; frozen weights are left out."""
        return {
            "networks": {k: trained_state(n) for k, n in self.networks.items()},
            "averages": {k: trained_state(n, self.networks[k]) for k, n in self.averages.items()},
            "optimisers": {k: o.state_dict() for k, o in self.optimisers.items()},
        }

    def load_state_dict(self, state: Mapping[str, Any], ignore: tuple[str, ...] = ()) -> None:
        """Take a state back; networks named in `ignore` keep their weights and start anew."""
        for name, network in self.networks.items():
            if name not in ignore:
                fill_trained(network, state["networks"].get(name), name)
        for name, average in self.averages.items():
            if name not in ignore:
                fill_trained(average, state["averages"].get(name), name, self.networks[name])
        for name, optimiser in self.optimisers.items():
            if name not in ignore and name in state["optimisers"]:
                optimiser.load_state_dict(state["optimisers"][name])

    def set_rates(self, factor: float) -> None:
        """Every optimiser's rate: its base rate (kept in the group as `base_lr`) times factor."""
        for optimiser in self.optimisers.values():
            for group in optimiser.param_groups:
                group["lr"] = group["base_lr"] * factor


class Task(Protocol):
    """One kind of training."""

    trained: Trained

    def step(self, progress: Progress) -> dict[str, Tensor]:
        """Train once on the samples that come next, count them; the losses to log."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """The state beside networks and optimisers."""
        ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take it back."""
        ...


def trained_state(network: nn.Module, live: nn.Module | None = None) -> dict[str, Tensor]:
    """The state dict without frozen parameters; `live` says what is frozen, for averages."""
    frozen = _frozen_names(live or network)
    return {k: v for k, v in network.state_dict().items() if k not in frozen}


def fill_trained(
    network: nn.Module,
    state: Mapping[str, Tensor] | None,
    name: str,
    live: nn.Module | None = None,
) -> None:
    """Load what `trained_state` gave; raises `CheckpointError` when it does not fit."""
    if state is None:
        raise CheckpointError(
            f"the state has no {name}; name it in path.ignore_resume_networks to start it anew"
        )
    try:
        missing, unknown = network.load_state_dict(dict(state), strict=False)
    except RuntimeError as error:
        raise CheckpointError(f"the state's {name} does not fit the network: {error}") from error
    lacking = [k for k in missing if k not in _frozen_names(live or network)]
    if lacking or unknown:
        raise CheckpointError(
            f"the state's {name} does not fit the network: missing {lacking[:4]}, "
            f"unknown {list(unknown)[:4]}; train.fix_decoder or the sizes differ"
        )


def _frozen_names(network: nn.Module) -> set[str]:
    return {name for name, p in network.named_parameters() if not p.requires_grad}


@dataclass(frozen=True)
class Pace:
    """How often what happens: steps, and minutes of wall clock where named so; None is never."""

    total_steps: int
    max_minutes: float | None = None
    over_all_runs: bool = False
    """max_minutes count a resumed run together with those before it."""
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
    number is not finite or the disk is full: the last saved state stays. Where the data cannot be
    read the state of the step before is saved, then the `InputError` goes on.
    """
    progress, pace = run.progress, run.pace
    seconds_before = progress.seconds
    clock, saved, validated = Clock(), Clock(), Clock()
    budget = Clock(pace.max_minutes, seconds_before if pace.over_all_runs else 0.0)
    meter = _Meter(progress.images)
    with StopSignals() as signals:
        ending = "total_iter" if progress.step >= pace.total_steps else ""
        if pace.over_all_runs and progress.step and budget.spent():
            ending = "max_minutes"
        while not ending:
            rate = run.schedule.factor(progress.step, budget.share())
            run.task.trained.set_rates(rate)
            try:
                meter.add(run.task.step(progress))
            except InputError:  # a step reads all its samples before it moves a weight
                save(run)
                raise
            progress.step += 1
            progress.seconds = seconds_before + clock.seconds()

            if progress.step % pace.print_every == 0:
                run.log.write("train", progress, meter.means(progress.images, run.ranks))

            due = _due(run, budget, saved, validated, signals.received)
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


def _due(run: Run, budget: Clock, saved: Clock, validated: Clock, received: str | None) -> _Due:
    """What follows this step, the same on all ranks: the first one's clocks, anyone's signal."""
    pace, step, first = run.pace, run.progress.step, run.ranks.first
    flags = torch.tensor(
        [
            float(received is not None),
            float(first and budget.spent()),
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
    except (OSError, SafetensorError) as error:
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
