"""Heads that work a generator's later levels through at a smaller size."""

import pytest
import torch
import torch.nn.functional as F

from restore.networks.mobile_stylegan import (
    MobileStyleGAN,
    PriorHeads,
    later_styles,
    shrunken_kernel,
)

CHANNELS = (16, 16, 16, 8)


def tiny():
    torch.manual_seed(5)
    return MobileStyleGAN(CHANNELS, w_dim=8, num_mapping=2).eval().requires_grad_(False)


@pytest.mark.parametrize("factor", [2, 4])
def test_a_shrunken_kernel_is_exact_on_blocks_of_one_value(factor):
    torch.manual_seed(0)
    kernel, small = torch.randn(4, 1, 3, 3), torch.randn(1, 4, 6, 6)
    large = small.repeat_interleave(factor, 2).repeat_interleave(factor, 3)
    expected = F.avg_pool2d(F.conv2d(large, kernel, padding=1, groups=4), factor)
    found = F.conv2d(small, shrunken_kernel(kernel, factor), padding=1, groups=4)
    torch.testing.assert_close(found, expected)


def test_the_start_is_exact_where_blocks_have_one_value_and_nothing_bends():
    """Features and weights are positive, so every leaky ReLU is the identity."""
    net = tiny()
    with torch.no_grad():
        for part in (net.blocks["32"].conv1, net.blocks["32"].conv2):
            for weight in (part.depthwise, part.pointwise, part.affine.weight, part.bias):
                weight.abs_()
            part.bias.add_(4)
            part.depthwise[:, :, 0].zero_()  # neighbours across a block's edge would differ
            part.depthwise[:, :, 2].zero_()
            part.depthwise[..., 0].zero_()
            part.depthwise[..., 2].zero_()
    heads = PriorHeads(CHANNELS, (16,))
    heads.start_from(net)
    for level in heads.heads["16"].levels:
        level.conv1.spread.data.zero_()
        level.conv2.spread.data.zero_()
    styles = [torch.rand(2, size) + 0.5 for size in net.style_sizes]
    x = torch.rand(2, 16, 16, 16)
    x[:, 4:] = 0  # LL alone: the four pixels of a block are alike
    larger = net.blocks["32"](x, styles[7:10], None)
    expected = F.avg_pool2d(net.to_rgb(larger, styles[-1]), 4)
    found = heads.heads["16"](x, styles[later_styles(net, 16) :])
    torch.testing.assert_close(found, expected)


def test_a_batch_is_its_pictures_one_by_one():
    net = tiny()
    heads = PriorHeads(CHANNELS, (8, 16))
    heads.start_from(net)
    w_plus = torch.randn(2, net.num_styles, 8)
    both = heads(net, w_plus, 8)
    torch.testing.assert_close(both[1:], heads(net, w_plus[1:], 8))


@pytest.mark.parametrize("size", [4, 32, 24])
def test_sizes_that_need_no_head_or_cannot_have_one_are_refused(size):
    with pytest.raises(ValueError, match=r"expected some of \[8, 16\]"):
        PriorHeads(CHANNELS, (size,))
