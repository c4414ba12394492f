"""The cover network: painted covers, a training through a resume, the file and its graph."""

import cv2
import numpy as np
import pytest
import torch

from restore.degradation.occluders import paint_occluder
from restore.errors import CheckpointError, InputError
from restore.geometry import ffhq_template
from restore.model_files import read_header
from restore.networks.occlusion import CoverNetwork, folded
from restore.runtime.export import check_graph, export_model
from restore.training.experiment import Progress, load_state, newest_state
from restore.trust.occlusion import CoverDetector
from tests.faces.nobody import nobody
from tests.training.tiny import crops
from tools.__main__ import main
from tools.occlusion import (
    SQUARE,
    SQUARE_POINTS,
    OcclusionBatches,
    OcclusionOptions,
    OcclusionTask,
    fit_occlusion_network,
    read_squares,
)

# the rate follows the clock: with years to go it does not move
SMALL = OcclusionOptions(
    minutes=1e6, steps=4, batch_size=4, widths=(4, 8, 8, 8), precision="float32"
)


@pytest.fixture
def squares():
    faces = [cv2.resize(nobody(256), (SQUARE, SQUARE)), np.full((SQUARE, SQUARE, 3), 90, np.uint8)]
    return np.stack(faces)


def test_only_what_is_hidden_changes_and_it_is_marked(squares):
    random = np.random.default_rng(0)
    marked = harmless = 0
    for _ in range(60):
        image, mask = paint_occluder(squares[0], SQUARE_POINTS, squares, random)
        assert image.shape == squares[0].shape and image.dtype == np.uint8
        assert mask.min() >= 0 and mask.max() < 1.001
        marked += mask.mean() > 0.01
        harmless += mask.max() == 0
    assert marked > 35  # most covers lie inside the square
    assert harmless > 2  # and some things hide nothing


def test_batches_come_from_their_step_alone(squares):
    one, same = OcclusionBatches(squares, 8, 3).batch(5), OcclusionBatches(squares, 8, 3).batch(5)
    torch.testing.assert_close(one.faces, same.faces)
    torch.testing.assert_close(one.covered, same.covered)
    assert one.faces.shape == (8, 3, 64, 64) and one.covered.shape == (8, 1, 16, 16)
    assert one.faces.min() >= -1 and one.faces.max() <= 1
    assert not torch.equal(one.faces, OcclusionBatches(squares, 8, 3).batch(6).faces)


def test_the_map_of_a_batch_lies_where_the_cover_is():
    """A white cover on a black face: cells of the map are bright in the view, the others dark."""
    black = np.zeros((2, SQUARE, SQUARE, 3), np.uint8)
    batches = OcclusionBatches(black, 64, 0)
    found = []
    for step in range(3):
        batch = batches.batch(step)
        light = torch.nn.functional.avg_pool2d(batch.faces.mean(1, keepdim=True), 4)
        inside, outside = batch.covered > 0.95, batch.covered < 0.01
        found.append((float(light[inside].mean()), float(light[outside].mean())))
    assert all(inside > outside + 0.2 for inside, outside in found)


def test_folding_changes_nothing(squares):
    torch.manual_seed(0)
    network = CoverNetwork((4, 8, 8, 8), norm=True)
    faces = OcclusionBatches(squares, 8, 0).batch(0).faces
    for _ in range(3):  # running statistics other than their start
        network.train()(faces)
    with torch.inference_mode():
        expected = network.eval()(faces)
        torch.testing.assert_close(folded(network)(faces), expected, atol=1e-4, rtol=1e-4)
    assert expected.shape == (8, 1, 16, 16)


def test_it_learns(squares):
    options = OcclusionOptions(batch_size=16, widths=(8, 16, 16, 16), precision="float32")
    task, progress, losses = (
        OcclusionTask(options, OcclusionBatches(squares, 16, 0)),
        Progress(),
        [],
    )
    for _ in range(40):
        losses.append(float(task.step(progress)["loss"]))
        progress.step += 1
    assert np.mean(losses[-5:]) < 0.7 * np.mean(losses[:3])


def test_it_runs_resumes_ships_and_exports(tmp_path, capsys):
    store = crops(tmp_path, size=64)
    straight, again = tmp_path / "straight", tmp_path / "again"
    fit_occlusion_network([store], tmp_path / "a.safetensors", straight, SMALL)
    half = OcclusionOptions(**{**vars(SMALL), "steps": 2})
    fit_occlusion_network([store], tmp_path / "b.safetensors", again, half)
    fit_occlusion_network([store], tmp_path / "b.safetensors", again, SMALL)
    one, other = (load_state(newest_state(f / "training_states")) for f in (straight, again))
    assert one["progress"]["step"] == other["progress"]["step"] == 4
    for kind in ("networks", "averages"):
        for name, weights in one["trained"][kind]["occlusion"].items():
            assert torch.equal(weights, other["trained"][kind]["occlusion"][name]), name
    header = read_header(tmp_path / "a.safetensors")
    assert header["architecture"] == "cover_network" and "research" in header["licence"]
    assert "16 seen" in header["card"]
    check_graph(tmp_path / "a.safetensors", export_model(tmp_path / "a.safetensors"))
    maps = CoverDetector(tmp_path / "a.safetensors").maps(nobody(64)[None], ffhq_template(64))
    assert maps.shape == (1, 16, 16)
    command = ["occlusion", "--crops", str(store), "-o", str(tmp_path / "c.safetensors")]
    assert main([*command, "--steps", "1"]) == 0
    assert "64 faces seen" in capsys.readouterr().out


def test_batch_norms_are_not_exported(tmp_path):
    from restore.checkpoints.model_file import save_model_file

    header = {
        "architecture": "cover_network", "arguments": {"widths": [4, 8, 8, 8], "norm": True},
        "template": {"name": "ffhq512", "zoom": 1.5, "centre": [256, 285]}, "range": "-1..1",
        "licence": "none", "card": "", "training_options_sha256": "",
    }  # fmt: skip
    path = tmp_path / "cover.safetensors"
    save_model_file(path, CoverNetwork((4, 8, 8, 8), norm=True), header, torch.float32)
    with pytest.raises(CheckpointError, match="batch norms"):
        export_model(path)


def test_no_crops_is_an_error(tmp_path):
    with pytest.raises(InputError):
        read_squares([])
