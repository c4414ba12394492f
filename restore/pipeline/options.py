"""What a caller may wish of a restoration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from restore.errors import OptionError

IdentityPolicy = Literal["off", "report", "blend", "keep"]
Grain = Literal["off", "match"]
Fidelity = float | Literal["auto"] | None


@dataclass(frozen=True)
class TrustOptions:
    """What is done so that the person stays the person. The defaults are what a photo app wants.

    Raises OptionError for values out of range.
    """

    identity: IdentityPolicy = "report"
    """off: not measured. report: the cosine between the face that went in and the one that came
    out is in the result. blend: where it is below the threshold, fidelity is raised to 1, then the
    photo's own face is mixed in until it is reached. keep: such a face stays as it was."""
    identity_threshold: float | None = None
    """Least cosine of "blend" and "keep"; None for the calibrated one of the network in use."""
    gentle: bool = True
    """Mix faces that cannot be restored honestly (too small, too degraded, in profile, occluded)
    with the photo's own, by `gentle_strength`."""
    gentle_strength: float = 0.5
    """Share of the restoration in such a face, 0 to 1."""
    keep_good: bool = True
    """Leave faces alone that are better than what the network can give."""
    detail: bool = True
    """Put the photo's own detail above the crop's resolution back, as far as it is no noise."""
    grain: Grain = "off"
    """match: faces get the grain of their surroundings."""
    seed: int = 0
    """Of the grain: the same seed gives the same pixels."""

    def __post_init__(self) -> None:
        if self.identity not in get_args(IdentityPolicy):
            raise OptionError(
                f"identity is {self.identity!r}; expected one of {get_args(IdentityPolicy)}"
            )
        if self.grain not in get_args(Grain):
            raise OptionError(f"grain is {self.grain!r}; expected one of {get_args(Grain)}")
        if self.identity_threshold is not None and not -1 <= self.identity_threshold <= 1:
            raise OptionError(
                f"identity threshold is {self.identity_threshold}; expected a cosine, -1 to 1"
            )
        if not 0 <= self.gentle_strength <= 1:
            raise OptionError(f"gentle strength is {self.gentle_strength}; expected 0 to 1")


def check_fidelity(fidelity: Fidelity, has_dial: bool) -> Fidelity:
    """The fidelity as it is, or OptionError: out of range, or a model without a dial."""
    if fidelity is None:
        return None
    if not has_dial:
        raise OptionError("this model has no fidelity dial; leave fidelity (-w) out")
    if fidelity == "auto":
        return fidelity
    if isinstance(fidelity, str) or not 0 <= fidelity <= 1:
        raise OptionError(f'fidelity is {fidelity}; expected a number from 0 to 1, or "auto"')
    return float(fidelity)
