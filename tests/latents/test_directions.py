"""Directions: moving codes, the file, SeFa and PCA against linear algebra, fits and planes."""

import numpy as np
import pytest
import torch

from restore.errors import CheckpointError, InputError
from restore.latents.codes import Codes
from restore.latents.directions import (
    Direction,
    DirectionSet,
    boundary_direction,
    fit_boundary,
    ganspace,
    load_directions,
    move,
    move_codes,
    on_rows,
    photo_codes,
    rows_of_levels,
    save_directions,
    sefa,
)
from restore.latents.spaces import measure_w, style_layers, z_of_seeds, z_to_w_plus
from tests.latents.tiny import FAMILIES, mobile, stylegan2


@pytest.fixture(params=sorted(FAMILIES))
def generator(request):
    return FAMILIES[request.param]()


def a_direction(generator, name="smile", rows=(1, 2)):
    vector = on_rows(generator, torch.linspace(-1, 1, generator.w_dim), rows)
    return Direction(name, vector, "a unit", {"held": ["yaw"], "r2": 0.5})


def test_moving_goes_there_and_back(generator):
    codes = z_to_w_plus(generator, z_of_seeds(generator, [1, 2]))
    direction = a_direction(generator)
    assert direction.rows == (1, 2)
    assert torch.equal(move(codes, direction, 0), codes)
    there = move(codes, direction, 2)
    assert torch.equal(there[:, 0], codes[:, 0]) and not torch.equal(there[:, 1], codes[:, 1])
    torch.testing.assert_close(move(there, direction, -2), codes)
    each = move(codes, direction, torch.tensor([0.0, 2.0]))
    assert torch.equal(each[0], codes[0])
    torch.testing.assert_close(each[1], there[1])
    with pytest.raises(InputError, match="another generator"):
        move(codes[:, :1], direction, 1)


def test_styles_move_as_their_codes_do(generator):
    codes = z_to_w_plus(generator, z_of_seeds(generator, [3])).contiguous()
    direction = a_direction(generator)
    plain = move_codes(generator, Codes(codes), direction, 1.5)
    styled = move_codes(generator, Codes(codes, tuple(generator.styles(codes))), direction, 1.5)
    for a, b in zip(styled.styles, generator.styles(plain.w_plus), strict=True):
        torch.testing.assert_close(a, b)


def test_levels_name_rows():
    net = mobile()
    assert rows_of_levels(net, 4, 8) == (0, 1, 2, 3)
    assert rows_of_levels(net, 16, 32) == (4, 5, 6, 7, 8, 9, 10)
    with pytest.raises(InputError, match="no level from 64"):
        rows_of_levels(net, 64, 512)


def test_the_file_keeps_directions(generator, tmp_path):
    path = tmp_path / "sub/directions.safetensors"
    uneven = torch.zeros(generator.num_styles, generator.w_dim)
    uneven[1:4] = torch.randn(3, generator.w_dim)
    found = DirectionSet(
        (a_direction(generator), Direction("age", uneven)), generator.w_mean, "a card"
    )
    save_directions(path, found)
    again = load_directions(path)
    assert again.names == ("smile", "age") and again.card == "a card"
    assert again.get("smile").card == {"held": ["yaw"], "r2": 0.5}
    for a, b in zip(again, found, strict=True):
        assert a.rows == b.rows and a.unit == b.unit
        torch.testing.assert_close(a.vector, b.vector, atol=2e-3, rtol=1e-3)
    again.check(generator)
    with pytest.raises(InputError, match="did you mean 'smile'"):
        again.get("smlie")
    other = (type(generator) is type(mobile()) and stylegan2()) or mobile()
    with pytest.raises(InputError, match="python -m tools directions"):
        again.check(other)


def test_another_generator_of_the_form_is_told_by_its_mean(tmp_path):
    path = tmp_path / "d.safetensors"
    save_directions(path, DirectionSet((a_direction(mobile()),), mobile().w_mean))
    with pytest.raises(InputError, match="another generator"):
        load_directions(path).check(mobile(seed=5))


def test_wrong_files_say_what_they_are(tmp_path):
    from safetensors.torch import save_file

    with pytest.raises(CheckpointError, match="no file of directions"):
        load_directions(tmp_path / "none.safetensors")
    save_file({"a": torch.zeros(2)}, tmp_path / "a.safetensors")
    with pytest.raises(CheckpointError, match="holds no directions"):
        load_directions(tmp_path / "a.safetensors")
    meta = {"format": "restore-directions/1", "directions": '[{"name": "x"}]'}
    save_file({"w_mean": torch.zeros(4)}, tmp_path / "b.safetensors", metadata=meta)
    with pytest.raises(CheckpointError, match="damaged"):
        load_directions(tmp_path / "b.safetensors")
    with pytest.raises(InputError, match="zero everywhere"):
        zero = Direction("nothing", torch.zeros(11, 16))
        save_directions(tmp_path / "c.safetensors", DirectionSet((zero,), torch.zeros(16)))


def test_sefa_is_the_svd_by_hand():
    net = mobile()
    weights = [a.weight.numpy().astype(np.float64) for a in net.affines[1:4]]
    rows = np.concatenate([w / np.linalg.norm(w, axis=1, keepdims=True) for w in weights])
    values, vectors = np.linalg.eigh(rows.T @ rows)
    found = sefa(net, 3, rows=(1, 2, 3))
    for i, direction in enumerate(found):
        assert direction.rows == (1, 2, 3)
        vector = direction.vector[2].numpy()
        assert abs(abs(vector @ vectors[:, -1 - i]) - 1) < 1e-5
        assert vector[np.abs(vector).argmax()] > 0
        assert direction.card["singular_value"] == pytest.approx(values[-1 - i] ** 0.5, abs=1e-3)


def test_sefa_takes_shared_rows_of_stylegan2_once():
    net = stylegan2()
    shared = [i for i, layer in enumerate(_layers(net)) if layer.row == 1]
    assert len(shared) == 2  # to_rgb of 4 px and conv1 of 8 px
    direction = sefa(net, 1, rows=(1,), normalise=False)[0]
    matrix = torch.cat([net.affines[i].weight for i in shared])
    _, _, vectors = torch.linalg.svd(matrix)
    assert abs(float(vectors[0] @ direction.vector[1])) == pytest.approx(1, abs=1e-5)


def _layers(net):

    return style_layers(net)


def test_ganspace_gives_the_axes_of_w(generator):
    found = ganspace(generator, 3, samples=4096)
    covariance = measure_w(generator, 4096).covariance
    for i, direction in enumerate(found):
        axis = direction.vector[0]
        length = axis.norm()
        assert float(axis @ covariance @ axis / length**2) == pytest.approx(
            float(length**2), rel=1e-3
        )
        if i:
            assert found[i - 1].card["share"] >= direction.card["share"]
    with pytest.raises(InputError, match="directions; expected 1 to"):
        ganspace(generator, 0)


def test_a_boundary_finds_the_plane():
    draws = torch.Generator().manual_seed(3)
    normal = torch.nn.functional.normalize(torch.randn(16, generator=draws), dim=0)
    w = torch.randn(400, 16, generator=draws)
    side = w @ normal > 0
    found = fit_boundary(w[~side], w[side], penalty=1e-3)
    assert float(found.normal @ normal) > 0.97 and found.accuracy > 0.93
    assert found.distance > 1
    shuffled = torch.rand(400, generator=draws) > 0.5
    assert fit_boundary(w[~shuffled], w[shuffled]).accuracy < 0.65
    with pytest.raises(InputError, match="two codes or more"):
        fit_boundary(w[:1], w)


def test_two_sets_of_codes_make_a_direction(generator, tmp_path):
    codes = measure_w(generator, 4096)
    w = codes.mean + torch.randn(200, generator.w_dim)
    order = w[:, 2].argsort()
    low, high = w[order[:60]], w[order[-60:]]
    direction, boundary = boundary_direction(generator, "trait", low, high, (1, 2), "drawn")
    assert boundary.accuracy > 0.9 and direction.rows == (1, 2)
    assert int(direction.vector[1].abs().argmax()) == 2 and direction.vector[1, 2] > 0
    with pytest.raises(InputError, match="is no folder"):
        photo_codes(tmp_path / "none", generator)
    with pytest.raises(InputError, match="photos with a face"):
        photo_codes(tmp_path, generator)


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
