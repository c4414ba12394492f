"""Measures on drawn faces of known answer, regions, channels of S, the search for directions."""

import numpy as np
import pytest
import torch
from torch import nn

from restore.errors import CheckpointError, InputError
from restore.latents import face_measures
from restore.latents.age import fit_age
from restore.latents.annotated import boundary_direction, photo_codes, split_by_measure
from restore.latents.direction_sheets import channel_sheet, direction_sheet
from restore.latents.directions import load_directions
from restore.latents.face_measures import MEASURES, FaceMeter, geometry, luminance
from restore.latents.face_regions import REGIONS, mesh_points, patches, region_masks
from restore.latents.find_directions import Check, Wanted, find_directions, fresh_codes
from restore.latents.paint import paint
from restore.latents.sampled_faces import measure_samples, paint_faces
from restore.latents.spaces import measure_w, style_layers
from restore.latents.style_channels import (
    find_channel,
    move_channels,
    rank_channels,
    region_energies,
)
from restore.latents.styles import style_spread
from tests.latents.tiny import FAMILIES, mobile, stylegan2


@pytest.fixture(params=sorted(FAMILIES))
def generator(request):
    return FAMILIES[request.param]()


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
    base = face_measures.shades(flat, points)
    assert float(base["light_side"]) == pytest.approx(0, abs=1e-4)
    ramp = torch.linspace(-0.5, 0.5, 512).expand(1, 3, 512, 512)
    assert face_measures.shades(ramp, points)["light_side"] > 0.1
    framed = flat.clone()
    framed[..., 236:244, 240:272] = -0.9  # a bridge, and rims under the eyes
    framed[..., 262:268, 170:215] = -0.9
    framed[..., 262:268, 297:342] = -0.9
    assert face_measures.shades(framed, points)["glasses"] > base["glasses"] + 0.3
    haired = flat.clone()
    haired[..., 60:110, 200:312] = 0.8
    assert face_measures.shades(haired, points)["hair_light"] > base["hair_light"] + 0.2
    long = flat.clone()
    long[..., 230:460, 95:130] = -0.9
    long[..., 230:460, 382:420] = -0.9
    assert face_measures.shades(long, points)["hair_length"] > base["hair_length"] + 0.5
    assert float(luminance(torch.ones(3, 2, 2)).mean()) == pytest.approx(1, abs=1e-5)


def test_patches_read_where_they_are_told():
    image = torch.zeros(1, 3, 128, 128)
    image[:, 1, 32:48, 64:80] = 1  # x 256 to 320, y 128 to 192 of 512
    seen = patches(image, torch.tensor([[[288.0, 160.0], [100.0, 100.0]]]), torch.tensor([20.0]))
    assert seen.shape == (1, 2, 3, 9, 9)
    assert seen[0, 0, 1].min() > 0.99 and seen[0, 1].abs().max() == 0


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


def test_mesh_points_come_back_into_the_frame():
    found, presence = mesh_points(Mesh(), torch.zeros(2, 3, 64, 64))
    torch.testing.assert_close(
        found[:, :, :2], a_mesh()[..., :2].expand(2, -1, -1), atol=1e-2, rtol=0
    )
    assert presence.tolist() == [20, 20]


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


def test_a_direction_is_found_and_checked(tmp_path):
    generator = mobile()
    meter = FaceMeter(Mesh())
    assert "age" not in meter.names and set(meter.names) < set(MEASURES)
    keep = tmp_path / "m.safetensors"
    samples = measure_samples(generator, meter, 240, keep=keep)
    again = measure_samples(generator, meter, 240, keep=keep)
    assert torch.equal(samples.w, again.w) and torch.equal(samples.measures, again.measures)
    with pytest.raises(InputError, match="name another file"):
        measure_samples(generator, meter, 240, truncation=0.5, keep=keep)
    free = tuple(n for n in meter.names if n not in ("mouth_open", "light_side"))
    wanted = [
        Wanted("mouth", "mouth_open", (4, 32), "closed to open", free),
        Wanted("age", "age", (4, 32), "younger to older"),
        Wanted("nod", "yaw", (4, 32), "which this mesh never sees", free),
    ]
    kept, refused = find_directions(generator, meter, samples, wanted, faces=4)
    assert [d.name for d in kept] == ["mouth"] and set(refused) == {"age", "nod"}
    measured = kept[0].card["measured"]
    assert measured["moved_the_right_way"] == 1
    assert measured["own_change_in_std"][-1] > 1 > 0 > measured["own_change_in_std"][0]
    codes = fresh_codes(generator, 2, 50, 0.7)
    sheet = direction_sheet(generator, kept[0], codes, (-1, 0, 1), 32)
    assert sheet.size[0] > 3 * 32 and sheet.size[1] > 2 * 32


def test_a_check_knows_what_to_refuse():
    good = Check((-2, -1, 1, 2), (-2, -1, 1, 2), 1.0, 1.0, {"yaw": 0.2}, (), 4)
    assert good.does_what_it_says(["yaw"])
    for wrong in (
        Check((-2, -1, 1, 2), (-2, -1, 1, 0.5), 1.0, 1.0, {"yaw": 0.2}, (), 4),
        Check((-2, -1, 1, 2), (-2, -1, 1, 2), 0.7, 0.7, {"yaw": 0.2}, (), 4),
        Check((-2, -1, 1, 2), (-2, -1, 1, 2), 1.0, 1.0, {"yaw": -1.3}, (), 4),
        Check((-2, -1, 1, 2), (-0.2, -0.1, 0.1, 0.2), 1.0, 1.0, {"yaw": 0}, (), 4),
    ):
        assert not wrong.does_what_it_says(["yaw"])
    one = Check((-2, -1, 1, 2), (0.1, 0, 1, 2), 0.6, 1.0, {"yaw": 0.2}, (), 4)
    assert one.does_what_it_says(["yaw"], one_sided=True)
    assert not one.does_what_it_says(["yaw"])


def test_energies_are_the_squared_jacobian(generator):
    w = fresh_codes(generator, 1, 7, 0.7)[:, 0]
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
    assert find_channel(net, "4.conv2[3]") == (0, 3)
    with pytest.raises(InputError, match="no channel"):
        find_channel(net, "4.conv2[99]")
    with pytest.raises(InputError, match="no layer"):
        move_channels([torch.zeros(1, 2)], {(0, 5): 1.0})
    sheet = channel_sheet(net, ranked["mouth"][:1], fresh_codes(net, 1, 0, 0.7), (-1, 1), 32)
    assert sheet.size[0] > 2 * 32


def test_two_sets_of_codes_make_a_direction(generator, tmp_path):
    codes = measure_w(generator, 4096)
    w = codes.mean + torch.randn(200, generator.w_dim)
    low, high = split_by_measure(w, w[:, 2], 0.3)
    assert len(low) == len(high) == 60 and low[:, 2].max() < high[:, 2].min()
    direction, boundary = boundary_direction(generator, "trait", low, high, (1, 2), "drawn")
    assert boundary.accuracy > 0.9 and direction.rows == (1, 2)
    assert int(direction.vector[1].abs().argmax()) == 2 and direction.vector[1, 2] > 0
    with pytest.raises(InputError, match="share"):
        split_by_measure(w, w[:, 2], 0.9)
    with pytest.raises(InputError, match="is no folder"):
        photo_codes(tmp_path / "none", generator)
    with pytest.raises(InputError, match="photos with a face"):
        photo_codes(tmp_path, generator)


def test_faces_are_painted_one_by_one_as_in_a_batch(generator):
    codes = fresh_codes(generator, 3, 1, 0.7)
    whole = paint(generator, generator.styles(codes), 16).clamp(-1, 1)
    torch.testing.assert_close(paint_faces(generator, codes, 16), whole, atol=1e-5, rtol=1e-5)
    half = paint_faces(generator, codes, 16, half=True)
    assert half.dtype == torch.float32 and (half - whole).abs().mean() < 0.02


def test_the_packaged_directions_fit_the_packaged_prior():
    try:
        found = load_directions()
    except CheckpointError:
        pytest.fail("restore/weights/directions.safetensors is missing")
    assert {"age", "smile", "glasses", "yaw", "light-side"} <= set(found.names)
    from restore.latents.generate import load_generator

    found.check(load_generator())
    with pytest.raises(InputError):
        found.check(mobile())
    for direction in found:
        measured = direction.card["measured"]
        assert measured["own_change_in_std"][-1] > 0.9
        assert measured["moved_up"] >= 0.9
