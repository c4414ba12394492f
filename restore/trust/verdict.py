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
    looks: float | None = None
    """What the photo's own pixels look like (`FaceQuality.looks`): the logarithm of the odds that
    they are damaged; None where it was not measured."""


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
    good_looks: tuple[float, float] = (-1.0, 6.1)
    """Odds (logarithm) up to which nothing speaks against the photo's own pixels, and from which on
    they are damaged for certain; at 0.4, below which about 94 of 100 clean photos lie, it
    is as large as `least_share`. `--parts looks` prints kinds, strengths, sizes and tilts."""
    good_blur: tuple[float, float] = (1.75, 0.75)
    """a + b * side / 512 px: edges of lids and lips have a width of their own."""
    soft: float = 1.2
    """Times that limit from which on a face is soft for certain."""
    good_noise: float = 2.6
    """Skin's own texture in clean crops stays below it in 98 of 100."""
    noisy: float = 8.0
    """Noise from which a sharp face is restored in full; from good_noise on the share rises to it,
    so that a little grain does not cost a sharp face its wrinkles."""
    good_blocks: float = 0.2
    """Clean crops: below 0.18. From two and a half times as much on they are blocks for certain."""
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
    objection: float = 1.5
    """Factor on the limits of scale, damage and what is missing to 100 of the quality at which the
    network's estimate refuses for certain."""
    least_share: float = 0.1
    """Up to this share of the restoration a face is good already and keeps every pixel; the shares
    above it are stretched over 0 to 1, so that nothing jumps."""
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
    band: float = 0.12
    """Half of the width, as a share of the limit, over which the gentle treatment sets in about
    least_eyes, most_blur, most_scale and most_yaw; least_in_frame has half, most_covered twice as
    much. A face that lies on a limit gets half of it, and its status by the side."""
    most_covered: float = 0.12
    """`benchmarks trust --parts cover` prints what lies above: 1 to 3 % of open faces, all of
    those with dark glasses, a mask, a hand or half of them hidden; of LFW's 5,146 photos 49, nearly
    all with something before the face (looked at)."""


@dataclass(frozen=True)
class Verdict:
    """The status, and why; None where it is plainly restored. The numbers are smooth functions of
    the evidence, the statuses are names of their ranges.

    share: of the restoration that the photo's pixels call for, 0 where it is already good.
    caution: from 0 to 1, how far a full restoration would claim more than the photo shows.
    """

    status: VerdictStatus
    reason: str | None = None
    share: float = 1.0
    caution: float = 0.0

    @property
    def gentle(self) -> bool:
        """Whether a full restoration would claim more than the photo shows."""
        return self.status not in ("restored", "already_good")

    def strength(self, gentle_strength: float = 1.0, keep_good: bool = True) -> float:
        """Share of the restoration that the face gets, where one in full caution gets
        `gentle_strength` of it; without `keep_good` good pixels are no reason for less."""
        share = self.share if keep_good else 1.0
        return share * (1 - self.caution * (1 - gentle_strength))


def judge(face: Evidence, limits: Limits | None = None) -> Verdict:
    """The verdict on a face; the first that applies of already good, cut off, profile, small,
    degraded, covered (where little is left, blocks and blurs look like covers)."""
    limits = limits or Limits()
    objections = _objections(face, limits)
    share = _share(objections, limits)
    cautions = _cautions(face, limits)
    caution = max((degree for _, degree, _ in cautions), default=0.0)
    if share == 0:
        return Verdict(
            "already_good",
            f"it is sharp (blur {face.blur:.1f} px at {face.side} px), noise {face.noise:.1f}: "
            "better than what the network can give",
            0.0,
            caution,
        )
    for status, degree, reason in cautions:
        if degree >= 0.5:
            return Verdict(status, reason, share, caution)
    partly = f"it is sharp, with {max(objections)[1]}" if share < 0.95 else None
    return Verdict("restored", partly, share, caution)


def is_good(face: Evidence, limits: Limits) -> bool:
    """Whether the face's own pixels are better than what the network can give."""
    return _share(_objections(face, limits), limits) == 0


def _share(objections: list[tuple[float, str]], limits: Limits) -> float:
    left = 1.0
    for degree, _ in objections:
        left *= 1 - degree
    return max(0.0, (1 - left - limits.least_share) / (1 - limits.least_share))


def _objections(face: Evidence, limits: Limits) -> list[tuple[float, str]]:
    """(degree from 0 to 1, words) of all that speaks against leaving the face as it is."""
    small = max(1.0, limits.small_side / face.side)
    start, slope = limits.good_blur
    blur = start + slope * face.side / 512
    noise = min(limits.good_noise * small, 0.9 * limits.noisy)
    blocks = limits.good_blocks * max(1.0, 0.8 * small)
    eyes = _at(face.enlarged, limits.good_eyes)
    found = [
        (_ramp(face.noise, noise, limits.noisy), f"some noise ({face.noise:.1f})"),
        (_ramp(face.blur, blur, limits.soft * blur), "somewhat soft edges"),
        (_ramp(face.blocks, blocks, 2.5 * blocks), "traces of JPEG's blocks"),
        (_ramp(-face.eye_distance, -eyes, -0.75 * eyes), "few px for its size in the result"),
    ]
    if face.looks is not None:
        found.append((_ramp(face.looks, *limits.good_looks), "traces of damage in its pixels"))
    if face.degradation is not None:
        found.append((_objected(face, face.degradation, limits), "some damage by the estimate"))
    return found


def _objected(face: Evidence, estimate: Mapping[str, float], limits: Limits) -> float:
    scale = max(_at(face.enlarged, limits.good_scale), limits.magnified_scale * face.magnified)
    quality = limits.good_quality - limits.magnified_quality * max(0.0, face.magnified - 3)
    damage = limits.good_damage if face.magnified <= 3 else limits.magnified_damage
    worst = limits.objection
    return max(
        _ramp(estimate.get("scale", 1.0), scale, worst * scale),
        _ramp(100 - estimate.get("jpeg_quality", 100.0), 100 - quality, worst * (100 - quality)),
        _ramp(estimate.get("damage", 0.0), damage, worst * damage),
    )


def _cautions(face: Evidence, limits: Limits) -> list[tuple[VerdictStatus, float, str]]:
    """(status, degree from 0 to 1, reason), in the order in which they are told."""
    estimate = face.degradation or {}
    blur, scale = estimate.get("blur_sigma", 0.0), estimate.get("scale", 1.0)
    degraded = max(
        _around(blur, limits.most_blur, limits.band), _around(scale, limits.most_scale, limits.band)
    )
    return [
        (
            "occluded",
            1 - _around(face.in_frame, limits.least_in_frame, limits.band / 2),
            f"only {face.in_frame:.0%} of the face lies inside the photo's frame",
        ),
        (
            "profile",
            _around(abs(face.yaw), limits.most_yaw, limits.band),
            f"the head is turned by about {abs(face.yaw):.0f} degrees",
        ),
        (
            "too_small",
            1 - _around(face.eye_distance, limits.least_eyes, limits.band),
            f"{face.eye_distance:.1f} px between the eyes; from {limits.least_eyes:g} px on a "
            "person can be told",
        ),
        (
            "too_degraded",
            degraded,
            f"estimated blur {blur:.1f} px and down-scaling {scale:.1f} leave too little of the "
            "person",
        ),
        (
            "occluded",
            _around(face.covered, limits.most_covered, 2 * limits.band),
            f"about {face.covered:.0%} of the face seems to be covered",
        ),
    ]


def _ramp(value: float, low: float, high: float) -> float:
    """0 up to low, 1 from high on, smooth in between."""
    t = min(max((value - low) / (high - low), 0.0), 1.0)
    return t * t * (3 - 2 * t)


def _around(value: float, limit: float, band: float) -> float:
    """0 below the limit, 1 above it, half on it; `band`: half the width, as a share of it."""
    return _ramp(value, limit * (1 - band), limit * (1 + band))


def _at(enlarged: float, limits: tuple[tuple[float, float], ...]) -> float:
    """The limit at an enlargement, interpolated over its logarithm."""
    factors, values = zip(*limits, strict=True)
    return float(np.interp(np.log2(max(enlarged, 1e-6)), np.log2(factors), values))
