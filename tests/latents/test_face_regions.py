"""Regions of a face, and channels of S by how locally they act on them."""

import numpy as np
import pytest
import torch

from restore.errors import InputError
from restore.latents.codes import paint
from restore.latents.directions import channel_sheet
from restore.latents.face_regions import (
    REGIONS,
    mesh_points,
    move_channels,
    rank_channels,
    region_energies,
    region_masks,
)
from restore.latents.spaces import measure_w, seeds_to_w_plus, style_layers, style_spread
from tests.latents.mesh import Mesh, a_mesh
from tests.latents.tiny import FAMILIES, stylegan2


@pytest.fixture(params=sorted(FAMILIES))
def generator(request):
    return FAMILIES[request.param]()


@pytest.mark.parametrize("points", [None, a_mesh()[0].numpy()])
def test_regions_cover_the_frame_once(points):
    masks = region_masks(64, points)
    assert tuple(masks) == ("eyes", "brows", "nose", "mouth", "skin", "hair", "background") or set(
        masks
    ) == set(REGIONS)
    total = sum(masks.values())
    np.testing.assert_allclose(total, 1, atol=1e-5)
    assert masks["mouth"][46, 32] > 0.5 and masks["background"][2, 2] == 1
    assert masks["eyes"][30, 24] > 0.5 and masks["hair"][8, 32] > 0.5


def test_mesh_points_come_back_into_the_frame():
    found, presence = mesh_points(Mesh(), torch.zeros(2, 3, 64, 64))
    torch.testing.assert_close(
        found[:, :, :2], a_mesh()[..., :2].expand(2, -1, -1), atol=1e-2, rtol=0
    )
    assert presence.tolist() == [20, 20]


def test_energies_are_the_squared_jacobian(generator):
    w = seeds_to_w_plus(generator, range(7, 8), 0.7)[:, 0]
    size = 16
    found = region_energies(generator, w, size, probes=150)
    styles = generator.styles(w[:, None].expand(-1, generator.num_styles, -1))
    masks = region_masks(size)
    offset = 0
    for i, layer in enumerate(style_layers(generator)[:3]):
        high, low = (
            paint(generator, move_channels(styles, {(i, 0): step}), size).double()
            for step in (1e-3, -1e-3)
        )
        change = ((high - low) / 2e-3)[0].square().sum(0).numpy()
        expected = sum((change * masks[r]).sum() for r in REGIONS)
        assert float(found[:, offset].sum()) == pytest.approx(expected, rel=0.35, abs=1e-6)
        offset += layer.channels


def test_channels_are_ranked_by_how_locally_they_act():
    net = stylegan2()
    total = sum(net.style_sizes)
    energies = torch.full((len(REGIONS), total), 0.1)
    mouth = REGIONS.index("mouth")
    energies[mouth, 3], energies[mouth, 5] = 9.0, 4.0
    energies[:, 7] = 0
    energies[mouth, 7] = 1e-9  # local, but nothing to be seen
    deviations = [std for _, std in style_spread(net, measure_w(net, 4096))]
    deviations = [torch.ones_like(d) for d in deviations]
    ranked = rank_channels(net, energies, deviations)
    assert [c.name for c in ranked["mouth"]][:2] == ["4.conv2[3]", "4.conv2[5]"]
    assert ranked["mouth"][0].share > ranked["mouth"][1].share > 0.8
    assert all(c.channel != 7 or c.layer for channels in ranked.values() for c in channels)
    with pytest.raises(InputError, match="no layer"):
        move_channels([torch.zeros(1, 2)], {(0, 5): 1.0})
    sheet = channel_sheet(
        net, ranked["mouth"][:1], seeds_to_w_plus(net, range(0, 1), 0.7), (-1, 1), 32
    )
    assert sheet.size[0] > 2 * 32
