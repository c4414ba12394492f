"""GFPGAN layouts (clean, bilinear, original v1) -> our restorer: arguments and rules."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from restore.checkpoints.key_map import Rule
from restore.checkpoints.stylegan2_pt import (
    BASICSR,
    CLEAN,
    Shapes,
    generator_rules,
    infer_generator,
)
from restore.errors import CheckpointError

DECODER = "stylegan_decoder."


def is_clean(shapes: Shapes) -> bool:
    """GFPGANv1Clean: plain layers, so `conv_body_first` is itself a convolution."""
    return "conv_body_first.weight" in shapes and f"{DECODER}constant_input.weight" in shapes


def is_equalised(shapes: Shapes) -> bool:
    """GFPGANv1 or GFPGANBilinear: the same names and shapes, told apart by nothing in the file."""
    return "conv_body_first.0.weight" in shapes and f"{DECODER}constant_input.weight" in shapes


def infer_restorer(shapes: Shapes) -> dict[str, Any]:
    """Arguments of `build_gfpgan`, without `resample`, from names and shapes."""
    decoder = {k[len(DECODER) :]: s for k, s in shapes.items() if k.startswith(DECODER)}
    inferred = infer_generator(decoder, CLEAN if is_clean(shapes) else BASICSR)
    if inferred["z_dim"] != inferred["w_dim"]:
        raise CheckpointError(
            "GFPGAN's mapping reads and writes codes of one size; this file's do not"
        )
    out_size, w_dim = inferred["out_size"], inferred["w_dim"]
    levels = len(inferred["channels"])
    unet = []
    for i in range(levels - 1):
        unet.append(_need(shapes, f"condition_scale.{i}.0.weight")[1])
    bottom = _need(shapes, "final_conv.weight" if is_clean(shapes) else "final_conv.0.weight")[0]
    codes = _need(shapes, "final_linear.weight")[0]
    num_styles = 2 * levels
    if codes not in (w_dim, w_dim * num_styles):
        raise CheckpointError(
            f"final_linear makes {codes} numbers; expected {w_dim} (one code) or "
            f"{w_dim * num_styles} ({num_styles} codes)"
        )
    maps = _need(shapes, "condition_scale.0.2.weight")[0]
    return {
        "out_size": out_size,
        "channels": inferred["channels"],
        "unet_channels": [bottom, *unet],
        "w_dim": w_dim,
        "num_mlp": inferred["num_mlp"],
        "different_w": codes != w_dim,
        "sft_half": maps == unet[0],
    }


def _need(shapes: Shapes, name: str) -> tuple[int, ...]:
    if name not in shapes:
        raise CheckpointError(f"A GFPGAN file needs {name}; the file is cut or of another family")
    return shapes[name]


def restorer_rules(arguments: Mapping[str, Any], clean: bool) -> list[Rule]:
    """One rule for each tensor.

    The equalised dialects multiply by sqrt 2 after each activation and divide each residual sum by
    it: so conv1 takes sqrt 2, conv2 takes none, the skip takes its inverse.
    """
    unet = list(arguments["unet_channels"])
    levels = len(unet)
    decoder_arguments = {**arguments, "z_dim": arguments["w_dim"]}
    rules = generator_rules(decoder_arguments, CLEAN if clean else BASICSR, DECODER, "decoder.")
    sqrt2 = math.sqrt(2)

    def layer(stems: tuple[str, str], ours: str, fan_in: int, gain: float = 1.0) -> None:
        weight, bias = stems
        factor = 1.0 if clean else gain / math.sqrt(fan_in)
        rules.append(Rule(weight, f"encoder.{ours}.weight", factor))
        if bias:
            rules.append(Rule(bias, f"encoder.{ours}.bias", 1.0 if clean else gain))

    def plain(stem: str) -> tuple[str, str]:
        return f"{stem}.weight", f"{stem}.bias"

    def activated(stem: str, at: int = 0) -> tuple[str, str]:
        return plain(stem) if clean else (f"{stem}.{at}.weight", f"{stem}.{at + 1}.bias")

    layer(activated("conv_body_first"), "first", 3, sqrt2)
    layer(activated("final_conv"), "bottom", unet[0] * 9, sqrt2)
    layer(plain("final_linear"), "to_codes", unet[0] * 16)
    for i in range(levels - 1):
        wide = unet[levels - 1 - i]
        stem = f"conv_body_down.{i}"
        layer(activated(f"{stem}.conv1"), f"down.{i}.conv1", wide * 9, sqrt2)
        layer(activated(f"{stem}.conv2", at=1), f"down.{i}.conv2", wide * 9)
        skip = f"{stem}.skip.weight" if clean else f"{stem}.skip.1.weight"
        layer((skip, ""), f"down.{i}.skip", wide, 1 / sqrt2)

        narrow = unet[i]
        stem = f"conv_body_up.{i}"
        layer(activated(f"{stem}.conv1"), f"up.{i}.conv1", narrow * 9, sqrt2)
        bias = f"{stem}.conv2.bias" if clean else f"{stem}.conv2.activation.bias"
        layer((f"{stem}.conv2.weight", bias), f"up.{i}.conv2", narrow * 9)
        layer((f"{stem}.skip.weight", ""), f"up.{i}.skip", narrow, 1 / sqrt2)

        out = unet[i + 1]
        layer(plain(f"toRGB.{i}"), f"to_rgb.{i}", out)
        for theirs, ours in (("condition_scale", "to_scale"), ("condition_shift", "to_shift")):
            layer(plain(f"{theirs}.{i}.0"), f"{ours}.{i}.0", out * 9, sqrt2)
            layer(plain(f"{theirs}.{i}.2"), f"{ours}.{i}.2", out * 9)
    return rules
