"""Public layouts of weights -> our networks: names, shapes, factors, and what shapes tell.

StyleGAN2 as BasicSR, GFPGAN, rosinality and NVIDIA store it; GFPGAN's restorers; the discriminator.
Which row of `restore.checkpoints.architectures` a file belongs to is decided there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from restore.errors import CheckpointError

if TYPE_CHECKING:
    from torch import Tensor

View = Literal["same", "lead", "plane", "one", "image", "grid"]


@dataclass(frozen=True)
class Rule:
    """ours = theirs * factor, reshaped. `view` is the shape over there: "same"; "lead" [1,...];
    "plane" [1,c,1,1] of our [c]; "one" [1] of our []; "image" [c,h,w] of our
    [1,c,h,w]; "grid" [h,w] of our [1,1,h,w].

    An `optional` tensor may be missing in the file; what fills its place is the loader's business.
    """

    theirs: str
    ours: str
    factor: float = 1.0
    view: View = "same"
    optional: bool = False

    def their_shape(self, ours: Sequence[int]) -> tuple[int, ...]:
        shape = tuple(ours)
        if self.view == "lead":
            return (1, *shape)
        if self.view == "plane":
            return (1, *shape, 1, 1)
        if self.view == "one":
            return (1,)
        if self.view == "image":
            return shape[1:]
        if self.view == "grid":
            return shape[2:]
        return shape


def fold(
    state: Mapping[str, Tensor], rules: Sequence[Rule], target: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Their tensors -> ours, float32. All missing, misshaped and unknown ones are in one error.

    `target`: the module's `state_dict()`, for the shapes; entries of the optional rules may be
    left out of the result.
    """
    problems = []
    folded = {}
    for rule in rules:
        tensor = state.get(rule.theirs)
        if tensor is None:
            if not rule.optional:
                problems.append(f"{rule.theirs} is missing")
            continue
        shape = tuple(target[rule.ours].shape)
        expected = rule.their_shape(shape)
        if tuple(tensor.shape) != expected:
            problems.append(f"{rule.theirs} is {tuple(tensor.shape)}, expected {expected}")
            continue
        folded[rule.ours] = (tensor.float() * rule.factor).reshape(shape)
    unknown = sorted(set(state) - {rule.theirs for rule in rules})
    problems += [f"{name} is not known to this family" for name in unknown]
    unfilled = sorted(set(target) - {rule.ours for rule in rules})
    problems += [f"our {name} has no source" for name in unfilled]
    if problems:
        shown = "; ".join(problems[:6])
        more = f"; and {len(problems) - 6} more" if len(problems) > 6 else ""
        raise CheckpointError(f"The tensors do not fit the detected network: {shown}{more}")
    return folded


def unfold(state: Mapping[str, Tensor], rules: Sequence[Rule]) -> dict[str, Tensor]:
    """Our tensors -> theirs, the inverse of `fold`: writes a checkpoint other programs read."""
    unfolded = {}
    for rule in rules:
        tensor = state[rule.ours]
        unfolded[rule.theirs] = (tensor / rule.factor).reshape(rule.their_shape(tensor.shape))
    return unfolded


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


Shapes = Mapping[str, tuple[int, ...]]
LR_MLP = (
    0.01  # the mapping network's learning-rate factor; not in any file, the same in all of them
)


@dataclass(frozen=True)
class Dialect:
    """How one family of files names the generator's tensors, and whether weights are equalised."""

    name: str
    equalised: bool
    mlp: Callable[[int], str]  # layer -> stem
    conv: Callable[[int], str]  # 3x3 convolution, 0 at 4 px -> stem
    to_rgb: Callable[[int], str]  # level -> stem
    kernel: str  # suffixes of the stems
    affine: str
    noise_strength: str
    bias: str
    noise: Callable[[int], str]
    constant: str
    w_mean: str | None
    kernel_view: View = "lead"
    strength_view: View = "one"
    bias_view: View = "same"
    rgb_bias_view: View = "plane"
    noise_view: View = "same"
    constant_view: View = "same"


def _stem(first: str, rest: str) -> Callable[[int], str]:
    return lambda i: first if i == 0 else f"{rest}.{i - 1}"


def _nvidia_conv(i: int) -> str:
    return f"synthesis.b{2 ** ((i + 5) // 2)}.conv{1 if i % 2 == 0 else 0}"


BASICSR = Dialect(
    name="basicsr",
    equalised=True,
    mlp=lambda i: f"style_mlp.{i + 1}",
    conv=_stem("style_conv1", "style_convs"),
    to_rgb=_stem("to_rgb1", "to_rgbs"),
    kernel="modulated_conv.weight",
    affine="modulated_conv.modulation",
    noise_strength="weight",
    bias="activate.bias",
    noise=lambda i: f"noises.noise{i}",
    constant="constant_input.weight",
    w_mean=None,
)
CLEAN = Dialect(
    name="clean",
    equalised=False,
    mlp=lambda i: f"style_mlp.{2 * i + 1}",
    conv=BASICSR.conv,
    to_rgb=BASICSR.to_rgb,
    kernel=BASICSR.kernel,
    affine=BASICSR.affine,
    noise_strength="weight",
    bias="bias",
    noise=BASICSR.noise,
    constant=BASICSR.constant,
    w_mean=None,
    bias_view="plane",
)
ROSINALITY = Dialect(
    name="rosinality",
    equalised=True,
    mlp=lambda i: f"style.{i + 1}",
    conv=_stem("conv1", "convs"),
    to_rgb=BASICSR.to_rgb,
    kernel="conv.weight",
    affine="conv.modulation",
    noise_strength="noise.weight",
    bias="activate.bias",
    noise=lambda i: f"noises.noise_{i}",
    constant="input.input",
    w_mean="latent_avg",
)
NVIDIA = Dialect(
    name="nvidia",
    equalised=True,
    mlp=lambda i: f"mapping.fc{i}",
    conv=_nvidia_conv,
    to_rgb=lambda i: f"synthesis.b{4 * 2**i}.torgb",
    kernel="weight",
    affine="affine",
    noise_strength="noise_strength",
    bias="bias",
    noise=lambda i: f"{_nvidia_conv(i)}.noise_const",
    constant="synthesis.b4.const",
    w_mean="mapping.w_avg",
    kernel_view="same",
    strength_view="same",
    rgb_bias_view="same",
    noise_view="grid",
    constant_view="image",
)


def is_generator(shapes: Shapes, dialect: Dialect) -> bool:
    """Whether the first layer of the generator is there under this dialect's names."""
    stem = dialect.conv(0)
    needed = (dialect.constant, f"{stem}.{dialect.kernel}", f"{stem}.{dialect.bias}")
    return all(name in shapes for name in needed)


def infer_generator(shapes: Shapes, dialect: Dialect) -> dict[str, Any]:
    """Arguments of `StyleGAN2Generator`, without `upsample`, from names and shapes."""
    num_convs = 0
    while f"{dialect.conv(num_convs)}.{dialect.kernel}" in shapes:
        num_convs += 1
    if num_convs < 3 or num_convs % 2 == 0:
        raise CheckpointError(
            f"A StyleGAN2 generator has 3, 5, 7 ... convolutions, this file has {num_convs}; "
            f"it is cut or of another family"
        )
    levels = (num_convs + 1) // 2
    num_mlp = 0
    while f"{dialect.mlp(num_mlp)}.weight" in shapes:
        num_mlp += 1
    affine = f"{dialect.conv(0)}.{dialect.affine}.weight"
    if affine not in shapes:
        raise CheckpointError(f"The generator lacks {affine}; the file is cut or of another family")
    w_dim = shapes[affine][1]
    return {
        "out_size": 4 * 2 ** (levels - 1),
        "channels": [
            shapes[f"{dialect.conv(2 * level)}.{dialect.kernel}"][-4] for level in range(levels)
        ],
        "w_dim": w_dim,
        "z_dim": shapes[f"{dialect.mlp(0)}.weight"][1] if num_mlp else w_dim,
        "num_mlp": num_mlp,
    }


def infer_table(channels: list[int]) -> dict[str, float | None]:
    """`narrow` and `channel_multiplier` of GFPGAN's channel table; None where size hides it."""
    narrow = channels[0] / 512
    multiplier = channels[4] / (256 * narrow) if len(channels) > 4 else None
    return {"narrow": narrow, "channel_multiplier": multiplier}


def generator_rules(
    arguments: Mapping[str, Any], dialect: Dialect, prefix: str = "", ours: str = ""
) -> list[Rule]:
    """One rule for each tensor of the generator.

    Equalised layouts store weights of unit variance and multiply at run time: 1/sqrt(fan in) goes
    into the weights, the mapping's factor 0.01 and the activation's gain sqrt 2 into weights and
    biases. All of it is exact because the leaky ReLU is positively homogeneous.
    """
    channels = list(arguments["channels"])
    w_dim, z_dim = arguments["w_dim"], arguments["z_dim"]
    equalised = dialect.equalised
    sqrt2 = math.sqrt(2) if equalised else 1.0
    rules = [
        Rule(prefix + dialect.constant, f"{ours}constant", view=dialect.constant_view),
        Rule(prefix + (dialect.w_mean or "w_mean"), f"{ours}w_mean", optional=True),
    ]
    for i in range(arguments["num_mlp"]):
        fan_in = z_dim if i == 0 else w_dim
        weight = LR_MLP / math.sqrt(fan_in) * sqrt2 if equalised else 1.0
        bias = LR_MLP * sqrt2 if equalised else 1.0
        stem = prefix + dialect.mlp(i)
        rules.append(Rule(f"{stem}.weight", f"{ours}map_latents.{i}.weight", weight))
        rules.append(Rule(f"{stem}.bias", f"{ours}map_latents.{i}.bias", bias))

    def modulated(stem: str, target: str, fan_in: int) -> None:
        kernel = 1 / math.sqrt(fan_in) if equalised else 1.0
        affine = 1 / math.sqrt(w_dim) if equalised else 1.0
        source = f"{stem}.{dialect.affine}"
        rules.append(
            Rule(f"{stem}.{dialect.kernel}", f"{target}.weight", kernel, dialect.kernel_view)
        )
        rules.append(Rule(f"{source}.weight", f"{target}.affine.weight", affine))
        rules.append(Rule(f"{source}.bias", f"{target}.affine.bias"))

    for i in range(2 * len(channels) - 1):
        stem, target = prefix + dialect.conv(i), f"{ours}convs.{i}"
        in_channels = channels[i // 2] if i % 2 == 0 else channels[(i - 1) // 2]
        modulated(stem, f"{target}.conv", in_channels * 9)
        rules += [
            Rule(
                f"{stem}.{dialect.noise_strength}",
                f"{target}.noise_strength",
                sqrt2,
                dialect.strength_view,
            ),
            Rule(f"{stem}.{dialect.bias}", f"{target}.bias", sqrt2, dialect.bias_view),
            Rule(prefix + dialect.noise(i), f"{ours}noise_{i}", view=dialect.noise_view),
        ]
    for i, width in enumerate(channels):
        stem, target = prefix + dialect.to_rgb(i), f"{ours}to_rgbs.{i}"
        modulated(stem, f"{target}.conv", width)
        rules.append(Rule(f"{stem}.bias", f"{target}.bias", view=dialect.rgb_bias_view))
    return rules


PRIOR = "stylegan_decoder."


def is_gfpgan_clean(shapes: Shapes) -> bool:
    """GFPGANv1Clean: plain layers, so `conv_body_first` is itself a convolution."""
    return "conv_body_first.weight" in shapes and f"{PRIOR}constant_input.weight" in shapes


def is_gfpgan_v1(shapes: Shapes) -> bool:
    """GFPGANv1 or GFPGANBilinear: the same names and shapes, told apart by nothing in the file."""
    return "conv_body_first.0.weight" in shapes and f"{PRIOR}constant_input.weight" in shapes


def infer_gfpgan(shapes: Shapes) -> dict[str, Any]:
    """Arguments of `build_gfpgan`, without `resample`, from names and shapes."""
    decoder = {k[len(PRIOR) :]: s for k, s in shapes.items() if k.startswith(PRIOR)}
    inferred = infer_generator(decoder, CLEAN if is_gfpgan_clean(shapes) else BASICSR)
    if inferred["z_dim"] != inferred["w_dim"]:
        raise CheckpointError(
            "GFPGAN's mapping reads and writes codes of one size; this file's do not"
        )
    out_size, w_dim = inferred["out_size"], inferred["w_dim"]
    levels = len(inferred["channels"])
    unet = []
    for i in range(levels - 1):
        unet.append(_need(shapes, f"condition_scale.{i}.0.weight")[1])
    bottom = _need(
        shapes, "final_conv.weight" if is_gfpgan_clean(shapes) else "final_conv.0.weight"
    )[0]
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


def gfpgan_rules(arguments: Mapping[str, Any], clean: bool) -> list[Rule]:
    """One rule for each tensor.

    The equalised dialects multiply by sqrt 2 after each activation and divide each residual sum by
    it: so conv1 takes sqrt 2, conv2 takes none, the skip takes its inverse.
    """
    unet = list(arguments["unet_channels"])
    levels = len(unet)
    decoder_arguments = {**arguments, "z_dim": arguments["w_dim"]}
    rules = generator_rules(decoder_arguments, CLEAN if clean else BASICSR, PRIOR, "decoder.")
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


def _resample_assumption(resample: str) -> str:
    return (
        f'{resample!r}: the [1,3,3,1] filter ("fir") and the bilinear dialect have the same names '
        f"and shapes; say which with resample="
    )


def describe_gfpgan(shapes: Shapes, resample: str) -> Detection:
    """A GFPGAN restorer; `resample` settles the dialect of equalised files."""
    clean = is_gfpgan_clean(shapes)
    arguments = infer_gfpgan(shapes)
    rules = gfpgan_rules(arguments, clean)
    options = {
        "out_size": arguments["out_size"],
        "num_style_feat": arguments["w_dim"],
        **infer_table(arguments["channels"]),
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


def describe_generator(dialect: Dialect) -> Callable[[Shapes, str], Detection]:
    """The function that describes a StyleGAN2 generator of this dialect."""

    def describe(shapes: Shapes, resample: str) -> Detection:
        if "mapping.embed.weight" in shapes:
            raise CheckpointError(
                "This StyleGAN2 generator is conditional on a class; only unconditional ones load"
            )
        arguments = infer_generator(shapes, dialect)
        assumed = {}
        if not dialect.equalised:
            resample = "bilinear"
        else:
            assumed["lr_mlp"] = "0.01: a run-time factor"
            if dialect is NVIDIA:
                assumed["conv_clamp"] = "none: half-precision training clamps activations at 256"
            if dialect is BASICSR:
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
            rules=tuple(generator_rules(arguments, dialect)),
            options={
                "out_size": arguments["out_size"],
                "num_style_feat": arguments["w_dim"],
                **infer_table(arguments["channels"]),
                "num_mlp": arguments["num_mlp"],
            },
            assumed=assumed,
        )

    return describe


def is_discriminator(shapes: Shapes) -> bool:
    """StyleGAN2's residual discriminator, as BasicSR stores it."""
    return "conv_body.0.0.weight" in shapes and "final_linear.1.weight" in shapes


def describe_discriminator(shapes: Shapes, resample: str) -> Detection:
    """Its channels, from 4 px up."""
    channels = [shapes["conv_body.0.0.weight"][0]]
    while f"conv_body.{len(channels)}.conv2.1.weight" in shapes:
        channels.insert(0, shapes[f"conv_body.{len(channels)}.conv2.1.weight"][0])
    size = 4 * 2 ** (len(channels) - 1)
    return Detection(
        family="stylegan2-discriminator",
        architecture="stylegan2_discriminator",
        arguments={"size": size, "channels": channels},
        rules=tuple(Rule(name, name) for name in shapes),
        options={"out_size": size, **infer_table(channels)},
        assumed={
            "stddev_group": "4: a run-time number",
            "resample_kernel": "(1, 3, 3, 1): not in the file",
        },
    )
