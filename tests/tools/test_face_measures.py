"""Measures on drawn faces of known answer."""

import numpy as np
import pytest
import torch

from restore.errors import InputError
from restore.latents.generate import luminance
from tests.latents.mesh import a_mesh
from tools.face_measures import fit_age, geometry, patches, shades


def test_pose_and_expression_follow_the_points():
    plain = geometry(a_mesh())
    assert float(plain["yaw"]) == pytest.approx(0, abs=1e-4)
    turned = geometry(a_mesh(p234=(0, 0, -50.0), p454=(0, 0, 50.0)))
    assert float(turned["yaw"]) == pytest.approx(np.degrees(np.arctan2(100, 252)), abs=0.01)
    smiling = geometry(a_mesh(p61=(-10, -8, 0), p291=(10, -8, 0)))
    sad = geometry(a_mesh(p61=(0, 8, 0), p291=(0, 8, 0)))
    assert smiling["smile"] > plain["smile"] + 0.05 > sad["smile"] + 0.05
    assert geometry(a_mesh(p14=(0, 30, 0)))["mouth_open"] > plain["mouth_open"] + 0.05
    assert geometry(a_mesh(p159=(0, 6, 0)))["eyes_open"] < plain["eyes_open"]


def test_shades_follow_the_picture():
    points = a_mesh()
    flat = torch.zeros(1, 3, 512, 512)
    base = shades(flat, points)
    assert float(base["light_side"]) == pytest.approx(0, abs=1e-4)
    ramp = torch.linspace(-0.5, 0.5, 512).expand(1, 3, 512, 512)
    assert shades(ramp, points)["light_side"] > 0.1
    framed = flat.clone()
    framed[..., 236:244, 240:272] = -0.9  # a bridge, and rims under the eyes
    framed[..., 262:268, 170:215] = -0.9
    framed[..., 262:268, 297:342] = -0.9
    assert shades(framed, points)["glasses"] > base["glasses"] + 0.3
    haired = flat.clone()
    haired[..., 60:110, 200:312] = 0.8
    assert shades(haired, points)["hair_light"] > base["hair_light"] + 0.2
    long = flat.clone()
    long[..., 230:460, 95:130] = -0.9
    long[..., 230:460, 382:420] = -0.9
    assert shades(long, points)["hair_length"] > base["hair_length"] + 0.5
    assert float(luminance(torch.ones(3, 2, 2)).mean()) == pytest.approx(1, abs=1e-5)


def test_patches_read_where_they_are_told():
    image = torch.zeros(1, 3, 128, 128)
    image[:, 1, 32:48, 64:80] = 1  # x 256 to 320, y 128 to 192 of 512
    seen = patches(image, torch.tensor([[[288.0, 160.0], [100.0, 100.0]]]), torch.tensor([20.0]))
    assert seen.shape == (1, 2, 3, 9, 9)
    assert seen[0, 0, 1].min() > 0.99 and seen[0, 1].abs().max() == 0


def test_ages_are_learnt():
    torch.manual_seed(0)

    def features(x):
        return torch.stack([x.mean((1, 2, 3)), x[:, 0].mean((1, 2)), x[:, 1, 0, 0]], 1)

    images = torch.rand(60, 3, 8, 8)
    years = 40 + 100 * (images[:, 0].mean((1, 2)) - 0.5)
    fitted = fit_age(features, images.split(16), years, ridge=1e-6)
    torch.testing.assert_close(fitted.years(images), years, atol=0.01, rtol=0)
    with pytest.raises(InputError, match="one age each"):
        fit_age(features, [images], years[:3])
