"""What a module does becomes nodes: each step against torch, and what is refused."""

import numpy as np
import onnxruntime
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from restore.errors import CheckpointError
from restore.runtime.graph import Weights, module_graph

CHANNELS, SIZE = 8, 6


class Step(nn.Module):
    """A function of a map [n,8,6,6] and a module's own weight [8,8,3,3]."""

    def __init__(self, function):
        super().__init__()
        self.function = function
        self.weight = nn.Parameter(torch.randn(CHANNELS, CHANNELS, 3, 3) / 8)

    def forward(self, x):
        return self.function(x, self.weight)


def blurred(x, weight):
    kernel = torch.tensor([1.0, 3.0, 3.0, 1.0]).reshape(1, 1, 1, 4) / 8
    return F.conv2d(F.pad(x, (1, 2, 0, 0)), kernel.expand(CHANNELS, 1, 1, 4), groups=CHANNELS)


def in_place(x, weight):
    y = F.conv2d(x, weight, padding=1)
    return F.leaky_relu_(y.add_(x), 0.2) + y


STEPS = {
    "padding of one side": lambda x, w: F.conv2d(F.pad(x, (1, 1, 0, 1)), w, stride=2),
    "the same kernel for each channel": blurred,
    "in place": in_place,
    "a border cut off": lambda x, w: F.conv_transpose2d(x, w, stride=2)[:, :, 1:9],
    "rows of two": lambda x, w: F.conv_transpose2d(x, w, stride=2)[:, :, 1:9][:, :, 2:-1],
    "phases": lambda x, w: F.pixel_shuffle(x, 2),
    "phases before a convolution": lambda x, w: F.conv2d(F.pixel_unshuffle(x[:, :2], 2), w),
    "phases before a transposed one": lambda x, w: F.conv_transpose2d(
        F.pixel_unshuffle(x[:, :2], 2), w, stride=2
    ),
    "phases alone": lambda x, w: F.pixel_unshuffle(x, 3),
    "resizing": lambda x, w: (
        F.interpolate(x, scale_factor=2.0, mode="nearest")
        + F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
    ),
    "means": lambda x, w: (
        F.avg_pool2d(x, 3, 1, 1, count_include_pad=False) - x.mean((2, 3), keepdim=True)
    ),
    "vectors": lambda x, w: F.normalize(x.flatten(1)[:, :7], dim=1) @ w[:, :7, 0, 0].t(),
    "numbers": lambda x, w: torch.rsqrt(2 - x.square() / x.square().amax(1, keepdim=True)) * -0.5,
    "halves": lambda x, w: torch.cat([a * 2 for a in x.chunk(2, 1)][::-1], 1).abs().clamp_min(0.1),
    "weights alone": lambda x, w: x * w.permute(1, 0, 2, 3).reshape(8, -1).sum(1)[:, None, None],
    "one sample for all": lambda x, w: x + w[:1, :, :1, :1].expand(x.shape[0], -1, -1, -1),
    "one of a list": lambda x, w: x[:, 3] + x.unflatten(1, (2, 4)).sum(2)[:, 1],
}


def graph_of(function, **weights):
    torch.manual_seed(2)
    module = Step(function).eval()
    arrays = {name: value.numpy() for name, value in module.state_dict().items()}
    read = Weights(read=arrays.__getitem__, **weights)
    return module, module_graph(module, {"x": (CHANNELS, SIZE, SIZE)}, ("y",), read)


def run(proto, x):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return session.run(None, {"x": x.numpy()})[0]


@torch.no_grad()
@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("step", STEPS)
def test_a_step_gives_what_torch_gives(step, n):
    module, proto = graph_of(STEPS[step])
    x = torch.randn(n, CHANNELS, SIZE, SIZE)
    np.testing.assert_allclose(run(proto, x), module(x), atol=2e-5, rtol=1e-5)
    assert proto.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "n"


def operators(proto):
    return [node.op_type for node in proto.graph.node]


def test_borders_are_part_of_the_convolutions():
    _, padded = graph_of(STEPS["padding of one side"])
    assert operators(padded) == ["Conv", "Identity"]
    assert list(padded.graph.node[0].attribute[2].ints) == [0, 1, 1, 1]
    _, cut = graph_of(STEPS["rows of two"])
    assert operators(cut) == ["ConvTranspose", "Identity"]
    _, phases = graph_of(STEPS["phases before a convolution"])
    after = operators(phases)
    assert after[after.index("SpaceToDepth") + 1 :] == ["Gather", "Conv", "Identity"]
    gathered = next(node for node in phases.graph.node if node.op_type == "Gather")
    assert gathered.input[0] == "weight"


def test_equal_steps_are_one_and_unread_ones_none():
    def twice(x, weight):
        F.conv2d(x, weight)
        return F.relu(x * 2) + F.relu(x * 2)

    _, proto = graph_of(twice)
    assert operators(proto) == ["Mul", "Relu", "Add", "Identity"]
    assert len(proto.graph.initializer) == 1


@torch.no_grad()
def test_half_precision_computes_in_half_and_widens_where_the_module_does():
    def wide(x, weight):
        power = weight.float().square().sum((2, 3))
        return F.conv2d(x.to(weight.dtype), weight, padding=1) * power.sum(1)[:, None, None].half()

    module, proto = graph_of(wide, precision="fp16")
    x = torch.randn(2, CHANNELS, SIZE, SIZE)
    module.weight.data = module.weight.data.half().float()
    expected = F.conv2d(x, module.weight, padding=1)
    expected = expected * module.weight.square().sum((1, 2, 3))[:, None, None]
    np.testing.assert_allclose(run(proto, x), expected, atol=0.02)
    kinds = {tensor.data_type for tensor in proto.graph.initializer if len(tensor.dims) == 4}
    assert kinds == {10}  # float16


def test_what_has_no_counterpart_is_named():
    with pytest.raises(CheckpointError, match="erf has no ONNX counterpart"):
        graph_of(lambda x, w: torch.erf(x))
    with pytest.raises(CheckpointError, match="only 2 has"):
        graph_of(lambda x, w: x**3)
    with pytest.raises(TypeError, match="alpha"):
        graph_of(lambda x, w: torch.add(x, x, alpha=2))
    big = torch.randn(5000)
    with pytest.raises(ValueError, match="5000 numbers"):
        graph_of(lambda x, w: x.flatten(1)[:, :1] * big)
