import math

import torch

from restore.losses.pixel import charbonnier_loss, l1_loss
from restore.losses.pyramid import pyramid_loss


def test_l1_of_known_values_and_mask():
    a, b = torch.zeros(2, 3, 4, 4), torch.zeros(2, 3, 4, 4)
    b[1, :, :, :2] = 2
    assert l1_loss(a, b).tolist() == [0, 1]
    mask = torch.zeros(2, 1, 4, 4)
    mask[:, :, :, :2] = 1
    assert l1_loss(a, b, mask).tolist() == [0, 2]


def test_charbonnier_is_smooth_at_zero():
    a = torch.zeros(1, 1, 2, 2, dtype=torch.float64, requires_grad=True)
    loss = charbonnier_loss(a, a.detach() + 3e-3, epsilon=4e-3)
    assert math.isclose(loss.item(), 5e-3)
    b = torch.rand(1, 2, 3, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: charbonnier_loss(x, torch.zeros_like(b)), (b,))


def test_pyramid_sums_its_levels():
    gt = torch.rand(2, 3, 8, 8)
    half = torch.nn.functional.interpolate(gt, scale_factor=0.5, mode="bilinear")
    quarter = torch.nn.functional.interpolate(half, scale_factor=0.5, mode="bilinear")
    assert pyramid_loss([half, quarter], gt).abs().max() < 1e-6
    torch.testing.assert_close(pyramid_loss([half + 0.5, quarter - 1], gt), torch.full((2,), 1.5))
