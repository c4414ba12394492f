"""The folder of a run, laid out as BasicSR's: models, training_states, visualization, logs."""

from __future__ import annotations

import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from restore.training.state import write_atomically


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
        write_atomically(_content(network, average), self.models / f"{name}_best.pth")

    def save_weights(
        self, name: str, step: int, network: nn.Module, average: nn.Module | None, keep: int
    ) -> None:
        """`NAME_STEP.pth` and `NAME_latest.pth`: `params` and, where averaged, `params_ema`.

        Frozen weights that both share are stored once. Numbered files older than the newest
        `keep` are removed; 0 keeps all.
        """
        content = _content(network, average)
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


def _content(network: nn.Module, average: nn.Module | None) -> dict[str, dict[str, torch.Tensor]]:
    content = {"params": _plain(network)}
    if average is not None:
        content["params_ema"] = _plain(average)
    return content


def _plain(network: nn.Module) -> dict[str, torch.Tensor]:
    # torch.compile wraps a module and prefixes its names
    return {k.removeprefix("_orig_mod."): v.detach() for k, v in network.state_dict().items()}
