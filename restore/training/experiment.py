"""The folder of a run, laid out as BasicSR's: complete states, weights, logs."""

from __future__ import annotations

import contextlib
import csv
import json
import logging
import os
import random
import re
import shutil
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn

from restore.checkpoints.weights_file import read_torch
from restore.errors import CheckpointError, MissingExtraError, OptionError
from restore.options.schema import Options


@dataclass
class Progress:
    """Counters of a run; `images` counts samples of all ranks, `seconds` all runs together."""

    step: int = 0
    images: int = 0
    code_images: int = 0
    """Of the images, those of the codes-first phase."""
    seconds: float = 0.0
    best: dict[str, float] = field(default_factory=dict)
    """Best value of each validation metric so far."""

    def state_dict(self) -> dict[str, Any]:
        """As plain numbers."""
        return asdict(self)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take counters back."""
        for name, value in state.items():
            setattr(self, name, value)


FORMAT = "restore-training/1"
_STATE_NAME = re.compile(r"(\d+)\.state$")


def write_atomically(content: Any, path: Path) -> None:
    """`torch.save` into a neighbour, flushed to the disk, then renamed over `path`.

    Raises OSError when the disk is full; what lay at `path` is then still there.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            try:
                torch.save(content, file)
            except RuntimeError as error:
                # torch's writer reports a failed write so ("PytorchStreamWriter failed ...")
                raise OSError(f"writing {path.name} failed: {error}") from error
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


def save_state(folder: Path, step: int, content: Mapping[str, Any], keep: int = 2) -> Path:
    """Write `STEP.state` and remove all but the newest `keep` of the folder (0: none)."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{step}.state"
    write_atomically({"format": FORMAT, **content}, path)
    if keep > 0:
        for old in states_of(folder)[:-keep]:
            old.unlink(missing_ok=True)
    return path


def states_of(folder: Path) -> list[Path]:
    """The state files of a folder by rising step."""
    if not folder.is_dir():
        return []
    found = [(int(m.group(1)), p) for p in folder.iterdir() if (m := _STATE_NAME.fullmatch(p.name))]
    return [path for _, path in sorted(found)]


def newest_state(folder: Path) -> Path | None:
    """The newest state that can be read whole, None in a folder without any.

    A damaged one is passed over; raises `CheckpointError` where all are, since starting anew would
    move the run aside.
    """
    states = states_of(folder)
    for path in reversed(states):
        try:
            load_state(path)
        except CheckpointError:
            continue
        return path
    if states:
        raise CheckpointError(
            f"none of the {len(states)} states in {folder} can be read; expected a whole one. "
            "Put one back, or start anew without --auto_resume (the old folder is then kept aside)"
        )
    return None


def load_state(path: Path) -> dict[str, Any]:
    """What `save_state` wrote; only tensors and plain containers are ever unpickled."""
    try:
        content = read_torch(path)
    except CheckpointError as error:
        raise CheckpointError(
            f"{path} is no training state that can be read ({error}); resume from an older one"
        ) from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise CheckpointError(
            f"{path} is no training state of this program (expected format {FORMAT}); BasicSR's "
            "states cannot be resumed, but its weights can: path.pretrain_network_g"
        )
    return content


def random_state() -> dict[str, Any]:
    """The global random states: those that plugin networks and dropout read."""
    kind, keys, position, has_gauss, cached = np.random.get_state()
    version, internal, gauss = random.getstate()
    state: dict[str, Any] = {
        "torch": torch.get_rng_state(),
        "numpy": [str(kind), torch.from_numpy(np.asarray(keys, np.int64)), int(position)],
        "numpy_gauss": [int(has_gauss), float(cached)],
        "python": [version, list(internal), gauss],
    }
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def restore_random_state(state: Mapping[str, Any]) -> None:
    """Put the global random states back."""
    torch.set_rng_state(state["torch"])
    kind, keys, position = state["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), position, *state["numpy_gauss"]))
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])


def folder_of(options: Options) -> ExperimentFolder:
    """experiments_root/NAME; raises `OptionError` for a name that is no plain folder name."""
    name = options.name
    if not name.strip() or name in (".", "..") or re.search(r"[/\\:\0]", name):
        raise OptionError(
            f"name: found {name!r}, expected the plain name of a folder: it is made in "
            "path.experiments_root, and a folder of that name is moved aside"
        )
    return ExperimentFolder(Path(options.path.experiments_root) / name)


@dataclass(frozen=True)
class ExperimentFolder:
    """experiments/NAME and the places in it."""

    root: Path

    @property
    def models(self) -> Path:
        """Weights: net_g_STEP.pth, net_g_latest.pth."""
        return self.root / "models"

    @property
    def states(self) -> Path:
        """Complete states: STEP.state."""
        return self.root / "training_states"

    @property
    def pictures(self) -> Path:
        """Grids of validation."""
        return self.root / "visualization"

    def create(self, keep_old: bool) -> None:
        """Make the folders; an old run of the same name is moved aside unless it is resumed."""
        if self.root.exists() and not keep_old and any(self.root.iterdir()):
            stamp = time.strftime("%Y%m%d_%H%M%S")
            os.replace(self.root, self.root.with_name(f"{self.root.name}_archived_{stamp}"))
        for folder in (self.models, self.states, self.pictures):
            folder.mkdir(parents=True, exist_ok=True)

    def keep_options(self, option_file: Path | None, resolved: str) -> None:
        """Copy the option file and write the resolved options beside it."""
        if option_file is not None:
            shutil.copyfile(option_file, self.root / option_file.name)
        (self.root / "resolved_options.yml").write_text(resolved, encoding="utf-8")

    def save_best(self, name: str, network: nn.Module, average: nn.Module | None) -> None:
        """`NAME_best.pth`, replaced as a whole."""
        write_atomically(_weights_content(network, average), self.models / f"{name}_best.pth")

    def save_weights(
        self, name: str, step: int, network: nn.Module, average: nn.Module | None, keep: int
    ) -> None:
        """`NAME_STEP.pth` and `NAME_latest.pth`: `params` and, where averaged, `params_ema`.

        Frozen weights that both share are stored once. Numbered files older than the newest
        `keep` are removed; 0 keeps all.
        """
        content = _weights_content(network, average)
        numbered = self.models / f"{name}_{step}.pth"
        latest = self.models / f"{name}_latest.pth"
        write_atomically(content, numbered)
        part = self.models / f".{name}_latest.{os.getpid()}.part"
        part.unlink(missing_ok=True)
        try:
            os.link(numbered, part)
        except OSError:  # a file system without hard links
            shutil.copyfile(numbered, part)
        os.replace(part, latest)
        if keep == 0:
            return
        steps = sorted(
            int(p.stem[len(name) + 1 :])
            for p in self.models.glob(f"{name}_*.pth")
            if p.stem[len(name) + 1 :].isdigit()
        )
        for old in steps[:-keep]:
            (self.models / f"{name}_{old}.pth").unlink(missing_ok=True)


def _weights_content(
    network: nn.Module, average: nn.Module | None
) -> dict[str, dict[str, torch.Tensor]]:
    content = {"params": _plain(network)}
    if average is not None:
        content["params_ema"] = _plain(average)
    return content


def _plain(network: nn.Module) -> dict[str, torch.Tensor]:
    # torch.compile wraps a module and prefixes its names
    return {k.removeprefix("_orig_mod."): v.detach() for k, v in network.state_dict().items()}


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
