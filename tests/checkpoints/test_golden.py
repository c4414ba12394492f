"""What the public implementations compute, from their own files, loaded blind."""

import pytest
import torch
from safetensors.torch import load_file

from restore.checkpoints.load import load_network

pytestmark = pytest.mark.shared
TOLERANCE = {"atol": 1e-4, "rtol": 0}


@torch.no_grad()
def test_gfpgan_clean(shared):
    net = load_network(shared / "golden/gfpgan_clean_64.pth")
    io = load_file(shared / "golden/gfpgan_clean_64.io.safetensors")
    torch.testing.assert_close(net(io["input"]).image, io["output"], **TOLERANCE)
    for i, image in enumerate(net.encoder.side_images(io["input"])):
        torch.testing.assert_close(image, io[f"rgb{i}"], **TOLERANCE)
    assert net.detection.options == {
        "out_size": 64,
        "num_style_feat": 64,
        "narrow": 0.125,
        "channel_multiplier": 1,
        "num_mlp": 8,
        "different_w": True,
        "sft_half": True,
    }
    assert "input_is_latent" in net.detection.assumed


@torch.no_grad()
def test_stylegan2_basicsr(shared):
    net = load_network(shared / "golden/stylegan2_basicsr_64.pth")
    io = load_file(shared / "golden/stylegan2_basicsr_64.io.safetensors")
    torch.testing.assert_close(net.mapping(io["z"]), io["latents"][:, 0], **TOLERANCE)
    torch.testing.assert_close(net.synthesis(io["latents"]), io["output"], **TOLERANCE)
    torch.testing.assert_close(net(io["z"]), io["output"], **TOLERANCE)
    assert net.detection.options["num_mlp"] == 4
    assert net.detection.options["narrow"] == 0.125


@torch.no_grad()
def test_stylegan2_nvidia(shared):
    net = load_network(shared / "golden/nvidia_stylegan2_32.state.safetensors")
    io = load_file(shared / "golden/nvidia_stylegan2_32.io.safetensors")
    torch.testing.assert_close(net(io["z"]), io["output"], **TOLERANCE)
    assert net.detection.arguments["channels"] == [32, 32, 32, 16]
    assert net.detection.options["num_mlp"] == 2
