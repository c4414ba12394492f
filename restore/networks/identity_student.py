"""IdentityStudent: a small face embedding of plain convolutions, a student of a larger network."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from restore.networks.normed_conv import ResidualBlock, folded_state, normed_conv


class IdentityStudent(nn.Module):
    """`forward(face [n,3,112,96] RGB in [-1,1]) -> [n,dimensions]` of length 1.

    The face stands as in SphereFace's template (`restore.trust.identity.identity_view`). Plain 3x3
    convolutions: those are what CPUs are fast at. `widths` and `blocks`: channels and residual
    blocks at 28x24, 14x12 and 7x6 px. `norm`: with batch norms, as it is trained; without, as it
    is shipped (`folded`).
    """

    input_size = (112, 96)

    def __init__(
        self,
        dimensions: int = 128,
        widths: tuple[int, int, int] = (48, 96, 160),
        blocks: tuple[int, int, int] = (1, 2, 1),
        head: int = 384,
        norm: bool = False,
    ) -> None:
        super().__init__()
        self.arguments: dict[str, Any] = {
            "dimensions": dimensions,
            "widths": list(widths),
            "blocks": list(blocks),
            "head": head,
            "norm": norm,
        }
        self.stem = normed_conv(3, widths[0] // 3, 3, 2, norm)
        self.down = nn.ModuleList()
        self.stages = nn.ModuleList()
        channels = widths[0] // 3
        for width, count in zip(widths, blocks, strict=True):
            self.down.append(normed_conv(channels, width, 3, 2, norm))
            self.stages.append(nn.Sequential(*(ResidualBlock(width, norm) for _ in range(count))))
            channels = width
        self.widen = normed_conv(channels, head, 1, 1, norm)
        # one weight for each place of the face: the pooling of MobileFaceNet (Chen et al. 2018)
        self.pool = nn.Parameter(torch.empty(head, 7, 6).uniform_(-1, 1) / 42**0.5)
        self.pool_norm = nn.BatchNorm1d(head) if norm else nn.Identity()
        self.project = nn.Linear(head, dimensions)

    def features(self, face: Tensor) -> Tensor:
        """The last map [n,c,7,6] before the head."""
        x = F.relu(self.stem(face))
        for down, stage in zip(self.down, self.stages, strict=True):
            x = stage(F.relu(down(x)))
        return x

    def embed(self, features: Tensor) -> Tensor:
        """Map [n,c,7,6] -> float32 unit vectors [n,dimensions]."""
        x = F.relu(self.widen(features))
        # a depthwise convolution, written so that its gradient is quick on a CPU
        pooled = (x * self.pool.to(x.dtype)).sum((2, 3), dtype=torch.float32)
        return F.normalize(self.project(self.pool_norm(pooled)).float(), dim=1)

    def forward(self, face: Tensor) -> Tensor:
        return self.embed(self.features(face))


def folded(network: IdentityStudent) -> IdentityStudent:
    """The same function without batch norms, as it is shipped; in eval mode, weights copied."""
    plain = IdentityStudent(**{**network.arguments, "norm": False}).eval()
    state = {"pool": network.pool, **folded_state(network)}
    last, pooled = network.project, network.pool_norm
    state["project.weight"], state["project.bias"] = last.weight, last.bias
    if isinstance(pooled, nn.BatchNorm1d):
        assert pooled.running_mean is not None and pooled.running_var is not None
        gain = pooled.weight / (pooled.running_var + pooled.eps).sqrt()
        state["project.weight"] = last.weight * gain
        state["project.bias"] = last.bias + last.weight @ (pooled.bias - pooled.running_mean * gain)
    plain.load_state_dict({name: value.detach().clone() for name, value in state.items()})
    return plain
