import pytest
import torch
from safetensors.torch import save_file

from restore.errors import CheckpointError, MissingExtraError
from restore.losses import feature_files
from restore.networks.identity import GrayArcFace18, MobileFaceNet
from restore.networks.perceptual import SqueezeNetFeatures


def test_kinds_are_told_by_keys_and_come_frozen(tmp_path):
    save_file(MobileFaceNet().state_dict(), tmp_path / "a.safetensors")
    torch.save(
        {"module." + k: v for k, v in GrayArcFace18(2).state_dict().items()}, tmp_path / "b.pth"
    )
    save_file(SqueezeNetFeatures().state_dict(), tmp_path / "c.safetensors")
    a = feature_files.load_identity_network(tmp_path / "a.safetensors")
    b = feature_files.load_identity_network(tmp_path / "b.pth")
    c = feature_files.load_feature_network(tmp_path / "c.safetensors")
    assert (a.kind, b.kind, c.kind) == ("mobilefacenet", "gray_arcface18", "squeezenet1_1")
    for network in (a, b, c):
        assert not network.training
        assert not any(p.requires_grad for p in network.parameters())


def test_what_is_wrong_is_said(tmp_path):
    save_file({"x.weight": torch.zeros(1)}, tmp_path / "x.safetensors")
    with pytest.raises(CheckpointError, match=r"none of squeezenet1_1, vgg19.*x\.weight"):
        feature_files.load_feature_network(tmp_path / "x.safetensors")
    with pytest.raises(CheckpointError, match="There is no file"):
        feature_files.load_feature_network(tmp_path / "absent.pth")
    (tmp_path / "junk.pth").write_bytes(b"junk")
    with pytest.raises(CheckpointError, match="no weights file but unknown"):
        feature_files.load_identity_network(tmp_path / "junk.pth")
    save_file({"linear7.conv.weight": torch.zeros(1)}, tmp_path / "half.safetensors")
    with pytest.raises(CheckpointError, match="looks like mobilefacenet but does not fit"):
        feature_files.load_identity_network(tmp_path / "half.safetensors")


def test_missing_lpips_names_the_extra(monkeypatch):
    monkeypatch.setattr(feature_files.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"restore\[train\]"):
        feature_files.load_lpips_heads()


def test_heads_come_in_order_without_importing_lpips():
    pytest.importorskip("lpips")
    heads = feature_files.load_lpips_heads()
    assert tuple(len(h) for h in heads) == SqueezeNetFeatures.channels
    assert all((h >= 0).all() for h in heads)
