"""Two gloo processes train like one with the doubled batch, to rounding."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from functools import partial

import torch

from restore.commands.tree import run_verb
from restore.training.experiment import load_state
from tests.conftest import ROOT
from tests.training.tiny import changed, restorer_options, write

main = partial(run_verb, "train")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_two_processes_equal_one_with_the_doubled_batch(tmp_path):
    options = restorer_options(tmp_path, train__total_iter=3)
    for name in ("optim_g", "optim_d", "optim_component"):
        # a large eps: else Adam blows rounding of gradients near zero up to whole steps
        options["train"][name]["eps"] = 1e-2
    options["datasets"]["val"] = {
        "type": "FaceDataset", "dataroot_gt": options["datasets"]["train"]["dataroot_gt"],
        "out_size": 32, "num_images": 5, "batch_size_per_gpu": 2,
    }  # fmt: skip
    options["val"] = {"metrics": {"psnr": {"type": "psnr"}}}
    file = write(tmp_path, options, "two.yml")
    base = {
        **os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()),
    }  # fmt: skip
    command = [sys.executable, "-m", "restore.train", "-opt", str(file), "--launcher", "pytorch"]
    runs = [
        subprocess.Popen(
            command,
            env={**base, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stderr=subprocess.PIPE,
        )
        for rank in range(2)
    ]
    said = [run.communicate(timeout=400)[1].decode() for run in runs]
    assert [run.returncode for run in runs] == [0, 0], said

    single = changed(options, {"name": "single", "datasets__train__batch_size_per_gpu": 4})
    assert main(["-opt", str(write(tmp_path, single, "one.yml"))]) == 0
    folder = tmp_path / "experiments"
    two = load_state(folder / "tiny" / "training_states" / "3.state")
    one = load_state(folder / "single" / "training_states" / "3.state")
    assert two["progress"]["images"] == one["progress"]["images"] == 12
    for name, weights in one["trained"]["networks"].items():
        for key, value in weights.items():
            torch.testing.assert_close(
                two["trained"]["networks"][name][key], value, rtol=1e-4, atol=2e-6
            )
    best = [state["progress"]["best"]["val/psnr"] for state in (one, two)]
    assert abs(best[0] - best[1]) < 1e-3
