"""FaceMesh: 468 points of a face from a 192 px crop, for landmark distances and face regions."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# (channels, out, stride) of the blocks behind the first convolution, MediaPipe's face_landmark
_BACKBONE = (
    (16, 16, 1),
    (16, 16, 1),
    (16, 32, 2),
    (32, 32, 1),
    (32, 32, 1),
    (32, 64, 2),
    (64, 64, 1),
    (64, 64, 1),
    (64, 128, 2),
    (128, 128, 1),
    (128, 128, 1),
    (128, 128, 2),
    (128, 128, 1),
    (128, 128, 1),
)
# FFHQ's five points in the 192 px crop: a square of 400 px about (256, 305) of the 512 frame. Of
# sides 300 to 480 this is where the points settle; tighter crops squeeze mouth and chin upwards.
FACEMESH_POINTS = (
    (65.751, 64.775),
    (126.193, 64.893),
    (96.304, 100.329),
    (69.725, 127.877),
    (123.403, 127.753),
)


class _Block(nn.Module):
    """Depthwise 3x3, 1x1, added to the (pooled, channel-padded) input; PReLU."""

    def __init__(self, channels: int, out: int, stride: int = 1) -> None:
        super().__init__()
        self.stride, self.widen = stride, out - channels
        padding = 1 if stride == 1 else 0
        self.convs = nn.Sequential(
            nn.Conv2d(channels, channels, 3, stride, padding, groups=channels),
            nn.Conv2d(channels, out, 1),
        )
        self.act = nn.PReLU(out)

    def forward(self, x: Tensor) -> Tensor:
        skip = x
        if self.stride == 2:
            x = F.pad(x, (0, 1, 0, 1))  # TensorFlow's SAME at even sides: right and bottom only
            skip = F.max_pool2d(skip, 2)
        if self.widen:
            skip = F.pad(skip, (0, 0, 0, 0, 0, self.widen))
        found: Tensor = self.act(self.convs(x) + skip)
        return found


class FaceMesh(nn.Module):
    """`forward(face [n,3,192,192] RGB in [-1,1]) -> (points [n,468,3], presence logit [n])`.

    Points are x, y in pixels of the crop and a depth on the same scale.
    """

    kind = "facemesh_468"
    input_size = (192, 192)
    template = FACEMESH_POINTS
    gray = False

    def __init__(self) -> None:
        super().__init__()
        blocks = (_Block(*b) for b in _BACKBONE)
        self.backbone = nn.Sequential(nn.Conv2d(3, 16, 3, 2), nn.PReLU(16), *blocks)
        self.coord_head = nn.Sequential(
            _Block(128, 128, 2),
            _Block(128, 128),
            _Block(128, 128),
            nn.Conv2d(128, 32, 1),
            nn.PReLU(32),
            _Block(32, 32),
            nn.Conv2d(32, 468 * 3, 3),
        )
        self.conf_head = nn.Sequential(
            _Block(128, 128, 2),
            nn.Conv2d(128, 32, 1),
            nn.PReLU(32),
            _Block(32, 32),
            nn.Conv2d(32, 1, 3),
        )

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor]) -> FaceMesh:
        """A network with these weights, strictly."""
        network = cls()
        network.load_state_dict(dict(state))
        return network

    def forward(self, face: Tensor) -> tuple[Tensor, Tensor]:
        x = self.backbone(F.pad(face, (0, 1, 0, 1)))
        points = torch.flatten(self.coord_head(x), 1).reshape(-1, 468, 3)
        return points, torch.flatten(self.conf_head(x), 1)[:, 0]
