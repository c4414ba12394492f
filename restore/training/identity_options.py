"""Options of the identity network's distillation: crops, teacher, network, clock."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import yaml

from restore.degradation.recipe import MIXTURES, RECIPES
from restore.errors import OptionError
from restore.options.parse import Notes, parse_block


@dataclass(frozen=True, kw_only=True)
class CropSource:
    """A store of aligned crops (folder, LMDB, tar, .npy) and the template they were aligned on."""

    path: str
    zoom: float = 1.0
    centre: tuple[float, float] = (256.0, 256.0)
    people: bool = False
    """Names are Person_0001: people that `identity_split` holds out for tests are left out."""

    def problems(self) -> Iterable[str]:
        if self.zoom <= 0:
            yield f"zoom: found {self.zoom}, expected above 0"


@dataclass(frozen=True, kw_only=True)
class StudentOptions:
    """Arguments of `IdentityStudent`."""

    dimensions: int = 128
    widths: tuple[int, int, int] = (48, 96, 160)
    blocks: tuple[int, int, int] = (1, 2, 1)
    head: int = 384


@dataclass(frozen=True, kw_only=True)
class LossOptions:
    """Weights of the losses; see `identity_losses`."""

    cosine: float = 1.0
    bank: float = 0.1
    temperature: float = 20.0
    """Factor of the cosines in the softmax over the bank."""
    map: float = 1.0
    """Falls to zero over the run."""


@dataclass(frozen=True, kw_only=True)
class IdentityOptions:
    """A distillation: what the student sees, from whom it learns and for how long."""

    name: str
    crops: tuple[CropSource, ...]
    val_crops: tuple[CropSource, ...]
    teacher: str
    """A MobileFaceNet's weights."""
    network: StudentOptions = field(default_factory=StudentOptions)
    losses: LossOptions = field(default_factory=LossOptions)
    experiments_root: str = "experiments"
    recipe: str = "restore_default"
    variants: int = 2
    """Degraded copies of each crop that are made beforehand."""
    clean_share: float = 0.3
    """Share of a batch that is not degraded."""
    weights: Mapping[str, float] = field(default_factory=dict)
    """How often a crop is drawn by the prefix of its name (before the first _), 1 unless given."""
    max_minutes: float = 55.0
    max_steps: int = 1_000_000
    rate_by: Literal["time", "steps"] = "time"
    """What the rate (and the map's weight) falls by: the minutes, or the steps of max_steps where
    nobody knows how much of the machine the run will get."""
    batch_size: int = 64
    lr: float = 2e-3
    min_factor: float = 0.01
    warmup_steps: int = 100
    weight_decay: float = 0.05
    ema_decay: float = 0.998
    precision: str = "bf16"
    threads: int = 1
    seed: int = 0
    val_freq: int = 500
    print_freq: int = 50
    save_freq: int = 500

    def problems(self) -> Iterable[str]:
        if self.recipe not in {*RECIPES, *MIXTURES}:
            yield f"recipe: found {self.recipe!r}, expected one of {sorted({*RECIPES, *MIXTURES})}"
        if self.precision not in ("fp32", "bf16"):
            yield f"precision: found {self.precision!r}, expected fp32 or bf16"
        if not self.crops or not self.val_crops:
            yield "crops: expected one store or more, and val_crops likewise"
        for key in ("variants", "batch_size", "max_steps", "threads", "val_freq", "save_freq"):
            if getattr(self, key) < 1:
                yield f"{key}: found {getattr(self, key)}, expected 1 or more"
        if not 0 <= self.clean_share <= 1:
            yield f"clean_share: found {self.clean_share}, expected 0 to 1"


def load_identity_options(path: str | Path) -> IdentityOptions:
    """Read and check an option file; raises OptionError with every problem in it."""
    try:
        block = yaml.safe_load(Path(path).read_text("utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise OptionError(f"option file {path} cannot be read: {error}") from error
    notes = Notes()
    options = parse_block(IdentityOptions, block, "", notes)
    if notes.problems:
        raise OptionError("\n  ".join([f"{path} has problems:", *notes.problems]))
    assert isinstance(options, IdentityOptions)
    return options
