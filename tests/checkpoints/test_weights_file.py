"""Reading weights: wrappers, damaged and foreign files, pickles that try to run something."""

import argparse
import os

import pytest
import torch
from safetensors.torch import save_file

from restore.checkpoints.weights_file import read_state_dict
from restore.errors import CheckpointError

TENSORS = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.bias": torch.ones(2)}


class Malice:
    """Unpickling this would create the file `marker`."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


@pytest.mark.parametrize(
    ("content", "wrapper"),
    [
        (TENSORS, None),
        ({"params": {"b": torch.zeros(1)}, "params_ema": TENSORS}, "params_ema"),
        ({"g": {"b": torch.zeros(1)}, "g_ema": TENSORS}, "g_ema"),
        ({"state_dict": {f"module.{k}": v for k, v in TENSORS.items()}, "epoch": 3}, "state_dict"),
        ({"params": TENSORS, "args": argparse.Namespace(size=4)}, "params"),
    ],
)
@pytest.mark.parametrize("zipped", [True, False])
def test_wrappers(content, wrapper, zipped, tmp_path):
    path = tmp_path / "net.pth"
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    state = read_state_dict(path)
    assert state.wrapper == wrapper
    assert list(state.tensors) == list(TENSORS)
    torch.testing.assert_close(state.tensors, TENSORS)


def test_a_wrapper_can_be_chosen(tmp_path):
    path = tmp_path / "net.pth"
    torch.save({"params": {"b": torch.zeros(1)}, "params_ema": TENSORS}, path)
    assert list(read_state_dict(path, key="params").tensors) == ["b"]
    with pytest.raises(CheckpointError, match="no table 'g'; it holds params, params_ema"):
        read_state_dict(path, key="g")


def test_safetensors_by_content_not_by_name(tmp_path):
    path = tmp_path / "net.pth"
    save_file(TENSORS, path)
    torch.testing.assert_close(read_state_dict(path).tensors, TENSORS)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_torch_file_that_runs_something_is_refused(zipped, tmp_path):
    marker = tmp_path / "marker"
    path = tmp_path / "net.pth"
    torch.save(
        {"params": TENSORS, "x": Malice(marker)}, path, _use_new_zipfile_serialization=zipped
    )
    with pytest.raises(CheckpointError, match=r"Refused.*asks for (posix|nt)\.system"):
        read_state_dict(path)
    assert not marker.exists()
    torch.load(path, weights_only=False)  # the file is live: an unguarded reader does run it
    assert marker.exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (bytes(5000), "nothing but zero bytes"),
        (b"\n<!DOCTYPE html><html>404</html>", "a web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer"),
        (b"\xff\xd8\xff\xe0JFIF", "unknown content"),
        (b"PK\x03\x04 and then nothing", "damaged or cut torch file"),
        (b"\x80\x04\x95", "damaged or cut pickle"),
    ],
)
def test_foreign_files(content, message, tmp_path):
    path = tmp_path / "net.pth"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=message):
        read_state_dict(path)


@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors"])
@pytest.mark.parametrize("kept", [0.3, 0.9])
def test_cut_files(kind, kept, tmp_path):
    path = tmp_path / "net.pth"
    tensors = {f"layer{i}": torch.randn(64, 64) for i in range(4)}
    if kind == "safetensors":
        save_file(tensors, path)
    else:
        torch.save(tensors, path, _use_new_zipfile_serialization=kind == "zip")
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * kept)])
    with pytest.raises(CheckpointError, match=r"damaged|cut"):
        read_state_dict(path)


def test_what_is_no_state_dict(tmp_path):
    path = tmp_path / "net.pth"
    torch.save([1, 2], path)
    with pytest.raises(CheckpointError, match="holds a list"):
        read_state_dict(path)
    torch.save({"epoch": 3}, path)
    with pytest.raises(CheckpointError, match="no tensors, only epoch"):
        read_state_dict(path)
    with pytest.raises(CheckpointError, match="There is no file"):
        read_state_dict(tmp_path / "absent.pth")
    with pytest.raises(CheckpointError, match="Cannot read"):
        read_state_dict(tmp_path)
