"""Our own model files: header, round trip, refusals; and the torch-free header reader."""

import json
import struct
import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from restore.checkpoints.load import load_network
from restore.checkpoints.model_file import load_model_file, save_model_file
from restore.errors import CheckpointError
from restore.model_files import read_header
from restore.networks.gfpgan import build_gfpgan
from restore.networks.stylegan2 import build_stylegan2

ARGUMENTS = {"out_size": 16, "narrow": 0.03125, "w_dim": 8, "num_mlp": 1}
HEADER = {
    "architecture": "gfpgan_clean",
    "arguments": ARGUMENTS,
    "crop_size": 16,
    "template": {"name": "ffhq512", "zoom": 1.0, "centre": [256, 256]},
    "range": "-1..1",
    "licence": "none",
}


@pytest.fixture
def restorer():
    torch.manual_seed(4)
    return build_gfpgan(**ARGUMENTS).eval()


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
@torch.no_grad()
def test_round_trip(restorer, dtype, tmp_path):
    path = tmp_path / "small.safetensors"
    save_model_file(path, restorer, HEADER, dtype)
    loaded = load_network(path)
    assert not loaded.training and next(loaded.parameters()).dtype == torch.float32
    lq = torch.rand(1, 3, 16, 16) * 2 - 1
    tolerance = 1e-6 if dtype == torch.float32 else 2e-2
    torch.testing.assert_close(loaded(lq).image, restorer(lq).image, atol=tolerance, rtol=tolerance)
    header = read_header(path)
    assert header["format"] == "restore/1"
    assert {key: header[key] for key in HEADER} == HEADER
    assert [p.name for p in tmp_path.iterdir()] == ["small.safetensors"]
    assert path.stat().st_mode & 0o444 == 0o444  # a package's file is for every user


def test_offsets_point_at_the_numbers(restorer, tmp_path):
    path = tmp_path / "small.safetensors"
    save_model_file(path, restorer, HEADER, torch.float32)
    name, tensor = "encoder.to_codes.weight", restorer.encoder.to_codes.weight
    place = read_header(path)["tensors"][name]
    raw = path.read_bytes()[place["offset"] : place["offset"] + place["length"]]
    values = np.frombuffer(raw, dtype="<f4").reshape(place["shape"])
    assert place["dtype"] == "F32"
    np.testing.assert_array_equal(values, tensor.detach().numpy())


def test_header_reader_imports_no_torch():
    code = "import sys, restore.model_files as h; assert 'torch' not in sys.modules; h"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_overflow_is_not_stored(tmp_path):
    net = build_stylegan2(8, narrow=0.01, w_dim=4, num_mlp=1)
    net.constant.data.fill_(1e6)
    header = {"architecture": "stylegan2", "arguments": {}}
    with pytest.raises(CheckpointError, match="constant overflows"):
        save_model_file(tmp_path / "a.safetensors", net, header)
    assert not list(tmp_path.iterdir())


def test_header_is_required(restorer, tmp_path):
    with pytest.raises(CheckpointError, match="needs arguments"):
        save_model_file(tmp_path / "a", restorer, {"architecture": "gfpgan_clean"})
    with pytest.raises(CheckpointError, match="Unknown architecture 'x'"):
        save_model_file(tmp_path / "a", restorer, {"architecture": "x", "arguments": {}})


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({}, "format is None"),
        ({"format": "restore/1", "architecture": "stylegan2"}, "lacks arguments"),
        ({"format": "restore/1", "architecture": "new", "arguments": "{}"}, "Unknown architecture"),
        ({"format": "restore/1", "architecture": "stylegan2", "arguments": "{"}, "is no JSON"),
        (
            {"format": "restore/1", "architecture": "stylegan2", "arguments": '{"size": 3}'},
            "do not fit architecture",
        ),
        (
            {"format": "restore/1", "architecture": "stylegan2", "arguments": '{"out_size": 8}'},
            "does not fill",
        ),
    ],
)
def test_files_that_cannot_be_built(metadata, message, tmp_path):
    path = tmp_path / "a.safetensors"
    save_file({"x": torch.zeros(1)}, path, metadata=metadata)
    with pytest.raises(CheckpointError, match=message):
        load_model_file(path)


def craft(path, header, data=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (b"{not json", "no JSON"),
        (b"[1, 2]", "no JSON object"),
        ({"x": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}, "is cut"),
        ({"x": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}}, "8 bytes, not 4"),
        ({"x": {"dtype": "ZZ", "shape": [2], "data_offsets": [0, 4]}}, "is damaged"),
        ({"__metadata__": 3}, "no table"),
    ],
)
def test_damaged_headers(header, message, tmp_path):
    path = tmp_path / "a.safetensors"
    craft(path, header, b"1234")
    with pytest.raises(CheckpointError, match=message):
        read_header(path)


def test_a_length_beyond_the_file(tmp_path):
    path = tmp_path / "a.safetensors"
    path.write_bytes(struct.pack("<Q", 2**40) + b"{}")
    with pytest.raises(CheckpointError, match="no safetensors file, or is cut"):
        read_header(path)


METADATA = {"format": "restore/1", "architecture": "gfpgan_clean"}
NESTED = "[" * 100_000


@pytest.mark.parametrize(
    "metadata",
    [
        {"arguments": "NaN"},
        {"arguments": "[1, 2]"},
        {"arguments": '"text"'},
        {"arguments": "null"},
        {"arguments": NESTED},
        {"arguments": '{"out_size": 1e999}'},
        {"arguments": '{"out_size": Infinity}'},
        {"arguments": '{"out_size": 1' + "0" * 400 + "}"},
        {"arguments": '{"out_size": 1' + "0" * 5000 + "}"},
        {"arguments": '{"out_size": 4503599627370496}'},
        {"arguments": '{"out_size": -64}'},
        {"arguments": '{"out_size": 0}'},
        {"arguments": '{"out_size": 6.5}'},
        {"arguments": '{"out_size": "16"}'},
        {"arguments": '{"out_size": [16]}'},
        {"arguments": '{"out_size": 16, "num_mlp": 16000}'},
        {"arguments": '{"out_size": 16, "w_dim": 16000, "num_mlp": 16000}'},
        {"arguments": '{"out_size": 16, "narrow": -1}'},
        {"arguments": '{"out_size": 16, "unknown": 1}'},
        {"arguments": '{"channels": []}'},
        {"arguments": "{}", "crop_size": "NaN"},
        {"arguments": "{}", "crop_size": "[512]"},
        {"arguments": "{}", "crop_size": "1e999"},
        {"arguments": "{}", "crop_size": "-4"},
        {"arguments": "{}", "crop_size": "true"},
        {"arguments": "{}", "template": NESTED},
        {"arguments": "{}", "prior": "Infinity"},
    ],
)
def test_hostile_headers_are_refused(metadata, tmp_path):
    path = tmp_path / "a.safetensors"
    save_file({"x": torch.ones(1)}, path, metadata={**METADATA, **metadata})
    with pytest.raises(CheckpointError):
        load_model_file(path)


@pytest.mark.parametrize(
    "metadata",
    [
        {"crop_size": "512", "template": "[]"},
        {"crop_size": "512", "template": '{"name": "ffhq512", "zoom": "wide"}'},
        {"crop_size": "512", "template": '{"name": "ffhq512", "zoom": 0}'},
        {"crop_size": "512", "template": '{"name": "ffhq512", "zoom": [1]}'},
        {"crop_size": "512", "template": '{"name": "ffhq512", "centre": 3}'},
        {"crop_size": "512", "template": '{"name": "ffhq512", "centre": [1]}'},
        {"crop_size": "512", "template": '{"name": "ffhq512", "centre": [null, 1]}'},
        {"crop_size": "512", "range": "0..255"},
        {},
    ],
)
def test_hostile_frames_are_refused(metadata, tmp_path):
    from restore.runtime.contract import read_model_info

    path = tmp_path / "a.safetensors"
    save_file({"x": torch.ones(1)}, path, metadata={**METADATA, "arguments": "{}", **metadata})
    with pytest.raises(CheckpointError):
        read_model_info(path)


@pytest.mark.parametrize(
    "header",
    [
        b'{"x":' * 100_000,
        b'{"x": NaN}',
        {"__metadata__": {"format": 3}},
        {"__metadata__": {"crop_size": ["512"]}},
        {"x": {"dtype": "F32", "shape": [-1, -1], "data_offsets": [0, 4]}},
        {"x": {"dtype": "F32", "shape": [1.0], "data_offsets": [0, 4]}},
        {"x": {"dtype": "F32", "shape": [True], "data_offsets": [0, 4]}},
        {"x": {"dtype": "F32", "shape": [1], "data_offsets": ["0", "4"]}},
        {"x": {"dtype": "F32", "shape": [1], "data_offsets": [-4, 0]}},
        {"x": {"dtype": ["F32"], "shape": [1], "data_offsets": [0, 4]}},
        {"x": {"dtype": "F32", "shape": [10**30], "data_offsets": [0, 4]}},
        {"x": 3},
        {"x": []},
    ],
)
def test_hostile_tables_of_tensors_are_refused(header, tmp_path):
    path = tmp_path / "a.safetensors"
    craft(path, header, b"1234")
    with pytest.raises(CheckpointError):
        read_header(path)


def test_weights_that_are_all_zero_are_refused(restorer, tmp_path):
    pytest.importorskip("onnx")
    from restore.runtime.export import export_model
    from restore.runtime.select import load_runtime

    path = tmp_path / "empty.safetensors"
    save_model_file(path, restorer, HEADER)
    export_model(path)
    content = bytearray(path.read_bytes())
    start = 8 + int.from_bytes(content[:8], "little")
    content[start:] = bytes(len(content) - start)
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="nothing but zeros"):
        load_network(path)
    with pytest.raises(CheckpointError, match="nothing but zeros"):
        load_runtime(path, "onnxruntime")
