import json

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from restore.benchmarks.quality import main
from restore.networks.perceptual import SqueezeNetFeatures


def write(folder, name, pixels):
    folder.mkdir(exist_ok=True)
    Image.fromarray(pixels).save(folder / name)


@pytest.fixture
def folders(tmp_path):
    rng = np.random.default_rng(0)
    for index in range(3):
        good = rng.integers(0, 246, (64, 64, 3), dtype=np.uint8)
        write(tmp_path / "gt", f"{index}.png", good)
        bad = good.copy()
        bad[:, 32:] += 10
        write(tmp_path / "restored", f"{index}.bmp", bad)
    half = np.zeros((64, 64), np.uint8)
    half[:, 32:] = 255
    write(tmp_path, "mask.png", half)
    return tmp_path


def test_table_and_json_with_a_mask(folders, capsys):
    arguments = [
        str(folders / "restored"),
        str(folders / "gt"),
        "--mask",
        str(folders / "mask.png"),
    ]
    assert main([*arguments, "--json", "--metrics", "psnr,ssim"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["images"] == 3
    assert report["metrics"]["psnr"]["value"] == pytest.approx(20 * np.log10(255 / 10), abs=1e-3)
    assert report["metrics"]["psnr"]["better"] == "higher"
    assert main(arguments) == 0
    table = capsys.readouterr().out
    assert "PSNR (dB, RGB)" in table
    assert "28.1308" in table


def test_unpaired_sets_give_a_frechet_distance(folders, capsys):
    save_file(SqueezeNetFeatures().state_dict(), folders / "squeeze.safetensors")
    write(folders / "gt", "more.png", np.full((64, 64, 3), 9, np.uint8))
    arguments = [str(folders / "restored"), str(folders / "gt"), "--json", "--unpaired"]
    assert main([*arguments, "--feature-network", str(folders / "squeeze.safetensors")]) == 0
    metrics = json.loads(capsys.readouterr().out)["metrics"]
    assert list(metrics) == ["frechet"]
    assert metrics["frechet"]["value"] > 0
    assert "squeezenet1_1" in metrics["frechet"]["label"]


def test_niqe_statistics_are_fitted_and_used(folders, capsys):
    generator = torch.Generator().manual_seed(0)
    for index in range(16):
        coarse = torch.rand(3, 24, 24, generator=generator)
        pixels = torch.nn.functional.interpolate(coarse[None], 64, mode="bicubic")[0] * 255
        picture = pixels.clamp(0, 255).byte().permute(1, 2, 0).numpy()
        write(folders / "good", f"{index}.png", picture)
    out = folders / "niqe.safetensors"
    assert main(["--fit-niqe", str(folders / "good"), str(out), "--block", "16"]) == 0
    capsys.readouterr()
    arguments = ["--unpaired", "--json", "--metrics", "niqe", "--niqe-statistics", str(out)]
    values = {}
    for name in ("good", "restored"):  # noise is no good picture
        assert main([str(folders / name), str(folders / "gt"), *arguments]) == 0
        values[name] = json.loads(capsys.readouterr().out)["metrics"]["niqe"]["value"]
    assert values["good"] < values["restored"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: (f / "gt" / "0.png").unlink(), "1 names are in one folder only"),
        (lambda f: (f / "gt" / "0.png").write_bytes(b"no"), "cannot be read as a picture"),
        (lambda f: write(f / "gt", "0.png", np.zeros((8, 8, 3), np.uint8)), "bring both to one"),
        (lambda f: write(f / "gt", "0.jpg", np.zeros((8, 8, 3), np.uint8)), "different endings"),
    ],
)
def test_problems_end_in_one_line(folders, capsys, change, message):
    change(folders)
    assert main([str(folders / "restored"), str(folders / "gt")]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
