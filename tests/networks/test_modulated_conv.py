"""The modulated convolution against the paper's per-sample weights, and in half precision."""

import pytest
import torch

from restore.networks.stylegan2 import modulated_conv, modulated_conv_reference


def draw(size=5, kernel=3, style_scale=1.0):
    g = torch.Generator().manual_seed(7)
    x = torch.randn(3, 6, size, size, generator=g)
    weight = torch.randn(4, 6, kernel, kernel, generator=g) / (6 * kernel**2) ** 0.5
    styles = (1 + torch.randn(3, 6, generator=g)) * style_scale
    return x, weight, styles


# StyleGAN2 never upsamples in a 1x1 convolution.
@pytest.mark.parametrize(
    ("kernel", "upsample"), [(1, None), (1, "bilinear"), (3, None), (3, "fir"), (3, "bilinear")]
)
@pytest.mark.parametrize("demodulate", [True, False])
def test_equals_the_per_sample_reference(upsample, demodulate, kernel):
    x, weight, styles = draw(kernel=kernel)
    taps = (1.0, 2.0, 4.0, 3.0)
    out = modulated_conv(x, weight, styles, demodulate, upsample, taps, gain=1.5)
    expected = modulated_conv_reference(x, weight, styles, demodulate, upsample, taps, gain=1.5)
    torch.testing.assert_close(out, expected, atol=1e-5, rtol=1e-5)
    assert out.shape[-1] == (5 if upsample is None else 10)


def test_one_grouped_convolution_agrees_too():
    """A second reference, written with groups as the original code does."""
    x, weight, styles = draw()
    w = weight[None] * styles[:, None, :, None, None]
    w = w * (w.square().sum(dim=(2, 3, 4), keepdim=True) + 1e-8).rsqrt()
    grouped = torch.nn.functional.conv2d(
        x.reshape(1, -1, 5, 5), w.flatten(0, 1), padding=1, groups=3
    ).reshape(3, 4, 5, 5)
    torch.testing.assert_close(modulated_conv(x, weight, styles), grouped, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("style_scale", [1e-3, 1.0, 1e5])
def test_half_precision_survives_extreme_styles(style_scale):
    """Plain float16 overflows at 1e5; the normalised one keeps float16's precision."""
    x, weight, styles = draw(style_scale=style_scale)
    expected = modulated_conv_reference(x, weight, styles)
    out = modulated_conv(x.half(), weight.half(), styles)
    assert out.dtype == torch.float16
    assert out.isfinite().all()
    torch.testing.assert_close(out.float(), expected, atol=1e-2, rtol=1e-2)


def test_half_precision_without_demodulation_keeps_the_scale():
    x, weight, styles = draw(kernel=1, style_scale=40.0)
    expected = modulated_conv_reference(x, weight, styles, demodulate=False)
    out = modulated_conv(x.half(), weight.half(), styles, demodulate=False)
    torch.testing.assert_close(out.float(), expected, atol=0.3, rtol=1e-2)


def test_autocast_is_close():
    x, weight, styles = draw(style_scale=100.0)
    with torch.autocast("cpu", torch.bfloat16):
        out = modulated_conv(x, weight, styles)
    torch.testing.assert_close(
        out.float(), modulated_conv_reference(x, weight, styles), atol=5e-2, rtol=5e-2
    )


@pytest.mark.parametrize("upsample", [None, "fir"])
def test_gradients_of_all_inputs(upsample):
    x, weight, styles = (t.double().requires_grad_() for t in draw(size=2))
    assert torch.autograd.gradcheck(
        lambda *tensors: modulated_conv(*tensors, upsample=upsample),
        (x[:1, :2], weight[:2, :2], styles[:1, :2]),
    )
