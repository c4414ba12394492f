"""The one table of architectures: a row says all that the rest of the program asks of a network.

How public files of it are recognised and what their shapes tell (`layouts.py`), how it is built,
what frame its crops lie in, its licence, how an option file names it, and how it becomes an ONNX
graph. A new restorer is its module, a row here, and its test.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any

from restore.checkpoints.layouts import (
    BASICSR,
    CLEAN,
    NVIDIA,
    ROSINALITY,
    Detection,
    Shapes,
    describe_discriminator,
    describe_generator,
    describe_gfpgan,
    is_discriminator,
    is_generator,
    is_gfpgan_clean,
    is_gfpgan_v1,
)
from restore.errors import CheckpointError, OptionError

if TYPE_CHECKING:
    from torch import nn

FFHQ_FRAME: Mapping[str, Any] = {"name": "ffhq512", "zoom": 1.0, "centre": [256, 256]}


@dataclass(frozen=True)
class Family:
    """A public layout of an architecture: which files are of it, and what their shapes tell."""

    name: str
    recognise: Callable[[Shapes], bool]
    describe: Callable[[Shapes, str], Detection]


@dataclass(frozen=True)
class Architecture:
    """A row of `ARCHITECTURES`; `build` and `exporter` are "module:function", imported when used.

    `build` takes the arguments as keywords, besides those that the name fixes. `exporter` takes
    the network and the side of its crops, and says what becomes its ONNX graph: a module, the
    shapes of its inputs, the names of its outputs.
    """

    build: str
    fixed: Mapping[str, Any] = field(default_factory=dict)
    families: tuple[Family, ...] = ()
    crop_size: str | None = None  # of a restorer: the argument that is its crops' side in px
    template: Mapping[str, Any] = field(default_factory=lambda: FFHQ_FRAME)
    pixel_range: str = "-1..1"
    licence: str = "as its training data and prior"
    option_types: tuple[str, ...] = ()  # `type:` in option files that means it
    arguments_of: Callable[[Any], dict[str, Any]] | None = None  # from its options
    exporter: str | None = None

    def function(self, which: str) -> Callable[..., Any]:
        """The function that `build` or `exporter` names."""
        module, _, name = which.partition(":")
        found: Callable[..., Any] = getattr(import_module(module), name)
        return found


def _gfpgan_arguments(options: Any) -> dict[str, Any]:
    if options.type == "GFPGANv1" and tuple(options.resample_kernel) != (1, 3, 3, 1):
        raise OptionError("network_g.resample_kernel: GFPGANv1 resamples with [1, 3, 3, 1]")
    keys = ("out_size", "channel_multiplier", "narrow", "num_mlp", "different_w", "sft_half")
    return {**_fields(options, *keys), "w_dim": options.num_style_feat}


def _stylegan2_arguments(options: Any) -> dict[str, Any]:
    given = {
        "out_size": options.out_size,
        "w_dim": options.num_style_feat,
        "num_mlp": options.num_mlp,
        "upsample": "fir" if options.type in ("StyleGAN2Generator", "StyleGAN2") else "bilinear",
        "taps": list(options.resample_kernel),
    }
    sizes = ("channels",) if options.channels is not None else ("channel_multiplier", "narrow")
    return given | _fields(options, *sizes)


def _mobile_restorer_arguments(options: Any) -> dict[str, Any]:
    return _fields(
        options, "crop_size", "trunk_size", "trunk_channels", "condition_levels", "code_rank",
        "prior_channels", "w_dim", "num_mapping", "head_sizes", "pool_face",
    )  # fmt: skip


def _mobile_stylegan_arguments(options: Any) -> dict[str, Any]:
    return _fields(options, "channels", "w_dim", "num_mapping", "head_sizes")


def _fields(options: Any, *names: str) -> dict[str, Any]:
    values = {name: getattr(options, name) for name in names}
    return {k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}


# Order matters: GFPGAN holds a whole generator under a prefix, so it comes first.
ARCHITECTURES: dict[str, Architecture] = {
    "gfpgan_clean": Architecture(
        build="restore.networks.gfpgan:build_gfpgan",
        fixed={"resample": "bilinear"},
        families=(Family("gfpgan-clean", is_gfpgan_clean, describe_gfpgan),),
        crop_size="out_size",
        option_types=("GFPGANv1Clean", "GFPGANBilinear"),
        arguments_of=_gfpgan_arguments,
        exporter="restore.networks.fast_arrangement:export_dialled",
    ),
    "gfpgan_v1": Architecture(
        build="restore.networks.gfpgan:build_gfpgan",
        fixed={"resample": "fir"},
        families=(Family("gfpgan-v1", is_gfpgan_v1, describe_gfpgan),),
        crop_size="out_size",
        option_types=("GFPGANv1",),
        arguments_of=_gfpgan_arguments,
        exporter="restore.networks.fast_arrangement:export_dialled",
    ),
    "mobile_restorer": Architecture(
        build="restore.networks.unet_encoder:build_mobile_restorer",
        crop_size="crop_size",
        licence="builds on a prior distilled from StyleGAN2-FFHQ: research and personal use",
        option_types=("MobileRestorer",),
        arguments_of=_mobile_restorer_arguments,
        exporter="restore.networks.fast_arrangement:export_fast",
    ),
    "stylegan2": Architecture(
        build="restore.networks.stylegan2:build_stylegan2",
        families=tuple(
            Family(
                f"stylegan2-{dialect.name}",
                partial(is_generator, dialect=dialect),
                describe_generator(dialect),
            )
            for dialect in (BASICSR, CLEAN, ROSINALITY, NVIDIA)
        ),
        option_types=(
            "StyleGAN2Generator",
            "StyleGAN2",
            "StyleGAN2GeneratorClean",
            "StyleGAN2GeneratorBilinear",
        ),
        arguments_of=_stylegan2_arguments,
    ),
    "stylegan2_discriminator": Architecture(
        build="restore.networks.discriminators:build_discriminator",
        families=(Family("stylegan2-discriminator", is_discriminator, describe_discriminator),),
    ),
    "mobile_stylegan": Architecture(
        build="restore.networks.mobile_stylegan:MobileStyleGAN",
        option_types=("MobileStyleGAN",),
        arguments_of=_mobile_stylegan_arguments,
    ),
    "prior_heads": Architecture(build="restore.networks.mobile_stylegan:PriorHeads"),
    "identity_student": Architecture(
        build="restore.networks.identity:IdentityStudent",
        exporter="restore.networks.fast_arrangement:export_embedding",
    ),
    "cover_network": Architecture(
        build="restore.networks.occlusion:CoverNetwork",
        exporter="restore.networks.fast_arrangement:export_occlusion",
    ),
}

# Constants of the resampling that some layouts store, not weights.
CONSTANT_BUFFERS = ("resample_filter", "blur.kernel", "upsample.kernel", "downsample.kernel")

BY_NAME = "architecture"
"""`type: architecture:NAME` in an option file is any row of the table, with its own arguments."""


def row_of(architecture: str) -> Architecture:
    """The row of a name; `CheckpointError` for an unknown one."""
    if architecture not in ARCHITECTURES:
        raise CheckpointError(
            f"Unknown architecture {architecture!r}; this version knows "
            f"{', '.join(sorted(ARCHITECTURES))}. A newer version may be needed"
        )
    return ARCHITECTURES[architecture]


def build_network(architecture: str, arguments: Mapping[str, Any]) -> nn.Module:
    """Build a network by its name in `ARCHITECTURES`; weights are random until they are loaded."""
    row = row_of(architecture)
    try:
        network: nn.Module = row.function(row.build)(**{**arguments, **row.fixed})
    except Exception as error:  # arguments of a file: what they break differs by network
        raise CheckpointError(
            f"The arguments {dict(arguments)} do not fit architecture {architecture!r}: "
            f"{type(error).__name__}: {error}"
        ) from error
    return network


def header_of(architecture: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """What the table says for the header of a model file: frame, range, licence and the names."""
    row = row_of(architecture)
    header = {
        "architecture": architecture,
        "arguments": dict(arguments),
        "template": dict(row.template),
        "range": row.pixel_range,
        "licence": row.licence,
    }
    if row.crop_size is not None and row.crop_size in arguments:
        header["crop_size"] = arguments[row.crop_size]
    return header


def architecture_of(options: Any) -> tuple[str, dict[str, Any]] | None:
    """Name and arguments of the network that a `network_g` block means; None for plugins'."""
    prefix, _, name = options.type.partition(":")
    if prefix == BY_NAME:
        row_of(name)
        return name, dict(options.arguments)
    for name, row in ARCHITECTURES.items():
        if options.type in row.option_types and row.arguments_of is not None:
            return name, row.arguments_of(options)
    return None


def detect(shapes: Shapes, resample: str | None = None) -> Detection:
    """Names and shapes of a state dict (constant buffers left out) -> `Detection`.

    `resample` ("fir" or "bilinear") settles what equalised files do not tell: None takes "fir",
    StyleGAN2's own. Raises `CheckpointError` for an unknown family.
    """
    if resample not in (None, "fir", "bilinear"):
        raise OptionError(f'resample must be "fir" or "bilinear", got {resample!r}')
    families = [family for row in ARCHITECTURES.values() for family in row.families]
    for family in families:
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
        f"{', '.join(family.name for family in families)}"
    )


def weights_only(state: Mapping[str, Any]) -> dict[str, Any]:
    """The state dict without the constant resampling kernels that some layouts store."""
    return {key: value for key, value in state.items() if not key.endswith(CONSTANT_BUFFERS)}


# Known neighbours, so that the message can name them.
FOREIGN: dict[str, tuple[str, ...]] = {
    "CodeFormer": ("position_emb", "quantize.embedding.weight"),
    "RestoreFormer": ("quant_conv.weight", "quantize.embedding.weight"),
    "GPEN": ("ecd0.0.0.weight", "generator.input.input"),
    "ParseNet": ("out_mask_conv.conv2d.weight",),
}
