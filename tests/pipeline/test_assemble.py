"""The wiring: what is asked for reaches detector and runtime; models that are not there."""

import sys
from types import ModuleType

import pytest

from restore import Restorer
from restore.errors import CheckpointError
from restore.pipeline.restorer import find_model_file
from tests.pipeline.fakes import FixedDetector, InvertRuntime


@pytest.fixture
def asked(monkeypatch):
    """Stands in for the loaders of the floors below and notes what they were asked for."""
    notes = {}
    select = ModuleType("restore.runtime.select")

    def load_runtime(path, backend="auto", device=None, threads=None, precision="auto"):
        notes["runtime"] = (path, backend, device, threads, precision)
        return InvertRuntime(128)

    def load_detector(name):
        notes["detector"] = name
        return FixedDetector()

    select.load_runtime = load_runtime
    monkeypatch.setitem(sys.modules, "restore.runtime.select", select)
    monkeypatch.setattr("restore.faces.detect.load_detector", load_detector)
    return notes


def test_load_passes_everything_on(asked, tmp_path):
    weights = tmp_path / "net.safetensors"
    weights.write_bytes(b"x")
    restorer = Restorer.load(
        weights, "cuda:1", "torch", "yunet:f.onnx", threads=3, precision="float16"
    )
    assert asked == {
        "runtime": (weights, "torch", "cuda:1", 3, "float16"),
        "detector": "yunet:f.onnx",
    }
    assert restorer.crop_size == 128
    assert restorer.template.shape == (5, 2)


def test_a_model_that_is_not_there_says_what_to_do(asked, tmp_path, monkeypatch):
    monkeypatch.setenv("RESTORE_HOME", str(tmp_path))
    with pytest.raises(CheckpointError, match=r"restore download gfpgan-v1\.4"):
        Restorer.load("gfpgan-v1.4")
    with pytest.raises(CheckpointError, match=r"no file and no model named .gone\.pth"):
        Restorer.load("gone.pth")
    assert asked == {}


def test_only_online_fetches(tmp_path, monkeypatch):
    fetched = []
    monkeypatch.setattr(
        "restore.checkpoints.named_models.download_model",
        lambda name, offline: fetched.append((name, offline)) or tmp_path,
    )
    monkeypatch.setenv("RESTORE_HOME", str(tmp_path))
    with pytest.raises(CheckpointError):
        find_model_file("gfpgan-v1.4")
    assert fetched == []
    assert find_model_file("gfpgan-v1.4", offline=False) == tmp_path
    assert fetched == [("gfpgan-v1.4", False)]


@pytest.mark.shared
def test_real_detector_on_a_group_photo(shared):
    from restore.faces.detect import load_detector

    restorer = Restorer(InvertRuntime(128), load_detector("default"))
    result = restorer.restore(shared / "photos/group/Queen.jpeg", scale=1)
    assert result.status == "restored"
    assert len(result.faces) == 4
    again = restorer.restore(shared / "photos/group/Queen.jpeg", scale=1)
    assert again.image.tobytes() == result.image.tobytes()
