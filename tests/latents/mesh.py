"""A schematic face mesh of known answer, and a network that sees it."""

import numpy as np
import torch
from torch import nn


def a_mesh(**moved):
    """Points [1,468,3] of a schematic face in the 512 frame; `moved`: p61=(dx, dy, dz)."""
    places = {
        10: (256, 130), 152: (256, 440), 234: (130, 270), 454: (382, 270), 61: (206, 372),
        291: (306, 372), 13: (256, 368), 14: (256, 376), 33: (170, 240), 133: (215, 240),
        159: (193, 232), 145: (193, 248), 362: (297, 240), 263: (342, 240), 386: (319, 232),
        374: (319, 248), 50: (180, 310), 280: (332, 310), 151: (256, 165), 168: (256, 235),
        6: (256, 245), 230: (193, 265), 450: (319, 265),
    }  # fmt: skip
    points = torch.full((1, 468, 3), 256.0)
    points[..., 2] = 0
    for index, (x, y) in places.items():
        points[0, index, :2] = torch.tensor([float(x), float(y)])
    for name, step in moved.items():
        points[0, int(name[1:])] += torch.tensor(step, dtype=torch.float32)
    return points


class Mesh(nn.Module):
    """A stand-in for FaceMesh: the schematic face, whose mouth follows the red of the picture."""

    input_size, gray = (192, 192), False

    def __init__(self):
        super().__init__()
        from restore.networks.facemesh import FACEMESH_POINTS

        self.template = FACEMESH_POINTS

    def forward(self, face):
        from restore.geometry import FFHQ_512, similarity

        points = a_mesh().repeat(len(face), 1, 1)
        points[:, 14, 1] += 20 * face[:, 0].mean((1, 2))
        matrix = torch.from_numpy(
            similarity(np.asarray(FFHQ_512), np.asarray(self.template))
        ).float()
        placed = points.clone()
        placed[..., :2] = points[..., :2] @ matrix[:, :2].T + matrix[:, 2]
        return placed, torch.full((len(face),), 20.0)
