"""The named recipes with the origin of their numbers, and mixtures of recipes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from restore.errors import InputError
from restore.options.degradation import Recipe, RecipeError, Stage, recipe_from_options

__all__ = [
    "MIXTURES",
    "RECIPES",
    "Mixture",
    "Recipe",
    "Stage",
    "find_recipe",
    "recipe_from_options",
]


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
        if problems:
            raise RecipeError("Mixture", problems)


_COLOR: dict[str, Any] = {"color_jitter_prob": 0.3, "color_jitter_pt_prob": 0.3, "gray_prob": 0.01}

_REALESRGAN_KERNELS: dict[str, Any] = {
    "blur_kernel_size": (7, 21),
    "kernel_list": (
        "iso",
        "aniso",
        "generalized_iso",
        "generalized_aniso",
        "plateau_iso",
        "plateau_aniso",
    ),
    "kernel_prob": (0.45, 0.25, 0.12, 0.03, 0.12, 0.03),
    "betag_range": (0.5, 4.0),
    "betap_range": (1.0, 2.0),
    "sinc_prob": 0.1,
}

_THREE_MODES = ("area", "bilinear", "bicubic")
_ALL_MODES = (*_THREE_MODES, "nearest", "lanczos")
_ANY_CHROMA = ("420", "420", "422", "444")

_OFF: dict[str, Any] = {
    "blur_prob": 0.0,
    "downsample_prob": 0.0,
    "noise_prob": 0.0,
    "jpeg_prob": 0.0,
}

_CODEFORMER_SMALL = Recipe(
    blur_sigma=(0.1, 10.0),
    downsample_range=(1.0, 12.0),
    noise_range=(0.0, 15.0),
    jpeg_range=(60.0, 100.0),
)

_CODEFORMER_LARGE = Recipe(
    blur_sigma=(1.0, 15.0),
    downsample_range=(4.0, 30.0),
    noise_range=(0.0, 20.0),
    jpeg_range=(30.0, 80.0),
)

_OLD_PHOTO = Recipe(
    # a soft lens or a shaken camera, on film, printed, aged, then scanned or photographed
    kernel_list=("iso", "aniso", "defocus", "motion"),
    kernel_prob=(0.4, 0.2, 0.25, 0.15),
    blur_sigma=(0.2, 5.0),
    blur_prob=0.9,
    downsample_range=(1.0, 6.0),
    # a scanner averages: without that, scratches would come out dashed
    downsample_modes=("area",),
    noise_range=(0.0, 10.0),
    noise_prob=0.7,
    gray_noise_prob=0.4,
    jpeg_range=(50.0, 100.0),
    jpeg_prob=0.8,
    grain_prob=0.6,
    grain_range=(3.0, 16.0),
    print_gray_prob=0.35,
    sepia_prob=0.2,
    fade_prob=0.6,
    cast_prob=0.4,
    exposure_prob=0.4,
    haze_prob=0.1,
    halftone_prob=0.08,
    paper_prob=0.35,
    damage_prob=0.6,
    reference_size=512,
)

_LIGHT = Recipe(
    blur_prob=0.7,
    blur_sigma=(0.0, 1.2),
    blur_kernel_size=13,
    downsample_prob=0.7,
    downsample_range=(1.0, 1.6),
    noise_prob=0.6,
    noise_range=(0.0, 6.0),
    jpeg_prob=0.7,
    jpeg_range=(70.0, 100.0),
    gray_prob=0.01,
    gt_gray=True,
    reference_size=512,
)

_SMALL_SHARP = Recipe(
    # a face of a group photograph, a news photo or a video still: small, sharpened by the camera or
    # the scanner, compressed while small, then enlarged by whatever program, and compressed again
    blur_prob=0.5,
    blur_kernel_size=21,
    blur_sigma=(0.2, 3.0),
    downsample_range=(3.0, 14.0),
    downsample_modes=_THREE_MODES,
    noise_prob=0.7,
    noise_range=(0.0, 15.0),
    gray_noise_prob=0.4,
    chroma_noise_prob=0.2,
    blotch_prob=0.15,
    sharpen_prob=0.5,
    sharpen_range=(0.2, 1.8),
    video_prob=0.12,
    jpeg_prob=0.8,
    jpeg_range=(30.0, 95.0),
    jpeg_chroma=_ANY_CHROMA,
    second=Stage(
        blur_prob=0.4,
        blur_kernel_size=(7, 21),
        sinc_prob=1.0,
        downsample_prob=0.0,
        noise_prob=0.0,
        sharpen_prob=0.25,
        sharpen_range=(0.2, 1.0),
        jpeg_prob=0.5,
        jpeg_range=(40.0, 95.0),
        jpeg_chroma=_ANY_CHROMA,
    ),
    upsample_modes=_ALL_MODES,
    gray_prob=0.08,
    gt_gray=True,
    tint_prob=0.4,
    reference_size=512,
)

_SCREENSHOT = Recipe(
    # a picture of a web page or a chat, saved again: sharp, compressed at its own size and at that
    # of the screen, now and then in few colours or as a mosaic
    blur_prob=0.2,
    blur_kernel_size=13,
    blur_sigma=(0.2, 1.5),
    downsample_range=(1.5, 8.0),
    downsample_modes=(*_THREE_MODES, "lanczos"),
    noise_prob=0.2,
    noise_range=(0.0, 6.0),
    sharpen_prob=0.4,
    sharpen_range=(0.2, 1.5),
    mosaic_prob=0.05,
    mosaic_range=(1.5, 3.5),
    palette_prob=0.1,
    jpeg_range=(35.0, 90.0),
    jpeg_chroma=_ANY_CHROMA,
    second=Stage(
        blur_prob=0.0,
        downsample_prob=0.7,
        downsample_range=(1.0, 4.0),
        downsample_modes=_ALL_MODES,
        noise_prob=0.0,
        sharpen_prob=0.2,
        sharpen_range=(0.2, 1.0),
        jpeg_range=(40.0, 95.0),
        jpeg_chroma=_ANY_CHROMA,
    ),
    upsample_modes=_ALL_MODES,
    reference_size=512,
)

_NEWSPAPER = Recipe(
    # a printed page, scanned: dots of ink on gray paper, mostly without colour
    blur_sigma=(0.3, 2.0),
    blur_kernel_size=21,
    downsample_range=(1.0, 4.0),
    downsample_modes=("area", "area", "bilinear"),
    noise_prob=0.5,
    noise_range=(0.0, 8.0),
    gray_noise_prob=0.5,
    sharpen_prob=0.2,
    sharpen_range=(0.2, 1.0),
    jpeg_range=(40.0, 95.0),
    jpeg_chroma=_ANY_CHROMA,
    print_gray_prob=0.85,
    grain_prob=0.3,
    fade_prob=0.7,
    fade_range=(0.1, 0.4),
    halftone_prob=1.0,
    halftone_range=(0.4, 1.0),
    paper_prob=0.5,
    tint_prob=0.6,
    upsample_modes=_THREE_MODES,
    reference_size=512,
)

_GFPGAN = Recipe(**_COLOR)

RECIPES: dict[str, Recipe] = {
    # GFPGAN options/train_gfpgan_v1.yml, and the variant that its comment offers
    "gfpgan": _GFPGAN,
    "gfpgan_no_color": Recipe(gray_prob=0.01, gt_gray=True),
    # CodeFormer options/CodeFormer_stage2.yml; stage 3 has a small and a large set (see MIXTURES)
    "codeformer_stage2": _CODEFORMER_LARGE,
    "codeformer_small": _CODEFORMER_SMALL,
    "codeformer_large": _CODEFORMER_LARGE,
    # DifFace, the estimator's training
    "difface": Recipe(
        blur_sigma=(0.1, 15.0),
        downsample_range=(0.8, 32.0),
        noise_range=(0.0, 20.0),
        jpeg_range=(30.0, 100.0),
    ),
    # Real-ESRGAN options/train_realesrgan_x4plus.yml, brought back to the first size at the end
    "realesrgan_second_order": Recipe(
        **_REALESRGAN_KERNELS,
        blur_sigma=(0.2, 3.0),
        resize_prob=(0.2, 0.7, 0.1),
        resize_range=(0.15, 1.5),
        downsample_modes=_THREE_MODES,
        noise_range=(1.0, 30.0),
        gaussian_noise_prob=0.5,
        poisson_scale_range=(0.05, 3.0),
        gray_noise_prob=0.4,
        jpeg_range=(30.0, 95.0),
        second=Stage(
            **_REALESRGAN_KERNELS,
            blur_prob=0.8,
            blur_sigma=(0.2, 1.5),
            resize_prob=(0.3, 0.4, 0.3),
            resize_range=(0.3, 1.2),
            resize_base=0.25,
            downsample_modes=_THREE_MODES,
            noise_range=(1.0, 25.0),
            gaussian_noise_prob=0.5,
            poisson_scale_range=(0.05, 2.5),
            gray_noise_prob=0.4,
            jpeg_range=(30.0, 95.0),
        ),
        final_sinc_prob=0.8,
        upsample_modes=("bicubic",),
    ),
    # ours: estimates of what photo albums, scanners and phones do
    "old_photo": _OLD_PHOTO,
    "small_sharp": _SMALL_SHARP,
    "screenshot": _SCREENSHOT,
    "newspaper": _NEWSPAPER,
    "light": _LIGHT,
    "none": Recipe(**_OFF),
    # ours: the four recipes of the evaluation are gfpgan, old_photo and these two
    "mild": Recipe(
        blur_sigma=(0.2, 3.0),
        downsample_range=(1.0, 3.0),
        noise_range=(0.0, 8.0),
        jpeg_range=(70.0, 100.0),
        reference_size=512,
    ),
    "heavy": Recipe(
        blur_sigma=(4.0, 15.0),
        downsample_range=(8.0, 24.0),
        noise_range=(5.0, 20.0),
        jpeg_range=(30.0, 70.0),
        reference_size=512,
    ),
}

# together about 12 of 100 samples, and 4 more with something before the face
_OVERLAID: dict[str, Any] = {
    "occluder_prob": 0.04,
    "background_prob": 0.035,
    "caption_prob": 0.04,
    "margin_prob": 0.025,
    "cut_prob": 0.025,
}

MIXTURES: dict[str, Mixture] = {
    # CodeFormer options/CodeFormer_stage3.yml degrades every picture twice; here one of the two
    "codeformer_stage3": Mixture((_CODEFORMER_SMALL, _CODEFORMER_LARGE), (0.5, 0.5)),
    # what the default model is trained with: colours are not touched but in old_photo, because a
    # restorer that was taught to undo a jitter repaints people
    "restore_default": Mixture(
        tuple(
            replace(recipe, reference_size=512, **_OVERLAID)
            for recipe in (
                RECIPES["gfpgan_no_color"],
                _CODEFORMER_SMALL,
                _CODEFORMER_LARGE,
                _SMALL_SHARP,
                _SCREENSHOT,
                RECIPES["realesrgan_second_order"],
                replace(_OLD_PHOTO, print_gray_prob=0.15, tint_prob=0.4),
                _LIGHT,
                RECIPES["none"],
            )
        ),
        (0.2, 0.08, 0.11, 0.24, 0.05, 0.08, 0.14, 0.07, 0.03),
    ),
}


def find_recipe(recipe: str | Recipe | Mixture) -> Mixture:
    """A recipe, mixture or name of one as a Mixture; an unknown name lists the known ones."""
    if isinstance(recipe, Recipe):
        return Mixture((recipe,), (1.0,))
    if isinstance(recipe, Mixture):
        return recipe
    if recipe in RECIPES:
        return Mixture((RECIPES[recipe],), (1.0,))
    if recipe in MIXTURES:
        return MIXTURES[recipe]
    raise InputError(
        f"recipe: found {recipe!r}, expected a Recipe, a Mixture or one of "
        f"{', '.join(sorted([*RECIPES, *MIXTURES]))}"
    )
