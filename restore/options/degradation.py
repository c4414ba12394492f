"""Recipe: what may be done to a good face, as plain data under the option files' keys.

Every field has its bounds beside it. A new operation needs its fields here and its function in
`restore.degradation`; option files, checks and errors follow from the field.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Annotated, Any, cast, get_args, get_type_hints

from restore.errors import OptionError
from restore.options.parse import Notes, is_bad, parse_block

Range = tuple[float, float]

KERNEL_NAMES = (
    "iso",
    "aniso",
    "generalized_iso",
    "generalized_aniso",
    "plateau_iso",
    "plateau_aniso",
    "motion",
    "defocus",
    "sinc",
)
RESIZE_MODES = ("nearest", "bilinear", "bicubic", "lanczos", "area")
CHROMA_MODES = ("420", "422", "444")
DAMAGE_NAMES = ("scratches", "creases", "dust", "stains", "borders")

Check = Callable[[Any], Iterator[str]]
"""Yields "found ..., expected ..." for a value that is out of bounds; stands in `Annotated`."""


def _holds(expected: str, test: Callable[[Any], bool]) -> Check:
    def check(value: Any) -> Iterator[str]:
        if not test(value):
            yield f"found {value!r}, expected {expected}"

    return check


def within(least: float, most: float) -> Check:
    """A pair (low, high) in least..most, between which values are drawn evenly."""

    def check(value: Any) -> Iterator[str]:
        pair = isinstance(value, tuple) and len(value) == 2 and all(_is_number(v) for v in value)
        if not pair:
            yield f"found {value!r}, expected a pair (low, high)"
        elif value[0] > value[1]:
            yield f"found {value!r}, expected low <= high; turn the pair round"
        elif not (least <= value[0] and value[1] <= most):
            yield f"found {value!r}, expected values in {least:g}..{most:g}"

    return check


def names_of(choices: Sequence[str]) -> Check:
    """Names, of which one is drawn for each sample; a name may stand more than once."""

    def check(value: Any) -> Iterator[str]:
        if not isinstance(value, tuple) or not value:
            yield f"found {value!r}, expected a tuple of names"
        else:
            for name in value:
                if name not in choices:
                    yield f"found {name!r}, expected one of {', '.join(choices)}"

    return check


def weights(count: int | None = None) -> Check:
    """Weights of any sum; with a count so many of them, or None."""

    def check(value: Any) -> Iterator[str]:
        if value is None and count:
            return
        good = isinstance(value, tuple) and all(_is_number(w) and w >= 0 for w in value)
        if count and (not isinstance(value, tuple) or len(value) != count):
            yield f"found {value!r}, expected {count} weights"
        elif not good or not sum(value) > 0:
            yield f"found {value!r}, expected weights >= 0, not all zero"

    return check


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value - value == 0


def _is_kernel_size(size: Any) -> bool:
    low, high = size if isinstance(size, tuple) and len(size) == 2 else (size, size)
    whole = isinstance(low, int) and isinstance(high, int)
    return whole and 1 <= low <= high <= 201 and low % 2 == 1 and high % 2 == 1


def _is_chroma(value: Any) -> bool:
    return bool(value) and set(value if isinstance(value, tuple) else (value,)) <= set(CHROMA_MODES)


def _is_mix(value: Any) -> bool:
    if not isinstance(value, Mapping):
        return True
    return bool(value) and min(value.values()) >= 0 and sum(value.values()) > 0


Prob = Annotated[float, _holds("a probability in 0..1", lambda v: _is_number(v) and 0 <= v <= 1)]
KERNEL_SIZE = _holds("an odd int in 1..201, or a pair of them", _is_kernel_size)
SHARE = _holds("None or a share in (0, 4]", lambda v: v is None or (_is_number(v) and 0 < v <= 4))
CHROMA = _holds(f"one of {CHROMA_MODES}", _is_chroma)
SECOND = _holds("a Stage or None", lambda v: v is None or type(v) is Stage)
SHIFT = _holds("a number in 0..255", lambda v: _is_number(v) and 0 <= v <= 255)
FLAG = _holds("true or false", lambda v: isinstance(v, bool))
SIZE = _holds("None or an int >= 16", lambda v: v is None or (isinstance(v, int) and v >= 16))
MIX = _holds("names with weights above 0", _is_mix)


@functools.cache
def _checks(cls: type) -> dict[str, Check]:
    """The check of each field of a dataclass."""
    hints = get_type_hints(cls, include_extras=True)
    return {f.name: get_args(hints[f.name])[1] for f in fields(cls)}


class RecipeError(OptionError):
    """A recipe has bad values; `problems` has a text "key: what is wrong" for each."""

    def __init__(self, what: str, problems: Sequence[str]) -> None:
        super().__init__(what, problems)
        self.problems = tuple(problems)

    def __str__(self) -> str:
        return f"{self.args[0]}: " + "; ".join(self.problems)


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One pass: blur, resize, noise, what programs do, JPEG; in units of GFPGAN's option files."""

    none_is_unset = True

    blur_prob: Prob = 1.0
    blur_kernel_size: Annotated[int | tuple[int, int], KERNEL_SIZE] = 41
    """Odd px; or (low, high), an odd size drawn between them for each sample (Real-ESRGAN)."""
    kernel_list: Annotated[tuple[str, ...], names_of(KERNEL_NAMES)] = ("iso", "aniso")
    kernel_prob: Annotated[tuple[float, ...], weights()] = (0.5, 0.5)
    blur_sigma: Annotated[Range, within(0, 200)] = (0.1, 10.0)
    """px; of motion and defocus kernels the standard deviation of their mass along one axis."""
    betag_range: Annotated[Range, within(0.05, 20)] = (0.5, 4.0)
    """Exponent of the generalised Gaussians; each side of 1 is drawn half of the time."""
    betap_range: Annotated[Range, within(0.05, 20)] = (1.0, 2.0)
    sinc_prob: Prob = 0.0
    """A sinc kernel instead of one of kernel_list."""
    downsample_prob: Prob = 1.0
    downsample_range: Annotated[Range, within(0.1, 128)] = (0.8, 8.0)
    """The picture is resized to size // factor; below 1 enlarges."""
    downsample_modes: Annotated[tuple[str, ...], names_of(RESIZE_MODES)] = ("bilinear",)
    resize_prob: Annotated[tuple[float, float, float] | None, weights(3)] = None
    """Up, down, keep (Real-ESRGAN). Then a size factor is drawn from resize_range instead: above 1
    for up, below 1 for down, and downsample_range is not read."""
    resize_range: Annotated[Range, within(0.01, 10)] = (0.15, 1.5)
    resize_base: Annotated[float | None, SHARE] = None
    """Share of the first size that factor 1 stands for; None: the size at hand."""
    noise_prob: Prob = 1.0
    noise_range: Annotated[Range, within(0, 255)] = (0.0, 20.0)
    """Sigma in 0..255."""
    gaussian_noise_prob: Prob = 1.0
    """Share of Gaussian among the noises; the others are Poisson noise."""
    poisson_scale_range: Annotated[Range, within(0, 100)] = (0.05, 3.0)
    gray_noise_prob: Prob = 0.0
    chroma_noise_prob: Prob = 0.0
    """Share of Gaussian noises of colour alone, among those that are not gray."""
    blotch_prob: Prob = 0.0
    blotch_range: Annotated[Range, within(0, 128)] = (10.0, 40.0)
    """Sigma in 0..255 of sensor noise that was denoised into blotches."""
    sharpen_prob: Prob = 0.0
    sharpen_range: Annotated[Range, within(0, 20)] = (0.3, 2.5)
    """Amount of an unsharp mask."""
    sharpen_radius: Annotated[Range, within(0.1, 10)] = (0.5, 1.5)
    """px: sigma of its Gaussian, after the resize."""
    mosaic_prob: Prob = 0.0
    mosaic_range: Annotated[Range, within(1, 64)] = (2.0, 6.0)
    """px of a cell."""
    palette_prob: Prob = 0.0
    palette_range: Annotated[Range, within(2, 256)] = (6.0, 24.0)
    """Levels that are left of each channel."""
    video_prob: Prob = 0.0
    video_range: Annotated[Range, within(0.1, 255)] = (10.0, 50.0)
    """Quantiser step in 0..255 of a video's blocks."""
    jpeg_prob: Prob = 1.0
    jpeg_range: Annotated[Range, within(1, 100)] = (60.0, 100.0)
    jpeg_chroma: Annotated[str | tuple[str, ...], CHROMA] = "420"
    """One of several is drawn for each sample; one that is named twice is drawn twice as often."""

    def __post_init__(self) -> None:
        problems = list(self.problems())
        if problems:
            raise RecipeError(type(self).__name__, problems)

    def problems(self) -> Iterator[str]:
        """Every value that is out of its bounds, as "key: what was found and expected"."""
        for name, check in _checks(cast(Any, type(self))).items():
            for text in check(getattr(self, name)):
                yield f"{name}: {text}"
        pair = self.kernel_prob, self.kernel_list
        if all(isinstance(one, tuple) for one in pair) and len(pair[0]) != len(pair[1]):
            yield (
                f"kernel_prob: found {len(self.kernel_prob)} values, expected "
                f"{len(self.kernel_list)} as in kernel_list"
            )


@dataclass(frozen=True, kw_only=True)
class Recipe(Stage):
    """What may be done to a picture: the passes, between them what ages a print, then its colours
    and what lies over it (docs/degradations.md has the order).

    The keys of `Stage` are the first pass. All `*_prob` are drawn for each sample by itself.
    """

    second: Annotated[Stage | None, SECOND] = None
    """A second pass (Real-ESRGAN's second order)."""
    final_sinc_prob: Prob = 0.0
    """A last sinc filter of 7 to 21 px, at the first size."""
    upsample_modes: Annotated[tuple[str, ...], names_of(RESIZE_MODES)] = ("bilinear",)

    print_gray_prob: Prob = 0.0
    """The print is gray: gt as well (`gt_gray`)."""
    sepia_prob: Prob = 0.0
    """The print is toned; gt takes the same tone: what a print shows of its colours is kept."""
    grain_prob: Prob = 0.0
    grain_range: Annotated[Range, within(0, 128)] = (4.0, 16.0)
    """Film grain: its sigma at mid gray in 0..255."""
    fade_prob: Prob = 0.0
    fade_range: Annotated[Range, within(0, 0.95)] = (0.1, 0.6)
    """How much of contrast and saturation is gone."""
    cast_prob: Prob = 0.0
    cast_range: Annotated[Range, within(0, 2)] = (0.05, 0.4)
    exposure_prob: Prob = 0.0
    exposure_range: Annotated[Range, within(0, 4)] = (0.1, 0.8)
    """Stops between the middle and the brightest or darkest corner."""
    haze_prob: Prob = 0.0
    haze_range: Annotated[Range, within(0, 0.95)] = (0.1, 0.5)
    """Share of air light."""
    halftone_prob: Prob = 0.0
    halftone_range: Annotated[Range, within(0, 1)] = (0.2, 0.8)
    """How much of the picture is dots."""
    halftone_period: Annotated[Range, within(2, 64)] = (4.0, 9.0)
    """px between the dots."""
    paper_prob: Prob = 0.0
    paper_range: Annotated[Range, within(0, 0.5)] = (0.01, 0.06)
    """Standard deviation of the paper's relief, as a share of the brightness."""
    damage_prob: Prob = 0.0
    damage_range: Annotated[Range, within(0, 1)] = (0.1, 1.0)
    """Strength: number, width and cover of what is drawn; the truth's `damage`."""
    damage_list: Annotated[tuple[str, ...], names_of(DAMAGE_NAMES)] = DAMAGE_NAMES
    damage_part_prob: Prob = 0.5
    """Chance of each name of damage_list where there is damage; one of them is always there."""

    color_jitter_prob: Prob = 0.0
    color_jitter_shift: Annotated[float, SHIFT] = 20.0
    """The largest shift of a channel in 0..255."""
    color_jitter_pt_prob: Prob = 0.0
    brightness: Annotated[Range, within(0, 10)] = (0.5, 1.5)
    contrast: Annotated[Range, within(0, 10)] = (0.5, 1.5)
    saturation: Annotated[Range, within(0, 10)] = (0.0, 1.5)
    hue: Annotated[Range, within(-0.5, 0.5)] = (-0.1, 0.1)
    gray_prob: Prob = 0.0
    gt_gray: Annotated[bool, FLAG] = False
    """Whether gray_prob makes gt gray as well."""

    tint_prob: Prob = 0.0
    tint_range: Annotated[Range, within(0, 2)] = (0.03, 0.3)
    """A scan's cast over a gray picture, in lq alone."""
    occluder_prob: Prob = 0.0
    """Something painted before the face, in gt too: a hand, a hat, glasses, a microphone."""
    background_prob: Prob = 0.0
    background_range: Annotated[Range, within(0, 1)] = (0.4, 1.0)
    """How much is seen of what lies sharp or grainy around the degraded face, in gt too."""
    caption_prob: Prob = 0.0
    caption_range: Annotated[Range, within(0.005, 0.5)] = (0.03, 0.12)
    """Height of clean letters over the picture, as a share of its height, in gt too."""
    margin_prob: Prob = 0.0
    margin_range: Annotated[Range, within(0, 0.45)] = (0.02, 0.2)
    """Width of a page's margin, as a share of the side, in gt too."""
    cut_prob: Prob = 0.0
    cut_range: Annotated[Range, within(0, 0.5)] = (0.05, 0.35)
    """Share of the side beyond the photo's end, in gt too."""

    reference_size: Annotated[int | None, SIZE] = None
    """None: pixel units are pixels of the picture at hand. Else they are those of a square crop of
    this size, converted to the height at hand; the truth stays in the recipe's units."""


@dataclass(frozen=True, kw_only=True)
class DegradationOptions(Recipe):
    """A block of an option file: `recipe: NAME`, `recipe: {NAME: weight}`, or a Recipe's keys.

    Beside a name only `reference_size` may be given.
    """

    recipe: Annotated[str | Mapping[str, float] | None, MIX] = None
    """A named recipe or mixture, or several, one drawn for each sample with its weight."""

    def problems(self) -> Iterator[str]:
        yield from super().problems()
        given = [f.name for f in fields(Recipe) if getattr(self, f.name) != f.default]
        others = [name for name in given if name != "reference_size"]
        if self.recipe is not None and others:
            yield f"recipe: given beside {', '.join(others)}; give a recipe or keys, not both"

    def as_recipe(self) -> Recipe:
        """The keys alone."""
        return Recipe(**{f.name: getattr(self, f.name) for f in fields(Recipe)})


def recipe_from_options(options: Mapping[str, Any]) -> Recipe:
    """A Recipe from an option file's block; unknown keys and bad values are refused by name."""
    notes = Notes()
    recipe = parse_block(Recipe, options, "", notes)
    if is_bad(recipe):
        raise RecipeError("Recipe", notes.problems)
    return recipe
