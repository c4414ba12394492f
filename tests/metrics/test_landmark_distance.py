import pytest
import torch
from torch import nn

from restore.metrics.landmark_distance import landmark_measure
from restore.networks.facemesh import FACEMESH_POINTS


class Centroid(nn.Module):
    """One landmark, the centroid of brightness; presence 1 where there is any."""

    input_size = (192, 192)
    template = FACEMESH_POINTS
    gray = False

    def forward(self, face):
        bright = (face.mean(1) + 1) / 2
        total = bright.sum((1, 2))
        places = torch.arange(192.0)
        x = (bright.sum(1) * places).sum(1) / total
        y = (bright.sum(2) * places).sum(1) / total
        return torch.stack((x, y, 0 * x), dim=-1)[:, None], torch.where(total > 1, 1.0, -1.0)


@pytest.mark.parametrize("size", [128, 512])
def test_distance_is_in_pixels_of_a_512_crop(size):
    a, b = -torch.ones(2, 3, size, size), -torch.ones(2, 3, size, size)
    unit = size // 64
    a[0, :, 30 * unit : 34 * unit, 30 * unit : 34 * unit] = 1
    b[0, :, 30 * unit : 34 * unit, 33 * unit : 37 * unit] = 1  # 3 / 64 of 512 px to the right
    distance = landmark_measure(Centroid())(a, b, None)
    assert distance[0].item() == pytest.approx(24, abs=0.2)
    assert distance[1].isnan()  # the ground truth shows no face
