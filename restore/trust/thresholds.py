"""Which cosine counts as the same person, for the packaged network, and its origin."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class IdentityThresholds:
    """Cosines of one identity network; those of another network mean something else.

    Origin of the packaged ones: `python -m restore.benchmarks identity --parts pairs`
    (docs/identity.md).
    """

    network: str
    """`name` of the network they were measured on."""
    same_person: float
    """One stranger in a thousand passes it, over clean and degraded pairs alike: below it, input
    and output are not known to be one person."""
    likely_same: float
    """One stranger in a hundred passes it, on clean photos."""
    equal_error: float
    """As many strangers pass as pairs of one person fail, on clean photos."""


PACKAGED_THRESHOLDS = IdentityThresholds(
    network="identity", same_person=0.50, likely_same=0.37, equal_error=0.27
)
