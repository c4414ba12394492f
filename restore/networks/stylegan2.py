"""StyleGAN2's generator: resampling filters, modulated convolution, mapping and synthesis."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from restore.networks.prior_restorer import Conditions, modulate_half

Taps = Sequence[float]
BINOMIAL_TAPS: tuple[float, ...] = (1.0, 3.0, 3.0, 1.0)


def upfirdn_reference(
    x: Tensor,
    taps: Taps,
    up: int = 1,
    down: int = 1,
    pad: tuple[int, int] = (0, 0),
    gain: float = 1.0,
) -> Tensor:
    """Zero-insert, pad, convolve with the outer product of `taps`, keep every `down`-th pixel.

    The specification of the fast functions below (arXiv 1912.04958, appendix B). `x` [n,c,h,w];
    `pad` (before, after) in pixels on both axes, negative crops; taps are normalised to sum 1, then
    the filter is multiplied by `gain`. Returns [n,c,(h up + pads - t) // down + 1, ...].
    """
    n, c, h, w = x.shape
    spread = x.new_zeros(n, c, h, up, w, up)
    spread[:, :, :, 0, :, 0] = x
    padded = F.pad(spread.reshape(n, c, h * up, w * up), (*pad, *pad))
    line = torch.as_tensor(tuple(taps), dtype=x.dtype, device=x.device)
    kernel = torch.outer(line, line) / line.sum() ** 2 * gain
    flipped = kernel.flip(0, 1)  # conv2d correlates; a filter convolves
    out = F.conv2d(padded.reshape(-1, 1, *padded.shape[2:]), flipped[None, None])
    return out.reshape(n, c, *out.shape[2:])[:, :, ::down, ::down]


def _line(x: Tensor, taps: Taps, gain: float) -> Tensor:
    """Normalised 1D filter [t] of x's dtype and device; `gain` is per axis."""
    total = sum(taps)
    return torch.tensor([gain * t / total for t in taps], dtype=x.dtype, device=x.device)


def fir_smooth(x: Tensor, taps: Taps, pad: tuple[int, int], gain: float = 1.0) -> Tensor:
    """Blur [n,c,h,w] with the separable filter; as `upfirdn_reference(x, taps, pad=, gain=)`."""
    channels = int(x.shape[1])  # int and reversed tuples: constants for tracing exporters
    line = _line(x, tuple(taps)[::-1], gain**0.5)
    rows = line.reshape(1, 1, 1, -1).expand(channels, 1, 1, -1)
    columns = line.reshape(1, 1, -1, 1).expand(channels, 1, -1, 1)
    x = F.conv2d(F.pad(x, (*pad, *pad)), rows, groups=channels)
    return F.conv2d(x, columns, groups=channels)


def upsample_fir(x: Tensor, taps: Taps = BINOMIAL_TAPS) -> Tensor:
    """[n,c,h,w] -> [n,c,2h,2w], four taps; as `upfirdn_reference(x, taps, 2, 1, (2, 1), 4)`."""
    channels = int(x.shape[1])
    line = _line(x, _four(taps), 2.0)
    kernel = torch.outer(line, line).expand(channels, 1, -1, -1)
    return F.conv_transpose2d(x, kernel, stride=2, padding=1, groups=channels)


def downsample_fir(x: Tensor, taps: Taps = BINOMIAL_TAPS) -> Tensor:
    """[n,c,h,w] -> [n,c,h/2,w/2], four taps; as `upfirdn_reference(x, taps, 1, 2, (1, 1))`."""
    channels = int(x.shape[1])
    line = _line(x, tuple(_four(taps))[::-1], 1.0)
    kernel = torch.outer(line, line).expand(channels, 1, -1, -1)
    return F.conv2d(x, kernel, stride=2, padding=1, groups=channels)


def upsample_bilinear(x: Tensor) -> Tensor:
    """[n,c,h,w] -> [n,c,2h,2w], pixel-centred bilinear with repeated borders."""
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


def downsample_bilinear(x: Tensor) -> Tensor:
    """[n,c,h,w] -> [n,c,h/2,w/2]; bilinear at exactly half size is the mean of 2x2 pixels."""
    return F.avg_pool2d(x, 2)


def _four(taps: Taps) -> Taps:
    if len(taps) != 4:
        raise ValueError(f"Resampling by two is written for 4 taps, got {len(taps)}: {tuple(taps)}")
    return taps


Upsampling = Literal["fir", "bilinear"]
EPSILON = 1e-8


def modulated_conv(
    x: Tensor,
    weight: Tensor,
    styles: Tensor,
    demodulate: bool = True,
    upsample: Upsampling | None = None,
    taps: Taps = BINOMIAL_TAPS,
    gain: float = 1.0,
) -> Tensor:
    """Convolve each sample with `weight` modulated by its styles (arXiv 1912.04958, eqs. 1 and 3).

    `x` [n,i,h,w]; `weight` [o,i,k,k], k odd; `styles` [n,i]. Modulation and demodulation are
    diagonal, so they move from the weights to inputs and outputs: one batched convolution.
    `upsample` doubles the size: "fir" by transposed convolution and blur, "bilinear" by resizing
    before the convolution. `gain` multiplies the result. Returns [n,o,h,w] or [n,o,2h,2w].

    In half precision (or under autocast) styles are first divided by their largest magnitude m and
    the demodulation, computed in float32, takes it back: s rsqrt(sum w^2 s^2 + e) =
    (s/m) rsqrt(sum w^2 (s/m)^2 + e/m^2), so nothing overflows and nothing changes.
    """
    styles = styles.to(torch.promote_types(styles.dtype, torch.float32))
    epsilon: Tensor | float = EPSILON
    largest: Tensor | None = None
    if x.dtype == torch.float16 or torch.is_autocast_enabled(x.device.type):
        largest = styles.abs().amax(dim=1, keepdim=True).clamp_min(1e-12)  # [n,1]
        styles = styles / largest
        epsilon = EPSILON / largest.square()
    scale: Tensor | None = None  # [n,o], what the outputs are multiplied by
    if demodulate:
        power = weight.to(styles.dtype).square().sum(dim=(2, 3))  # [o,i]
        with torch.autocast(x.device.type, enabled=False):
            scale = torch.rsqrt(styles.square() @ power.t() + epsilon) * gain
    elif largest is not None:
        scale = largest * gain
    elif gain != 1.0:
        scale = styles.new_full((1, 1), gain)

    x = x * styles.to(x.dtype)[:, :, None, None]
    x = _convolve(x, weight.to(x.dtype), upsample, taps)
    if scale is not None:
        x = x * scale.to(x.dtype)[:, :, None, None]
    return x


def _convolve(x: Tensor, weight: Tensor, upsample: Upsampling | None, taps: Taps) -> Tensor:
    kernel_size = weight.shape[-1]
    if upsample == "fir":
        x = F.conv_transpose2d(x, weight.transpose(0, 1), stride=2)  # [n,o,2h+k-2,2w+k-2]
        pad = len(taps) - 2 - (kernel_size - 1)
        return fir_smooth(x, taps, ((pad + 1) // 2 + 1, pad // 2 + 1), gain=4.0)
    if upsample == "bilinear":
        x = upsample_bilinear(x)
    return F.conv2d(x, weight, padding=kernel_size // 2)


def modulated_conv_reference(
    x: Tensor,
    weight: Tensor,
    styles: Tensor,
    demodulate: bool = True,
    upsample: Upsampling | None = None,
    taps: Taps = BINOMIAL_TAPS,
    gain: float = 1.0,
) -> Tensor:
    """The same, as the paper writes it: every sample has its own weights. Slow; for tests."""
    w = weight[None] * styles[:, None, :, None, None]  # [n,o,i,k,k]
    if demodulate:
        w = w * torch.rsqrt(w.square().sum(dim=(2, 3, 4), keepdim=True) + EPSILON)
    out = [
        _convolve(sample[None], kernel, upsample, taps) for sample, kernel in zip(x, w, strict=True)
    ]
    return torch.cat(out) * gain


class ModulatedConv2d(nn.Module):
    """A modulated convolution with its affine map from w [n,w_dim] to styles [n,in_channels].

    Weights are plain: equalised learning-rate factors of other layouts are folded in by the loader.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        w_dim: int,
        demodulate: bool = True,
        upsample: Upsampling | None = None,
        taps: Taps = BINOMIAL_TAPS,
        gain: float = 1.0,
    ) -> None:
        super().__init__()
        fan_in = in_channels * kernel_size**2
        self.weight = nn.Parameter(
            torch.randn(out_channels, in_channels, kernel_size, kernel_size) / math.sqrt(fan_in)
        )
        self.affine = nn.Linear(w_dim, in_channels)
        nn.init.normal_(self.affine.weight, std=1 / math.sqrt(w_dim))
        nn.init.ones_(self.affine.bias)
        self.demodulate = demodulate
        self.upsample = upsample
        self.taps = tuple(taps)
        self.gain = gain

    def forward(self, x: Tensor, styles: Tensor) -> Tensor:
        """`x` [n,i,h,w] and styles [n,i] -> [n,o,h,w], or twice the size when upsampling."""
        return modulated_conv(
            x, self.weight, styles, self.demodulate, self.upsample, self.taps, self.gain
        )


Noise = Literal["stored", "zeros"] | torch.Generator


def channel_table(
    out_size: int, channel_multiplier: float = 2, narrow: float = 1
) -> tuple[int, ...]:
    """Channels at 4, 8, ... out_size px: 512 up to 32, then 256 C, 128 C ..., times `narrow`."""
    table = []
    for level in range(2, size_log2(out_size) + 1):
        full = 512 if level <= 5 else 2 ** (14 - level) * channel_multiplier
        table.append(int(full * narrow))
    return tuple(table)


def size_log2(size: int) -> int:
    """log2 of a size that must be a power of two, 8 or more."""
    log2 = int(size).bit_length() - 1
    if size < 8 or 2**log2 != size:
        raise ValueError(f"Size must be a power of two of at least 8, got {size}")
    return log2


class MappingNetwork(nn.Sequential):
    """z [n,z_dim] -> w [n,w_dim]: normalised z through linear layers with leaky ReLU."""

    def __init__(self, z_dim: int, w_dim: int, num_layers: int) -> None:
        layers = []
        for i in range(num_layers):
            linear = nn.Linear(z_dim if i == 0 else w_dim, w_dim)
            nn.init.normal_(linear.weight, std=math.sqrt(2 / linear.in_features))
            nn.init.zeros_(linear.bias)
            layers.append(linear)
        super().__init__(*layers)

    def forward(self, z: Tensor) -> Tensor:
        x = z * torch.rsqrt(z.square().mean(dim=1, keepdim=True) + 1e-8)
        for layer in self:
            x = F.leaky_relu(layer(x), 0.2)
        return x


class StyledConv(nn.Module):
    """Modulated 3x3 convolution, noise, bias, leaky ReLU.

    The activation's gain sqrt 2 is applied before noise and bias, which are stored with it folded
    in: lrelu(sqrt2 x) = sqrt2 lrelu(x).
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        w_dim: int,
        upsample: Upsampling | None,
        taps: Taps,
    ) -> None:
        super().__init__()
        self.conv = ModulatedConv2d(
            in_channels, out_channels, 3, w_dim, upsample=upsample, taps=taps, gain=math.sqrt(2)
        )
        self.noise_strength = nn.Parameter(torch.zeros(()))
        self.bias = nn.Parameter(torch.zeros(out_channels))

    def forward(self, x: Tensor, styles: Tensor, noise: Tensor | None) -> Tensor:
        x = self.conv(x, styles)
        if noise is not None:
            x = x + self.noise_strength * noise.to(x.dtype)
        return F.leaky_relu(x + self.bias[:, None, None], 0.2)


class ToRGB(nn.Module):
    """Modulated 1x1 convolution to RGB, without demodulation, plus bias."""

    def __init__(self, in_channels: int, w_dim: int) -> None:
        super().__init__()
        self.conv = ModulatedConv2d(in_channels, 3, 1, w_dim, demodulate=False)
        self.bias = nn.Parameter(torch.zeros(3))

    def forward(self, x: Tensor, styles: Tensor) -> Tensor:
        found: Tensor = self.conv(x, styles) + self.bias[:, None, None]
        return found


class StyleGAN2Generator(nn.Module):
    """StyleGAN2 with plain weights; other layouts are folded into it by `restore.checkpoints`.

    `channels`: feature maps at 4, 8, ... out_size px. `upsample`: "fir" is StyleGAN2's own,
    "bilinear" is GFPGAN's clean and bilinear dialect. Images are RGB [n,3,s,s] in about [-1,1].
    Styles are ordered as they are used: conv, RGB, then conv, conv, RGB for each larger level.
    """

    w_mean: Tensor

    def __init__(
        self,
        out_size: int,
        channels: Sequence[int],
        w_dim: int = 512,
        z_dim: int | None = None,
        num_mlp: int = 8,
        upsample: Upsampling = "fir",
        taps: Taps = BINOMIAL_TAPS,
    ) -> None:
        super().__init__()
        levels = size_log2(out_size) - 1
        if len(channels) != levels:
            raise ValueError(
                f"A generator of {out_size} px has {levels} levels, got {len(channels)} channels"
            )
        self.out_size = out_size
        self.w_dim = w_dim
        self.z_dim = w_dim if z_dim is None else z_dim
        self.num_styles = 2 * levels
        self.upsample = upsample
        self.taps = tuple(taps)
        self.map_latents = MappingNetwork(self.z_dim, w_dim, num_mlp)
        self.register_buffer("w_mean", torch.zeros(w_dim))
        self.constant = nn.Parameter(torch.randn(1, channels[0], 4, 4))
        self.convs = nn.ModuleList()
        self.to_rgbs = nn.ModuleList()
        for level, width in enumerate(channels):
            if level > 0:
                self.convs.append(
                    StyledConv(channels[level - 1], width, w_dim, upsample, self.taps)
                )
            self.convs.append(StyledConv(width, width, w_dim, None, self.taps))
            self.to_rgbs.append(ToRGB(width, w_dim))
        for i in range(len(self.convs)):
            size = 2 ** ((i + 5) // 2)
            self.register_buffer(f"noise_{i}", torch.randn(1, 1, size, size))

    @property
    def style_sizes(self) -> tuple[int, ...]:
        """Number of scales in each entry of S, in the order of `styles`."""
        return tuple(affine.out_features for affine in self.affines)

    @property
    def affines(self) -> list[nn.Linear]:
        """The affine of each entry of S, in the order of `styles`."""
        return [conv.affine for conv, _ in self._modulated()]

    def _modulated(self) -> list[tuple[ModulatedConv2d, int]]:
        """Every modulated convolution and the index of its row in w_plus, in order of use."""
        steps = [(self.convs[0], 0), (self.to_rgbs[0], 1)]
        for level in range(1, len(self.to_rgbs)):
            steps.append((self.convs[2 * level - 1], 2 * level - 1))
            steps.append((self.convs[2 * level], 2 * level))
            steps.append((self.to_rgbs[level], 2 * level + 1))
        return [(cast(ModulatedConv2d, layer.conv), row) for layer, row in steps]

    def mapping(self, z: Tensor, truncation: float = 1.0) -> Tensor:
        """z [n,z_dim] -> w [n,w_dim]; `truncation` moves w towards `w_mean` (1 not, 0 fully)."""
        w = self.map_latents(z)
        return w if truncation == 1.0 else torch.lerp(self.w_mean.expand_as(w), w, truncation)

    @torch.no_grad()
    def estimate_w_mean(
        self, num_samples: int = 4096, generator: torch.Generator | None = None
    ) -> Tensor:
        """Mean of w [w_dim] over `num_samples` random z; for files that do not carry it."""
        z = torch.randn(num_samples, self.z_dim, generator=generator)
        found: Tensor = self.map_latents(z.to(self.constant)).mean(dim=0)
        return found

    def styles(self, w_plus: Tensor) -> list[Tensor]:
        """Codes [n,k,w_dim] -> S, a list of per-channel scales [n,c]."""
        expected = (self.num_styles, self.w_dim)
        if w_plus.ndim != 3 or tuple(w_plus.shape[1:]) != expected:
            raise ValueError(
                f"w_plus must be [n,{expected[0]},{expected[1]}], got {tuple(w_plus.shape)}"
            )
        return [conv.affine(w_plus[:, row]) for conv, row in self._modulated()]

    def synthesis(
        self,
        w_plus: Tensor,
        conditions: Conditions | None = None,
        size: int | None = None,
        noise: Noise = "stored",
    ) -> Tensor:
        """Codes [n,k,w_dim] -> image [n,3,size,size]; see `synthesis_from_styles`."""
        return self.synthesis_from_styles(self.styles(w_plus), conditions, size, noise)

    def synthesis_from_styles(
        self,
        styles: Sequence[Tensor],
        conditions: Conditions | None = None,
        size: int | None = None,
        noise: Noise = "stored",
    ) -> Tensor:
        """S -> image [n,3,size,size]. A `size` below `out_size` stops at that level.

        `conditions`: level in px -> (scale, shift), applied after the first convolution of that
        level. `noise`: the buffers of the file, none, or fresh noise from a generator.
        """
        size = self.out_size if size is None else int(size)
        if not 8 <= size <= self.out_size or size & (size - 1):
            raise ValueError(f"Size must be 8, 16, ... {self.out_size}, got {size}")
        conditions = conditions or {}
        n = styles[0].shape[0]
        x = self.constant.expand(n, -1, -1, -1)
        x = self.convs[0](x, styles[0], self._noise(0, n, noise))
        image = self.to_rgbs[0](x, styles[1])
        for level in range(1, size_log2(size) - 1):
            first, second, to_rgb = styles[3 * level - 1 : 3 * level + 2]
            i = 2 * level - 1
            x = self.convs[i](x, first, self._noise(i, n, noise))
            if 2 ** (level + 2) in conditions:
                x = modulate_half(x, conditions[2 ** (level + 2)])
            x = self.convs[i + 1](x, second, self._noise(i + 1, n, noise))
            image = self._enlarge(image) + self.to_rgbs[level](x, to_rgb)
        found: Tensor = image
        return found

    def _enlarge(self, image: Tensor) -> Tensor:
        return (
            upsample_fir(image, self.taps) if self.upsample == "fir" else upsample_bilinear(image)
        )

    def _noise(self, index: int, n: int, noise: Noise) -> Tensor | None:
        stored: Tensor = getattr(self, f"noise_{index}")
        if isinstance(noise, torch.Generator):
            fresh = torch.randn(n, *stored.shape[1:], generator=noise, device=noise.device)
            return fresh.to(stored)
        if noise not in ("stored", "zeros"):
            raise ValueError(f'noise must be "stored", "zeros" or a torch.Generator, got {noise!r}')
        return stored if noise == "stored" else None

    def forward(self, z: Tensor, truncation: float = 1.0, noise: Noise = "stored") -> Tensor:
        """z [n,z_dim] -> image [n,3,s,s]."""
        w = self.mapping(z, truncation)
        return self.synthesis(w[:, None].expand(-1, self.num_styles, -1), noise=noise)


def build_stylegan2(
    out_size: int,
    channel_multiplier: float = 2,
    narrow: float = 1,
    channels: Sequence[int] | None = None,
    **options: object,
) -> StyleGAN2Generator:
    """A generator from the option files' arguments, or from an explicit channel table."""
    table = channels or channel_table(out_size, channel_multiplier, narrow)
    return StyleGAN2Generator(out_size, table, **options)  # type: ignore[arg-type]
