"""A model on a frozen prior in a file of its own: assembled, checked, exported, shipped."""

import json

import numpy as np
import pytest
import torch

from restore.checkpoints.architectures import build_network
from restore.checkpoints.load import load_network
from restore.checkpoints.model_file import load_model_file, save_model_file
from restore.checkpoints.named_models import MODELS, WEIGHTS
from restore.checkpoints.weights_file import read_state_dict
from restore.errors import CheckpointError
from restore.model_files import (
    check_layout,
    file_sha256,
    locate,
    read_array,
    read_header,
    tensor_places,
)
from tests.runtime.models import MOBILE, stirred

DECODER = {
    "channels": MOBILE["prior_channels"],
    "w_dim": 8,
    "num_mapping": 1,
    "head_sizes": (),
}


@pytest.fixture
def pair(tmp_path):
    """A restorer in one file, the same on a prior's file: (whole, on the prior, prior)."""
    network = stirred(build_network("mobile_restorer", MOBILE))
    prior = build_network("mobile_stylegan", DECODER)
    own = network.decoder.state_dict()
    prior.load_state_dict({name: own[name] for name in prior.state_dict()})
    header = {"architecture": "mobile_restorer", "arguments": MOBILE, "crop_size": 32}
    whole, split = tmp_path / "whole.safetensors", tmp_path / "split.safetensors"
    frozen = tmp_path / "prior.safetensors"
    save_model_file(frozen, prior, {"architecture": "mobile_stylegan", "arguments": DECODER})
    save_model_file(whole, network, header)
    save_model_file(split, network, header, prior=frozen)
    return whole, split, frozen


def same(one, other):
    one, other = one.state_dict(), other.state_dict()
    return set(one) == set(other) and all(torch.equal(one[name], other[name]) for name in one)


def test_both_forms_are_one_network(pair):
    whole, split, _ = pair
    assert same(load_model_file(whole), load_network(split))
    stored = read_header(split)["tensors"]
    assert {name.split(".")[0] for name in stored} == {"encoder", "decoder"}
    assert {name.split(".")[1] for name in stored if name.startswith("decoder")} == {"heads"}
    assert whole.stat().st_size > split.stat().st_size
    flat = read_state_dict(split).tensors
    assert set(flat) == set(tensor_places(split)) == set(read_header(whole)["tensors"])
    for name, tensor in flat.items():
        place = locate(split, name)
        assert (place["file"] == split.name) == (name in stored)
        np.testing.assert_array_equal(read_array(split, name), tensor.numpy())
    with pytest.raises(CheckpointError, match=r"no tensor 'decoder\.none'"):
        locate(split, "decoder.none")


def test_what_was_trained_further_is_in_the_model_file(pair):
    _, split, frozen = pair
    network = load_network(split)
    network.decoder.const.data.fill_(1)
    header = {"architecture": "mobile_restorer", "arguments": MOBILE, "crop_size": 32}
    save_model_file(split, network, header, prior=frozen)
    assert locate(split, "decoder.const")["file"] == split.name
    assert locate(split, "decoder.conv_4.weight")["file"] == frozen.name
    assert same(load_network(split), network)


def test_writing_again_gives_the_same_bytes(pair, tmp_path):
    _, _, frozen = pair
    digests = {file_sha256(frozen)}
    for _ in range(4):
        header = {"architecture": "mobile_stylegan", "arguments": DECODER}
        save_model_file(tmp_path / "again.safetensors", load_network(frozen), header)
        digests.add(file_sha256(tmp_path / "again.safetensors"))
    assert len(digests) == 1


def test_a_missing_or_altered_prior_is_refused(pair):
    _, split, frozen = pair
    content = bytearray(frozen.read_bytes())
    content[-1] ^= 1
    frozen.write_bytes(content)
    for read in (load_network, tensor_places, read_state_dict):
        with pytest.raises(CheckpointError, match=r"is not the prior that split\.safetensors"):
            read(split)
    frozen.unlink()
    for read in (load_network, tensor_places, read_state_dict):
        with pytest.raises(CheckpointError, match=r"prior\.safetensors, which is not in its"):
            read(split)


@pytest.mark.parametrize(
    "prior",
    [
        {"file": "../prior.safetensors", "sha256": "0", "prefix": ""},
        {"file": 3, "sha256": "0", "prefix": ""},
        {"sha256": "0", "prefix": ""},
        {"file": "prior.safetensors", "sha256": "0", "prefix": 1},
        ["prior.safetensors"],
        "prior.safetensors",
    ],
)
def test_a_prior_elsewhere_or_nowhere_is_refused(pair, prior, tmp_path):
    from safetensors.torch import save_file

    metadata = {"format": "restore/1", "architecture": "mobile_restorer", "arguments": "{}"}
    metadata["prior"] = json.dumps(prior)
    save_file({"x": torch.ones(1)}, tmp_path / "x.safetensors", metadata=metadata)
    with pytest.raises(CheckpointError, match="names no prior"):
        load_network(tmp_path / "x.safetensors")


def test_a_graph_points_into_both_files(pair):
    pytest.importorskip("onnx")
    from restore.model_files import model_session, open_session
    from restore.runtime.export import check_graph, check_precision, export_model, export_precision

    whole, split, frozen = pair
    graph = export_model(split)
    assert check_graph(split, graph)["image"] < 1e-4
    feed = {
        "lq": np.random.default_rng(0).uniform(-1, 1, (1, 3, 32, 32)).astype(np.float32),
        "fidelity": np.ones(1, np.float32),
    }
    found = model_session(split, 1).run(None, feed)
    expected = open_session(export_model(whole), 1).run(None, feed)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)
    with pytest.raises(CheckpointError, match="another state"):
        check_layout(whole, graph)
    alone = export_precision(split, "fp16")
    assert check_precision(split, alone, "fp16")[0] > 45
    frozen.write_bytes(frozen.read_bytes()[:-2] + b"\0\0")
    with pytest.raises(CheckpointError, match="is not the prior"):
        model_session(split, 1)


def test_the_packaged_restorer_is_its_header_and_two_files():
    path, prior = WEIGHTS / "default.safetensors", WEIGHTS / "default-prior.safetensors"
    header, places = read_header(path), tensor_places(path)
    assert header["prior"]["file"] == prior.name
    assert file_sha256(prior) == header["prior"]["sha256"] == MODELS["default-prior"].sha256
    network = load_network("default")
    state = network.state_dict()
    assert set(state) == set(places)
    trained = {name for name in state if not name.startswith("decoder.")}
    trained |= {name for name in state if name.startswith("decoder.heads.")}
    assert set(header["tensors"]) == trained
    for name, tensor in state.items():
        np.testing.assert_array_equal(read_array(path, name).astype(np.float32), tensor.numpy())
    generator = load_network("default-prior")
    assert all(torch.equal(t, state[f"decoder.{k}"]) for k, t in generator.state_dict().items())
    assert path.stat().st_size < 33e6 and prior.stat().st_size < 21e6


@pytest.mark.slow
def test_the_packaged_restorer_ships_again_on_its_prior(tmp_path):
    from tools.ship import ship_file

    path = WEIGHTS / "default.safetensors"
    ship_file(path, tmp_path / "new.safetensors", "as it was")
    assert same(load_network(path), load_network(tmp_path / "new.safetensors"))
    assert set(read_header(path)["tensors"]) == set(
        read_header(tmp_path / "new.safetensors")["tensors"]
    )
