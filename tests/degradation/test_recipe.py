"""Recipes: bad input is refused under the name of its key; names and numbers of the known ones."""

from __future__ import annotations

import pytest

from restore.degradation.recipe import (
    MIXTURES,
    RECIPES,
    Mixture,
    Recipe,
    Stage,
    find_recipe,
    recipe_from_options,
)
from restore.errors import InputError, OptionError

BAD = {
    "blur_sigma": [(-1.0, 3.0), (5.0, 1.0), 3.0, ("a", "b"), (0.0, float("nan")), (1.0, 2.0, 3.0)],
    "blur_kernel_size": [40, 0, -3, 2.5, (7, 20), (21, 7), 203],
    "kernel_list": [("iso", "box"), (), "iso"],
    "kernel_prob": [(1.0,), (0.0, 0.0), (-1.0, 2.0)],
    "downsample_range": [(0.0, 8.0), (8.0, 1.0)],
    "downsample_modes": [("box",)],
    "resize_prob": [(1.0, 1.0), (0.0, 0.0, 0.0)],
    "resize_base": [0.0, -1.0, "x"],
    "noise_range": [(-1.0, 20.0), (0.0, 256.0), (3.0, 1.0)],
    "jpeg_range": [(0.0, 50.0), (60.0, 101.0), (90.0, 30.0)],
    "jpeg_chroma": ["411", 420, (), ("420", "4:4:4")],
    "sharpen_range": [(-1.0, 1.0), (0.0, 21.0)],
    "mosaic_range": [(0.0, 3.0)],
    "palette_range": [(1.0, 8.0)],
    "video_prob": [2.0],
    "blotch_range": [(0.0, 200.0)],
    "caption_range": [(0.0, 0.1)],
    "cut_range": [(0.1, 0.6)],
    "occluder_prob": [-1.0],
    "jpeg_prob": [1.5, -0.1, "yes", True, float("nan")],
    "gray_prob": [2.0],
    "damage_prob": [-1.0],
    "damage_range": [(0.0, 1.5)],
    "damage_list": [("scratch",)],
    "color_jitter_shift": [-1.0, 300.0],
    "hue": [(-0.6, 0.1)],
    "fade_range": [(0.5, 0.1)],
    "reference_size": [0, 512.0],
    "second": ["again"],
}


@pytest.mark.parametrize(("key", "value"), [(k, v) for k, values in BAD.items() for v in values])
def test_bad_values_are_refused_by_key(key, value):
    with pytest.raises(OptionError, match=key):
        Recipe(**{key: value})


def test_all_problems_are_told_at_once():
    with pytest.raises(OptionError) as caught:
        Recipe(blur_sigma=(3.0, 1.0), jpeg_range=(0.0, 100.0), sepia_prob=7.0)
    for key in ("blur_sigma", "jpeg_range", "sepia_prob"):
        assert key in str(caught.value)


def test_a_stage_refuses_too():
    with pytest.raises(OptionError, match="noise_range"):
        Stage(noise_range=(5.0, 1.0))


def test_option_file_blocks():
    options = {
        "blur_kernel_size": 41,
        "kernel_list": ["iso", "aniso"],
        "kernel_prob": [0.5, 0.5],
        "blur_sigma": [0.1, 10],
        "downsample_range": [0.8, 8],
        "noise_range": [0, 20],
        "jpeg_range": [60, 100],
        "color_jitter_prob": 0.3,
        "color_jitter_shift": 20,
        "color_jitter_pt_prob": 0.3,
        "gray_prob": 0.01,
    }
    assert recipe_from_options(options) == RECIPES["gfpgan"]
    with pytest.raises(OptionError, match="blur_sgma: unknown"):
        recipe_from_options({"blur_sgma": [0, 1]})
    nested = recipe_from_options({"second": {"blur_sigma": [0.2, 1.5]}})
    assert nested.second == Stage(blur_sigma=(0.2, 1.5))
    with pytest.raises(OptionError, match=r"second\.blur: unknown"):
        recipe_from_options({"second": {"blur": 1}})


def test_mixtures_refuse_nonsense():
    for recipes, probs in (
        ((), ()),
        ((Recipe(),), (0.5, 0.5)),
        ((Recipe(),), (-1.0,)),
        ((1,), (1,)),
    ):
        with pytest.raises(OptionError, match=r"recipes|probs"):
            Mixture(recipes, probs)


def test_names():
    issue = {"gfpgan", "codeformer_stage2", "codeformer_stage3", "difface", "old_photo"}
    issue |= {"realesrgan_second_order", "light", "none", "mild", "heavy", "restore_default"}
    issue |= {"small_sharp", "screenshot", "newspaper"}
    assert issue <= {*RECIPES, *MIXTURES}
    assert sum(MIXTURES["restore_default"].probs) == pytest.approx(1)
    assert all(r.reference_size == 512 for r in MIXTURES["restore_default"].recipes)
    with pytest.raises(InputError, match=r"gfpgn.*gfpgan"):
        find_recipe("gfpgn")
