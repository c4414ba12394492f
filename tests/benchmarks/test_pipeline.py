"""The benchmarks of whole commands and of a GPU, tried out small."""

import sys

import numpy as np
import pytest

from restore.benchmarks import gpu, graphs, pipeline
from restore.errors import DeviceError, InputError
from restore.networks.gfpgan import build_gfpgan
from restore.runtime.export import export_model, export_precision
from tests.runtime.models import GFPGAN, MOBILE, stirred, write_model


def test_what_a_command_takes():
    code = "import time; b = bytearray(80_000_000); t = time.process_time()\n"
    code += "while time.process_time() - t < 0.3: pass"
    spent = pipeline.spent_by([sys.executable, "-c", code])
    assert 0.3 <= spent.cpu < 30
    assert spent.wall >= 0.25
    assert 80 < spent.megabytes < 400
    assert 0 < spent.utilisation <= 1.2
    with pytest.raises(pipeline.subprocess.CalledProcessError):
        pipeline.spent_by([sys.executable, "-c", "raise SystemExit(3)"])


def test_the_folder_has_photos_of_all_kinds(tmp_path, monkeypatch):
    face = np.full((64, 64, 3), 250, np.uint8)
    monkeypatch.setattr(pipeline.Restorer, "load", lambda *_: None)
    monkeypatch.setattr(pipeline, "face_crop", lambda *_: face)
    monkeypatch.setattr(pipeline, "MEGAPIXELS", (0.01, 0.02, 0.01, 0.03, 0.02))
    pipeline.write_folder(tmp_path, tmp_path / "photo.jpg", "default", 7)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == [f"{i:04d}.jpg" for i in range(7)]
    assert (tmp_path / "0005.jpg").read_bytes() == (tmp_path / "0000.jpg").read_bytes()
    assert len({path.read_bytes() for path in tmp_path.iterdir()}) == 5


def test_the_gpu_benchmark_on_a_cpu(tmp_path, monkeypatch, capsys):
    network = stirred(build_gfpgan(**GFPGAN))
    clean = write_model(tmp_path, "gfpgan_clean", GFPGAN, name="clean")
    model = write_model(tmp_path, "mobile_restorer", MOBILE)
    monkeypatch.setattr(gpu, "random_gfpgan", lambda size: network)
    monkeypatch.setattr(gpu, "write_gfpgan", lambda *_, **__: clean)
    command = ["--device", "cpu", "--model", str(model), "--size", "32", "--batch", "3"]
    assert gpu.main([*command, "--seconds", "0.01"]) == 0
    rows = capsys.readouterr().out.splitlines()[2:]
    assert len(rows) == 7
    assert rows[0].split()[-1] == "1.0x"
    psnr = {row[:44].strip(): float(row.split()[-1]) for row in rows[1:]}
    assert psnr["GFPGAN size, float32, 3 faces"] == 99.9
    assert min(psnr.values()) > 30


def test_without_a_gpu_it_says_so(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(DeviceError, match="--device cpu"):
        gpu.main([])


def test_graphs_are_timed(tmp_path, capsys):
    model = write_model(tmp_path, "mobile_restorer", MOBILE)
    names = [export_model(model), export_precision(model, "int8")]
    assert graphs.main([*map(str, names), "--repeats", "1"]) == 0
    rows = capsys.readouterr().out.splitlines()[2:]
    assert [row.split(" | ")[0][2:] for row in rows][:: len(rows) // 2] == [
        "tiny.onnx",
        "tiny.int8.onnx",
    ]
    assert all(float(row.split(" | ")[4]) >= 0 for row in rows)
    with pytest.raises(InputError, match="restore export"):
        graphs.main([str(tmp_path / "gone.onnx")])
