"""`restore.degrade` is callable whatever was imported before, and draws its contact sheet."""

from __future__ import annotations

import subprocess
import sys
from functools import partial

import numpy as np
from PIL import Image

from restore.commands.tree import run_verb

main = partial(run_verb, "degrade")

ORDERS = """
import restore; call = restore.degrade
from restore import degrade as call
import restore.data.recipe_sheet, restore; call = restore.degrade
import restore.degradation.degrade, restore; call = restore.degrade
import restore; first = restore.degrade; import restore.data.recipe_sheet; call = restore.degrade
"""

# one process for all: each order starts without any module of restore
SCRIPT = """
import sys, torch
for order in sys.argv[1].strip().splitlines():
    for name in [m for m in sys.modules if m.split(".")[0] == "restore"]:
        del sys.modules[name]
    names = {}
    exec(order, names)
    out = names["call"](torch.zeros(1, 3, 16, 16), "none", seeds=[1])
    assert out.lq.shape == (1, 3, 16, 16), order
print("all called")
"""


def test_callable_in_any_order():
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, ORDERS], capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == "all called", done.stderr


def test_sheet(tmp_path):
    rng = np.random.default_rng(0)
    for i in range(2):
        Image.fromarray(rng.integers(0, 255, (50, 40, 3), dtype=np.uint8)).save(
            tmp_path / f"{i}.png"
        )
    command = ["--recipe", "old_photo", "--seed", "3", "--size", "48", "--cell", "64"]
    command += ["--draws", "3", "-i", str(tmp_path), "-o"]
    out = [str(tmp_path / "sheets" / name) for name in ("a.png", "b.png")]
    module = [sys.executable, "-m", "restore", "degrade"]
    subprocess.run([*module, *command, out[0]], check=True, capture_output=True)
    assert main([*command, out[1]]) == 0
    made = [np.asarray(Image.open(path)) for path in out]
    assert np.array_equal(made[0], made[1])
    assert made[0].shape == (2 * (64 + 30 + 4) + 4, 4 * 68 + 4, 3)
    assert main([*command, out[1], "--recipe", "old_photo", "light"]) == 0
    both = np.asarray(Image.open(out[1]))
    assert both.shape == (4 * (64 + 30 + 4) + 4, 4 * 68 + 4, 3)
    assert np.array_equal(both[: 2 * 98 + 4, 68:], made[0][: 2 * 98 + 4, 68:])
    assert not np.array_equal(both[4 + 2 * 98 : 68 + 2 * 98, 68:], both[4:68, 68:])


def test_the_sheets_errors_are_one_line(tmp_path, capsys):
    assert main(["-i", str(tmp_path / "no"), "-o", str(tmp_path / "c.png")]) == 2
    assert "found nothing" in capsys.readouterr().err
    Image.new("RGB", (20, 20)).save(tmp_path / "a.png")
    assert main(["--recipe", "gfp", "-i", str(tmp_path), "-o", str(tmp_path / "c.png")]) == 2
    error = capsys.readouterr().err
    assert "old_photo" in error
    assert error.count("\n") == 1
