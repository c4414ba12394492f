"""The tiny option files of `options/` run to the end, through every loss, and through a resume."""

from __future__ import annotations

import csv

import numpy as np
import pytest

from restore.config.degradation_options import DegradationOptions
from restore.train import main
from restore.training.recipes import mixture_of
from restore.training.state import load_state
from tests.conftest import ROOT
from tests.training.tiny import crops, loss_networks


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    """A folder with what the option files name: datasets/tiny."""
    folder = tmp_path / "datasets" / "tiny"
    folder.mkdir(parents=True)
    crops(folder, size=64)
    loss_networks(folder)
    monkeypatch.chdir(tmp_path)
    return tmp_path


EXPECTED = {
    "tiny_cpu": {
        "l_g_pix", "l_g_pyramid", "l_g_lpips", "l_g_style", "l_g_gan", "l_g_gan_parts",
        "l_g_style_parts", "l_identity", "l_d", "l_d_r1", "l_d_parts",
    },
    "tiny_restorer_cpu": {
        "l_g_pix", "l_g_gan", "l_degradation", "l_codes", "l_code_distance", "l_d",
    },
    "tiny_prior_cpu": {"l_g", "l_g_path", "l_d", "l_d_r1", "real_sign", "ada_strength"},
}  # fmt: skip


@pytest.mark.parametrize("name", EXPECTED)
def test_option_file_runs_and_resumes(name, workplace):
    heads = "train:perceptual_opt:heads_path=datasets/tiny/heads.pth"
    force = [heads] if name == "tiny_cpu" else []
    file = str(ROOT / "options" / f"{name}.yml")
    assert main(["-opt", file, "--force_yml", "train:total_iter=2", *force]) == 0
    forced = ["--force_yml", *force] if force else []
    assert main(["-opt", file, "--auto_resume", *forced]) == 0
    root = workplace / "experiments" / name
    state = load_state(root / "training_states" / "4.state")
    assert state["progress"]["step"] == 4
    with (root / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    seen = {row["name"] for row in rows if row["kind"] == "train"}
    assert EXPECTED[name] <= seen
    assert all(np.isfinite(float(row["value"])) for row in rows)
    assert (root / "models" / "net_g_latest.pth").is_file()
    assert (root / "models" / "net_g_latest.safetensors").is_file()
    assert (root / f"{name}.yml").is_file() and (root / "resolved_options.yml").is_file()
    if name != "tiny_prior_cpu":
        assert "val/psnr" in {row["name"] for row in rows if row["kind"] == "val"}
        assert list((root / "visualization").glob("val_*.png"))


def test_a_named_recipe_may_count_its_pixels_at_another_size():
    named = DegradationOptions(recipe="restore_default")
    counted = DegradationOptions(recipe={"gfpgan": 1, "old_photo": 2}, reference_size=128)
    assert {r.reference_size for r in mixture_of(named).recipes} == {512}
    assert {r.reference_size for r in mixture_of(counted).recipes} == {128}
    assert list(counted.problems()) == []
    assert any(
        "blur_sigma" in p
        for p in DegradationOptions(
            recipe="gfpgan", blur_sigma=(1, 2), reference_size=128
        ).problems()
    )
