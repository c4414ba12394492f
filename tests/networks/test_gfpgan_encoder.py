"""GFPGAN's U-Net: contract, variants, and the original residual block written out."""

import math

import pytest
import torch
import torch.nn.functional as F

from restore.networks.gfpgan import DownBlock, UpBlock, build_gfpgan
from restore.networks.prior_restorer import sharpen_conditions
from restore.networks.stylegan2 import BINOMIAL_TAPS, upfirdn_reference

SMALL = {"out_size": 32, "narrow": 0.03125, "channel_multiplier": 1, "w_dim": 8, "num_mlp": 1}


@pytest.mark.parametrize("resample", ["bilinear", "fir"])
@pytest.mark.parametrize("different_w", [True, False])
@pytest.mark.parametrize("sft_half", [True, False])
def test_variants_restore(resample, different_w, sft_half):
    torch.manual_seed(0)
    net = build_gfpgan(**SMALL, different_w=different_w, sft_half=sft_half, resample=resample)
    lq = torch.rand(2, 3, 32, 32) * 2 - 1
    restored = net(lq)
    assert restored.image.shape == (2, 3, 32, 32)
    assert restored.w_plus.shape == (2, 8, 8)
    encoding = net.encoder(lq)
    assert sorted(encoding.conditions) == [8, 16, 32]
    width = 8 if sft_half else 16
    assert encoding.conditions[8][0].shape == (2, width, 8, 8)
    same = (encoding.w_plus[:, 0] == encoding.w_plus[:, 1]).all()
    assert bool(same) is not different_w


def test_at_fidelity_one_the_checkpoint_is_itself():
    torch.manual_seed(0)
    net = build_gfpgan(**SMALL)
    lq = torch.rand(1, 3, 32, 32)
    encoding = net.encoder(lq)
    published = net.decoder.synthesis(encoding.w_plus, encoding.conditions)
    torch.testing.assert_close(net(lq).image, published)
    torch.testing.assert_close(net(lq, fidelity=1.0).image, published)


def test_lower_fidelity_strengthens_detail_of_the_maps_and_keeps_what_is_flat():
    flat, spike = torch.full((1, 1, 5, 5), 3.0), torch.zeros(1, 1, 5, 5)
    spike[0, 0, 2, 2] = 9.0
    scale, shift = sharpen_conditions({8: (flat, spike)}, 0.25)[8]
    torch.testing.assert_close(scale, flat)
    assert float(shift[0, 0, 2, 2]) == 9 + 0.75 * (9 - 1)  # the mean of 3x3 is 1
    assert float(shift[0, 0, 1, 2]) == -0.75
    assert float(shift[0, 0, 0, 0]) == 0
    each = sharpen_conditions({8: (flat.repeat(2, 1, 1, 1), spike.repeat(2, 1, 1, 1))},
                              torch.tensor([1.0, 0.25]))[8][1]  # fmt: skip
    torch.testing.assert_close(each, torch.cat([spike, shift]))


def test_sharpness_falls_and_fidelity_rises_with_the_dial():
    """A network fitted to sharpen four pictures: what the dial does to a trained one."""
    torch.manual_seed(0)
    net = build_gfpgan(**SMALL).train()
    gt = F.interpolate(torch.rand(4, 3, 12, 12) * 2 - 1, (32, 32), mode="bicubic").clamp(-1, 1)
    lq = F.avg_pool2d(gt, 5, 1, 2, count_include_pad=False)
    optimiser = torch.optim.Adam(net.parameters(), 5e-3)
    for _ in range(200):
        loss = (net(lq).image - gt).abs().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert float(loss.detach()) < 0.5 * float((lq - gt).abs().mean())
    with torch.no_grad():
        images = [net(lq, fidelity=f).image for f in (0.0, 0.25, 0.5, 0.75, 1.0)]
    laplace = torch.tensor([[0.0, 1, 0], [1, -4, 1], [0, 1, 0]])[None, None]
    energy = [float(F.conv2d(i.mean(1, keepdim=True), laplace).square().mean()) for i in images]
    error = [float((i - gt).square().mean()) for i in images]
    assert energy == sorted(energy, reverse=True) and energy[0] > 1.1 * energy[-1]
    assert error == sorted(error, reverse=True) and error[0] > 1.02 * error[-1]


def test_side_images_come_with_the_encoding():
    net = build_gfpgan(**SMALL)
    lq = torch.rand(1, 3, 32, 32)
    encoding, images = net.encoder.encode_with_side_images(lq)
    assert [i.shape[-1] for i in images] == [8, 16, 32]
    torch.testing.assert_close(images, net.encoder.side_images(lq))
    torch.testing.assert_close(encoding.w_plus, net.encoder(lq).w_plus)


def test_fir_down_block_is_the_equalised_original():
    """(conv2(conv1 x) + skip x) / sqrt 2 with blurs and run-time gains, against folded weights."""
    g = torch.Generator().manual_seed(2)
    x = torch.randn(2, 4, 8, 8, generator=g)
    w1, w2, ws = (torch.randn(s, generator=g) for s in ((4, 4, 3, 3), (6, 4, 3, 3), (6, 4, 1, 1)))
    b1, b2 = torch.randn(4, generator=g), torch.randn(6, generator=g)

    def activate(y, bias):
        return F.leaky_relu(y + bias[:, None, None], 0.2) * math.sqrt(2)

    y = activate(F.conv2d(x, w1 / 6, padding=1), b1)
    y = F.conv2d(upfirdn_reference(y, BINOMIAL_TAPS, pad=(2, 2)), w2 / 6, stride=2)
    skip = F.conv2d(upfirdn_reference(x, BINOMIAL_TAPS, pad=(1, 1)), ws / 2, stride=2)
    expected = (activate(y, b2) + skip) / math.sqrt(2)

    block = DownBlock(4, 6, "fir")
    block.conv1.weight.data, block.conv1.bias.data = w1 / 6 * 2**0.5, b1 * 2**0.5
    block.conv2.weight.data, block.conv2.bias.data = w2 / 6, b2
    block.skip.weight.data = ws / 2 / 2**0.5
    torch.testing.assert_close(block(x), expected, atol=1e-5, rtol=1e-5)


def test_skip_before_resizing_equals_after():
    torch.manual_seed(0)
    block = UpBlock(4, 2)
    x = torch.randn(1, 4, 5, 5)
    up = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
    y = F.leaky_relu(block.conv1(x), 0.2)
    y = F.interpolate(y, scale_factor=2, mode="bilinear", align_corners=False)
    expected = F.leaky_relu(block.conv2(y), 0.2) + block.skip(up)
    torch.testing.assert_close(block(x), expected)


def test_wrong_size_is_named():
    with pytest.raises(ValueError, match=r"\[n,3,32,32\], got \(1, 3, 16, 16\)"):
        build_gfpgan(**SMALL)(torch.zeros(1, 3, 16, 16))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("resample", ["bilinear", "fir"])
def test_tracing_keeps_the_conditions(resample):
    """Shapes are tensors while tracing; the maps must still find their levels."""
    torch.manual_seed(0)
    net = build_gfpgan(**SMALL, resample=resample).eval().requires_grad_(False)
    lq = torch.rand(1, 3, 32, 32)
    traced = torch.jit.trace(lambda x: net(x).image, lq, check_trace=False)
    other = torch.rand(1, 3, 32, 32)
    torch.testing.assert_close(traced(other), net(other).image)
