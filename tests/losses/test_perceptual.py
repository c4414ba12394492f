import pytest
import torch
from torch import nn

from restore.errors import OptionError
from restore.losses.feature_files import load_lpips_heads
from restore.losses.perceptual import (
    LpipsLoss,
    VggPerceptualLoss,
    feature_matching_loss,
    gram,
    gram_distance,
    masked_mean,
)
from restore.networks.perceptual import SqueezeNetFeatures


class Tiny(nn.Module):
    """Two activations, of full and half size."""

    channels = (4, 6)

    def __init__(self):
        super().__init__()
        self.a = nn.Conv2d(3, 4, 3, padding=1)
        self.b = nn.Conv2d(4, 6, 3, padding=1, stride=2)

    def forward(self, x):
        a = torch.relu(self.a(x))
        return [a, torch.relu(self.b(a))]


def images(n=2, size=16, dtype=torch.float32):
    return torch.rand(n, 3, size, size, dtype=dtype) * 2 - 1


def test_lpips_equals_the_package_on_the_same_backbone():
    lpips = pytest.importorskip("lpips")
    ours = SqueezeNetFeatures()
    with torch.no_grad():  # random weights that keep the signal alive in the deep layers
        for parameter in ours.parameters():
            parameter.normal_(0, 0.1)
    theirs = lpips.LPIPS(net="squeeze", pnet_rand=True, verbose=False)
    state = ours.state_dict()
    for name, module in theirs.net.named_children():
        assert name.startswith("slice")
        module.load_state_dict({k: state["features." + k] for k in module.state_dict()})
    a, b = images(size=48), images(size=48)
    loss = LpipsLoss(ours, load_lpips_heads())
    torch.testing.assert_close(loss(a, b), theirs(a, b).flatten(), rtol=1e-5, atol=1e-7)


def test_lpips_is_zero_on_equal_images_and_counts_one_number_per_sample():
    loss = LpipsLoss(Tiny())
    a, b = images(), images()
    assert torch.equal(loss(a, a), torch.zeros(2))
    both = loss(a, b)
    torch.testing.assert_close(both[1:], loss(a[1:], b[1:]))
    assert both.min() > 0


def test_mask_leaves_out_what_differs():
    loss = LpipsLoss(Tiny())
    a = images()
    b = a.clone()
    b[:, :, :, 10:] = 0
    mask = torch.zeros(2, 1, 16, 16)
    mask[:, :, :, :8] = 1
    assert torch.equal(loss(a, b, mask), torch.zeros(2))
    assert loss(a, b).min() > 0
    ones = torch.ones(2, 1, 16, 16)
    torch.testing.assert_close(loss(a, b, ones), loss(a, b))


def test_dead_activations_give_finite_gradients():
    network = Tiny()
    with torch.no_grad():
        network.a.bias.fill_(-100.0)
    a = images().requires_grad_()
    LpipsLoss(network)(a, images()).sum().backward()
    assert torch.isfinite(a.grad).all()


def test_gradcheck():
    network = Tiny().double()
    network.a.bias.data += 1.5  # away from the kink of the ReLU
    loss = LpipsLoss(network).double()
    a, b = images(1, 5, torch.float64).requires_grad_(), images(1, 5, torch.float64)
    mask = torch.rand(1, 1, 5, 5, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: loss(x, b, mask), (a,))


def test_half_precision_and_train_mode():
    loss = LpipsLoss(Tiny()).train()
    assert not loss.network.training
    a, b = images(), images()
    with torch.autocast("cpu", torch.bfloat16):
        low = loss(a, b)
    assert low.dtype == torch.float32
    torch.testing.assert_close(low, loss(a, b), rtol=0.05, atol=1e-3)


def test_heads_must_fit():
    with pytest.raises(OptionError, match=r"\[3\]"):
        LpipsLoss(Tiny(), [torch.ones(3)])
    weighted = LpipsLoss(Tiny(), [torch.zeros(4), torch.zeros(6)])
    assert weighted(images(), images()).abs().max() == 0


def test_gram_of_known_values():
    x = torch.tensor([[[[1.0, 2.0]], [[3.0, 4.0]]]])  # c=2, h w = 2
    expected = torch.tensor([[[5.0, 11.0], [11.0, 25.0]]]) / 4
    torch.testing.assert_close(gram(x), expected)
    torch.testing.assert_close(gram(x, torch.ones(1, 1, 1, 2)), expected)
    first = torch.tensor([[[[1.0, 0.0]]]])
    torch.testing.assert_close(gram(x, first), torch.tensor([[[1.0, 3.0], [3.0, 9.0]]]) / 2)
    assert gram_distance(x, x).item() == 0


def test_vgg_style_loss_follows_its_formula():
    network = Tiny()
    loss = VggPerceptualLoss(network, (0.5, 2.0))
    a, b = images(), images()
    perceptual, style = loss(a, b)
    p = s = 0.0
    for weight, x, y in zip((0.5, 2.0), network(a), network(b), strict=True):
        p = p + weight * (x - y).abs().mean((1, 2, 3))
        s = s + weight * (gram(x) - gram(y)).abs().mean((1, 2))
    torch.testing.assert_close(perceptual, p)
    torch.testing.assert_close(style, s)
    assert VggPerceptualLoss(network, (1, 1), style=False)(a, b)[1].abs().max() == 0
    with pytest.raises(OptionError, match="3 layer weights"):
        VggPerceptualLoss(network, (1, 1, 1))


def test_masked_mean_and_feature_matching():
    values = torch.arange(4.0).reshape(1, 1, 2, 2)
    assert masked_mean(values).item() == 1.5
    assert masked_mean(values, torch.tensor([[[[0.0, 1.0], [0.0, 3.0]]]])).item() == 2.5
    assert masked_mean(values, torch.zeros(1, 1, 2, 2)).item() == 0
    a, b = [torch.ones(2, 3, 4, 4)], [torch.zeros(2, 3, 4, 4)]
    assert feature_matching_loss(a, b).tolist() == [1, 1]
