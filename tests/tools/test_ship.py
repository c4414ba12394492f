import pytest
import torch

from restore.checkpoints.load import load_network
from restore.checkpoints.model_file import save_model_file
from restore.model_files import read_header
from restore.networks.mobile_stylegan import MobileStyleGAN
from restore.networks.unet_encoder import build_mobile_restorer
from tools.__main__ import main

ARGUMENTS = {
    "crop_size": 32, "trunk_size": 16, "trunk_channels": [8, 8, 8], "condition_levels": [8],
    "code_rank": 8, "prior_channels": [16, 16, 8], "w_dim": 16, "num_mapping": 1,
    "head_sizes": [],
}  # fmt: skip


def test_a_training_becomes_a_package(tmp_path):
    network = build_mobile_restorer(**ARGUMENTS).eval()
    source, out = tmp_path / "net_g_latest.safetensors", tmp_path / "default.safetensors"
    header = {"architecture": "mobile_restorer", "arguments": ARGUMENTS, "crop_size": 32}
    header["training_options_sha256"] = "ab" * 32
    save_model_file(source, network, header, torch.float32)
    line = "seven faces"
    assert main(["ship", str(source), "-o", str(out), "--training", line]) == 0
    written = read_header(out)
    assert line in written["card"] and written["template"]["name"] == "ffhq512"
    assert written["training_options_sha256"] == "ab" * 32
    assert {t["dtype"] for t in written["tensors"].values()} == {"F16"}
    lq = torch.rand(1, 3, 32, 32) * 2 - 1
    with torch.no_grad():
        torch.testing.assert_close(
            load_network(out)(lq).image, network(lq).image, atol=2e-2, rtol=2e-2
        )


def test_another_network_is_refused(tmp_path, capsys):
    source = tmp_path / "prior.safetensors"
    generator = MobileStyleGAN((8, 8), w_dim=8, num_mapping=1)
    arguments = {"channels": [8, 8], "w_dim": 8, "num_mapping": 1}
    header = {"architecture": "mobile_stylegan", "arguments": arguments}
    save_model_file(source, generator, header, torch.float32)
    out = tmp_path / "x.safetensors"
    assert main(["ship", str(source), "-o", str(out), "--training", "none"]) == 2
    assert "mobile_restorer" in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.parametrize("words", [[], ["ship"]])
def test_missing_words_are_a_usage_error(words):
    with pytest.raises(SystemExit):
        main(words)
