"""Recipe, Stage and Mixture: what may be done to a picture, under the keys of the option files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from restore.degradation.damage import DAMAGES
from restore.degradation.recipe_checks import recipe_problems, stage_problems
from restore.errors import OptionError

Range = tuple[float, float]

DAMAGE_NAMES = tuple(DAMAGES)


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
    chroma_noise_prob: float = 0.0
    """Share of Gaussian noises of colour alone, among those that are not gray."""
    blotch_prob: float = 0.0
    blotch_range: Range = (10.0, 40.0)
    """Sigma in 0..255 of sensor noise that was denoised into blotches."""
    sharpen_prob: float = 0.0
    sharpen_range: Range = (0.3, 2.5)
    """Amount of an unsharp mask."""
    sharpen_radius: Range = (0.5, 1.5)
    """px: sigma of its Gaussian, after the resize."""
    mosaic_prob: float = 0.0
    mosaic_range: Range = (2.0, 6.0)
    """px of a cell."""
    palette_prob: float = 0.0
    palette_range: Range = (6.0, 24.0)
    """Levels that are left of each channel."""
    video_prob: float = 0.0
    video_range: Range = (10.0, 50.0)
    """Quantiser step in 0..255 of a video's blocks."""
    jpeg_prob: float = 1.0
    jpeg_range: Range = (60.0, 100.0)
    jpeg_chroma: str | tuple[str, ...] = "420"
    """One of several is drawn for each sample; one that is named twice is drawn twice as often."""

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
    chroma_noise_prob: float = 0.0
    blotch_prob: float = 0.0
    blotch_range: Range = (10.0, 40.0)
    sharpen_prob: float = 0.0
    sharpen_range: Range = (0.3, 2.5)
    sharpen_radius: Range = (0.5, 1.5)
    mosaic_prob: float = 0.0
    mosaic_range: Range = (2.0, 6.0)
    palette_prob: float = 0.0
    palette_range: Range = (6.0, 24.0)
    video_prob: float = 0.0
    video_range: Range = (10.0, 50.0)
    jpeg_prob: float = 1.0
    jpeg_range: Range = (60.0, 100.0)
    jpeg_chroma: str | tuple[str, ...] = "420"

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
    halftone_prob: float = 0.0
    halftone_range: Range = (0.2, 0.8)
    """How much of the picture is dots."""
    halftone_period: Range = (4.0, 9.0)
    """px between the dots."""
    paper_prob: float = 0.0
    paper_range: Range = (0.01, 0.06)
    """Standard deviation of the paper's relief, as a share of the brightness."""
    damage_prob: float = 0.0
    damage_range: Range = (0.1, 1.0)
    """Strength: number, width and cover of what is drawn; the truth's `damage`."""
    damage_list: tuple[str, ...] = DAMAGE_NAMES
    damage_part_prob: float = 0.5
    """Chance of each name of damage_list where there is damage; one of them is always there."""

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

    tint_prob: float = 0.0
    tint_range: Range = (0.03, 0.3)
    """A scan's cast over a gray picture, in lq alone."""
    occluder_prob: float = 0.0
    """Something painted before the face, in gt too: a hand, a hat, glasses, a microphone."""
    background_prob: float = 0.0
    background_range: Range = (0.4, 1.0)
    """How much is seen of what lies sharp or grainy around the degraded face, in gt too."""
    caption_prob: float = 0.0
    caption_range: Range = (0.03, 0.12)
    """Height of clean letters over the picture, as a share of its height, in gt too."""
    margin_prob: float = 0.0
    margin_range: Range = (0.02, 0.2)
    """Width of a page's margin, as a share of the side, in gt too."""
    cut_prob: float = 0.0
    cut_range: Range = (0.05, 0.35)
    """Share of the side beyond the photo's end, in gt too."""

    reference_size: int | None = None
    """None: pixel units are pixels of the picture at hand. Else they are those of a square crop of
    this size, converted to the height at hand; the truth stays in the recipe's units."""

    def __post_init__(self) -> None:
        _refuse(stage_problems(self) + recipe_problems(self, DAMAGE_NAMES), "Recipe")
        if self.second is not None and not isinstance(self.second, Stage):
            found = type(self.second).__name__
            _refuse([f"second: found {found}, expected a Stage or None"], "Recipe")

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
