"""Sessions: what cannot be opened, and that onnxruntime is loaded without its telemetry."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from restore.errors import CheckpointError
from restore.model_files import model_session, open_session

WEIGHTS = Path(__file__).resolve().parents[2] / "restore" / "weights"


def test_what_is_no_graph_is_said(tmp_path):
    (tmp_path / "a.onnx").write_bytes(b"no graph")
    with pytest.raises(CheckpointError, match=r"a\.onnx is no model"):
        open_session(tmp_path / "a.onnx", 1)
    with pytest.raises(CheckpointError, match="this graph is no model"):
        open_session(b"no graph", 1)
    (tmp_path / "a.safetensors").write_bytes((WEIGHTS / "cover.safetensors").read_bytes())
    with pytest.raises(CheckpointError, match="restore export"):
        open_session(tmp_path / "a.onnx", 1)
    with pytest.raises(CheckpointError, match="no graph of ours"):
        model_session(tmp_path / "a.safetensors", 1)


def test_no_telemetry_and_nothing_left_at_home(tmp_path):
    code = """
import os, sys
from pathlib import Path
import numpy as np
from restore.model_files import model_session, open_session
weights = Path(sys.argv[1])
assert "onnxruntime" not in sys.modules
session = model_session(weights / "cover.safetensors", 1)
session.run(None, {"face": np.zeros((1, 3, 64, 64), np.float32)})
assert os.environ["ORT_DISABLE_TELEMETRY"] == "1"
"""
    home = {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / ".cache")}
    environment = {**os.environ, **home, "PYTHONDONTWRITEBYTECODE": "1"}
    environment.pop("ORT_DISABLE_TELEMETRY", None)
    subprocess.run([sys.executable, "-c", code, str(WEIGHTS)], check=True, env=environment)
    assert list(tmp_path.rglob("*")) == []
