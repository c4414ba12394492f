"""The search for directions on a stand-in mesh, its fits, its checks, its command."""

import pytest
import torch

from restore.errors import InputError
from restore.latents.directions import direction_sheet, load_directions
from restore.latents.generate import save_generator
from restore.latents.spaces import seeds_to_w_plus
from tests.latents.mesh import Mesh
from tests.latents.tiny import mobile
from tools.directions import (
    Check,
    Goal,
    find_directions,
    fit_slopes,
    main,
    measure_samples,
    shortest_change,
)
from tools.face_measures import MEASURES, FaceMeter


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
        Goal("mouth", "mouth_open", (4, 32), "closed to open", free),
        Goal("age", "age", (4, 32), "younger to older"),
        Goal("nod", "yaw", (4, 32), "which this mesh never sees", free),
    ]
    kept, refused = find_directions(generator, meter, samples, wanted, faces=4)
    assert [d.name for d in kept] == ["mouth"] and set(refused) == {"age", "nod"}
    measured = kept[0].card["measured"]
    assert measured["moved_the_right_way"] == 1
    assert measured["own_change_in_std"][-1] > 1 > 0 > measured["own_change_in_std"][0]
    codes = seeds_to_w_plus(generator, range(50, 52), 0.7)
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


def test_slopes_of_a_linear_measure_are_found():
    draws = torch.Generator().manual_seed(1)
    w = torch.randn(600, 12, generator=draws)
    truth = torch.randn(2, 12, generator=draws)
    measures = w @ truth.T + 3
    measures[::7, 1] = torch.nan
    found = fit_slopes(w, measures, ridge=1e-6)
    torch.testing.assert_close(found.weights, truth, atol=1e-3, rtol=1e-3)
    assert (found.r2 > 0.999).all()
    noise = fit_slopes(w, torch.randn(600, 1, generator=draws))
    assert noise.r2[0] < 0.2


def test_the_shortest_change_moves_its_measure_and_no_other():
    draws = torch.Generator().manual_seed(2)
    root = torch.randn(10, 10, generator=draws)
    covariance, slopes = root @ root.T, torch.randn(3, 10, generator=draws)
    step = shortest_change(covariance, slopes, 1)
    torch.testing.assert_close(slopes @ step, torch.tensor([0.0, 1.0, 0.0]), atol=1e-3, rtol=0)
    inverse = torch.linalg.inv(covariance.double()).float()
    # any other step that does the same is longer by the codes' own measure
    null = torch.linalg.svd(slopes).Vh[3:]
    for other in null:
        longer = step + 0.5 * other
        assert longer @ inverse @ longer > step @ inverse @ step
    alone = shortest_change(covariance, slopes[:1], 0)
    along = covariance @ slopes[0]
    assert float(alone @ along / alone.norm() / along.norm()) == pytest.approx(1, abs=1e-5)
    with pytest.raises(InputError, match="say the same"):
        shortest_change(covariance, torch.zeros(2, 10), 0)


def test_what_is_missing_is_named(tmp_path, capsys):
    model = tmp_path / "tiny.safetensors"
    save_generator(model, mobile(), "tiny")
    find = ["--model", str(model), "--mesh", str(tmp_path / "none.pth")]
    find += ["-o", str(tmp_path / "d.safetensors")]
    for words, says in (
        (find, "none.pth"),
        ([*find, "--only", "beauty"], "unknown; there are age, smile"),
        ([*find, "--faces", "1"], "--faces 1"),
    ):
        assert main(words) == 2
        error = capsys.readouterr().err
        assert says in error and error.startswith("restore: error: ") and error.count("\n") == 1


def test_the_command_writes_what_holds(tmp_path, capsys, monkeypatch):
    model, out = tmp_path / "tiny.safetensors", tmp_path / "d.safetensors"
    save_generator(model, mobile(), "tiny")
    monkeypatch.setattr("tools.directions.load_landmark_network", lambda path: Mesh())
    free = tuple(n for n in MEASURES if n not in ("mouth_open", "light_side"))
    goal = Goal("mouth", "mouth_open", (4, 32), "closed to open", free)
    monkeypatch.setattr("tools.directions.GOALS", (goal,))
    words = ["--model", str(model), "--mesh", "a", "--count", "240", "--faces", "4", "-o", str(out)]
    assert main(words) == 0
    assert "d.safetensors: mouth; " in capsys.readouterr().out
    assert load_directions(out).names == ("mouth",)
    assert main([*words, "--ages", "ages.csv"]) == 2
    assert "all four" in capsys.readouterr().err
