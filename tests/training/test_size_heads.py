"""Heads for lower sizes: the fit solves its least squares, training improves, the rest is still."""

import pytest
import torch
import torch.nn.functional as F

from restore.networks.mobile_stylegan import MobileStyleGAN
from restore.training.size_heads import (
    SizeHeadOptions,
    draw_w_plus,
    fit_heads,
    head_psnr,
    shrunken,
    train_heads,
)

OPTIONS = SizeHeadOptions(
    fit_images=8, train_images=80, batch_size=4, learning_rate=3e-3, warmup_steps=2
)


def tiny():
    torch.manual_seed(3)
    return MobileStyleGAN((16, 16, 8), w_dim=8, num_mapping=2, head_sizes=(8, 16)).eval()


def test_the_fit_beats_every_small_change_of_it():
    net = tiny()
    fit_heads(net, OPTIONS)
    draws = torch.Generator().manual_seed(OPTIONS.seed)
    batches = [draw_w_plus(net, 4, draws, OPTIONS.truncation) for _ in range(2)]
    w_plus = torch.cat(batches).detach()
    with torch.no_grad():
        target = shrunken(net.synthesis(w_plus), 16)
        head = net.heads["16"]

        def error():
            return F.mse_loss(net.synthesis(w_plus, size=16), target).item()

        best = error()
        assert best < target.var().item()
        for seed in range(4):
            change = torch.randn(
                head.weight.shape, generator=torch.Generator().manual_seed(seed)
            ).mul_(0.02 * head.weight.std())
            head.weight += change
            assert error() > best
            head.weight -= change


def test_training_improves_the_heads_and_touches_nothing_else():
    net = tiny()
    fit_heads(net, OPTIONS)
    before = {k: v.clone() for k, v in net.state_dict().items()}
    fitted = head_psnr(net, count=6)
    seen = [images for images, _ in train_heads(net, OPTIONS)]
    assert seen == list(range(4, 81, 4))
    trained = head_psnr(net, count=6)
    assert set(trained) == {8, 16}
    assert all(trained[size] > fitted[size] for size in trained), (fitted, trained)
    for name, value in net.state_dict().items():
        if not name.startswith("heads."):
            assert torch.equal(value, before[name]), name


def test_training_stops_when_it_is_told_to_and_hands_out_its_images():
    net = tiny()
    taken = []
    steps = train_heads(
        net, OPTIONS, keep_going=lambda: len(taken) < 3, on_image=lambda w, x: taken.append((w, x))
    )
    assert len(list(steps)) == 3
    w_plus, image = taken[0]
    torch.testing.assert_close(net.synthesis(w_plus), image)


def test_codes_are_truncated_towards_the_mean():
    net = tiny()
    net.w_mean.normal_()
    draws = [torch.Generator().manual_seed(1) for _ in range(2)]
    full = draw_w_plus(net, 3, draws[0]).detach()
    half = draw_w_plus(net, 3, draws[1], (0.5, 0.5)).detach()
    assert full.shape == (3, net.num_styles, 8)
    torch.testing.assert_close(half - net.w_mean, 0.5 * (full - net.w_mean))
    assert torch.equal(full[:, 0], full[:, -1])


def test_psnr_of_a_perfect_head_is_capped_and_of_a_poor_one_low():
    net = tiny()
    with torch.no_grad():
        for head in net.heads.values():
            head.weight.zero_()
            head.branch.zero_()
    poor = head_psnr(net, count=2)
    fit_heads(net, OPTIONS)
    assert all(head_psnr(net, count=2)[size] > value for size, value in poor.items())


def test_shrinking_is_the_mean_of_blocks():
    image = torch.arange(16.0).reshape(1, 1, 4, 4).expand(1, 3, 4, 4)
    assert shrunken(image, 2)[0, 0].tolist() == [[2.5, 4.5], [10.5, 12.5]]
    assert shrunken(image, 4) is not None
    assert torch.equal(shrunken(image, 4), image)
    with pytest.raises((RuntimeError, ZeroDivisionError)):
        shrunken(image, 8)
