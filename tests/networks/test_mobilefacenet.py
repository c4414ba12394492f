import pytest
import torch
from safetensors.torch import load_file

from restore.networks.identity import MobileFaceNet


@pytest.mark.shared
def test_embeddings_are_the_references(shared):
    state = load_file(shared / "weights" / "mobilefacenet_casia_112x96.safetensors")
    io = load_file(shared / "weights" / "mobilefacenet_casia_112x96.io.safetensors")
    network = MobileFaceNet.from_state(state).eval()
    with torch.no_grad():
        embedding = network(io["input"])
    torch.testing.assert_close(embedding, io["embedding"], rtol=0, atol=1e-4)


def test_shapes_and_gradients_reach_the_input():
    network = MobileFaceNet().eval()
    face = (torch.rand(1, 3, 112, 96) * 2 - 1).requires_grad_()
    embedding = network(face)
    assert embedding.shape == (1, 128)
    embedding.square().sum().backward()
    assert face.grad.abs().sum() > 0


def test_a_foreign_state_is_refused():
    with pytest.raises(RuntimeError, match=r"linear7\.conv\.weight"):
        MobileFaceNet.from_state({"conv1.conv.weight": torch.zeros(64, 3, 3, 3)})


def test_folded_batch_norms_change_nothing():
    network = MobileFaceNet().eval()
    with torch.no_grad():
        for name, buffer in network.named_buffers():
            if name.endswith("running_mean"):
                buffer.normal_(0, 0.2)
            elif name.endswith("running_var"):
                buffer.uniform_(0.5, 1.5)
        face = torch.rand(2, 3, 112, 96) * 2 - 1
        before = network(face)
        after = network.fold_batch_norm()(face)
    assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in network.modules())
    torch.testing.assert_close(after, before, rtol=1e-3, atol=1e-5)
