"""The tiny option files of `options/` run to the end, through every loss, and through a resume."""

from __future__ import annotations

import csv
from functools import partial

import numpy as np
import pytest
import torch
import yaml

from restore.commands.tree import run_verb
from restore.errors import OptionError
from restore.latents.generate import load_generator, save_generator
from restore.networks.mobile_stylegan import MobileStyleGAN, PriorHeads
from restore.options.degradation import DegradationOptions
from restore.training import setup
from restore.training.build import mixture_of
from restore.training.experiment import load_state
from restore.training.prior import shrunken_picture
from tests.conftest import ROOT
from tests.training.tiny import crops, loss_networks, write

main = partial(run_verb, "train")


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


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
@pytest.mark.parametrize("name", EXPECTED)
def test_option_file_runs_in_half_precision(name, precision, workplace):
    force = [f"train:precision={precision}", "train:total_iter=4"]
    if name == "tiny_cpu":
        force.append("train:perceptual_opt:heads_path=datasets/tiny/heads.pth")
    file = str(ROOT / "options" / f"{name}.yml")
    assert main(["-opt", file, "--force_yml", *force]) == 0
    with (workplace / "experiments" / name / "metrics.csv").open() as rows:
        values = {row["name"]: float(row["value"]) for row in csv.DictReader(rows)}
    assert EXPECTED[name] <= set(values)
    assert all(np.isfinite(value) for value in values.values())


@pytest.mark.parametrize("alone", [1, 2])
@pytest.mark.parametrize("size", [32, 16], ids=["full picture", "through a head"])
def test_the_prior_is_fine_tuned_above_its_frozen_levels(workplace, monkeypatch, size, alone):
    net = MobileStyleGAN((16, 16, 16, 8), w_dim=16, num_mapping=2)
    save_generator(workplace / "prior.safetensors", net, "tiny")
    heads = PriorHeads((16, 16, 16, 8), (16,))
    heads.start_from(net)
    monkeypatch.setattr(setup, "load_prior_heads", lambda _: heads.requires_grad_(False))
    block = {
        "type": "MobileStyleGAN", "channels": [16, 16, 16, 8], "w_dim": 16, "num_mapping": 2,
        "head_sizes": [], "load_path": "prior.safetensors", "out_size": size, "freeze_levels": 8,
        "through_head": size == 16,
    }  # fmt: skip
    options = yaml.safe_load((ROOT / "options" / "finetune_prior_cpu.yml").read_text("utf-8"))
    options["network_g"] = block
    options["network_d"] |= {"out_size": size, "narrow": 0.03125}
    options["train"] |= {"total_iter": 2, "precision": "fp32", "net_d_init_iters": alone}
    options["datasets"]["train"] |= {"dataroot_gt": "datasets/tiny/crops.npy", "out_size": size}
    del options["datasets"]["train"]["source_weights"]
    assert main(["-opt", str(write(workplace, options))]) == 0
    path = workplace / "experiments" / "finetune_prior_cpu" / "models" / "net_g_latest.safetensors"
    tuned = load_generator(path).state_dict()
    start = load_generator(workplace / "prior.safetensors").state_dict()
    moved = {name for name in start if not torch.allclose(start[name], tuned[name], atol=1e-7)}
    if alone == 2:  # the discriminator had both steps to itself
        assert not moved
        return
    kept = ("mapping_layers.", "w_mean", "const", "conv_4.", "blocks.8.")
    assert moved and not any(name.startswith(kept) for name in moved)
    later = {"to_rgb.weight", "blocks.32.up.affine.bias", "blocks.32.conv1.pointwise"}
    assert "blocks.16.conv1.pointwise" in moved
    assert moved & later == (set() if size == 16 else later)


def test_a_head_that_is_not_there_is_named(workplace, capsys):
    block = {"through_head": True, "out_size": 32, "freeze_levels": 8, "head_sizes": []}
    options = yaml.safe_load((ROOT / "options" / "finetune_prior_cpu.yml").read_text("utf-8"))
    tiny = {"type": "MobileStyleGAN", "w_dim": 16, "num_mapping": 2, "channels": [16, 16, 16, 8]}
    options["network_g"] = tiny | block
    options["network_d"] |= {"out_size": 32, "narrow": 0.03125}
    options["datasets"]["train"] |= {"dataroot_gt": "datasets/tiny/crops.npy", "out_size": 32}
    del options["datasets"]["train"]["source_weights"]
    assert main(["-opt", str(write(workplace, options))]) == 2
    assert "expected a packaged head of 32 px" in capsys.readouterr().err


@pytest.mark.parametrize("size", [16, 32, 64])
def test_a_priors_picture_is_the_full_one_shrunk(size):
    net = MobileStyleGAN((16, 16, 16, 8), w_dim=16, num_mapping=2, head_sizes=(16, 32))
    w_plus = torch.randn(2, net.num_styles, 16)
    expected = torch.nn.functional.adaptive_avg_pool2d(net.synthesis(w_plus), size)
    torch.testing.assert_close(shrunken_picture(net, w_plus, size), expected)


def test_a_frozen_mapping_has_no_path_length(workplace, capsys):
    file = str(ROOT / "options" / "finetune_prior_cpu.yml")
    assert main(["-opt", file, "--force_yml", "train:path_reg_weight=2"]) == 2
    assert "train.path_reg_weight: expected 0" in capsys.readouterr().err


def test_a_named_recipe_may_count_its_pixels_at_another_size():
    named = DegradationOptions(recipe="restore_default")
    counted = DegradationOptions(recipe={"gfpgan": 1, "old_photo": 2}, reference_size=128)
    assert {r.reference_size for r in mixture_of(named).recipes} == {512}
    assert {r.reference_size for r in mixture_of(counted).recipes} == {128}
    with pytest.raises(OptionError, match=r"recipe: given beside blur_sigma"):
        DegradationOptions(recipe="gfpgan", blur_sigma=(1, 2), reference_size=128)
