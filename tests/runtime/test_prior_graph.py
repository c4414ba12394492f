"""The prior alone as a graph paints what torch paints, at every size."""

import numpy as np
import pytest
import torch

from restore.networks.mobile_stylegan import MobileStyleGAN, PriorHeads
from restore.runtime.export import prior_model

CHANNELS = (16, 16, 16, 8)


def tiny(head_sizes=()):
    torch.manual_seed(7)
    net = MobileStyleGAN(CHANNELS, w_dim=8, num_mapping=2, head_sizes=head_sizes)
    for name, value in net.state_dict().items():
        if name.endswith(("noise", "bias")):
            value.normal_(0, 0.3)
    return net.eval().requires_grad_(False)


def heads_of(net):
    heads = PriorHeads(CHANNELS, (8, 16))
    heads.start_from(net)
    for value in heads.state_dict().values():
        value.add_(0.05 * torch.randn(value.shape))
    return heads.requires_grad_(False)


def painted(model, w_plus):
    onnxruntime = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    feed = {"w_plus": w_plus.numpy(), "fidelity": np.ones(len(w_plus), np.float32)}
    return session.run(None, feed)[0]


@pytest.mark.parametrize("size", [8, 16])
def test_a_head_for_a_small_size(size):
    net = tiny()
    heads = heads_of(net)
    w_plus = torch.randn(2, net.num_styles, 8)
    expected = heads(net, w_plus, size).numpy()
    found = painted(prior_model(net, size, heads), w_plus)
    np.testing.assert_allclose(found, expected, atol=2e-5)


@pytest.mark.parametrize(
    ("size", "head_sizes"), [(64, ()), (32, ()), (16, (16,))], ids=["full", "half", "own head"]
)
def test_a_size_of_the_generator_itself(size, head_sizes):
    net = tiny(head_sizes)
    w_plus = torch.randn(2, net.num_styles, 8)
    expected = net.synthesis(w_plus, size=size).numpy()
    np.testing.assert_allclose(painted(prior_model(net, size), w_plus), expected, atol=2e-5)


def test_a_size_without_a_way_out_is_refused():
    with pytest.raises(ValueError, match="found 16 px"):
        prior_model(tiny(), 16)
