"""Images per second of a training's steps, and the share of data, degradation, G and D."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from restore.errors import RestoreError
from restore.options.schema import load_options
from restore.runtime.memory import keep_freed_memory
from restore.training.distributed import start_ranks
from restore.training.prior_task import PriorTask
from restore.training.progress import Progress
from restore.training.restorer_task import RestorerTask
from restore.training.setup import build_task


@dataclass
class Shares:
    """Seconds by name; synchronises an accelerator around what it times."""

    device: torch.device
    seconds: dict[str, float] = field(default_factory=dict)

    def timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, its time added under `name`."""

        def run(*args: Any, **keywords: Any) -> Any:
            self._wait()
            start = time.perf_counter()
            result = function(*args, **keywords)
            self._wait()
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start
            return result

        return run

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


class _TimedFeed:
    """A feed whose two halves are timed."""

    def __init__(self, feed: Any, shares: Shares) -> None:
        self._feed = feed
        self.faces = shares.timed("data", feed.faces)
        self.degraded = shares.timed("degradation", feed.degraded)

    def __getattr__(self, name: str) -> Any:
        # batch() must call the timed halves of this object, not those of the feed
        if name in ("batch", "codes_batch"):
            return getattr(type(self._feed), name).__get__(self)
        return getattr(self._feed, name)


def main(argv: Sequence[str] | None = None) -> int:
    """`python -m restore.benchmarks training -opt FILE [--steps N]`; 0, or 2 with one line."""
    parser = argparse.ArgumentParser("python -m restore.benchmarks training", description=__doc__)
    parser.add_argument("-opt", required=True, help="option file of a restorer or a prior")
    parser.add_argument("--steps", type=int, default=10, help="timed steps after two to warm up")
    parser.add_argument("--force_yml", nargs="+", default=[], metavar="a:b=c")
    arguments = parser.parse_args(argv)
    try:
        print(measure(arguments.opt, arguments.steps, arguments.force_yml))
    except RestoreError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


def measure(option_file: str, steps: int, overrides: Sequence[str] = ()) -> str:
    """A Markdown table of an option file's training."""
    options = load_options(option_file, overrides)
    keep_freed_memory()
    ranks = start_ranks("none", "cpu" if options.num_gpu == 0 else "auto")
    torch.manual_seed(options.manual_seed)
    task = build_task(options, ranks)
    shares = Shares(ranks.device)
    stepper = task.stepper  # type: ignore[attr-defined]
    plain_step = stepper.step

    def step(optimiser: Any, losses: Any) -> Any:
        name = "G" if optimiser is task.trained.optimisers["net_g"] else "D"
        return shares.timed(name, plain_step)(optimiser, losses)

    stepper.step = step
    if isinstance(task, RestorerTask):
        for one in task.feeds:
            object.__setattr__(one, "feed", _TimedFeed(one.feed, shares))
    elif isinstance(task, PriorTask):
        task.real = shares.timed("data", task.real)  # type: ignore[method-assign]
    progress = Progress()
    for _ in range(2):
        task.step(progress)
        progress.step += 1
    shares.seconds.clear()
    before, start = progress.images, time.perf_counter()
    for _ in range(steps):
        task.step(progress)
        progress.step += 1
    shares._wait()
    return _table(options.name, ranks.device, progress.images - before, start, shares.seconds)


def _table(
    name: str, device: torch.device, images: int, start: float, seconds: dict[str, float]
) -> str:
    total = time.perf_counter() - start
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    lines = [
        f"{name} on {where}, {torch.get_num_threads()} CPU threads: "
        f"{images / total:.3g} images per second",
        "",
        "| part | seconds an image | share |",
        "|---|---|---|",
    ]
    # crops of a prior are read inside the step of D
    named = dict(seconds)
    if "degradation" not in named and "data" in named and "D" in named:
        named["D"] -= named["data"]
    named["rest (EMA, schedule)"] = max(0.0, total - sum(named.values()))
    for part in ("data", "degradation", "G", "D", "rest (EMA, schedule)"):
        if part in named:
            share = 100 * named[part] / total
            lines.append(f"| {part} | {named[part] / images:.4f} | {share:.1f} % |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
