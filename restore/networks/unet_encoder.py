"""The degradation-aware encoder of the default restorer, and the restorer around it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from restore.networks.mobile_stylegan import MobileStyleGAN
from restore.networks.prior_restorer import Encoding, PriorRestorer

SLOPE = 0.2


def start_at_zero(layer: nn.Conv2d | nn.Linear) -> None:
    """Weight and bias zero: the layer gives nothing until it is trained."""
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


class DegradationGate(nn.Module):
    """Degradation estimate [n,d] -> gain per channel [n,c]; starts at 1 for every estimate."""

    def __init__(self, num_parameters: int, channels: int, hidden: int = 64) -> None:
        super().__init__()
        self.hidden = nn.Linear(num_parameters, hidden)
        self.gain = nn.Linear(hidden, channels)
        start_at_zero(self.gain)

    def forward(self, degradation: Tensor) -> Tensor:
        found: Tensor = 1 + self.gain(F.leaky_relu(self.hidden(degradation), SLOPE))
        return found


class ConditionHead(nn.Module):
    """Features [n,c,r,r] and a degradation estimate -> (scale, shift) [n,out,r*up,r*up].

    The maps start as the identity (scale 1, shift 0): an untrained encoder leaves the prior alone.
    `up` > 1 reads features of a lower level and shuffles channels into pixels.
    """

    def __init__(self, channels: int, out_channels: int, num_parameters: int, up: int = 1) -> None:
        super().__init__()
        self.up = up
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)
        self.gate = DegradationGate(num_parameters, channels)
        self.maps = nn.Conv2d(channels, 2 * out_channels * up * up, 1)
        start_at_zero(self.maps)

    def forward(self, features: Tensor, degradation: Tensor) -> tuple[Tensor, Tensor]:
        gain = self.gate(degradation)[:, :, None, None]
        maps = self.maps(F.leaky_relu(self.conv(features), SLOPE) * gain)
        if self.up > 1:
            maps = torch.pixel_shuffle(maps, self.up)
        scale, shift = maps.chunk(2, dim=1)
        return 1 + scale, shift


NUM_DEGRADATION_PARAMETERS = 6  # restore.degradation.truth.DEGRADATION_NAMES, in that order


def he_init(module: nn.Module) -> None:
    """He's initialisation (arXiv 1502.01852, eq. 14) of every layer below `module`, biases zero.

    PyTorch's own shrinks features threefold in variance per layer; a dozen layers down, codes and
    degradation would start from next to nothing.
    """
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(layer.weight, a=SLOPE, nonlinearity="leaky_relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions around a skip; the second starts at zero, so the block starts as x."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        he_init(self.conv1)
        start_at_zero(self.conv2)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = x + self.conv2(F.leaky_relu(self.conv1(F.leaky_relu(x, SLOPE)), SLOPE))
        return found


class UNetTrunk(nn.Module):
    """Crop [n,3,s,s] -> features of each level, of the downsampling and on the way up.

    The crop is un-shuffled to the trunk's size first, so the cost hardly depends on the crop size.
    `channels`: of the trunk size and each halving down to 4x4.
    """

    def __init__(self, crop_size: int, trunk_size: int, channels: Sequence[int]) -> None:
        super().__init__()
        if crop_size % trunk_size or trunk_size != 2 << len(channels):
            raise ValueError(
                f"a trunk of {trunk_size} px with {len(channels)} levels does not end at 4 px, "
                f"or {crop_size} px is no multiple of it"
            )
        self.shuffle = crop_size // trunk_size
        self.levels = tuple(trunk_size >> i for i in range(len(channels)))
        self.stem = nn.Conv2d(3 * self.shuffle**2, channels[0], 3, padding=1)
        pairs = list(pairwise(channels))
        self.downs = nn.ModuleList(nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in pairs)
        ups = [nn.Conv2d(b, a, 1) for a, b in pairs]
        self.ups = nn.ModuleList(ups)
        he_init(self)
        for layer in ups:  # a sum with the skip: half of the weight keeps the size there too
            nn.init.normal_(layer.weight, std=0.5 / layer.in_channels**0.5)
        self.down_blocks = nn.ModuleList(ResidualBlock(c) for c in channels)
        self.up_blocks = nn.ModuleList(ResidualBlock(a) for a, _ in pairs)

    def downsample(self, x: Tensor) -> dict[int, Tensor]:
        """Features [n,c,level,level] by level of the downsampling."""
        if self.shuffle > 1:
            x = F.pixel_unshuffle(x, self.shuffle)
        x = self.stem(x)
        down: dict[int, Tensor] = {}
        for i, level in enumerate(self.levels):
            if i:
                x = self.downs[i - 1](F.leaky_relu(x, SLOPE))
            down[level] = x = self.down_blocks[i](x)
        return down

    def forward(self, x: Tensor) -> tuple[dict[int, Tensor], dict[int, Tensor]]:
        """Features by level: (of the downsampling, on the way up); the 4x4 ones are the same."""
        down = self.downsample(x)
        x = down[self.levels[-1]]
        up = {self.levels[-1]: x}
        for i in reversed(range(len(self.levels) - 1)):
            # Enlarging and a 1x1 convolution commute; the convolution is cheaper before.
            x = F.interpolate(self.ups[i](x), scale_factor=2.0, mode="nearest")
            up[self.levels[i]] = x = self.up_blocks[i](x + down[self.levels[i]])
        return down, up


class CodeHead(nn.Module):
    """4x4 features -> W+ [n,k,w_dim] as w_mean plus coefficients on a basis of w.

    `basis` [rank,w_dim] starts from the principal axes of w times their standard deviations, so
    every coefficient starts at a like scale (GANSpace, arXiv 2004.02546); it is trained along.
    """

    w_mean: Tensor

    def __init__(
        self, channels: int, num_styles: int, w_dim: int, rank: int, hidden: int = 512
    ) -> None:
        super().__init__()
        self.num_styles, self.rank = num_styles, rank
        self.hidden = nn.Linear(channels * 16, hidden)
        self.shared = nn.Linear(hidden, rank)  # what all styles have in common
        self.each = nn.Linear(hidden, num_styles * rank)  # what each style has of its own
        self.basis = nn.Parameter(torch.eye(rank, w_dim))
        self.register_buffer("w_mean", torch.zeros(w_dim))
        he_init(self.hidden)
        for layer in (self.shared, self.each):
            start_at_zero(layer)

    def forward(self, features: Tensor, count: int | None = None) -> Tensor:
        """[n,c,4,4] -> [n,count,w_dim]: the first `count` codes, all of them unless given."""
        x = F.leaky_relu(self.hidden(F.leaky_relu(features, SLOPE).flatten(1)), SLOPE)
        count = self.num_styles if count is None else count
        rows = slice(count * self.rank)
        own = F.linear(x, self.each.weight[rows], self.each.bias[rows])
        own = own.unflatten(1, (count, self.rank))
        found: Tensor = self.w_mean + (own + self.shared(x)[:, None]) @ self.basis
        return found


@cache
def face_window(size: int) -> tuple[Tensor, Tensor]:
    """Weights of rows and of columns [size], of mean 1: a face in the FFHQ frame, with a soft rim.

    Centre (256, 275) and half sides (140, 180) of 512 px: from the brows to the chin, without the
    ground, captions or margins beside it.
    """
    # made for all who ask, in training or not
    with torch.inference_mode(False), torch.device("cpu"):
        at = (torch.arange(size * 16) + 0.5) / (size * 16)
        sides = ((at - 275 / 512) / (180 / 512), (at - 256 / 512) / (140 / 512))
        windows = [((1.15 - side.abs()) / 0.3).clamp(0, 1) for side in sides]
        rows, columns = (window.reshape(size, 16).mean(1) for window in windows)
        return rows / rows.mean(), columns / columns.mean()


class DegradationHead(nn.Module):
    """Mean of the features of each level of the downsampling -> raw degradation estimate [n,6].

    `face_levels`: sides in px of the levels, to pool under `face_window`, so that what is around a
    face does not change what is estimated of it; None pools over the whole crop.
    """

    def __init__(
        self,
        channels: Sequence[int],
        hidden: int = 128,
        face_levels: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        self.face_levels = face_levels
        # Blur and noise show in how much the features vary, not only in their mean.
        self.hidden = nn.Linear(2 * sum(channels), hidden)
        self.out = nn.Linear(hidden, NUM_DEGRADATION_PARAMETERS)
        he_init(self.hidden)

    def forward(self, down: Mapping[int, Tensor]) -> Tensor:
        pooled = []
        for level, features in down.items():
            x = features.float()
            mean, square = self._mean(x, level), self._mean(x.square(), level)
            pooled += [mean, (square - mean.square() + 1e-4).clamp_min(1e-4).log()]
        x = torch.cat(pooled, 1).to(self.hidden.weight.dtype)
        found: Tensor = self.out(F.leaky_relu(self.hidden(x), SLOPE))
        return found

    def _mean(self, x: Tensor, level: int) -> Tensor:
        """[n,c,level,level] -> [n,c]."""
        if self.face_levels is not None:
            rows, columns = (w.to(x.device) for w in face_window(level))
            x = ((x * columns).mean(3) * rows)[..., None]
        return x.flatten(2).mean(2)


class DegradationAwareEncoder(nn.Module):
    """Bad crop [n,3,s,s] RGB in [-1,1] -> `Encoding`.

    `condition_channels`: decoder level in pixels -> number of channels to transform. A level above
    the trunk's size is shuffled up from the trunk's finest features. `pool_face`: estimate the
    degradation of the face alone (see `DegradationHead`).
    """

    def __init__(
        self,
        crop_size: int,
        num_styles: int,
        w_dim: int,
        condition_channels: Mapping[int, int],
        trunk_size: int = 128,
        channels: Sequence[int] = (48, 96, 192, 256, 256, 256),
        code_rank: int = 256,
        pool_face: bool = False,
    ) -> None:
        super().__init__()
        self.trunk = UNetTrunk(crop_size, trunk_size, channels)
        self.code_head = CodeHead(channels[-1], num_styles, w_dim, code_rank)
        face_levels = self.trunk.levels if pool_face else None
        self.degradation_head = DegradationHead(channels, face_levels=face_levels)
        width = dict(zip(self.trunk.levels, channels, strict=True))
        self.condition_heads = nn.ModuleDict()
        for level, count in sorted(condition_channels.items()):
            source = min(level, trunk_size)
            self.condition_heads[str(level)] = ConditionHead(
                width[source], count, NUM_DEGRADATION_PARAMETERS, up=level // source
            )

    def forward(self, lq: Tensor) -> Encoding:
        down, up = self.trunk(lq)
        degradation = self.degradation_head(down)
        w_plus = self.code_head(up[min(up)])
        conditions = {
            int(level): head(up[min(int(level), max(up))], degradation)
            for level, head in self.condition_heads.items()
        }
        return Encoding(w_plus, conditions, degradation)

    def codes(self, lq: Tensor) -> tuple[Tensor, Tensor]:
        """(W+, degradation) alone, without the way up: for the phase that regresses codes first."""
        down = self.trunk.downsample(lq)
        return self.code_head(down[min(down)]), self.degradation_head(down)


def build_mobile_restorer(
    crop_size: int = 512,
    trunk_size: int = 128,
    trunk_channels: Sequence[int] = (32, 64, 128, 256, 256, 256),
    condition_levels: Sequence[int] = (8, 16, 32, 64, 128, 256),
    code_rank: int = 256,
    prior_channels: Sequence[int] = (512, 512, 512, 512, 512, 256, 128, 64),
    w_dim: int = 512,
    num_mapping: int = 8,
    head_sizes: Sequence[int] = (256, 512),
    pool_face: bool = False,
) -> PriorRestorer:
    """A restorer of [n,3,crop_size,crop_size] crops; half of the channels of each level listed in
    `condition_levels` (in pixels) are transformed. Weights are random until loaded."""
    decoder = MobileStyleGAN(prior_channels, w_dim, num_mapping, head_sizes)
    encoder = DegradationAwareEncoder(
        crop_size,
        decoder.num_styles,
        w_dim,
        {level: decoder.channels[level] // 2 for level in condition_levels},
        trunk_size,
        trunk_channels,
        code_rank,
        pool_face,
    )
    return PriorRestorer(encoder, decoder)
