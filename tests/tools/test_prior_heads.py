"""Heads for small pictures: the start is near, training comes nearer, the generator is still."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from restore.checkpoints.model_file import load_prior_heads, save_model_file
from restore.latents.generate import save_generator
from restore.networks.mobile_stylegan import MobileStyleGAN, PriorHeads
from restore.training.fit import Pace
from tests.latents.tiny import stylegan2
from tools.__main__ import main
from tools.prior_heads import (
    HeadsTask,
    SizeHeadOptions,
    crop_error,
    draw_w_plus,
    head_psnr,
    paint_faces,
    shrunken,
)
from tools.training import cosine, train

CHANNELS = (16, 16, 16, 8)
ARGUMENTS = {"channels": list(CHANNELS), "w_dim": 8, "num_mapping": 2}
OPTIONS = SizeHeadOptions(
    images=6, steps=60, learning_rate=1e-2, warmup_steps=5, crop_sizes={16: 12}
)


def tiny():
    torch.manual_seed(3)
    return MobileStyleGAN(CHANNELS, w_dim=8, num_mapping=2).eval().requires_grad_(False)


def heads_of(net):
    heads = PriorHeads(CHANNELS, (8, 16))
    heads.start_from(net)
    return heads.requires_grad_(False)


def psnr(net, heads):
    return head_psnr(net, lambda w_plus, size: heads(net, w_plus, size), heads.sizes, count=4)


def test_training_improves_the_heads_and_touches_nothing_else(tmp_path):
    net = tiny()
    heads = heads_of(net)
    before, started = {k: v.clone() for k, v in net.state_dict().items()}, psnr(net, heads)
    faces = list(paint_faces(net, heads.sizes, OPTIONS))
    task = HeadsTask(net, heads, faces, OPTIONS)
    schedule = cosine(OPTIONS.steps, OPTIONS.warmup_steps, 0.0, by_time=False)
    run = train("heads", task, tmp_path, Pace(OPTIONS.steps, print_every=10), schedule, True)
    assert run.progress.images == 60
    trained = psnr(net, task.trained.averages["heads"])
    assert all(trained[size] > started[size] + 1 for size in trained), (started, trained)
    for name, value in net.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_training_stops_by_the_clock_and_goes_on_from_its_state(tmp_path):
    net, faces, weights = tiny(), None, []
    for folder, minutes in (("straight", (1e6,)), ("halves", (1e-9, 1e6))):
        for limit in minutes:
            heads = heads_of(net)
            faces = faces or list(paint_faces(net, heads.sizes, OPTIONS))
            task = HeadsTask(net, heads, faces, OPTIONS)
            pace = Pace(4, limit, over_all_runs=True)
            schedule = cosine(4, 1, 0.0, by_time=False)
            run = train("heads", task, tmp_path / folder, pace, schedule, go_on=True)
            assert run.progress.step == (4 if limit > 1 else 1)
        weights.append(task.trained.averages["heads"].state_dict())
    for name, value in weights[0].items():
        assert torch.equal(value, weights[1][name]), name


def test_a_crop_is_judged_as_the_whole_picture_is():
    net = tiny()
    net.blocks["32"].conv1.noise.normal_()  # a crop must meet the noise of its own place
    heads = heads_of(net)
    draws = torch.Generator().manual_seed(OPTIONS.seed)
    w_plus = draw_w_plus(net, 1, draws, OPTIONS.truncation)
    face = next(paint_faces(net, heads.sizes, replace(OPTIONS, images=1)))
    assert torch.equal(face.w, w_plus[0, 0])
    crop = face.crops[16]
    assert crop.features.shape == (16, 12, 12) and crop.target.shape == (3, 12, 12)
    made, target = heads(net, w_plus, 16)[0], shrunken(net.synthesis(w_plus), 16)[0]
    top, left = crop.top + 2, crop.left + 2  # two convolutions: two pixels of border
    inside = (slice(None), slice(top, top + 8), slice(left, left + 8))
    expected = F.mse_loss(made[inside], target[inside])
    found = crop_error(net, heads.heads["16"], face.w, crop)
    torch.testing.assert_close(found, expected, rtol=0.02, atol=1e-5)


def test_codes_are_truncated_towards_the_mean():
    net = tiny()
    net.w_mean.normal_()
    draws = [torch.Generator().manual_seed(1) for _ in range(2)]
    full = draw_w_plus(net, 3, draws[0])
    half = draw_w_plus(net, 3, draws[1], (0.5, 0.5))
    assert full.shape == (3, net.num_styles, 8)
    torch.testing.assert_close(half - net.w_mean, 0.5 * (full - net.w_mean))
    assert torch.equal(full[:, 0], full[:, -1])


def test_psnr_of_the_shrunken_picture_itself_is_capped():
    net = tiny()
    same = head_psnr(net, lambda w_plus, size: shrunken(net.synthesis(w_plus), size), (8, 16), 2)
    assert all(
        value == pytest.approx(10 * torch.log10(torch.tensor(4e12)).item())
        for value in same.values()
    )


def test_shrinking_is_the_mean_of_blocks():
    image = torch.arange(16.0).reshape(1, 1, 4, 4).expand(1, 3, 4, 4)
    assert shrunken(image, 2)[0, 0].tolist() == [[2.5, 4.5], [10.5, 12.5]]
    assert torch.equal(shrunken(image, 4), image)


def test_the_command_writes_heads_of_that_generator_alone(tmp_path, capsys):
    model, path = tmp_path / "prior.safetensors", tmp_path / "heads.safetensors"
    net = tiny()
    save_model_file(model, net, {"architecture": "mobile_stylegan", "arguments": ARGUMENTS})
    call = ["prior-heads", "-o", str(path), "--model", str(model), "--images", "2", "--steps", "3"]
    assert main([*call, "--sizes", "8", "16"]) == 0
    assert "8 px: " in capsys.readouterr().out
    heads = load_prior_heads(net, path)
    assert heads is not None and heads.sizes == (8, 16)
    net.to_rgb.bias.add_(0.5)
    assert load_prior_heads(net, path) is None
    assert load_prior_heads(net, tmp_path / "none.safetensors") is None


def test_what_has_no_such_heads_is_refused_in_one_line(tmp_path, capsys):
    model, path = tmp_path / "prior.safetensors", tmp_path / "heads.safetensors"
    save_generator(model, stylegan2(), "a tiny StyleGAN2")
    call = ["prior-heads", "-o", str(path), "--model", str(model)]
    assert main(call) == 2
    assert "holds no MobileStyleGAN" in capsys.readouterr().err
    save_generator(model, tiny(), "a tiny prior")
    assert main([*call, "--sizes", "32"]) == 2
    assert "sizes [32]: expected some of [8, 16]" in capsys.readouterr().err
    assert not path.exists()
