"""How far a training has come."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any


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
