"""The fast arrangement gives what the plain networks give, in torch already."""

import pytest
import torch

from restore.checkpoints.architectures import build_network
from restore.networks.fast_arrangement import (
    DialledRestorer,
    FastPrior,
    FastRestorer,
    Strip,
    grouped_bands,
    haar_kernel,
    phases_of_rgb,
    repeated_in_groups,
    strips_of,
)
from restore.networks.mobile_stylegan import MobileStyleGAN, inverse_haar
from tests.runtime.models import GFPGAN, MOBILE, stirred


@torch.no_grad()
@pytest.mark.parametrize("strip_pixels", [8192, 48])
def test_the_restorer(strip_pixels, monkeypatch):
    monkeypatch.setattr("restore.networks.fast_arrangement.STRIP_PIXELS", strip_pixels)
    network = stirred(build_network("mobile_restorer", MOBILE)).double()
    lq = torch.rand(3, 3, 32, 32, dtype=torch.float64) * 2 - 1
    fidelity = torch.tensor([0.0, 0.4, 1.0], dtype=torch.float64)
    expected = network(lq, fidelity)
    image, degradation = FastRestorer(network, 32)(lq, fidelity)
    torch.testing.assert_close(image, expected.image.float(), atol=1e-6, rtol=0)
    # the plain head pools in float32
    torch.testing.assert_close(degradation, expected.degradation.float(), atol=1e-5, rtol=0)


@torch.no_grad()
def test_a_gfpgan():
    network = stirred(build_network("gfpgan_clean", GFPGAN))
    lq, fidelity = torch.rand(2, 3, 32, 32) * 2 - 1, torch.tensor([0.2, 1.0])
    found = DialledRestorer(network)(lq, fidelity)
    torch.testing.assert_close(found, network(lq, fidelity).image, atol=1e-5, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("size", [16, 32, 64])
def test_the_prior_alone(size):
    torch.manual_seed(3)
    network = MobileStyleGAN((16, 16, 16, 8), w_dim=8, num_mapping=1, head_sizes=(16,))
    stirred(network)
    codes = torch.randn(2, network.num_styles, 8)
    found = FastPrior(network, size)(codes, torch.tensor([0.0, 1.0]))
    torch.testing.assert_close(found, network.synthesis(codes, size=size), atol=1e-5, rtol=0)


@pytest.mark.parametrize("channels", [3, 16, 48])
def test_the_haar_step_is_a_transposed_convolution_of_grouped_bands(channels):
    group = {3: 1, 16: 16, 48: 16}[channels]
    bands = torch.randn(2, 4 * channels, 5, 5)
    grouped = grouped_bands(bands.transpose(0, 1)).transpose(0, 1)
    kernel = haar_kernel(channels, group)
    found = torch.nn.functional.conv_transpose2d(
        grouped, kernel, stride=2, groups=channels // group
    )
    torch.testing.assert_close(found, inverse_haar(bands), atol=1e-6, rtol=0)
    each = torch.arange(channels)
    public = torch.cat([each, each.repeat_interleave(3)])
    assert torch.equal(repeated_in_groups(each), grouped_bands(public))


def test_phases_of_rgb_are_the_haar_step():
    bands = torch.randn(12, 7)
    as_images = bands.T[:, :, None, None]  # a pixel each
    phases = torch.nn.functional.pixel_unshuffle(inverse_haar(as_images), 2)[:, :, 0, 0].T
    torch.testing.assert_close(phases_of_rgb(bands), phases, atol=1e-6, rtol=0)


def test_strips_cover_the_map_and_read_what_they_need():
    strips = strips_of(256)
    assert [s.start for s in strips] == list(range(0, 256, 32))
    assert strips[0].wider() == Strip(0, 33, 256)
    assert strips[1].wider().wider() == Strip(30, 66, 256)
    assert strips[1].wider().below(2) == Strip(15, 33, 128)
    x, kernel = torch.randn(1, 2, 256, 4), torch.randn(2, 1, 3, 3)
    whole = torch.nn.functional.conv2d(x, kernel, padding=1, groups=2)
    parts = [s.conv(s.wider().of(x), kernel, groups=2) for s in strips]
    torch.testing.assert_close(torch.cat(parts, 2), whole, atol=1e-5, rtol=0)
