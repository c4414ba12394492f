"""`load_network`: names, devices, what is logged, what is refused."""

import logging

import pytest
import torch

import restore
from restore.checkpoints import named_models
from restore.checkpoints.load import load_network
from restore.checkpoints.model_file import save_model_file
from restore.errors import CheckpointError, DeviceError
from restore.networks.discriminators import build_discriminator
from restore.networks.gfpgan import build_gfpgan
from restore.networks.stylegan2 import StyleGAN2Generator


@pytest.fixture
def weights(tmp_path, monkeypatch):
    """A packaged model of our own in place of the real one."""
    arguments = {"out_size": 16, "narrow": 0.03125, "w_dim": 8, "num_mlp": 1}
    header = {"architecture": "gfpgan_clean", "arguments": arguments}
    restorer = build_gfpgan(**arguments)
    save_model_file(tmp_path / "default.safetensors", restorer, header)
    decoder = {"out_size": 16, "channels": [16, 16, 16], "w_dim": 8, "num_mlp": 1}
    header = {"architecture": "stylegan2", "arguments": decoder}
    save_model_file(tmp_path / "default-prior.safetensors", restorer.decoder, header)
    monkeypatch.setattr(named_models, "WEIGHTS", tmp_path)
    return tmp_path


def test_packaged_names(weights):
    restorer = load_network("default")
    prior = load_network("default-prior")
    assert isinstance(prior, StyleGAN2Generator) and not prior.training
    torch.testing.assert_close(prior.constant, restorer.decoder.constant)
    assert restore.load_network is load_network


def test_unknown_names_list_the_known_ones():
    with pytest.raises(
        CheckpointError, match=r"named 'gfpgan'; named models: default, .*gfpgan-v1\.4"
    ):
        load_network("gfpgan")
    with pytest.raises(CheckpointError, match="There is no file"):
        load_network("folder/gfpgan.pth")


def test_a_named_model_that_is_not_there(tmp_path, monkeypatch):
    monkeypatch.setenv("RESTORE_HOME", str(tmp_path))
    with pytest.raises(CheckpointError, match=r"restore download gfpgan-v1\.4"):
        load_network("gfpgan-v1.4")


def test_a_folder_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="is a folder"):
        load_network(tmp_path)


def test_wrong_device(weights):
    with pytest.raises(DeviceError, match="'warp'"):
        load_network("default", device="warp")


def test_assumptions_are_logged(tmp_path, caplog):
    torch.save(build_discriminator(8, narrow=0.02).state_dict(), tmp_path / "net_d.pth")
    with caplog.at_level(logging.INFO, logger="restore.checkpoints.load"):
        network = load_network(tmp_path / "net_d.pth")
    assert set(network.detection.assumed) == {"stddev_group", "resample_kernel"}
    assert "stddev_group is assumed to be 4" in caplog.text


def test_a_checkpoint_of_our_own_training_names_the_file_to_give(tmp_path):
    from restore.networks.gfpgan import build_gfpgan
    from tests.latents.tiny import mobile, stylegan2

    gfpgan = build_gfpgan(32, narrow=0.03125, channel_multiplier=1, w_dim=8, num_mlp=1)
    for network in (gfpgan, mobile(), stylegan2()):
        path = tmp_path / "net_g_latest.pth"
        torch.save({"params_ema": network.state_dict()}, path)
        with pytest.raises(CheckpointError, match=r"net_g_latest\.safetensors"):
            load_network(path)
