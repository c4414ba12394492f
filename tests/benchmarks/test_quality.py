"""Quality against the truth, without one, and of two folders."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from benchmarks.faces import Painted, batches
from benchmarks.quality import (
    LQ,
    RecipeResult,
    beside_table,
    calibration_table,
    correlation,
    detail_energy,
    dial_table,
    gradient_energy,
    main,
    measure_recipe,
    monotone,
    niqe_statistics,
    noise_left,
    quality_table,
    real_faces,
    real_sheet,
    real_table,
)
from restore.errors import InputError
from restore.metrics.table import MetricTools, build_suite
from restore.networks.perceptual import SqueezeNetFeatures
from tests.benchmarks.protocol_faces import NAMES, small_faces, write_tar
from tests.conftest import ROOT
from tests.faces.nobody import nobody
from tests.runtime.models import MOBILE, write_model


@pytest.fixture
def faces(tmp_path):
    return small_faces(tmp_path)


class Doing:
    """A restorer that does one thing to lq."""

    def __init__(self, label, change):
        self.label, self.change = label, change

    def restore(self, lq, fidelities):
        return Painted([self.change(lq, f) for f in fidelities], torch.zeros(len(lq), 6))


def suite(*names):
    return build_suite(MetricTools(), names or ("psnr", "ssim"))


def test_a_restorer_that_changes_nothing_has_the_numbers_of_the_input(faces):
    model = Doing("nothing", lambda lq, f: lq)
    result = measure_recipe(faces, "small_sharp", [model], [0.0, 1.0], suite(), 3)
    assert list(result.rows) == [LQ, "nothing, fidelity 0", "nothing, fidelity 1"]
    row = result.rows[LQ]
    assert 5 < row["psnr"] < 60
    for fidelity in (0, 1):
        assert result.rows[f"nothing, fidelity {fidelity}"] == pytest.approx(row, nan_ok=True)
    assert result.estimates["nothing"].shape == result.truth.shape == (4, 6)


def test_numbers_depend_on_neither_batches_nor_runs(faces):
    model = Doing("nothing", lambda lq, f: lq)
    runs = [measure_recipe(faces, "old_photo", [model], [1.0], suite(), n) for n in (4, 4, 3)]
    for label, row in runs[0].rows.items():
        assert runs[1].rows[label] == pytest.approx(row, nan_ok=True, rel=0)
        assert runs[2].rows[label] == pytest.approx(row, nan_ok=True, rel=1e-9)
    assert torch.equal(runs[0].truth, runs[2].truth)


def test_what_lies_outside_the_mask_does_not_count(faces):
    masks = next(batches(faces, "mild", 4)).mask
    assert 0.5 < float(masks.mean()) < (1 / 1.2) ** 2

    def spoilt(lq, f):
        return torch.where(masks[: len(lq)] > 0, lq, 1.0)

    models = [Doing("nothing", lambda lq, f: lq), Doing("border spoilt", spoilt)]
    rows = measure_recipe(faces, "mild", models, [1.0], suite(), 4).rows
    for name in ("psnr", "ssim"):
        found = rows["border spoilt, fidelity 1"][name]
        assert found == rows["nothing, fidelity 1"][name]


def test_the_share_of_noise_that_is_left():
    truth = torch.from_numpy(nobody(256)).permute(2, 0, 1)[None].float() / 127.5 - 1
    draws = torch.Generator().manual_seed(0)
    noise = torch.randn(1, 1, 256, 256, generator=draws) * (12 / 127.5)
    other = torch.randn(1, 1, 256, 256, generator=draws) * (12 / 127.5)
    lq = truth + noise
    assert float(noise_left(lq, lq, truth)) == pytest.approx(1, abs=1e-6)
    assert float(noise_left(truth, lq, truth)) == pytest.approx(0, abs=0.02)
    assert float(noise_left(truth + 0.5 * noise, lq, truth)) == pytest.approx(0.5, abs=0.05)
    # what is painted anew is not the input's
    assert abs(float(noise_left(truth + other, lq, truth))) < 0.1
    assert torch.isnan(noise_left(truth, truth, truth)).all()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("protocol")
    write_tar(path / "faces256-val.tar", 256, NAMES[:3])
    write_model(path, "mobile_restorer", MOBILE)
    features, generator = SqueezeNetFeatures(), torch.Generator().manual_seed(0)
    for tensor in features.state_dict().values():
        if tensor.ndim == 4:  # weights that keep the size of features, or all distances vanish
            torch.nn.init.kaiming_normal_(tensor, generator=generator)
    save_file(features.state_dict(), path / "squeezenet1_1_features.safetensors")
    return path


def arguments(folder, *more):
    base = ["--faces", folder, "--model", f"tiny={folder / 'tiny.safetensors'}", "--size", "256"]
    return [str(a) for a in (*base, "--quiet", *more)]


def test_the_command_prints_the_tables_twice_alike(folder, tmp_path, capsys):
    asked = ["--recipes", "gfpgan", "small_sharp", "--count", 2, "--metrics", "psnr"]
    asked += ["--monotone", "--json", tmp_path / "out.json", "--calibration"]
    asked += ["--sheet", tmp_path / "sheet.png"]
    assert main(arguments(folder, *asked)) == 0
    first, report = capsys.readouterr().out, json.loads((tmp_path / "out.json").read_text())
    assert main(arguments(folder, *asked)) == 0
    assert capsys.readouterr().out == first
    assert "### gfpgan, 256 px, 2 faces of faces256-val" in first
    assert "Fidelity dial of tiny" in first and "| log_blur_sigma |" in first
    rows = report["recipes"]["gfpgan"]
    assert list(rows) == [LQ, *(f"tiny, fidelity {f:g}" for f in (1, 0, 0.25, 0.5, 0.75))]
    for label in (LQ, "tiny, fidelity 1"):
        assert f"| {label} | {rows[label]['psnr']:.2f} |" in first
    gained = rows["tiny, fidelity 1"]["psnr"] - rows[LQ]["psnr"]
    assert f"| gfpgan | {gained:.2f} |" in first
    # LQ, one fidelity and the ground truth of two faces
    assert Image.open(tmp_path / "sheet_gfpgan.png").size == (3 * 260 + 4, 2 * (260 + 26) + 4)


def test_errors_say_what_is_missing(folder, tmp_path):
    with pytest.raises(InputError, match=r"identity need mobilefacenet.*--metrics psnr ssim"):
        main(arguments(folder, "--metrics", "identity"))
    with pytest.raises(InputError, match=r"landmarks need facemesh_468\.pth"):
        main(arguments(folder, "--metrics", "landmarks", "--weights", folder))
    with pytest.raises(InputError, match=r"fidelity \[2\.0\]"):
        main(arguments(folder, "--fidelity", 2))
    with pytest.raises(InputError, match="no faces256-train"):
        main(arguments(folder, "--metrics", "niqe", "--niqe", tmp_path / "niqe.safetensors"))
    with pytest.raises(InputError, match="nothing to do"):
        main([])


def test_niqe_statistics_are_fitted_once(tmp_path):
    write_tar(tmp_path / "faces256-train-0.tar", 256, [f"aaf_{i}" for i in range(24)])
    path = tmp_path / "niqe.safetensors"
    statistics = niqe_statistics(path, tmp_path, 256)
    assert path.is_file() and statistics.block == 48
    assert torch.equal(niqe_statistics(path, tmp_path / "gone", 256).mean, statistics.mean)
    with pytest.raises(InputError, match="blocks of 48 px, expected 96"):
        niqe_statistics(path, tmp_path, 512)


@pytest.mark.skipif(
    not (ROOT / "restore" / "weights" / "default.safetensors").is_file(), reason="no packaged model"
)
def test_real_faces_are_measured_on_their_own_pixels(tmp_path):
    from restore.pipeline.options import TrustOptions
    from restore.pipeline.restorer import Restorer

    photo = np.full((400, 400, 3), 120, np.uint8)
    noise = np.random.default_rng(0).normal(0, 14, (256, 256, 1))
    photo[72:328, 72:328] = np.clip(nobody(256) + noise, 0, 255).astype(np.uint8)
    Image.fromarray(photo).save(tmp_path / "noisy.png")
    raw = TrustOptions("off", gentle=False, keep_good=False)
    found = real_faces(Restorer.load(), tmp_path / "noisy.png", raw, None, None)
    assert len(found) == 1 and found[0].name.endswith("/noisy")
    numbers = found[0].numbers
    assert numbers["noise before"] == pytest.approx(14, rel=0.3)
    assert numbers["noise"] < 0.6 * numbers["noise before"]
    assert numbers["blocks"] >= 0 and numbers["eyes"] > 20
    assert real_table(found).splitlines()[-1].startswith("| median |")
    assert real_sheet(found, 64).width == 2 * 68 + 4


def test_sharpness_falls_with_blur_and_reads_the_mask_only():
    image = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    blurred = torch.nn.functional.avg_pool2d(image, 3, 1, 1, count_include_pad=False)
    mask = torch.zeros(1, 1, 32, 32)
    mask[:, :, 4:20, 4:20] = 1
    for energy in (gradient_energy, detail_energy):
        assert float(energy(blurred)) < float(energy(image))
        other = torch.where(mask > 0, image, 0.3)
        assert float(energy(other, mask)) == float(energy(image, mask))
        assert float(energy(torch.full_like(image, 0.2))) == pytest.approx(0, abs=1e-9)
    step = torch.full((1, 3, 8, 8), -1.0)
    step[..., 4:] = 1.0
    # one of the seven differences across is 219 (luma 16..235), those down are 0
    assert float(gradient_energy(step)) == pytest.approx(219**2 / 7, rel=1e-4)


def test_dial_and_aims_tell_truth():
    assert monotone([1, 1, 2], True)
    assert not monotone([1, 1, 1], True)
    assert not monotone([1, 3, 2], True)
    assert monotone([3, 2, 1], False)
    base = {"psnr": 20.0, "lpips": 0.4, "identity": 0.5}
    own = {"psnr": 19.7, "lpips": 0.21, "identity": 0.83}
    rows = {LQ: base, "m, fidelity 1": own}
    rows |= {f"m, fidelity {f:g}": {**own, "identity": 0.8 + f / 100} for f in (0, 0.25, 0.5, 0.75)}
    table = beside_table(
        [RecipeResult("gfpgan", rows), RecipeResult("mild", rows)], "m, fidelity 1"
    )
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()[2:]]
    assert lines[0] == ["gfpgan", "-0.30", "0.52 (≤ 0.5 !)", "0.830 (≥ 0.82)"]
    assert lines[1][1] == "-0.30 (≥ -0.5)"
    assert dial_table(rows, "m").splitlines()[-1] == "| monotone | rises: yes | rises: NO |"
    assert f"| {LQ} | 20.00 | 0.4000 | 0.500 |" in quality_table(rows, [LQ])


def test_calibration_measures_each_parameter_in_its_unit():
    truth = torch.rand(20, 6, generator=torch.Generator().manual_seed(0))
    estimates = truth.clone()
    estimates[:, 2] += 0.2  # of 25
    lines = calibration_table(truth, estimates).splitlines()[2:]
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
    assert [c[1] for c in cells] == ["0.000", "0.000", "5.000", "0.000", "0.000", "0.000"]
    assert cells[2][3] == "+5.000"
    assert {c[4] for c in cells} == {"1.00"}
    assert np.isnan(correlation(torch.ones(4), torch.rand(4)))


def write(folder, name, pixels):
    folder.mkdir(exist_ok=True)
    Image.fromarray(pixels).save(folder / name)


@pytest.fixture
def folders(tmp_path):
    rng = np.random.default_rng(0)
    for index in range(3):
        good = rng.integers(0, 246, (64, 64, 3), dtype=np.uint8)
        write(tmp_path / "gt", f"{index}.png", good)
        write(tmp_path / "restored", f"{index}.bmp", good + 10)
    return tmp_path


def value(out, label):
    return float(
        next(line for line in out.splitlines() if line.startswith(f"| {label}")).split("|")[2]
    )


def test_two_folders_are_compared_by_name(folders, capsys):
    compare = ["--compare", str(folders / "restored"), str(folders / "gt")]
    assert main(compare) == 0
    out = capsys.readouterr().out
    assert "3 images" in out
    assert value(out, "PSNR (dB, RGB)") == pytest.approx(20 * np.log10(255 / 10), abs=1e-3)


def test_unpaired_sets_give_a_frechet_distance(folder, folders, capsys):
    write(folders / "gt", "more.png", np.full((64, 64, 3), 9, np.uint8))
    compare = ["--compare", str(folders / "restored"), str(folders / "gt"), "--unpaired"]
    assert main([*compare, "--weights", str(folder), "--metrics", "frechet"]) == 0
    assert value(capsys.readouterr().out, "Frechet distance (squeezenet1_1)") > 0


def test_niqe_statistics_of_any_folder_are_fitted_and_used(folders, capsys):
    generator = torch.Generator().manual_seed(0)
    for index in range(16):
        coarse = torch.rand(3, 24, 24, generator=generator)
        smooth = torch.nn.functional.interpolate(coarse[None], 64, mode="bicubic")[0] * 255
        write(
            folders / "good", f"{index}.png", smooth.clamp(0, 255).byte().permute(1, 2, 0).numpy()
        )
    out = str(folders / "niqe.safetensors")
    assert main(["--fit-niqe", str(folders / "good"), "--niqe", out, "--size", "64"]) == 0
    values = {}
    for name in ("good", "restored"):  # noise is no good picture
        compare = ["--compare", str(folders / name), str(folders / "gt"), "--unpaired"]
        assert main([*compare, "--metrics", "niqe", "--niqe", out]) == 0
        values[name] = value(capsys.readouterr().out, "NIQE")
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
def test_folders_that_do_not_fit_are_refused(folders, change, message):
    change(folders)
    with pytest.raises(InputError, match=message):
        main(["--compare", str(folders / "restored"), str(folders / "gt")])
