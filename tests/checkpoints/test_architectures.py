"""The table of architectures: every row holds, and one row is all that a new restorer needs."""

import numpy as np
import pytest
import torch
from torch import nn

from restore.checkpoints.architectures import (
    ARCHITECTURES,
    Architecture,
    Family,
    architecture_of,
    build_network,
    header_of,
)
from restore.checkpoints.layouts import Detection, Rule
from restore.checkpoints.load import load_network
from restore.checkpoints.model_file import save_model_file
from restore.errors import CheckpointError
from restore.model_files import read_header
from restore.networks.prior_restorer import Encoding, PriorRestorer
from restore.options.networks import PluginNetworkOptions
from restore.runtime.select import load_runtime
from restore.training.build import build_generator


class MeanColour(nn.Module):
    """The encoder of a toy: the mean colour [n,3] to one code [n,1,4]."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 4)

    def forward(self, lq):
        return Encoding(self.linear(lq.mean((2, 3)))[:, None], {})


class OneColour(nn.Module):
    """Its decoder: a code to a picture of one colour."""

    num_styles, w_dim = 1, 4

    def __init__(self, size):
        super().__init__()
        self.out_size = size
        self.linear = nn.Linear(4, 3)

    def synthesis(self, w_plus, conditions=None, size=None):
        side = size or self.out_size
        return self.linear(w_plus[:, 0])[:, :, None, None].expand(-1, -1, side, side)


def build_toy(size=16):
    return PriorRestorer(MeanColour(), OneColour(size))


class ToyImage(nn.Module):
    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, lq, fidelity):
        return self.network(lq, fidelity).image


def toy_graph(network, size):
    return ToyImage(network), {"lq": (3, size, size), "fidelity": ()}, ("image",)


PARTS = ("linear.weight", "linear.bias")


def describe_toy(shapes, resample):
    rules = [Rule(f"toy_in.{part}", f"encoder.{part}") for part in PARTS]
    rules += [Rule(f"toy_out.{part}", f"decoder.{part}") for part in PARTS]
    return Detection("toy", "toy", {"size": 24}, tuple(rules), assumed={"size": "24: not told"})


@pytest.fixture
def toy(monkeypatch):
    here = "tests.checkpoints.test_architectures"
    row = Architecture(
        build=f"{here}:build_toy",
        families=(Family("toy", lambda shapes: "toy_in.linear.weight" in shapes, describe_toy),),
        crop_size="size",
        licence="none",
        exporter=f"{here}:toy_graph",
    )
    monkeypatch.setitem(ARCHITECTURES, "toy", row)
    torch.manual_seed(5)
    return build_toy(24).eval()


def test_a_row_is_all_that_a_new_restorer_needs(toy, tmp_path):
    pytest.importorskip("onnx")
    from restore.runtime.export import check_graph, export_model

    path = tmp_path / "toy.safetensors"
    save_model_file(path, toy, header_of("toy", {"size": 24}), torch.float32)
    header = read_header(path)
    assert (header["crop_size"], header["licence"], header["range"]) == (24, "none", "-1..1")
    assert check_graph(path, export_model(path))["image"] < 1e-6
    crops = np.random.default_rng(0).integers(0, 256, (2, 24, 24, 3), np.uint8)
    images = [load_runtime(path, b, "cpu").run(crops, 1.0)[0] for b in ("onnxruntime", "torch")]
    assert np.abs(images[0].astype(int) - images[1]).max() <= 1
    assert images[0].std((1, 2)).max() == 0 and images[0].shape == crops.shape


def test_its_public_files_are_recognised(toy, tmp_path):
    state = {f"toy_in.{part}": toy.encoder.state_dict()[part] for part in PARTS}
    state |= {f"toy_out.{part}": toy.decoder.state_dict()[part] for part in PARTS}
    torch.save({"params": state}, tmp_path / "toy.pth")
    loaded, lq = load_network(tmp_path / "toy.pth"), torch.rand(2, 3, 24, 24)
    assert loaded.detection.family == "toy"
    torch.testing.assert_close(loaded(lq).image, toy(lq).image)
    state["toy_more"] = torch.ones(1)
    torch.save({"params": state}, tmp_path / "toy.pth")
    with pytest.raises(CheckpointError, match="toy_more is not known"):
        load_network(tmp_path / "toy.pth")


def test_an_option_file_names_any_row(toy):
    options = PluginNetworkOptions(type="architecture:toy", arguments={"size": 8})
    assert architecture_of(options) == ("toy", {"size": 8})
    network = build_generator(options)
    assert network(torch.zeros(1, 3, 8, 8)).image.shape == (1, 3, 8, 8)
    with pytest.raises(CheckpointError, match="Unknown architecture 'none'"):
        build_generator(PluginNetworkOptions(type="architecture:none"))


@pytest.mark.parametrize("name", [name for name, row in ARCHITECTURES.items() if row.exporter])
def test_exporters_are_there(name):
    row = ARCHITECTURES[name]
    assert callable(row.function(row.exporter))


@pytest.mark.parametrize("name", list(ARCHITECTURES))
def test_builders_refuse_what_they_do_not_know(name):
    with pytest.raises(CheckpointError, match=f"do not fit architecture '{name}'"):
        build_network(name, {"no_such_argument": 1})


def test_option_types_are_named_once():
    types = [kind for row in ARCHITECTURES.values() for kind in row.option_types]
    assert len(types) == len(set(types)) > 6
