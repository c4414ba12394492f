"""A distillation of identity to its end, through a resume, into the packaged form and its graph."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch
import yaml

from restore.errors import CheckpointError, OptionError
from restore.model_files import read_header
from restore.runtime.export import check_graph, export_model
from restore.training.experiment import load_state, newest_state
from restore.trust.identity import IdentityNetwork
from tests.conftest import ROOT
from tests.faces.nobody import nobody
from tests.training.tiny import crops, loss_networks
from tools.__main__ import main
from tools.identity import (
    IdentityBatches,
    LossOptions,
    held_out_people,
    identity_losses,
    load_identity_options,
    load_teacher,
    make_pool,
    person_of,
    ship_identity,
)


@pytest.fixture
def option_file(tmp_path, monkeypatch):
    """Twelve random pictures, a random teacher and a student of a few thousand weights."""
    monkeypatch.chdir(tmp_path)
    store = {"path": str(crops(tmp_path, size=64)), "zoom": 1.2, "centre": [256, 280]}
    options = {
        "name": "tiny",
        "crops": [store],
        "val_crops": [store],
        "teacher": loss_networks(tmp_path)["identity"],
        "network": {"dimensions": 128, "widths": [6, 8, 8], "blocks": [1, 1, 1], "head": 8},
        "variants": 1,
        "max_steps": 4,
        "rate_by": "steps",
        "batch_size": 4,
        "precision": "fp32",
        "warmup_steps": 1,
        "save_freq": 2,
    }
    path = tmp_path / "tiny.yml"
    path.write_text(yaml.safe_dump(options), "utf-8")
    return path


def test_it_runs_resumes_ships_and_exports(option_file, tmp_path, capsys):
    states = tmp_path / "experiments" / "tiny" / "training_states"
    assert main(["identity", "-opt", str(option_file)]) == 0
    straight = load_state(newest_state(states))
    assert straight["progress"]["step"] == 4 and straight["progress"]["images"] == 16
    (states / "4.state").unlink()
    assert main(["identity", "-opt", str(option_file), "--auto_resume"]) == 0
    resumed = load_state(newest_state(states))
    for kind in ("networks", "averages"):
        for name, value in straight["trained"][kind]["student"].items():
            assert torch.equal(resumed["trained"][kind]["student"][name], value), name
    source = tmp_path / "experiments" / "tiny" / "identity_latest.safetensors"
    shipped = tmp_path / "identity.safetensors"
    command = ["ship-identity", str(source), "-o", str(shipped), "--data", "twelve pictures"]
    assert main(command) == 0
    assert "twelve pictures" in capsys.readouterr().out
    header = read_header(shipped)
    assert "research" in header["licence"] and "16 faces" in header["card"]
    check_graph(shipped, export_model(shipped))
    vectors = IdentityNetwork.load(shipped).embed(np.stack([nobody(64)] * 2))
    np.testing.assert_allclose(vectors[0], vectors[1], atol=1e-6)


def test_a_pool_goes_on_where_it_stopped_and_is_made_anew_for_other_faces(option_file, tmp_path):
    options = load_identity_options(option_file)
    teacher = load_teacher(options.teacher)
    made = make_pool(tmp_path / "pool", options.crops, teacher, "none", 1, 0)
    np.testing.assert_array_equal(made.views[:, 0], made.views[:, 1])  # recipe "none"
    assert np.linalg.norm(made.targets, axis=1) == pytest.approx(np.ones(12), abs=1e-4)
    before = made.views[:].copy()
    journal = tmp_path / "pool" / "journal.json"
    content = json.loads(journal.read_text())
    journal.write_text(json.dumps(content | {"done": 0}))
    made.views[:] = 0
    again = make_pool(tmp_path / "pool", options.crops, teacher, "none", 1, 0)
    np.testing.assert_array_equal(again.views, before)
    worn = make_pool(tmp_path / "pool", options.crops, teacher, "heavy", 1, 0)
    assert (worn.views[:, 0] != worn.views[:, 1]).mean() > 0.5


def test_batches_depend_on_the_step_alone(option_file, tmp_path):
    options = load_identity_options(option_file)
    pool = make_pool(tmp_path / "p", options.crops, load_teacher(options.teacher), "mild", 1, 0)
    first, again = (IdentityBatches(pool, options).batch(7) for _ in range(2))
    torch.testing.assert_close(first.faces, again.faces, atol=0, rtol=0)
    other = IdentityBatches(pool, options).batch(8)
    assert first.faces.shape == (4, 3, 112, 96) and first.maps.shape == (4, 128, 7, 6)
    assert float(first.faces.abs().max()) <= 1 and not torch.equal(first.faces, other.faces)
    rare = dataclasses.replace(options, weights={"00000003": 1e9}, batch_size=32)
    drawn = IdentityBatches(pool, rare).batch(0).targets
    torch.testing.assert_close(drawn, torch.from_numpy(pool.targets[3:4]).expand(32, -1))


def test_losses_are_least_at_the_teacher():
    bank = torch.nn.functional.normalize(torch.randn(9, 16), dim=1)
    maps = torch.randn(4, 2, 7, 6)

    def total(vectors: torch.Tensor, found: torch.Tensor) -> float:
        return float(identity_losses(vectors, found, bank[:4], maps, bank, LossOptions(), 1.0)[0])

    assert total(bank[:4], maps) == pytest.approx(0, abs=1e-5)
    assert total(bank[4:8], maps) > 0.5 and total(bank[:4], 0 * maps) == pytest.approx(1, abs=1e-4)


def test_people_are_held_out_by_name():
    keys = [f"Person_{i}_0001" for i in range(200)] + ["Person_7_0002"]
    people = held_out_people(keys)
    assert person_of("tar/Some_Name_0012") == "Some_Name"
    assert "Person_7" in people and 50 < len(people) < 110
    assert held_out_people(reversed(keys)) == people


def test_bad_options_and_files_are_said(option_file, tmp_path):
    text = option_file.read_text().replace("precision: fp32", "precision: fp7\nvariant: 2")
    option_file.write_text(text)
    with pytest.raises(OptionError, match="variant: unknown key"):
        load_identity_options(option_file)
    with pytest.raises(CheckpointError, match="mobile_restorer"):
        ship_identity(ROOT / "restore" / "weights" / "default.safetensors", tmp_path / "x", "")
    assert load_identity_options(ROOT / "options" / "distil_identity_cpu.yml").variants == 2
