"""How a training ends: by signal, by the clock, at a number that is not finite, on a full disk."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import SafetensorError

from restore.commands.tree import run_verb
from restore.training import experiment as state_module
from restore.training import feed, setup
from restore.training.distributed import start_ranks
from restore.training.experiment import load_state, newest_state, states_of
from tests.conftest import ROOT
from tests.training.tiny import crops, restorer_options, write

main = partial(run_verb, "train")


PLAIN = {
    "train__gan_opt": None,
    "train__gan_component_opt": None,
    "train__comp_style_weight": 0.0,
    "train__perceptual_opt": None,
    "train__identity_weight": 0.0,
    "train__optim_d": None,
    "train__codes_first_iter": 0,
}


def states(folder):
    return folder / "experiments" / "tiny" / "training_states"


def test_sigterm_saves_and_exits(tmp_path):
    file = write(tmp_path, restorer_options(tmp_path, **PLAIN, train__total_iter=10**6))
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "restore.train", "-opt", str(file)]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, cwd=tmp_path) as run:
        table = tmp_path / "experiments" / "tiny" / "metrics.csv"
        deadline = time.monotonic() + 240
        while time.monotonic() < deadline and run.poll() is None:
            if table.is_file() and "l_g_pix" in table.read_text():
                break
            time.sleep(0.2)
        run.send_signal(signal.SIGTERM)
        _, said = run.communicate(timeout=240)
    assert run.returncode == 0, said.decode()
    assert b"ended by SIGTERM" in said
    saved = load_state(newest_state(states(tmp_path)))
    assert saved["progress"]["step"] >= 1
    assert saved["progress"]["images"] == 2 * saved["progress"]["step"]


def test_budget_ends_with_a_complete_state(tmp_path):
    options = restorer_options(tmp_path, **PLAIN, train__total_iter=10**6, train__max_minutes=1e-4)
    assert main(["-opt", str(write(tmp_path, options))]) == 0
    saved = load_state(newest_state(states(tmp_path)))
    assert saved["progress"]["step"] == 1
    assert set(saved["trained"]) == {"networks", "averages", "optimisers"}
    row = (tmp_path / "experiments" / "tiny" / "training_log.md").read_text().splitlines()[-1]
    assert "| max_minutes |" in row and "| tiny |" in row


def test_not_finite_stops_and_keeps_the_last_state(tmp_path, capsys):
    options = restorer_options(
        tmp_path, **PLAIN, train__total_iter=50, train__optim_g__lr=1e25,
        train__warmup_iter=-1, train__clip_grad_norm=None, logger__save_checkpoint_freq=1,
    )  # fmt: skip
    assert main(["-opt", str(write(tmp_path, options))]) == 2
    said = capsys.readouterr().err
    assert "not finite" in said and "last saved state is good" in said
    saved = load_state(newest_state(states(tmp_path)))
    for tensor in saved["trained"]["networks"]["net_g"].values():
        assert torch.isfinite(tensor).all()


def test_full_disk_stops_and_keeps_the_last_state(tmp_path, capsys, monkeypatch):
    options = restorer_options(
        tmp_path, **PLAIN, train__total_iter=3, logger__save_checkpoint_freq=1
    )
    real_save, calls = torch.save, []

    def save(content, file):
        calls.append(content)
        if "progress" in content and content["progress"]["step"] == 2:
            file.write(b"half a state")
            raise OSError(28, "No space left on device")
        real_save(content, file)

    monkeypatch.setattr(state_module.torch, "save", save)
    assert main(["-opt", str(write(tmp_path, options))]) == 2
    assert "Make room on the disk" in capsys.readouterr().err
    assert [p.name for p in states_of(states(tmp_path))] == ["1.state"]
    assert load_state(states(tmp_path) / "1.state")["progress"]["step"] == 1
    assert not list(states(tmp_path).glob(".*"))


def test_full_disk_during_the_export_is_said(tmp_path, capsys, monkeypatch):
    def no_room(*_: object, **__: object) -> None:
        raise SafetensorError("Error while serializing: I/O error: No space left on device")

    monkeypatch.setattr(setup, "save_model_file", no_room)
    options = restorer_options(tmp_path, **PLAIN, train__total_iter=1)
    assert main(["-opt", str(write(tmp_path, options))]) == 2
    assert "Make room on the disk" in capsys.readouterr().err
    assert newest_state(states(tmp_path)) == states(tmp_path) / "1.state"


def test_auto_resume_never_starts_anew_over_damaged_states(tmp_path, capsys):
    options = restorer_options(tmp_path, **PLAIN, train__total_iter=1)
    states(tmp_path).mkdir(parents=True)
    (states(tmp_path) / "7.state").write_bytes(b"cut off")
    assert main(["-opt", str(write(tmp_path, options)), "--auto_resume"]) == 2
    assert "none of the 1 states" in capsys.readouterr().err
    assert [p.name for p in (tmp_path / "experiments").iterdir()] == ["tiny"]


@pytest.mark.parametrize("name", ["../victim", "", "..", "a/b"])
def test_a_name_that_is_no_folder_name_is_refused(tmp_path, capsys, name):
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "kept.txt").write_text("mine")
    options = restorer_options(tmp_path, **PLAIN, name=name)
    for more in ([], ["--auto_resume"]):
        assert main(["-opt", str(write(tmp_path, options)), *more]) == 2
        assert "expected the plain name of a folder" in capsys.readouterr().err
    assert (victim / "kept.txt").read_text() == "mine"


def folder_of_crops(tmp_path, bad):
    """Twelve crops as files, the first `bad` of them cut off."""
    folder = tmp_path / "files"
    folder.mkdir()
    for number, pixels in enumerate(np.load(crops(tmp_path))):
        Image.fromarray(pixels).save(folder / f"{number:02d}.png")
    for number in range(bad):
        (folder / f"{number:02d}.png").write_bytes(b"no picture")
    (folder / "00.png").rename(folder / "zz.png")  # the first one tells the size of the set
    return str(folder)


@pytest.mark.parametrize("device_crops", ["on", "off"])
def test_bad_crops_are_left_out_and_named(tmp_path, capsys, caplog, device_crops):
    options = restorer_options(tmp_path, **PLAIN, train__total_iter=8)
    train = options["datasets"]["train"]
    train |= {"dataroot_gt": folder_of_crops(tmp_path, 1), "device_crops": device_crops}
    assert main(["-opt", str(write(tmp_path, options))]) == 0, capsys.readouterr().err
    assert "crop 'zz' is left out, 1 so far" in caplog.text


def test_too_many_bad_crops_end_the_run_with_its_state_saved(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(feed.ReadableFaces, "_note", noted_up_to(2))
    options = restorer_options(tmp_path, **PLAIN, train__total_iter=40)
    train = options["datasets"]["train"]
    bad = folder_of_crops(tmp_path, 0)
    for name in ("05", "07", "09"):
        (Path(bad) / f"{name}.png").write_bytes(b"no picture")
    train |= {"dataroot_gt": bad, "device_crops": "off"}
    assert main(["-opt", str(write(tmp_path, options))]) == 2
    assert "crops cannot be read, more than 2" in capsys.readouterr().err
    assert newest_state(states(tmp_path)) is not None


def noted_up_to(limit):
    real = feed.ReadableFaces._note

    def note(self, key, reason):
        self.limit = limit
        real(self, key, reason)

    return note


def test_a_gpu_that_is_not_there_is_said(tmp_path, caplog):
    if torch.cuda.is_available():
        pytest.skip("there is one")
    assert start_ranks("none", 1).device.type == "cpu"
    assert "no CUDA device" in caplog.text
    caplog.clear()
    assert start_ranks("none", "auto").device.type == "cpu" and not caplog.text


def test_a_damaged_state_is_passed_over(tmp_path):
    state_module.save_state(tmp_path, 5, {"progress": {"step": 5}})
    (tmp_path / "7.state").write_bytes(b"cut off")
    assert newest_state(tmp_path) == tmp_path / "5.state"
