"""Options of a degradation: GFPGAN's keys and ours, or the name of a recipe."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class StageOptions:
    """A second pass; None leaves the recipe's default. Units and meanings: degradation.Stage."""

    blur_prob: float | None = None
    blur_kernel_size: int | tuple[int, int] | None = None
    kernel_list: tuple[str, ...] | None = None
    kernel_prob: tuple[float, ...] | None = None
    blur_sigma: tuple[float, float] | None = None
    betag_range: tuple[float, float] | None = None
    betap_range: tuple[float, float] | None = None
    sinc_prob: float | None = None
    downsample_prob: float | None = None
    downsample_range: tuple[float, float] | None = None
    downsample_modes: tuple[str, ...] | None = None
    resize_prob: tuple[float, float, float] | None = None
    resize_range: tuple[float, float] | None = None
    resize_base: float | None = None
    noise_prob: float | None = None
    noise_range: tuple[float, float] | None = None
    gaussian_noise_prob: float | None = None
    poisson_scale_range: tuple[float, float] | None = None
    gray_noise_prob: float | None = None
    chroma_noise_prob: float | None = None
    blotch_prob: float | None = None
    blotch_range: tuple[float, float] | None = None
    sharpen_prob: float | None = None
    sharpen_range: tuple[float, float] | None = None
    sharpen_radius: tuple[float, float] | None = None
    mosaic_prob: float | None = None
    mosaic_range: tuple[float, float] | None = None
    palette_prob: float | None = None
    palette_range: tuple[float, float] | None = None
    video_prob: float | None = None
    video_range: tuple[float, float] | None = None
    jpeg_prob: float | None = None
    jpeg_range: tuple[float, float] | None = None
    jpeg_chroma: str | tuple[str, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class DegradationOptions:
    """`recipe: NAME`, `recipe: {NAME: weight}` or keys; None leaves the recipe's default.

    Units and meanings of the keys: `restore.degradation.recipe.Recipe`.
    """

    recipe: str | Mapping[str, float] | None = None
    """A named recipe or mixture, or several, one drawn for each sample with its weight."""
    blur_prob: float | None = None
    blur_kernel_size: int | tuple[int, int] | None = None
    kernel_list: tuple[str, ...] | None = None
    kernel_prob: tuple[float, ...] | None = None
    blur_sigma: tuple[float, float] | None = None
    betag_range: tuple[float, float] | None = None
    betap_range: tuple[float, float] | None = None
    sinc_prob: float | None = None
    downsample_prob: float | None = None
    downsample_range: tuple[float, float] | None = None
    downsample_modes: tuple[str, ...] | None = None
    resize_prob: tuple[float, float, float] | None = None
    resize_range: tuple[float, float] | None = None
    resize_base: float | None = None
    noise_prob: float | None = None
    noise_range: tuple[float, float] | None = None
    gaussian_noise_prob: float | None = None
    poisson_scale_range: tuple[float, float] | None = None
    gray_noise_prob: float | None = None
    chroma_noise_prob: float | None = None
    blotch_prob: float | None = None
    blotch_range: tuple[float, float] | None = None
    sharpen_prob: float | None = None
    sharpen_range: tuple[float, float] | None = None
    sharpen_radius: tuple[float, float] | None = None
    mosaic_prob: float | None = None
    mosaic_range: tuple[float, float] | None = None
    palette_prob: float | None = None
    palette_range: tuple[float, float] | None = None
    video_prob: float | None = None
    video_range: tuple[float, float] | None = None
    jpeg_prob: float | None = None
    jpeg_range: tuple[float, float] | None = None
    jpeg_chroma: str | tuple[str, ...] | None = None
    second: StageOptions | None = None
    final_sinc_prob: float | None = None
    upsample_modes: tuple[str, ...] | None = None
    print_gray_prob: float | None = None
    sepia_prob: float | None = None
    grain_prob: float | None = None
    grain_range: tuple[float, float] | None = None
    fade_prob: float | None = None
    fade_range: tuple[float, float] | None = None
    cast_prob: float | None = None
    cast_range: tuple[float, float] | None = None
    exposure_prob: float | None = None
    exposure_range: tuple[float, float] | None = None
    haze_prob: float | None = None
    haze_range: tuple[float, float] | None = None
    halftone_prob: float | None = None
    halftone_range: tuple[float, float] | None = None
    halftone_period: tuple[float, float] | None = None
    paper_prob: float | None = None
    paper_range: tuple[float, float] | None = None
    damage_prob: float | None = None
    damage_range: tuple[float, float] | None = None
    damage_list: tuple[str, ...] | None = None
    damage_part_prob: float | None = None
    color_jitter_prob: float | None = None
    color_jitter_shift: float | None = None
    color_jitter_pt_prob: float | None = None
    brightness: tuple[float, float] | None = None
    contrast: tuple[float, float] | None = None
    saturation: tuple[float, float] | None = None
    hue: tuple[float, float] | None = None
    gray_prob: float | None = None
    gt_gray: bool | None = None
    tint_prob: float | None = None
    tint_range: tuple[float, float] | None = None
    occluder_prob: float | None = None
    background_prob: float | None = None
    background_range: tuple[float, float] | None = None
    caption_prob: float | None = None
    caption_range: tuple[float, float] | None = None
    margin_prob: float | None = None
    margin_range: tuple[float, float] | None = None
    cut_prob: float | None = None
    cut_range: tuple[float, float] | None = None
    reference_size: int | None = None
    """Side of the crops whose pixels the sizes are counted in; may stand beside `recipe`."""

    def problems(self) -> Iterable[str]:
        keys = self.recipe_keys()
        others = [key for key in keys if key != "reference_size"]
        if self.recipe is not None and others:
            yield f"recipe: given beside {', '.join(others)}; give a recipe or keys, not both"
        if isinstance(self.recipe, Mapping):
            weights = list(self.recipe.values())
            if not weights or min(weights) < 0 or sum(weights) <= 0:
                yield f"recipe: found {dict(self.recipe)}, expected names with weights above 0"
        yield from _range_problems("", keys)
        yield from _range_problems("second.", keys.get("second", {}))

    def recipe_keys(self) -> dict[str, Any]:
        """The keys that were given, for `recipe_from_options`; those written `~` are left out."""
        return _given(self, leave_out="recipe")


def _range_problems(where: str, keys: Mapping[str, Any]) -> Iterable[str]:
    for name, value in keys.items():
        is_range = name.endswith("_range") or name == "blur_sigma"
        if is_range and value[0] > value[1]:
            yield f"{where}{name}: found {list(value)}, expected [low, high]"
    names, probs = keys.get("kernel_list"), keys.get("kernel_prob")
    if names is not None and probs is not None and len(names) != len(probs):
        yield f"{where}kernel_prob: found {len(probs)} for {len(names)} kernels; expected as many"


def _given(block: Any, leave_out: str = "") -> dict[str, Any]:
    values = {f.name: getattr(block, f.name) for f in fields(block) if f.name != leave_out}
    return {
        key: _given(value) if is_dataclass(value) else value
        for key, value in values.items()
        if value is not None
    }
