import pytest
import torch

from restore.networks.identity import GrayArcFace18, IrArcFace


@pytest.mark.shared
def test_gray_keys_are_those_of_the_published_file(shared):
    import json

    published = json.loads((shared / "design/state_dicts/ResNetArcFace18.json").read_text())
    with torch.device("meta"):
        ours = GrayArcFace18().state_dict()
    assert {k: list(v.shape) for k, v in ours.items()} == published


def test_gray_round_trip_and_shape():
    network = GrayArcFace18(width=4).eval()
    again = GrayArcFace18.from_state(network.state_dict()).eval()
    face = torch.rand(2, 1, 128, 128) * 2 - 1
    with torch.no_grad():
        embedding = network(face)
        assert embedding.shape == (2, 32)
        torch.testing.assert_close(again(face), embedding, rtol=0, atol=0)


@pytest.mark.parametrize("squeezed", [True, False])
def test_ir_depth_is_read_off_the_keys(squeezed):
    # Only blocks that change the width carry shortcut weights, so only those (and the first) halve.
    blocks = [(4, 4, 2, 2), (4, 4, 1, 2), (4, 8, 2, 2), (8, 10, 2, 2), (10, 12, 2, 3)]
    blocks = tuple((a, b, s, q if squeezed else 0) for a, b, s, q in blocks)
    network = IrArcFace(blocks, embedding=16).eval()
    again = IrArcFace.from_state(network.state_dict()).eval()
    face = torch.rand(1, 3, 112, 112) * 2 - 1
    with torch.no_grad():
        torch.testing.assert_close(again(face), network(face), rtol=0, atol=0)
        assert again(face).shape == (1, 16)


def test_ir_se50_has_the_known_keys():
    units = ((64, 64, 3), (64, 128, 4), (128, 256, 14), (256, 512, 3))
    blocks = []
    for channels, out, count in units:
        blocks.append((channels, out, 2, out // 16))
        blocks.extend([(out, out, 1, out // 16)] * (count - 1))
    with torch.device("meta"):
        network = IrArcFace(tuple(blocks))
    state = network.state_dict()
    assert state["output_layer.3.weight"].shape == (512, 25088)
    assert state["body.3.shortcut_layer.0.weight"].shape == (128, 64, 1, 1)
    assert state["body.23.res_layer.5.fc2.weight"].shape == (512, 32, 1, 1)
    # the parameter count that is published for IR-SE50
    assert sum(p.numel() for p in network.parameters()) == 43_797_696
