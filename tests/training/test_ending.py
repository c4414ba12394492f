"""How a training ends: by signal, by the clock, at a number that is not finite, on a full disk."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import torch

from restore.train import main
from restore.training import state as state_module
from restore.training.state import load_state, newest_state, states_of
from tests.conftest import ROOT
from tests.training.tiny import restorer_options, write

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
    assert main(["-opt", str(write(tmp_path, options))]) == 1
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
    assert main(["-opt", str(write(tmp_path, options))]) == 1
    assert "Make room on the disk" in capsys.readouterr().err
    assert [p.name for p in states_of(states(tmp_path))] == ["1.state"]
    assert load_state(states(tmp_path) / "1.state")["progress"]["step"] == 1
    assert not list(states(tmp_path).glob(".*"))


def test_a_damaged_state_is_passed_over(tmp_path):
    state_module.save_state(tmp_path, 5, {"progress": {"step": 5}})
    (tmp_path / "7.state").write_bytes(b"cut off")
    assert newest_state(tmp_path) == tmp_path / "5.state"
