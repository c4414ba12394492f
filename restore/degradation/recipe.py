"""Recipe, Stage and Mixture: what may be done to a picture, under the keys of the option files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from restore.degradation.jpeg import CHROMA_MODES
from restore.degradation.kernels import KERNEL_NAMES
from restore.degradation.resize import RESIZE_MODES
from restore.errors import OptionError

Range = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One pass of blur, resize, noise, JPEG. Units are those of GFPGAN's option files."""

    blur_prob: float = 1.0
    blur_kernel_size: int | tuple[int, int] = 41
    """Odd px; or (low, high), an odd size drawn between them for each sample (Real-ESRGAN)."""
    kernel_list: tuple[str, ...] = ("iso", "aniso")
    kernel_prob: tuple[float, ...] = (0.5, 0.5)
    blur_sigma: Range = (0.1, 10.0)
    """px; of motion and defocus kernels the standard deviation of their mass along one axis."""
    betag_range: Range = (0.5, 4.0)
    """Exponent of the generalised Gaussians; each side of 1 is drawn half of the time."""
    betap_range: Range = (1.0, 2.0)
    sinc_prob: float = 0.0
    """A sinc kernel instead of one of kernel_list."""
    downsample_prob: float = 1.0
    downsample_range: Range = (0.8, 8.0)
    """The picture is resized to size // factor; below 1 enlarges."""
    downsample_modes: tuple[str, ...] = ("bilinear",)
    resize_prob: tuple[float, float, float] | None = None
    """Up, down, keep (Real-ESRGAN). Then a size factor is drawn from resize_range instead: above 1
    for up, below 1 for down, and downsample_range is not read."""
    resize_range: Range = (0.15, 1.5)
    resize_base: float | None = None
    """Share of the first size that factor 1 stands for; None: the size at hand."""
    noise_prob: float = 1.0
    noise_range: Range = (0.0, 20.0)
    """Sigma in 0..255."""
    gaussian_noise_prob: float = 1.0
    """Share of Gaussian among the noises; the others are Poisson noise."""
    poisson_scale_range: Range = (0.05, 3.0)
    gray_noise_prob: float = 0.0
    jpeg_prob: float = 1.0
    jpeg_range: Range = (60.0, 100.0)
    jpeg_chroma: str = "420"

    def __post_init__(self) -> None:
        _refuse(stage_problems(self), "Stage")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What may be done to a picture, in this order: blur, ageing of a print, down-scaling, noise,
    JPEG, (a second stage,) resize to the first size, colour, rounding to 8 bit.

    The keys of `Stage` are the first pass. All `*_prob` are drawn for each sample by itself.
    """

    blur_prob: float = 1.0
    blur_kernel_size: int | tuple[int, int] = 41
    kernel_list: tuple[str, ...] = ("iso", "aniso")
    kernel_prob: tuple[float, ...] = (0.5, 0.5)
    blur_sigma: Range = (0.1, 10.0)
    betag_range: Range = (0.5, 4.0)
    betap_range: Range = (1.0, 2.0)
    sinc_prob: float = 0.0
    downsample_prob: float = 1.0
    downsample_range: Range = (0.8, 8.0)
    downsample_modes: tuple[str, ...] = ("bilinear",)
    resize_prob: tuple[float, float, float] | None = None
    resize_range: Range = (0.15, 1.5)
    resize_base: float | None = None
    noise_prob: float = 1.0
    noise_range: Range = (0.0, 20.0)
    gaussian_noise_prob: float = 1.0
    poisson_scale_range: Range = (0.05, 3.0)
    gray_noise_prob: float = 0.0
    jpeg_prob: float = 1.0
    jpeg_range: Range = (60.0, 100.0)
    jpeg_chroma: str = "420"

    second: Stage | None = None
    """A second pass (Real-ESRGAN's second order)."""
    final_sinc_prob: float = 0.0
    """A last sinc filter of 7 to 21 px, at the first size."""
    upsample_modes: tuple[str, ...] = ("bilinear",)

    print_gray_prob: float = 0.0
    """The print is gray: gt as well (`gt_gray`)."""
    sepia_prob: float = 0.0
    """The print is toned; gt takes the same tone: what a print shows of its colours is kept."""
    grain_prob: float = 0.0
    grain_range: Range = (4.0, 16.0)
    """Film grain: its sigma at mid gray in 0..255."""
    fade_prob: float = 0.0
    fade_range: Range = (0.1, 0.6)
    """How much of contrast and saturation is gone."""
    cast_prob: float = 0.0
    cast_range: Range = (0.05, 0.4)
    exposure_prob: float = 0.0
    exposure_range: Range = (0.1, 0.8)
    """Stops between the middle and the brightest or darkest corner."""
    haze_prob: float = 0.0
    haze_range: Range = (0.1, 0.5)
    """Share of air light."""

    color_jitter_prob: float = 0.0
    color_jitter_shift: float = 20.0
    """The largest shift of a channel in 0..255."""
    color_jitter_pt_prob: float = 0.0
    brightness: Range = (0.5, 1.5)
    contrast: Range = (0.5, 1.5)
    saturation: Range = (0.0, 1.5)
    hue: Range = (-0.1, 0.1)
    gray_prob: float = 0.0
    gt_gray: bool = False
    """Whether gray_prob makes gt gray as well."""

    reference_size: int | None = None
    """None: pixel units are pixels of the picture at hand. Else they are those of a square crop of
    this size, converted to the height at hand; the truth stays in the recipe's units."""

    def __post_init__(self) -> None:
        _refuse(recipe_problems(self), "Recipe")

    def first(self) -> Stage:
        """The first pass alone."""
        return Stage(**{f.name: getattr(self, f.name) for f in fields(Stage)})


@dataclass(frozen=True)
class Mixture:
    """Recipes, one drawn for each sample with its weight."""

    recipes: tuple[Recipe, ...]
    probs: tuple[float, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "recipes", tuple(self.recipes))
        object.__setattr__(self, "probs", tuple(float(p) for p in self.probs))
        problems = []
        if not self.recipes or not all(isinstance(r, Recipe) for r in self.recipes):
            problems.append("recipes: expected one Recipe or more")
        if len(self.probs) != len(self.recipes):
            problems.append(
                f"probs: found {len(self.probs)} for {len(self.recipes)} recipes, expected as many"
            )
        if any(not p >= 0 for p in self.probs) or not 0 < sum(self.probs) < float("inf"):
            problems.append(f"probs: found {self.probs}, expected weights >= 0, not all zero")
        _refuse(problems, "Mixture")


def recipe_from_options(options: Mapping[str, Any]) -> Recipe:
    """A Recipe from an option file's block; unknown keys and bad values are refused by name."""
    known = {f.name for f in fields(Recipe)}
    unknown = sorted(set(options) - known)
    if unknown:
        _refuse([f"{key}: unknown key" for key in unknown], "Recipe")
    values = {key: _frozen(value) for key, value in options.items()}
    if isinstance(values.get("second"), Mapping):
        second = {key: _frozen(value) for key, value in values["second"].items()}
        unknown = sorted(set(second) - {f.name for f in fields(Stage)})
        if unknown:
            _refuse([f"second.{key}: unknown key" for key in unknown], "Recipe")
        values["second"] = Stage(**second)
    return Recipe(**values)


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _refuse(problems: Sequence[str], what: str) -> None:
    if problems:
        raise OptionError(f"{what}: " + "; ".join(problems))


def stage_problems(stage: Stage | Recipe) -> list[str]:
    """What is wrong with the keys of a pass, each line beginning with its key."""
    probs = ("blur_prob", "sinc_prob", "downsample_prob", "noise_prob", "gaussian_noise_prob")
    problems = _prob_problems(stage, (*probs, "gray_noise_prob", "jpeg_prob"))
    problems += range_problems(stage, "blur_sigma", 0.0, 200.0)
    problems += range_problems(stage, "betag_range", 0.05, 20.0)
    problems += range_problems(stage, "betap_range", 0.05, 20.0)
    problems += range_problems(stage, "downsample_range", 0.1, 128.0)
    problems += range_problems(stage, "resize_range", 0.01, 10.0)
    problems += range_problems(stage, "noise_range", 0.0, 255.0)
    problems += range_problems(stage, "poisson_scale_range", 0.0, 100.0)
    problems += range_problems(stage, "jpeg_range", 1.0, 100.0)
    problems += _choice_problems(stage, "kernel_list", KERNEL_NAMES)
    problems += _choice_problems(stage, "downsample_modes", RESIZE_MODES)
    problems += _kernel_size_problems(stage.blur_kernel_size)
    if stage.jpeg_chroma not in CHROMA_MODES:
        problems.append(f"jpeg_chroma: found {stage.jpeg_chroma!r}, expected one of {CHROMA_MODES}")
    if len(stage.kernel_prob) != len(stage.kernel_list):
        problems.append(
            f"kernel_prob: found {len(stage.kernel_prob)} values, expected "
            f"{len(stage.kernel_list)} as in kernel_list"
        )
    problems += _weight_problems("kernel_prob", stage.kernel_prob)
    base = stage.resize_base
    if base is not None and not (_is_number(base) and 0 < base <= 4):
        problems.append(f"resize_base: found {base!r}, expected None or a share in (0, 4]")
    if stage.resize_prob is not None:
        if len(stage.resize_prob) != 3:
            problems.append("resize_prob: expected three weights (up, down, keep)")
        problems += _weight_problems("resize_prob", stage.resize_prob)
    return problems


def recipe_problems(recipe: Recipe) -> list[str]:
    """What is wrong with a recipe's keys, each line beginning with its key."""
    problems = stage_problems(recipe)
    stage_keys = {f.name for f in fields(Stage)}
    own = [f.name for f in fields(Recipe) if f.name not in stage_keys]
    problems += _prob_problems(recipe, [key for key in own if key.endswith("_prob")])
    for key, low, high in _RECIPE_RANGES:
        problems += range_problems(recipe, key, low, high)
    problems += _choice_problems(recipe, "upsample_modes", RESIZE_MODES)
    if recipe.second is not None and not isinstance(recipe.second, Stage):
        problems.append(f"second: found {type(recipe.second).__name__}, expected a Stage")
    if not _is_number(recipe.color_jitter_shift) or not 0 <= recipe.color_jitter_shift <= 255:
        problems.append(f"color_jitter_shift: found {recipe.color_jitter_shift!r}, expected 0..255")
    size = recipe.reference_size
    if size is not None and (not isinstance(size, int) or size < 16):
        problems.append(f"reference_size: found {size!r}, expected None or an int >= 16")
    return problems


_RECIPE_RANGES = (
    ("grain_range", 0.0, 128.0),
    ("fade_range", 0.0, 0.95),
    ("cast_range", 0.0, 2.0),
    ("exposure_range", 0.0, 4.0),
    ("haze_range", 0.0, 0.95),
    ("brightness", 0.0, 10.0),
    ("contrast", 0.0, 10.0),
    ("saturation", 0.0, 10.0),
    ("hue", -0.5, 0.5),
)


def range_problems(owner: object, key: str, low: float, high: float) -> list[str]:
    """Whether owner.key is a pair (a, b) of numbers with low <= a <= b <= high."""
    value = getattr(owner, key)
    pair = isinstance(value, tuple) and len(value) == 2 and all(_is_number(v) for v in value)
    if not pair:
        return [f"{key}: found {value!r}, expected a pair (low, high)"]
    if value[0] > value[1]:
        return [f"{key}: found {value!r}, expected low <= high; turn the pair round"]
    if not (low <= value[0] and value[1] <= high):
        return [f"{key}: found {value!r}, expected values in {low:g}..{high:g}"]
    return []


def _prob_problems(owner: object, keys: Sequence[str]) -> list[str]:
    found = [(key, getattr(owner, key)) for key in keys]
    return [
        f"{key}: found {value!r}, expected a probability in 0..1"
        for key, value in found
        if not (_is_number(value) and 0 <= value <= 1)
    ]


def _choice_problems(owner: object, key: str, choices: Sequence[str]) -> list[str]:
    value = getattr(owner, key)
    if not isinstance(value, tuple) or not value:
        return [f"{key}: found {value!r}, expected a tuple of names"]
    return [
        f"{key}: found {v!r}, expected one of {', '.join(choices)}"
        for v in value
        if v not in choices
    ]


def _weight_problems(key: str, weights: Sequence[float]) -> list[str]:
    good = all(_is_number(w) and w >= 0 for w in weights)
    if good and sum(weights) > 0:
        return []
    return [f"{key}: found {weights!r}, expected weights >= 0, not all zero"]


def _kernel_size_problems(size: int | tuple[int, int]) -> list[str]:
    low, high = size if isinstance(size, tuple) and len(size) == 2 else (size, size)
    whole = isinstance(low, int) and isinstance(high, int)
    if whole and 1 <= low <= high <= 201 and low % 2 and high % 2:  # type: ignore[operator]
        return []
    return [f"blur_kernel_size: found {size!r}, expected an odd int in 1..201, or a pair of them"]


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value - value == 0
