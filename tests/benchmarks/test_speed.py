"""The reference that speed is a ratio to, and the tables, on networks that take no time."""

import mmap
import sys
import time

import numpy as np
import pytest
import torch

from benchmarks import speed
from benchmarks.plain_gfpgan import PlainGFPGAN, random_gfpgan
from benchmarks.speed import PeakMemory, composed_photo, main, time_in_turn
from restore.errors import DeviceError, InputError, RestoreError
from restore.networks.gfpgan import build_gfpgan
from restore.runtime.export import export_model, export_precision
from tests.runtime.models import GFPGAN, MOBILE, stirred, write_model
from tests.training.tiny import restorer_options, write


@torch.no_grad()
@pytest.mark.parametrize(
    "arguments",
    [
        {"out_size": 64, "narrow": 0.0625, "w_dim": 16},
        {"out_size": 32, "narrow": 0.0625, "w_dim": 16, "sft_half": False, "different_w": False},
    ],
)
def test_the_plain_network_is_the_network(arguments):
    network = stirred(build_gfpgan(**arguments))
    lq = torch.rand(2, 3, arguments["out_size"], arguments["out_size"]) * 2 - 1
    expected = network(lq).image
    assert expected.std() > 0.05
    np.testing.assert_allclose(PlainGFPGAN(network)(lq), expected, atol=1e-4)
    channels_last = network.to(memory_format=torch.channels_last)(lq).image  # the fast path
    np.testing.assert_allclose(channels_last, expected, atol=1e-4)


@torch.no_grad()
def test_random_images_spread_as_photos_do():
    image = random_gfpgan(32)(torch.rand(1, 3, 32, 32) * 2 - 1).image
    assert 0.2 < image.std() < 0.9


def test_candidates_take_turns():
    calls = []
    rows = time_in_turn({name: lambda name=name: calls.append(name) for name in "ab"}, 3)
    assert "".join(calls) == "aabb" * 3  # the first of each pair does not count
    assert all(0 <= row["min"] <= row["median"] for row in rows.values())


def test_the_table_of_a_tiny_network(capsys):
    asked = ["faces", "--no-model", "--gfpgan", "--size", "32", "--repeats", "1", "--threads", "1"]
    assert main([*asked, "--backends", "onnxruntime,torch", "--precisions", "float32"]) == 0
    rows = [line.split(" | ") for line in capsys.readouterr().out.splitlines()[4:]]
    assert [row[0][2:] for row in rows] == [
        "plain GFPGAN", "GFPGAN size, onnxruntime, float32", "GFPGAN size, torch, float32",
    ]  # fmt: skip
    assert rows[0][6:8] == ["1.0x", "1.0x"]
    assert float(rows[2][-1].rstrip("| ")) > 45  # dB from onnxruntime's


def test_a_model_that_is_not_there():
    with pytest.raises(RestoreError, match="gone"):
        main(["faces", "--no-reference", "--model", "gone", "--repeats", "1"])


@pytest.mark.parametrize(("megapixels", "count"), [(0.1, 1), (0.3, 20), (2.0, 4)])
def test_composed_photos(megapixels, count):
    photo = composed_photo(np.full((64, 64, 3), 255, np.uint8), megapixels, count)
    assert photo.shape[0] * photo.shape[1] == pytest.approx(megapixels * 1e6, rel=0.01)
    white = (photo == 255).all(2)
    side = round((white.sum() / count) ** 0.5)
    assert white.sum() == side * side * count


def rise(memory):
    return (memory.peak - memory.base) / 1e6


def test_peak_memory_sees_what_was_given_back():
    with PeakMemory() as memory:
        # mapped anew, because what the allocator had kept and gives again is no rise
        block = mmap.mmap(-1, 60_000_000)
        block.write(b"\1" * 60_000_000)
        deadline = time.monotonic() + 5
        while rise(memory) < 30 and time.monotonic() < deadline:
            time.sleep(0.01)
        block.close()
    assert rise(memory) > 30


def test_what_a_command_takes():
    code = "import time; b = bytearray(80_000_000); t = time.process_time()\n"
    code += "while time.process_time() - t < 0.3: pass"
    spent = speed.spent_by([sys.executable, "-c", code])
    assert 0.3 <= spent.cpu < 30
    assert spent.wall >= 0.25
    assert 80 < spent.megabytes < 400
    with pytest.raises(speed.subprocess.CalledProcessError):
        speed.spent_by([sys.executable, "-c", "raise SystemExit(3)"])


def test_the_folder_has_photos_of_all_kinds(tmp_path, monkeypatch):
    face = np.full((64, 64, 3), 250, np.uint8)
    monkeypatch.setattr(speed.Restorer, "load", lambda *_: None)
    monkeypatch.setattr(speed, "face_crop", lambda *_: face)
    real = speed.composed_photo
    monkeypatch.setattr(speed, "composed_photo", lambda f, m, n: real(f, m / 100, n))
    speed.write_folder(tmp_path, tmp_path / "photo.jpg", "default", 7)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == [f"{i:04d}.jpg" for i in range(7)]
    assert (tmp_path / "0005.jpg").read_bytes() == (tmp_path / "0000.jpg").read_bytes()
    assert len({path.read_bytes() for path in tmp_path.iterdir()}) == 5


def test_the_gpu_benchmark_on_a_cpu(tmp_path, monkeypatch, capsys):
    network = stirred(build_gfpgan(**GFPGAN))
    clean = write_model(tmp_path, "gfpgan_clean", GFPGAN, name="clean")
    model = write_model(tmp_path, "mobile_restorer", MOBILE)
    monkeypatch.setattr(speed, "random_gfpgan", lambda size: network)
    monkeypatch.setattr(speed, "write_gfpgan", lambda *_, **__: clean)
    command = ["--device", "cpu", "--model", str(model), "--size", "32", "--batch", "3"]
    assert main(["gpu", *command, "--seconds", "0.01"]) == 0
    rows = [line.strip("| ").split(" | ") for line in capsys.readouterr().out.splitlines()[4:]]
    assert len(rows) == 7
    assert rows[0][2] == "1.0x"
    psnr = {row[0]: float(row[-1]) for row in rows[1:]}
    assert psnr["GFPGAN size, float32, 3 faces"] == 99.9
    assert min(psnr.values()) > 30


def test_without_a_gpu_it_says_so(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(DeviceError, match="--device cpu"):
        main(["gpu"])


def test_graphs_are_timed(tmp_path, capsys):
    model = write_model(tmp_path, "mobile_restorer", MOBILE)
    names = [export_model(model), export_precision(model, "int8")]
    assert main(["graphs", *map(str, names), "--repeats", "1"]) == 0
    rows = capsys.readouterr().out.splitlines()[2:]
    assert [row.split(" | ")[0][2:] for row in rows][:: len(rows) // 2] == [
        "tiny.onnx",
        "tiny.int8.onnx",
    ]
    assert all(float(row.split(" | ")[4]) >= 0 for row in rows)
    with pytest.raises(InputError, match="restore export"):
        main(["graphs", str(tmp_path / "gone.onnx")])


def test_a_training_is_taken_apart(tmp_path, capsys):
    file = write(tmp_path, restorer_options(tmp_path))
    assert main(["training", "-opt", str(file), "--steps", "1"]) == 0
    table = capsys.readouterr().out
    for part in ("| data |", "| degradation |", "| G |", "| D |", "images per second"):
        assert part in table
