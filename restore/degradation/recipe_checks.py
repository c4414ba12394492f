"""What can be wrong with a recipe: one line for each problem, beginning with the option's key."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from restore.degradation.jpeg import CHROMA_MODES
from restore.degradation.kernels import KERNEL_NAMES
from restore.degradation.resize import RESIZE_MODES


def stage_problems(stage: Any) -> list[str]:
    """What is wrong with the keys of a pass (a Stage, or a Recipe's own)."""
    probs = ("blur_prob", "sinc_prob", "downsample_prob", "noise_prob", "gaussian_noise_prob")
    probs += ("gray_noise_prob", "chroma_noise_prob", "jpeg_prob", "blotch_prob", "sharpen_prob")
    problems = _prob_problems(stage, (*probs, "mosaic_prob", "palette_prob", "video_prob"))
    problems += range_problems(stage, "blotch_range", 0.0, 128.0)
    problems += range_problems(stage, "sharpen_range", 0.0, 20.0)
    problems += range_problems(stage, "sharpen_radius", 0.1, 10.0)
    problems += range_problems(stage, "mosaic_range", 1.0, 64.0)
    problems += range_problems(stage, "palette_range", 2.0, 256.0)
    problems += range_problems(stage, "video_range", 0.1, 255.0)
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
    named = stage.jpeg_chroma if isinstance(stage.jpeg_chroma, tuple) else (stage.jpeg_chroma,)
    if not named or any(name not in CHROMA_MODES for name in named):
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


def recipe_problems(recipe: Any, damage_names: Sequence[str]) -> list[str]:
    """What is wrong with a Recipe's keys but those of its passes."""
    problems = _prob_problems(recipe, _RECIPE_PROBS)
    for key, low, high in _RECIPE_RANGES:
        problems += range_problems(recipe, key, low, high)
    problems += _choice_problems(recipe, "upsample_modes", RESIZE_MODES)
    problems += _choice_problems(recipe, "damage_list", damage_names)
    if not _is_number(recipe.color_jitter_shift) or not 0 <= recipe.color_jitter_shift <= 255:
        problems.append(f"color_jitter_shift: found {recipe.color_jitter_shift!r}, expected 0..255")
    size = recipe.reference_size
    if size is not None and (not isinstance(size, int) or size < 16):
        problems.append(f"reference_size: found {size!r}, expected None or an int >= 16")
    return problems


_RECIPE_PROBS = (
    "final_sinc_prob",
    "print_gray_prob",
    "sepia_prob",
    "grain_prob",
    "fade_prob",
    "cast_prob",
    "exposure_prob",
    "haze_prob",
    "halftone_prob",
    "paper_prob",
    "damage_prob",
    "damage_part_prob",
    "color_jitter_prob",
    "color_jitter_pt_prob",
    "gray_prob",
    "tint_prob",
    "occluder_prob",
    "background_prob",
    "caption_prob",
    "margin_prob",
    "cut_prob",
)

_RECIPE_RANGES = (
    ("grain_range", 0.0, 128.0),
    ("fade_range", 0.0, 0.95),
    ("cast_range", 0.0, 2.0),
    ("exposure_range", 0.0, 4.0),
    ("haze_range", 0.0, 0.95),
    ("halftone_range", 0.0, 1.0),
    ("halftone_period", 2.0, 64.0),
    ("paper_range", 0.0, 0.5),
    ("damage_range", 0.0, 1.0),
    ("brightness", 0.0, 10.0),
    ("contrast", 0.0, 10.0),
    ("saturation", 0.0, 10.0),
    ("hue", -0.5, 0.5),
    ("tint_range", 0.0, 2.0),
    ("background_range", 0.0, 1.0),
    ("caption_range", 0.005, 0.5),
    ("margin_range", 0.0, 0.45),
    ("cut_range", 0.0, 0.5),
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
    if whole and 1 <= low <= high <= 201 and low % 2 and high % 2:
        return []
    return [f"blur_kernel_size: found {size!r}, expected an odd int in 1..201, or a pair of them"]


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value - value == 0
