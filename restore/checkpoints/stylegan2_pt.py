"""StyleGAN2 layouts -> our generator: BasicSR, GFPGAN clean, rosinality and NVIDIA names."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from restore.checkpoints.key_map import Rule, View
from restore.errors import CheckpointError

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


def recognise(shapes: Shapes, dialect: Dialect) -> bool:
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
