"""Options of fine-tuning a copy of the prior to a style, read from a YAML file."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import yaml

from restore.errors import OptionError
from restore.options.parse import Notes, apply_overrides, parse_block


@dataclass(frozen=True, kw_only=True)
class StyliseOptions:
    """What to train on, what may change, for how long."""

    name: str = "stylised"
    model: str = "default-prior"
    """A generator's weights file, or the name of a model."""
    pictures: str | None = None
    """Folder of pictures in the style, faces in the FFHQ frame; they need no partners."""
    drawn: str | None = None
    """Or a style that our own code draws on the prior's own faces: ink, halftone, sepia."""
    feature_network: str | None = None
    """Weights file of SqueezeNet 1.1 or VGG19: judges and compares textures; helps much."""
    from_level: int = 32
    """px: layers below stay as they are, and with them pose, shape and who it is."""
    train_noise: bool = True
    """The fixed noise maps learn too: a screen or paper that does not move with the face."""
    window: int = 256
    """px of the full-size picture that a step paints; the face's place in it is random."""
    batch_size: int = 2
    steps: int = 100000
    max_minutes: float = 15.0
    """The run ends at whichever of steps and max_minutes comes first."""
    lr_g: float = 1e-2
    """Adam's rate as a share of each tensor's size."""
    lr_d: float = 2e-3
    adversarial_weight: float = 1.0
    texture_weight: float = 3.0
    """Mean and deviation of pixels and features as in the pictures."""
    keep_weight: float = 2.0
    """Light and dark of the window as the unchanged prior has them, whatever their tones."""
    pair_weight: float = 10.0
    """L1 to the drawing of the same face; only with `drawn`."""
    ema_half_life_steps: float = 60.0
    truncation: tuple[float, float] = (0.5, 1.0)
    seed: int = 0

    def problems(self) -> Iterable[str]:
        if (self.pictures is None) == (self.drawn is None):
            yield "pictures: give a folder, or drawn: a style's name; one of the two"
        if not 0 <= self.truncation[0] <= self.truncation[1] <= 1.5:
            yield f"truncation: found {list(self.truncation)}, expected [low, high] in 0..1.5"
        for key in ("batch_size", "steps", "window"):
            if getattr(self, key) < 1:
                yield f"{key}: found {getattr(self, key)}, expected 1 or more"
        for key in ("max_minutes", "lr_g", "lr_d", "ema_half_life_steps"):
            if getattr(self, key) <= 0:
                yield f"{key}: found {getattr(self, key)}, expected more than 0"


def load_stylise_options(path: str | Path, overrides: Iterable[str] = ()) -> StyliseOptions:
    """Read and check an option file; OptionError lists all problems with the nearest keys."""
    path = Path(path)
    try:
        block = yaml.safe_load(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise OptionError(f"option file {path} cannot be read: {error}") from error
    except yaml.YAMLError as error:
        raise OptionError(f"{path} is not YAML: {error}") from error
    if not isinstance(block, dict):
        raise OptionError(f"{path} holds no block of keys; expected pictures: or drawn: and others")
    block, problems = apply_overrides(block, overrides)
    notes = Notes()
    notes.problems += problems
    options = parse_block(StyliseOptions, block, "", notes)
    if notes.problems:
        count = len(notes.problems)
        raise OptionError(
            "\n  ".join([f"{path} has {count} problem{'s' * (count > 1)}:", *notes.problems])
        )
    assert isinstance(options, StyliseOptions)
    return options
