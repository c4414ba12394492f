"""Which network a state dict belongs to, and its arguments, from names and shapes alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from restore.checkpoints import gfpgan, stylegan2_pt
from restore.checkpoints.key_map import Rule
from restore.checkpoints.stylegan2_pt import Dialect, Shapes
from restore.errors import CheckpointError, OptionError

# Buffers that hold constants of the resampling, not weights.
CONSTANT_BUFFERS = ("resample_filter", "blur.kernel", "upsample.kernel", "downsample.kernel")


@dataclass(frozen=True)
class Detection:
    """What a file holds.

    `arguments` build `architecture`; `options` are the same in the words of the option files (None
    where the shapes do not tell); `assumed`: what no tensor tells -> the value taken and why.
    """

    family: str
    architecture: str
    arguments: dict[str, Any]
    rules: tuple[Rule, ...]
    options: dict[str, Any] = field(default_factory=dict)
    assumed: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Family:
    """A row of `FAMILIES`."""

    name: str
    recognise: Callable[[Shapes], bool]
    describe: Callable[[Shapes, str], Detection]


def detect(shapes: Shapes, resample: str | None = None) -> Detection:
    """Names and shapes of a state dict (constant buffers left out) -> `Detection`.

    `resample` ("fir" or "bilinear") settles what equalised files do not tell: None takes "fir",
    StyleGAN2's own. Raises `CheckpointError` for an unknown family.
    """
    if resample not in (None, "fir", "bilinear"):
        raise OptionError(f'resample must be "fir" or "bilinear", got {resample!r}')
    for family in FAMILIES:
        if family.recognise(shapes):
            return family.describe(shapes, resample or "fir")
    if any(name.endswith((".conv.affine.weight", ".up.affine.weight")) for name in shapes):
        raise CheckpointError(
            "This is a checkpoint of a training of this project: its tensors do not say how the "
            "network is built. Give the model file that lies beside it (net_g_latest.safetensors)"
        )
    for name, landmarks in FOREIGN.items():
        if all(key in shapes for key in landmarks):
            raise CheckpointError(f"This is a {name} file, which this loader does not build")
    sample = ", ".join(sorted(shapes)[:4]) or "no tensors at all"
    raise CheckpointError(
        f"No known network has these tensors ({len(shapes)}: {sample}, ...); known families: "
        f"{', '.join(family.name for family in FAMILIES)}"
    )


def weights_only(state: Mapping[str, Any]) -> dict[str, Any]:
    """The state dict without the constant resampling kernels that some layouts store."""
    return {key: value for key, value in state.items() if not key.endswith(CONSTANT_BUFFERS)}


def _resample_assumption(resample: str) -> str:
    return (
        f'{resample!r}: the [1,3,3,1] filter ("fir") and the bilinear dialect have the same names '
        f"and shapes; say which with resample="
    )


def _describe_gfpgan(shapes: Shapes, resample: str) -> Detection:
    clean = gfpgan.is_clean(shapes)
    arguments = gfpgan.infer_restorer(shapes)
    rules = gfpgan.restorer_rules(arguments, clean)
    options = {
        "out_size": arguments["out_size"],
        "num_style_feat": arguments["w_dim"],
        **stylegan2_pt.infer_table(arguments["channels"]),
        "num_mlp": arguments["num_mlp"],
        "different_w": arguments["different_w"],
        "sft_half": arguments["sft_half"],
    }
    assumed = {"input_is_latent": "True: leaves no trace in the tensors; true of all public files"}
    if options["channel_multiplier"] is None:
        assumed["channel_multiplier"] = "none: it begins to act at 64 px"
    if not clean:
        assumed["lr_mlp"] = "0.01: a run-time factor"
        assumed["resample"] = _resample_assumption(resample)
    bilinear = clean or resample == "bilinear"
    return Detection(
        family="gfpgan-clean" if clean else "gfpgan-v1" if resample == "fir" else "gfpgan-bilinear",
        architecture="gfpgan_clean" if bilinear else "gfpgan_v1",
        arguments=arguments,
        rules=tuple(rules),
        options=options,
        assumed=assumed,
    )


def _describe_generator(dialect: Dialect) -> Callable[[Shapes, str], Detection]:
    def describe(shapes: Shapes, resample: str) -> Detection:
        if "mapping.embed.weight" in shapes:
            raise CheckpointError(
                "This StyleGAN2 generator is conditional on a class; only unconditional ones load"
            )
        arguments = stylegan2_pt.infer_generator(shapes, dialect)
        assumed = {}
        if not dialect.equalised:
            resample = "bilinear"
        else:
            assumed["lr_mlp"] = "0.01: a run-time factor"
            if dialect is stylegan2_pt.NVIDIA:
                assumed["conv_clamp"] = "none: half-precision training clamps activations at 256"
            if dialect is stylegan2_pt.BASICSR:
                assumed["resample"] = _resample_assumption(resample)
            else:
                resample = "fir"
        if dialect.w_mean not in shapes:
            assumed["w_mean"] = "mean over 4096 codes from a fixed seed: not in the file"
        arguments["upsample"] = resample
        return Detection(
            family=f"stylegan2-{dialect.name}",
            architecture="stylegan2",
            arguments=arguments,
            rules=tuple(stylegan2_pt.generator_rules(arguments, dialect)),
            options={
                "out_size": arguments["out_size"],
                "num_style_feat": arguments["w_dim"],
                **stylegan2_pt.infer_table(arguments["channels"]),
                "num_mlp": arguments["num_mlp"],
            },
            assumed=assumed,
        )

    return describe


def _is_discriminator(shapes: Shapes) -> bool:
    return "conv_body.0.0.weight" in shapes and "final_linear.1.weight" in shapes


def _describe_discriminator(shapes: Shapes, resample: str) -> Detection:
    channels = [shapes["conv_body.0.0.weight"][0]]
    while f"conv_body.{len(channels)}.conv2.1.weight" in shapes:
        channels.insert(0, shapes[f"conv_body.{len(channels)}.conv2.1.weight"][0])
    size = 4 * 2 ** (len(channels) - 1)
    return Detection(
        family="stylegan2-discriminator",
        architecture="stylegan2_discriminator",
        arguments={"size": size, "channels": channels},
        rules=tuple(Rule(name, name) for name in shapes),
        options={"out_size": size, **stylegan2_pt.infer_table(channels)},
        assumed={
            "stddev_group": "4: a run-time number",
            "resample_kernel": "(1, 3, 3, 1): not in the file",
        },
    )


# Order matters: GFPGAN holds a whole generator under a prefix, so it comes first.
FAMILIES: tuple[Family, ...] = (
    Family("gfpgan-clean", gfpgan.is_clean, _describe_gfpgan),
    Family("gfpgan-v1", gfpgan.is_equalised, _describe_gfpgan),
    *(
        Family(
            f"stylegan2-{dialect.name}",
            partial(stylegan2_pt.recognise, dialect=dialect),
            _describe_generator(dialect),
        )
        for dialect in (
            stylegan2_pt.BASICSR,
            stylegan2_pt.CLEAN,
            stylegan2_pt.ROSINALITY,
            stylegan2_pt.NVIDIA,
        )
    ),
    Family("stylegan2-discriminator", _is_discriminator, _describe_discriminator),
)

# Known neighbours, so that the message can name them.
FOREIGN: dict[str, tuple[str, ...]] = {
    "CodeFormer": ("position_emb", "quantize.embedding.weight"),
    "RestoreFormer": ("quant_conv.weight", "quantize.embedding.weight"),
    "GPEN": ("ecd0.0.0.weight", "generator.input.input"),
    "ParseNet": ("out_mask_conv.conv2d.weight",),
}
