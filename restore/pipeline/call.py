"""Call: what one `Restorer.restore` asks for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from restore.pipeline.network_batches import Cancel, Progress
from restore.pipeline.stopwatch import Stopwatch
from restore.pipeline.trust_options import Fidelity, TrustOptions

if TYPE_CHECKING:
    from restore.trust.references import References


@dataclass(frozen=True)
class Call:
    """What one call of `restore` asks for."""

    stopwatch: Stopwatch
    fidelity: Fidelity
    keep_tone: bool
    trust: TrustOptions
    references: References | None
    progress: Progress | None
    cancel: Cancel | None
    enlarged: float
    """How many times larger than in the photo the faces will be."""
