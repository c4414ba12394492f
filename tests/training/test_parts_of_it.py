"""The pieces of a training by themselves."""

from __future__ import annotations

import sys

import pytest
import torch
from torch import nn

from restore.benchmarks.training import measure
from restore.errors import CheckpointError, MissingExtraError
from restore.networks.unet_encoder import build_mobile_restorer
from restore.options.training import ConstantOptions, CosineOptions, MultiStepOptions
from restore.training.ada import AdaptiveStrength, augment, augment_draws
from restore.training.build_networks import fill_network
from restore.training.distributed import Ranks
from restore.training.ema import averaged_copy, ema_update
from restore.training.generated import BankOptions, FaceBank
from restore.training.log import WandbSink, append_training_log
from restore.training.optimisers import rate_factors
from restore.training.restorer_losses import windows
from restore.training.sample_draws import SampleDraws
from restore.training.schedules import Schedule
from restore.training.state import save_state, states_of
from restore.training.validation import shard
from tests.training.tiny import restorer_options, write

TINY = {
    "crop_size": 32, "trunk_size": 16, "trunk_channels": (8, 8, 8), "condition_levels": (8,),
    "code_rank": 8, "prior_channels": (16, 16, 8), "w_dim": 16, "num_mapping": 1,
    "head_sizes": (),
}  # fmt: skip


def test_average_follows_by_images_and_shares_what_is_frozen():
    network = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    network[1].requires_grad_(False)
    average = averaged_copy(network)
    assert average[1].weight is network[1].weight
    start = network[0].weight.detach().clone()
    with torch.no_grad():
        network[0].weight += 1
    ema_update(average, network, 0.5**0.5)
    ema_update(average, network, 0.5**0.5)
    torch.testing.assert_close(average[0].weight, start + 0.5)


def test_schedules():
    steps = Schedule(MultiStepOptions(milestones=(10, 20), gamma=0.5), 100, warmup=3)
    assert [steps.factor(s) for s in (0, 1, 3, 10, 20)] == [0.25, 0.5, 1.0, 0.5, 0.25]
    cosine = Schedule(CosineOptions(type="CosineAnnealingLR", min_factor=0.1), 100)
    assert cosine.factor(0) == 1 and cosine.factor(100) == pytest.approx(0.1)
    timed = CosineOptions(type="CosineAnnealingLR", min_factor=0.0, by="time")
    assert Schedule(timed, 100).factor(99, 0.5) == pytest.approx(0.5)
    assert Schedule(ConstantOptions(type="ConstantLR"), 9).factor(8) == 1


def test_augmentation_is_off_at_zero_changes_pictures_and_has_gradients():
    images = torch.rand(4, 3, 16, 16) * 2 - 1
    draws = augment_draws(SampleDraws(1), "ada", range(4))
    assert augment(images, 0.0, draws) is images
    changed = augment(images.requires_grad_(True), 0.9, draws)
    assert changed.shape == images.shape and not torch.allclose(changed, images)
    changed.sum().backward()
    assert images.grad.abs().sum() > 0
    alone = augment(images[2:3], 0.9, draws[2:3])
    torch.testing.assert_close(alone, changed[2:3])


def test_strength_rises_when_the_discriminator_is_sure_and_falls_when_not():
    strength = AdaptiveStrength(0.2, ramp_images=100, every=2)
    strength.update(0.9, 5)
    strength.update(0.9, 5)
    assert strength.strength == pytest.approx(0.3)
    for _ in range(8):
        strength.update(0.1, 5)
    assert strength.strength == 0.0


def test_a_bank_gives_the_same_faces_after_it_forgot_them():
    torch.manual_seed(0)
    decoder = build_mobile_restorer(**TINY).decoder
    options = BankOptions(size=16, fresh=0.5, keep=3)
    bank = FaceBank(decoder, SampleDraws(5), options)
    first = bank.faces(list(range(12)))
    again = FaceBank(decoder, SampleDraws(5), options).faces([9, 10, 11])
    for a, b in zip(first, again, strict=True):
        assert torch.equal(a[9:12], b)
    images, codes = first
    full = decoder.synthesis(codes[-1:], size=16).clamp(-1, 1)
    assert (images[-1].float() / 127.5 - 1 - full[0]).abs().max() < 0.01


def test_encoder_and_heads_alone_fill_a_network_with_a_frozen_decoder(tmp_path):
    source, target = build_mobile_restorer(**TINY), build_mobile_restorer(**TINY)
    for encoder in (source.encoder.trunk, target.encoder.trunk):
        nn.init.normal_(encoder.stem.weight)
    state = {f"encoder.{k}": v for k, v in source.encoder.state_dict().items()}
    torch.save({"net": state, "ema": state, "state": {"images": 1}}, tmp_path / "relay.pt")
    with pytest.raises(CheckpointError, match="does not fit"):
        fill_network(target, str(tmp_path / "relay.pt"), "ema", True, "network_g")
    target.decoder.requires_grad_(False)
    kept = target.decoder.const.clone()
    fill_network(target, str(tmp_path / "relay.pt"), "ema", True, "network_g")
    assert torch.equal(target.encoder.trunk.stem.weight, source.encoder.trunk.stem.weight)
    assert torch.equal(target.decoder.const, kept)


def test_states_are_pruned_and_the_log_has_one_head(tmp_path):
    for step in (1, 2, 3):
        save_state(tmp_path, step, {}, keep=2)
    assert [p.name for p in states_of(tmp_path)] == ["2.state", "3.state"]
    for name in ("a", "b|c"):
        append_training_log(tmp_path / "log.md", {"name": name, "metrics": {"psnr": 1.0}})
    lines = (tmp_path / "log.md").read_text().splitlines()
    assert len(lines) == 4 and "b\\|c" in lines[3]


def test_windows_lie_inside_and_shards_cover_all():
    images = torch.arange(2 * 36.0).view(2, 1, 6, 6)
    cut = windows(images, 4, torch.tensor([[0.0, 0.99], [0.99, 0.0]]))
    assert torch.equal(cut[0], images[0, :, :4, 2:]) and torch.equal(cut[1], images[1, :, 2:, :4])
    seen = [n for r in range(3) for part in shard(8, 2, Ranks(r, 3)) for n in part]
    assert sorted(seen) == list(range(8))


def test_plain_weights_of_a_prior_move_at_equalised_rates():
    from restore.networks.stylegan2 import build_stylegan2

    generator = build_stylegan2(8, channels=[4, 4], w_dim=16, num_mlp=1)
    factors = rate_factors(generator, 0.01)
    conv = generator.convs[0].conv.weight
    assert factors[id(conv)] == pytest.approx(1 / 6)
    assert factors[id(generator.map_latents[0].bias)] == pytest.approx(0.01)


def test_benchmark_prints_every_share(tmp_path):
    table = measure(str(write(tmp_path, restorer_options(tmp_path))), 1)
    for part in ("| data |", "| degradation |", "| G |", "| D |", "images per second"):
        assert part in table


def test_a_missing_wandb_is_named_with_its_own_pip_line(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(MissingExtraError, match=r"logger\.wandb.*pip install wandb$"):
        WandbSink(tmp_path, "run", "project", None)
