"""Options of the networks of an option file, one dataclass a type."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal


def _size_problems(name: str, size: int) -> Iterable[str]:
    if size < 8 or size & (size - 1):
        yield f"{name}: found {size}, expected a power of two of at least 8"


@dataclass(frozen=True, kw_only=True)
class GFPGANOptions:
    """GFPGAN's restorers: U-Net and StyleGAN2. GFPGANv1 is the original with FIR resampling."""

    type: Literal["GFPGANv1", "GFPGANv1Clean", "GFPGANBilinear"]
    out_size: int = 512
    num_style_feat: int = 512
    channel_multiplier: float = 2
    narrow: float = 1.0
    num_mlp: int = 8
    lr_mlp: float = 0.01
    """Factor of the learning rate of the prior's mapping network."""
    resample_kernel: tuple[float, ...] = (1, 3, 3, 1)
    decoder_load_path: str | None = None
    """A StyleGAN2 checkpoint (BasicSR, rosinality or NVIDIA) for the decoder."""
    fix_decoder: bool = True
    input_is_latent: Literal[True] = True
    different_w: bool = True
    sft_half: bool = True

    def problems(self) -> Iterable[str]:
        yield from _size_problems("out_size", self.out_size)


@dataclass(frozen=True, kw_only=True)
class StyleGAN2Options:
    """A StyleGAN2 generator, trained as the prior."""

    type: Literal[
        "StyleGAN2Generator", "StyleGAN2", "StyleGAN2GeneratorClean", "StyleGAN2GeneratorBilinear"
    ]
    out_size: int
    num_style_feat: int = 512
    channel_multiplier: float = 2
    narrow: float = 1.0
    num_mlp: int = 8
    lr_mlp: float = 0.01
    resample_kernel: tuple[float, ...] = (1, 3, 3, 1)
    channels: tuple[int, ...] | None = None
    """Channels at 4, 8, ... out_size px; overrides channel_multiplier and narrow."""

    def problems(self) -> Iterable[str]:
        yield from _size_problems("out_size", self.out_size)


@dataclass(frozen=True, kw_only=True)
class MobileStyleGANOptions:
    """The public prior, MobileStyleGAN."""

    type: Literal["MobileStyleGAN"]
    channels: tuple[int, ...] = (512, 512, 512, 512, 512, 256, 128, 64)
    w_dim: int = 512
    num_mapping: int = 8
    head_sizes: tuple[int, ...] = (64, 128, 256, 512)
    load_path: str | None = None
    """A model file, or the wheel that carries the prior."""
    out_size: int | None = None
    """px at which it is trained: full pictures, shrunk. None: the full size."""
    freeze_levels: int = 0
    """Levels up to this many px stay as they are, and with them the mapping to w."""
    through_head: bool = False
    """Train at `out_size` through the packaged head of that size: the levels above it stay."""

    def problems(self) -> Iterable[str]:
        full = 4 << len(self.channels)
        if self.through_head and self.out_size is None:
            yield "through_head: needs out_size, the size of the head"
        if self.through_head and self.freeze_levels >= self.trained_size:
            yield f"freeze_levels: found {self.freeze_levels}, expected less than out_size"
        if self.out_size is not None and (self.out_size < 8 or full % self.out_size):
            yield f"out_size: found {self.out_size}, expected {full} over a power of two"
        if not 0 <= self.freeze_levels < full // 2:
            yield f"freeze_levels: found {self.freeze_levels}, expected 0 to {full // 4}"

    @property
    def trained_size(self) -> int:
        """px of the pictures that its discriminator sees."""
        return self.out_size or 4 << len(self.channels)


@dataclass(frozen=True, kw_only=True)
class MobileRestorerOptions:
    """The default restorer: degradation-aware U-Net on the frozen MobileStyleGAN."""

    type: Literal["MobileRestorer"]
    crop_size: int = 512
    trunk_size: int = 128
    """px at which the trunk begins; above it there is only a thin stem."""
    trunk_channels: tuple[int, ...] = (32, 64, 128, 256, 256, 256)
    condition_levels: tuple[int, ...] = (8, 16, 32, 64, 128, 256)
    """Levels of the decoder, in px, that are given SFT maps (half of their channels)."""
    code_rank: int = 256
    """Width of the bottleneck in front of the W+ codes."""
    prior_channels: tuple[int, ...] = (512, 512, 512, 512, 512, 256, 128, 64)
    w_dim: int = 512
    num_mapping: int = 8
    head_sizes: tuple[int, ...] = (256, 512)
    pool_face: bool = False
    """Estimate the degradation of the face alone: captions and margins beside it do not count."""
    decoder_load_path: str | None = None
    """A model file with the prior, or the wheel that carries it."""
    fix_decoder: bool = True
    train_head: bool = False
    """Train the decoder's heads (head_sizes) along with the restorer."""

    def problems(self) -> Iterable[str]:
        yield from _size_problems("crop_size", self.crop_size)
        yield from _size_problems("trunk_size", self.trunk_size)
        if self.trunk_size > self.crop_size:
            yield f"trunk_size: found {self.trunk_size}, expected at most crop_size"
        for level in self.condition_levels:
            yield from _size_problems("condition_levels", level)


@dataclass(frozen=True, kw_only=True)
class StyleGAN2DiscriminatorOptions:
    """StyleGAN2's residual discriminator."""

    type: Literal["StyleGAN2Discriminator"]
    out_size: int
    channel_multiplier: float = 2
    narrow: float = 1.0
    resample_kernel: tuple[float, ...] = (1, 3, 3, 1)
    stddev_group: int = 4

    def problems(self) -> Iterable[str]:
        yield from _size_problems("out_size", self.out_size)


@dataclass(frozen=True, kw_only=True)
class PatchDiscriminatorOptions:
    """Light judge of patches, on pixels and, with feature_network, on frozen features."""

    type: Literal["PatchDiscriminator"]
    width: int = 32
    fold: int = 2
    """Pixels are folded by this (space to depth) before the first convolution."""
    spectral: bool = True
    feature_network: str | None = None
    """Weights file of a frozen feature network whose activations are judged too."""


@dataclass(frozen=True, kw_only=True)
class PartDiscriminatorOptions:
    """GFPGAN's discriminator of one facial component."""

    type: Literal["FacialComponentDiscriminator"]
    width: int = 64


@dataclass(frozen=True, kw_only=True)
class IdentityOptions:
    """A frozen face embedding; its layout is told from the weights file itself."""

    type: Literal["ResNetArcFace", "IRArcFace", "MobileFaceNet", "auto"] = "auto"
    load_path: str | None = None
    """Weights file; GFPGAN writes it as path.pretrain_network_identity."""
    block: Literal["IRBlock"] = "IRBlock"
    layers: tuple[int, ...] = (2, 2, 2, 2)
    use_se: bool = False

    def problems(self) -> Iterable[str]:
        if self.type == "ResNetArcFace" and (self.layers != (2, 2, 2, 2) or self.use_se):
            yield "layers: expected [2, 2, 2, 2] and use_se: false, GFPGAN's ArcFace ResNet18"


@dataclass(frozen=True, kw_only=True)
class PluginNetworkOptions:
    """A network that a plugin brings: `module:NAME`, or a name where `plugins` are listed."""

    type: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    foreign = True


GeneratorOptions = (
    GFPGANOptions
    | StyleGAN2Options
    | MobileStyleGANOptions
    | MobileRestorerOptions
    | PluginNetworkOptions
)
DiscriminatorOptions = (
    StyleGAN2DiscriminatorOptions | PatchDiscriminatorOptions | PluginNetworkOptions
)
