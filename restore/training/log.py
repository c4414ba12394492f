"""Where numbers of a run go: text, CSV, TensorBoard; and the line for the training log."""

from __future__ import annotations

import csv
import json
import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from restore.errors import MissingExtraError
from restore.options.schema import Options
from restore.training.progress import Progress


class Sink(Protocol):
    """Takes numbers at a step; `kind` is "train" or the name of a validation set."""

    def write(self, kind: str, progress: Progress, values: Mapping[str, float]) -> None:
        """Take one row."""

    def close(self) -> None:
        """Write what is held back."""


class TextSink:
    """A logger of its own that writes to `train_NAME_TIME.log` and passes on to the root logger."""

    def __init__(self, folder: Path, name: str) -> None:
        self.logger = logging.getLogger(f"restore.training.{name}")
        self.logger.setLevel(logging.INFO)
        stamp = time.strftime("%Y%m%d_%H%M%S")
        self._handler = logging.FileHandler(folder / f"train_{name}_{stamp}.log", encoding="utf-8")
        self._handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s: %(message)s"))
        self.logger.addHandler(self._handler)

    def write(self, kind: str, progress: Progress, values: Mapping[str, float]) -> None:
        """One line of text."""
        shown = " ".join(f"{k} {v:.4g}" for k, v in values.items())
        self.logger.info("[%s] step %d images %d: %s", kind, progress.step, progress.images, shown)

    def close(self) -> None:
        """Close the file."""
        self.logger.removeHandler(self._handler)
        self._handler.close()


class CsvSink:
    """`metrics.csv`: long rows (time, kind, step, images, name, value), so columns never change."""

    def __init__(self, path: Path) -> None:
        fresh = not path.exists()
        self._file = path.open("a", newline="", encoding="utf-8")
        self._writer = csv.writer(self._file)
        if fresh:
            self._writer.writerow(("time", "kind", "step", "images", "name", "value"))

    def write(self, kind: str, progress: Progress, values: Mapping[str, float]) -> None:
        """One row a value."""
        now = round(time.time(), 1)
        for name, value in values.items():
            row = (now, kind, progress.step, progress.images, name, f"{value:.6g}")
            self._writer.writerow(row)
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class TensorBoardSink:
    """TensorBoard events; raises `MissingExtraError` without the package."""

    def __init__(self, folder: Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise MissingExtraError("tensorboard", "train", "logger.use_tb_logger") from error
        self._writer: Any = SummaryWriter(str(folder))

    def write(self, kind: str, progress: Progress, values: Mapping[str, float]) -> None:
        """One scalar a value."""
        for name, value in values.items():
            self._writer.add_scalar(f"{kind}/{name}", value, progress.step)

    def close(self) -> None:
        """Flush the events."""
        self._writer.close()


class Log:
    """All sinks of a run; without sinks (other ranks) it does nothing."""

    def __init__(self, sinks: list[Sink], logger: logging.Logger | None = None) -> None:
        self.sinks = sinks
        self.logger = logger or logging.getLogger("restore.training.silent")

    def write(self, kind: str, progress: Progress, values: Mapping[str, float]) -> None:
        """Give one row to every sink."""
        for sink in self.sinks:
            sink.write(kind, progress, values)

    def say(self, text: str) -> None:
        """A remark in the text log."""
        if self.sinks:
            self.logger.info(text)

    def close(self) -> None:
        """Close every sink."""
        for sink in self.sinks:
            sink.close()


class WandbSink:
    """Weights and Biases; raises `MissingExtraError` without the package."""

    def __init__(self, folder: Path, name: str, project: str, resume_id: str | None) -> None:
        try:
            import wandb
        except ImportError as error:
            raise MissingExtraError("wandb", None, "logger.wandb") from error
        self._run: Any = wandb.init(
            project=project,
            name=name,
            id=resume_id,
            resume="allow" if resume_id else None,
            dir=str(folder),
        )

    def write(self, kind: str, progress: Progress, values: Mapping[str, float]) -> None:
        """One row."""
        row = {f"{kind}/{name}": value for name, value in values.items()}
        self._run.log({**row, "images": progress.images}, step=progress.step)

    def close(self) -> None:
        """End the run."""
        self._run.finish()


def open_log(folder: Path, options: Options, first: bool) -> Log:
    """The log of the first rank: text, CSV and what the options ask for; silent on others."""
    if not first:
        return Log([])
    logger = options.logger
    text = TextSink(folder, options.name)
    sinks: list[Sink] = [text]
    if logger.use_csv:
        sinks.append(CsvSink(folder / "metrics.csv"))
    if logger.use_tb_logger:
        sinks.append(TensorBoardSink(folder / "tb_logger"))
    if logger.wandb.project is not None:
        sinks.append(WandbSink(folder, options.name, logger.wandb.project, logger.wandb.resume_id))
    return Log(sinks, text.logger)


def append_training_log(path: Path, entry: Mapping[str, Any]) -> None:
    """Add one row to the table of `path` (docs/training_log.md): what ran, on what, how it ended.

    `entry`: name, started, minutes, images_from, images_to, data, options (SHA-256), metrics (a
    table), ended. The head of the table is written when the file is new.
    """
    columns = (
        "started",
        "name",
        "minutes",
        "images_from",
        "images_to",
        "data",
        "options",
        "metrics",
        "ended",
    )
    head = f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}\n"
    cells = []
    for column in columns:
        value = entry.get(column, "")
        text = json.dumps(value) if isinstance(value, Mapping) else str(value)
        cells.append(text.replace("|", "\\|").replace("\n", " "))
    fresh = not path.exists() or path.stat().st_size == 0
    if not fresh:
        fresh = head.splitlines()[0] not in path.read_text(encoding="utf-8")
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        if fresh:
            file.write(("" if path.stat().st_size == 0 else "\n") + head)
        file.write(f"| {' | '.join(cells)} |\n")
