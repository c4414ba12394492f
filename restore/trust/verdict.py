"""What may honestly be done with a face: from what was measured on it to a status and a reason."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

VerdictStatus = Literal[
    "restored", "already_good", "too_small", "too_degraded", "profile", "occluded"
]


@dataclass(frozen=True)
class Evidence:
    """What is known of a face before it is decided what becomes of it."""

    eye_distance: float
    """px of the photo between the eyes."""
    side: int
    """px of the aligned crop that blur, noise and blocks were measured on."""
    blur: float
    """sigma in px of that crop."""
    noise: float
    """Standard deviation, 0..255."""
    blocks: float
    """How much steeper the steps across JPEG's grid are than the others, 0 none."""
    yaw: float = 0.0
    """Degrees to the side."""
    in_frame: float = 1.0
    """Share of the face that lies inside the photo."""
    covered: float = 0.0
    """Share of the face where the photo shows something that a face does not explain."""
    degradation: Mapping[str, float] | None = None
    """The network's estimate, in the option files' units; None where it gives none."""
    enlarged: float = 1.0
    """How many times larger the face will be shown than the photo has it."""
    magnified: float = 1.0
    """How many times the network's crop is larger than the face in the photo; below 1: smaller."""


@dataclass(frozen=True)
class Limits:
    """Where the statuses begin. Origin: `python -m benchmarks trust` (docs/trust.md)."""

    good_eyes: tuple[tuple[float, float], ...] = ((1.0, 12.0), (2.0, 40.0))
    """(enlargement, least px between the eyes) of a sharp face that is left as it is, interpolated
    over the logarithm of the enlargement. `python -m benchmarks trust --parts sharp`: as
    large as it is in the photo a sharp face is nearest to the truth by itself, and below 12 px it
    cannot be told from a noisy one. Enlarged, its own pixels are nearer in LPIPS from 16 px (twice)
    and 25 px (four times) on, but they are soft where a restored face is not: small old prints want
    it (by eye), so up to 40 px, a FFHQ frame of 163 px, they get it."""
    good_blur: tuple[float, float] = (1.65, 0.7)
    """a + b * side / 512 px: edges of lids and lips have a width of their own. Above it lie 5 % of
    clean crops (256 and 512 px) and 97 % of those that the recipe `gfpgan` made."""
    good_noise: float = 2.6
    """Skin's own texture in clean crops stays below it in 98 of 100."""
    noisy: float = 8.0
    """Noise from which a sharp face is restored in full; from good_noise on the share rises to it,
    so that a little grain does not cost a sharp face its wrinkles."""
    good_blocks: float = 0.2
    """Clean crops: below 0.18."""
    good_scale: tuple[tuple[float, float], ...] = ((1.0, 2.6), (2.0, 1.8))
    good_quality: float = 80.0
    good_damage: float = 0.15
    """The network's estimate may refuse what the pixels say: a larger down-scaling, a lower JPEG
    quality or more damage than these. Clean crops are estimated below 2.2, above 84, below 0.14.
    What is soft is seen once it is enlarged: the scale's limit falls with the enlargement (first
    number). `--parts looks`, 57 px between the eyes: 1.0 to 1.2 on sharp faces, 1.5 to 2.3 on the
    same blurred by 1 px (5 to 95 %)."""
    magnified_scale: float = 0.42
    magnified_quality: float = 0.35
    magnified_damage: float = 0.06
    """A small face is down-scaled as the network sees it, however sharp: a scale up to this share
    of the magnification is no objection (`--parts looks`, 12 to 40 px: sharp ones 0.24 to 0.43 of
    it, blurred by 1 px 0.69 to 1.05), nor is a JPEG quality that is lower by this for each time
    that the face is magnified more than three times. Damage, on the other hand, is estimated lower
    there: at most 0.05 in 95 of 100 sharp small faces; 0.07 to 0.1 on five cracked prints."""
    small_side: float = 100.0
    """px of the face's own crop below which its finest detail counts as noise, and as steps across
    JPEG's grid: both limits grow as it shrinks."""
    least_eyes: float = 8.0
    """px between the eyes; below, the person is lost (cosine to the truth below 0.4) in a quarter
    of the faces or more."""
    most_blur: float = 9.0
    most_scale: float = 9.0
    """Estimated blur sigma (px of 512) and down-scaling from which on most restored faces are
    another person (cosine to the truth below 0.4)."""
    most_yaw: float = 50.0
    """Degrees; FFHQ, which the prior learnt, has hardly any face beyond, and from about there one
    eye is hidden."""
    least_in_frame: float = 0.75
    """Below it a feature, not only hair or chin, is beyond the photo's border."""
    most_covered: float = 0.12
    """`benchmarks trust --parts cover` prints what lies above: 1 to 3 % of open faces, all of
    those with dark glasses, a mask, a hand or half of them hidden; of LFW's 5,146 photos 49, nearly
    all with something before the face (looked at)."""


@dataclass(frozen=True)
class Verdict:
    """The status, and why; None where it is plainly restored.

    share: of the restoration that a "restored" face should get; below 1 where only a little is
    wrong with it.
    """

    status: VerdictStatus
    reason: str | None = None
    share: float = 1.0

    @property
    def gentle(self) -> bool:
        """Whether a full restoration would claim more than the photo shows."""
        return self.status not in ("restored", "already_good")


def judge(face: Evidence, limits: Limits | None = None) -> Verdict:
    """The verdict on a face; the first that applies of already good, cut off, profile, small,
    degraded, covered (where little is left, blocks and blurs look like covers)."""
    limits = limits or Limits()
    if is_good(face, limits):
        return Verdict(
            "already_good",
            f"it is sharp (blur {face.blur:.1f} px at {face.side} px), noise {face.noise:.1f}: "
            "better than what the network can give",
        )
    if face.in_frame < limits.least_in_frame:
        return Verdict(
            "occluded", f"only {face.in_frame:.0%} of the face lies inside the photo's frame"
        )
    if abs(face.yaw) > limits.most_yaw:
        return Verdict("profile", f"the head is turned by about {abs(face.yaw):.0f} degrees")
    if face.eye_distance < limits.least_eyes:
        return Verdict(
            "too_small",
            f"{face.eye_distance:.1f} px between the eyes; from {limits.least_eyes:g} px on a "
            "person can be told",
        )
    lost = _too_degraded(face.degradation, limits)
    if lost is None and face.covered > limits.most_covered:
        return Verdict("occluded", f"about {face.covered:.0%} of the face seems to be covered")
    if lost or not _is_sharp(face, limits) or face.noise >= limits.noisy:
        return lost or Verdict("restored")
    least = _good_noise(face, limits)
    share = (face.noise - least) / (limits.noisy - least)
    return Verdict("restored", f"it is sharp, with some noise ({face.noise:.1f})", share)


def is_good(face: Evidence, limits: Limits) -> bool:
    """Whether the face's own pixels are better than what the network can give."""
    return face.noise <= _good_noise(face, limits) and _is_sharp(face, limits)


def _good_noise(face: Evidence, limits: Limits) -> float:
    return min(limits.good_noise * _smallness(face, limits), 0.9 * limits.noisy)


def _smallness(face: Evidence, limits: Limits) -> float:
    return max(1.0, limits.small_side / face.side)


def _is_sharp(face: Evidence, limits: Limits) -> bool:
    start, slope = limits.good_blur
    by_itself = (
        face.eye_distance >= _at(face.enlarged, limits.good_eyes)
        and face.blur <= start + slope * face.side / 512
        and face.blocks <= limits.good_blocks * max(1.0, 0.8 * _smallness(face, limits))
    )
    estimate = face.degradation
    if not by_itself or estimate is None:
        return by_itself
    damage = limits.good_damage if face.magnified <= 3 else limits.magnified_damage
    allowance = limits.magnified_quality * max(0.0, face.magnified - 3)
    return (
        estimate.get("scale", 1.0)
        <= max(_at(face.enlarged, limits.good_scale), limits.magnified_scale * face.magnified)
        and estimate.get("jpeg_quality", 100.0) >= limits.good_quality - allowance
        and estimate.get("damage", 0.0) <= damage
    )


def _at(enlarged: float, limits: tuple[tuple[float, float], ...]) -> float:
    """The limit at an enlargement, interpolated over its logarithm."""
    factors, values = zip(*limits, strict=True)
    return float(np.interp(np.log2(max(enlarged, 1e-6)), np.log2(factors), values))


def _too_degraded(estimate: Mapping[str, float] | None, limits: Limits) -> Verdict | None:
    if estimate is None:
        return None
    blur, scale = estimate.get("blur_sigma", 0.0), estimate.get("scale", 1.0)
    if blur <= limits.most_blur and scale <= limits.most_scale:
        return None
    return Verdict(
        "too_degraded",
        f"estimated blur {blur:.1f} px and down-scaling {scale:.1f} leave too little of the person",
    )
