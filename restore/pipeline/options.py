"""What may be wished: which model is loaded and how, and what is done with a photo.

`ModelOptions` and `RestoreOptions` are used unchanged by the API, the command line, the page, the
GFPGANer adapter and the cluster runner. A field that has `flags` in its metadata is a flag of the
command line (`restore.commands.flags`); the fields of nested options are flags too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, get_args

from restore.errors import OptionError
from restore.images.formats import MAX_MEGAPIXELS

Backend = Literal["auto", "onnxruntime", "openvino", "torch"]
Precision = Literal["auto", "float32", "bfloat16", "float16"]
IdentityPolicy = Literal["off", "report", "blend", "keep"]
Grain = Literal["off", "match"]
Fidelity = float | Literal["auto"] | None


def flag(flags: str, told: str, **how: Any) -> Mapping[str, Any]:
    """The metadata of a field that is a flag too.

    `flags`: its spellings, by blanks. `told`: its line in --help. `how`: `kind`, what makes a value
    of the word typed; `choices`; `metavar`. A field that is True or False is switched over.
    """
    return {"flags": flags.split(), "help": told, **how}


def fidelity_of(text: str) -> float | str:
    """The fidelity that a word of the command line means; ValueError for any other word."""
    return text if text == "auto" else float(text)


@dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """What is loaded, and where it computes."""

    model: str | Path = field(
        default="default",
        metadata=flag("--model", "default: the packaged model", metavar="NAME_OR_FILE"),
    )
    device: str | None = field(
        default=None,
        metadata=flag("--device", "such as cpu, cuda, cuda:1; default: the best there is"),
    )
    backend: Backend = field(
        default="auto",
        metadata=flag("--backend", "what runs the network", choices=get_args(Backend)),
    )
    precision: Precision = field(
        default="auto",
        metadata=flag(
            "--precision",
            "of the network; auto: bfloat16 where OpenVINO and the CPU have it, float16 on CUDA",
            choices=get_args(Precision),
        ),
    )
    threads: int | None = field(
        default=None,
        metadata=flag("--threads", "of the network; default: the backend's choice", kind=int),
    )
    detector: str = field(
        default="default", metadata=flag("--detector", "of faces", metavar="NAME_OR_FILE")
    )
    identity_network: str | Path | None = field(
        default=None,
        metadata=flag("--identity-network", "default: the packaged one", metavar="FILE"),
    )
    bg_upsampler: str | Path | None = field(
        default=None,
        metadata=flag(
            "--bg_upsampler", "network for the background; default: Lanczos", metavar="FILE"
        ),
    )
    bg_tile: int = field(
        default=400,
        metadata=flag(
            "--bg_tile", "px of its tiles, 0 for none; default 400", kind=int, metavar="PX"
        ),
    )
    offline: bool = field(
        default=True,
        metadata=flag("--download", "fetch the model if it is missing; without it nothing is"),
    )

    def __post_init__(self) -> None:
        _check_choice("backend", self.backend, get_args(Backend))
        _check_choice("precision", self.precision, get_args(Precision))
        if self.threads is not None:
            _check_number("threads", self.threads, 1, 1024, whole=True)
        _check_number("bg_tile", self.bg_tile, 0, 1 << 16, whole=True)

    def shaping(self) -> Mapping[str, Any]:
        """What of it shapes the results; where it computes, and in how many threads, does not."""
        names = ("model", "detector", "identity_network", "bg_upsampler", "bg_tile")
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True)
class FaceChoice:
    """Which of the faces found are restored; the others are returned as skipped."""

    only_center_face: bool = field(
        default=False, metadata=flag("--only_center_face", "only the face nearest to the middle")
    )
    """Only the one whose box centre is nearest to the middle of the photo."""
    min_score: float = field(
        default=0.0,
        metadata=flag("--min-score", "least score of a face", kind=float, metavar="0..1"),
    )
    """Least confidence of the detector, in [0,1]."""
    min_eye_distance: float = field(
        default=0.0,
        metadata=flag("--min-face", "least distance of the eyes", kind=float, metavar="PX"),
    )
    """Least distance between the eyes, in px of the photo."""
    max_faces: int | None = field(
        default=None,
        metadata=flag("--max-faces", "only the N largest faces of a photo", kind=int, metavar="N"),
    )
    """At most so many, the largest first."""

    def __post_init__(self) -> None:
        _check_number("min_score", self.min_score, 0, 1)
        _check_number("min_eye_distance", self.min_eye_distance, 0, float("inf"))
        if self.max_faces is not None:
            _check_number("max_faces", self.max_faces, 1, float("inf"), whole=True)


@dataclass(frozen=True)
class TrustOptions:
    """What is done so that the person stays the person. The defaults are what a photo app wants.

    Raises OptionError for values out of range.
    """

    identity: IdentityPolicy = field(
        default="report",
        metadata=flag(
            "--identity",
            "is it still the person? report the cosine (default), blend the photo's face back in, "
            "or keep the photo's face, where it is below the threshold",
            choices=get_args(IdentityPolicy),
        ),
    )
    """off: not measured. report: the cosine between the face that went in and the one that came
    out is in the result. blend: where it is below the threshold, fidelity is raised to 1, then the
    photo's own face is mixed in until it is reached. keep: such a face stays as it was."""
    identity_threshold: float | None = field(
        default=None,
        metadata=flag(
            "--identity-threshold", "default: the calibrated one", kind=float, metavar="COSINE"
        ),
    )
    """Least cosine of "blend" and "keep"; None for the calibrated one of the network in use."""
    gentle: bool = field(
        default=True,
        metadata=flag(
            "--no-gentle",
            "restore in full what is too small, degraded, turned or covered to be honest",
        ),
    )
    """Mix faces that cannot be restored honestly (too small, too degraded, in profile, occluded)
    with the photo's own, by `gentle_strength`."""
    gentle_strength: float = 0.5
    """Share of the restoration in such a face, 0 to 1."""
    keep_good: bool = field(
        default=True, metadata=flag("--restore-good", "also faces that are good already")
    )
    """Leave faces alone that are better than what the network can give."""
    detail: bool = field(
        default=True, metadata=flag("--no-detail", "no detail of the photo on top of large faces")
    )
    """Put the photo's own detail above the crop's resolution back, as far as it is no noise."""
    grain: Grain = field(
        default="off",
        metadata=flag(
            "--grain", "match: give faces the grain of their surroundings", choices=get_args(Grain)
        ),
    )
    """match: faces get the grain of their surroundings."""
    seed: int = field(default=0, metadata=flag("--seed", "of the grain; default 0", kind=int))
    """Of the grain: the same seed gives the same pixels."""

    def __post_init__(self) -> None:
        _check_choice("identity", self.identity, get_args(IdentityPolicy))
        _check_choice("grain", self.grain, get_args(Grain))
        if self.identity_threshold is not None:
            _check_number("identity_threshold", self.identity_threshold, -1, 1)
        _check_number("gentle_strength", self.gentle_strength, 0, 1)


@dataclass(frozen=True, kw_only=True)
class RestoreOptions:
    """What is done with a photo. Raises OptionError for values out of range."""

    scale: float = field(
        default=2.0, metadata=flag("-s --upscale", "default: 2", kind=float, metavar="FACTOR")
    )
    """The result's size, times the photo's."""
    fidelity: Fidelity = field(
        default=None,
        metadata=flag(
            "-w --weight --fidelity",
            "1 photo leads (default), 0 prior paints; auto: by each face's estimated degradation",
            kind=fidelity_of,
            metavar="0..1|auto",
        ),
    )
    """In [0,1]; None for 1; "auto": by the estimated degradation of each face."""
    aligned: bool = field(
        default=False, metadata=flag("--aligned", "the inputs are aligned face crops")
    )
    """The photo is one square crop on the template; the result is the restored crop."""
    keep_gray: bool = field(
        default=True,
        metadata=flag(
            "--allow-color --colorize",
            "let faces of black-and-white and sepia photos have the network's colours",
        ),
    )
    """Black-and-white and sepia photos keep faces of their own tone."""
    max_megapixels: float = field(
        default=MAX_MEGAPIXELS,
        metadata=flag(
            "--max-megapixels",
            "most pixels of a photo, in millions; 2.5 times as many of its result; default: 50, "
            "which holds 2 GB of memory",
            kind=float,
            metavar="N",
        ),
    )
    """Most pixels of a photo file in millions; its result may have 2.5 times as many."""
    strict: bool = field(
        default=False,
        metadata=flag("--strict", "refuse photos that are damaged but can be viewed"),
    )
    """Refuse files that are damaged but can be viewed."""
    choice: FaceChoice = field(default_factory=FaceChoice)
    """Which faces."""
    trust: TrustOptions = field(default_factory=TrustOptions)
    """What guards the person."""

    def __post_init__(self) -> None:
        _check_number("scale", self.scale, 0, float("inf"), above=True)
        if self.fidelity is not None and self.fidelity != "auto":
            _check_number("fidelity", self.fidelity, 0, 1, other=' or "auto"')
        _check_number("max_megapixels", self.max_megapixels, 0, 1e9, above=True)
        for name, kind in (("choice", FaceChoice), ("trust", TrustOptions)):
            if not isinstance(getattr(self, name), kind):
                found = type(getattr(self, name)).__name__
                raise OptionError(f"{name} is a {found}; expected {kind.__name__}")

    def changed(self, wishes: Mapping[str, Any]) -> RestoreOptions:
        """These options with the fields that `wishes` names; OptionError for any other name.

        `only_center_face` stands for the choice of that name.
        """
        wishes = dict(wishes)
        if "only_center_face" in wishes:
            choice = wishes.get("choice") or self.choice
            only = bool(wishes.pop("only_center_face"))
            wishes["choice"] = replace(choice, only_center_face=choice.only_center_face or only)
        # None stands for the default where an option is a group of options
        wishes = {
            name: value
            for name, value in wishes.items()
            if not (value is None and name in ("choice", "trust"))
        }
        known = [one.name for one in fields(self)]
        unknown = [name for name in wishes if name not in known]
        if unknown:
            raise OptionError(
                f"{', '.join(unknown)}: no option of a restoration; expected one of "
                f"{', '.join([*known, 'only_center_face'])}"
            )
        return replace(self, **wishes) if wishes else self


def check_fidelity(fidelity: Fidelity, has_dial: bool) -> Fidelity:
    """The fidelity as it is; OptionError for a model without a dial."""
    if fidelity is not None and not has_dial:
        raise OptionError("this model has no fidelity dial; leave fidelity (-w) out")
    return fidelity


def _check_choice(name: str, value: Any, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise OptionError(f"{name} is {value!r}; expected one of {', '.join(choices)}")


def _check_number(
    name: str,
    value: Any,
    low: float,
    high: float,
    *,
    whole: bool = False,
    above: bool = False,
    other: str = "",
) -> None:
    """OptionError unless value is a number in [low, high] (`above`: not low itself)."""
    kinds = (int,) if whole else (int, float)
    number = hasattr(value, "__index__") if whole else hasattr(value, "__float__")
    if isinstance(value, (bool, str)) or not (isinstance(value, kinds) or number):
        fits = False
    else:
        fits = low <= value <= high and not (above and value == low) and value != float("inf")
    if fits:
        return
    kind = "a whole number" if whole else "a number"
    if high == float("inf"):
        span = f"above {low:g}" if above else f"of {low:g} or more"
    else:
        span = f"from {low:g} to {high:g}"
    raise OptionError(f"{name} is {value!r}; expected {kind} {span}{other}")
