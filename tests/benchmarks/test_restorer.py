import json
import tarfile
from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from restore.benchmarks.candidates import (
    REFERENCES,
    Painted,
)
from restore.benchmarks.protocol import (
    batches,
    find_protocol_recipe,
    measure_recipe,
    open_faces,
    spread,
)
from restore.benchmarks.protocol_metrics import (
    detail_energy,
    gradient_energy,
    load_metrics,
    niqe_statistics,
)
from restore.benchmarks.protocol_pictures import calibration_plot
from restore.benchmarks.protocol_tables import (
    aims_table,
    calibration_table,
    correlation,
    dial_table,
    monotone,
    quality_table,
)
from restore.benchmarks.restorer import main
from restore.data.stores import encode_image
from restore.errors import InputError
from restore.networks.perceptual import SqueezeNetFeatures
from tests.benchmarks.protocol_faces import NAMES, small_faces, write_tar
from tests.runtime.models import MOBILE, write_model


@pytest.fixture
def faces(tmp_path):
    return small_faces(tmp_path)


class Doing:
    """A restorer that does one thing to lq."""

    def __init__(self, label, change, degradation=None):
        self.label, self.change, self.degradation = label, change, degradation

    def restore(self, lq, fidelities):
        images = [self.change(lq, f) for f in fidelities]
        head = None if self.degradation is None else self.degradation.expand(len(lq), 6)
        return Painted(images, head, torch.full((len(lq),), 0.25))


def suites(names=("psnr", "ssim"), **more):
    return load_metrics(names, None, **more).suites


def test_a_restorer_that_changes_nothing_has_the_numbers_of_lq(faces):
    references = {"as it is": lambda lq, small: lq}
    model = Doing("nothing", lambda lq, f: lq)
    result = measure_recipe(faces, "gfpgan", references, [model], [0.0, 1.0], suites(), 3)
    row = result.rows["as it is"]
    assert list(result.rows) == ["as it is", "nothing, fidelity 0", "nothing, fidelity 1"]
    assert 5 < row["psnr"] < 60
    for fidelity in (0, 1):
        assert result.rows[f"nothing, fidelity {fidelity}"] == {**row, "w_distance": 0.25}


def test_numbers_depend_on_neither_batches_nor_runs(faces):
    model = Doing("nothing", lambda lq, f: lq)
    runs = [
        measure_recipe(faces, "old_photo", REFERENCES, [model], [1.0], suites(), size)
        for size in (4, 4, 3)
    ]
    assert runs[0].rows == runs[1].rows
    assert torch.equal(runs[0].truth, runs[2].truth)
    for label, row in runs[0].rows.items():
        assert runs[2].rows[label] == pytest.approx(row, rel=1e-9)


def test_a_face_has_its_own_seed_whatever_the_count(faces):
    whole = next(batches(faces, "gfpgan", 4))
    alone = next(batches(replace(faces, names=NAMES[2:3]), "gfpgan", 4))
    assert torch.equal(whole.lq[2], alone.lq[0])
    assert not torch.equal(next(batches(faces, "heavy", 4)).lq, whole.lq)


def test_what_lies_outside_the_mask_does_not_count(faces):
    masks = next(batches(faces, "mild", 4)).mask
    assert 0.5 < float(masks.mean()) < (1 / 1.2) ** 2

    def spoilt(lq, f):
        return torch.where(masks[: len(lq)] > 0, lq, 1.0)

    models = [Doing("nothing", lambda lq, f: lq), Doing("border spoilt", spoilt)]
    made = suites(sharpness=True)
    rows = measure_recipe(faces, "mild", {}, models, [1.0], made, 4).rows
    assert rows["border spoilt, fidelity 1"] == rows["nothing, fidelity 1"]
    assert {"gradient", "detail"} <= set(rows["nothing, fidelity 1"])


def test_recipes_are_said_of_512_px():
    assert find_protocol_recipe("gfpgan").reference_size == 512
    with pytest.raises(InputError, match=r"realesrgan_second_order.*expected one of"):
        find_protocol_recipe("realesrgan_second_order")


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
    asked = ["--recipes", "gfpgan", "--count", 2, "--metrics", "psnr"]
    asked += ["--monotone", "--json", tmp_path / "out.json"]
    asked += ["--sheet", tmp_path / "sheet.png", "--calibration", tmp_path / "head.png"]
    assert main(arguments(folder, *asked)) == 0
    first, report = capsys.readouterr().out, json.loads((tmp_path / "out.json").read_text())
    assert main(arguments(folder, *asked)) == 0
    assert capsys.readouterr().out == first
    assert json.loads((tmp_path / "out.json").read_text()) == report
    assert "### gfpgan, 256 px, 2 faces of faces256-val" in first
    assert "Aims, tiny" in first
    assert "| log blur sigma (ln px at 512) |" in first
    rows = report["recipes"]["gfpgan"]["rows"]
    wanted = [*REFERENCES, *(f"tiny, fidelity {f:g}" for f in (0, 0.5, 1, 0.25, 0.75))]
    assert list(rows) == wanted
    for label in wanted[:6]:
        assert f"| {label} | {rows[label]['psnr']:.2f} |" in first
    assert "w_distance" not in rows["LQ, bicubic"]
    assert rows["tiny, fidelity 0"]["w_distance"] > 0
    assert len(report["recipes"]["gfpgan"]["estimates"]["tiny"]) == 2
    # LQ, three fidelities and the ground truth of two faces
    assert Image.open(tmp_path / "sheet_gfpgan.png").size == (5 * 260 + 4, 2 * (260 + 26) + 4)
    assert np.asarray(Image.open(tmp_path / "head.png")).std() > 1


def test_measures_on_networks_of_the_weights_folder(folder, faces):
    pytest.importorskip("lpips")
    metrics = load_metrics(("frechet", "lpips"), folder)
    assert metrics.names == ("lpips", "frechet")
    gt, _ = faces.framed(NAMES)
    models = [Doing("nothing", lambda lq, f: lq), Doing("perfect", lambda lq, f: gt[: len(lq)])]
    rows = measure_recipe(faces, "heavy", {}, models, [1.0], metrics.suites, 4).rows
    for name in metrics.names:
        assert rows["perfect, fidelity 1"][name] == pytest.approx(0, abs=1e-4)
        assert rows["nothing, fidelity 1"][name] > 1e-3


def test_errors_say_what_is_missing(folder, tmp_path):
    with pytest.raises(InputError, match=r"holds no faces512-val\.tar"):
        main(arguments(folder, "--size", 512))
    with pytest.raises(InputError, match=r"identity need mobilefacenet.*--metrics psnr ssim"):
        main(arguments(folder, "--metrics", "identity"))
    with pytest.raises(InputError, match=r"holds no facemesh_468\.pth, which landmarks need"):
        main(arguments(folder, "--metrics", "landmarks", "--weights", folder))
    with pytest.raises(InputError, match=r"fidelity \[2\.0\]"):
        main(arguments(folder, "--fidelity", 2))
    with pytest.raises(InputError, match="its folder is not there"):
        main(arguments(folder, "--json", tmp_path / "no" / "out.json"))
    with pytest.raises(InputError, match="no faces256-train"):
        main(arguments(folder, "--metrics", "niqe", "--niqe", tmp_path / "niqe.safetensors"))
    with pytest.raises(InputError, match="no folder"):
        open_faces(tmp_path / "no", 256)


def test_niqe_is_left_out_with_the_reason_or_fitted_once(tmp_path):
    without = load_metrics(("psnr", "niqe"), None)
    assert without.names == ("psnr",)
    assert "--niqe FILE" in without.left_out["niqe"]
    rng = np.random.default_rng(0)
    with tarfile.open(tmp_path / "faces256-train-0.tar", "w") as tar:
        for i in range(12):
            data = encode_image(rng.integers(0, 256, (256, 256, 3), dtype=np.uint8))
            info = tarfile.TarInfo(f"aaf_{i}.png")
            info.size = len(data)
            tar.addfile(info, BytesIO(data))
    path = tmp_path / "niqe.safetensors"
    statistics = niqe_statistics(path, tmp_path, 256)
    assert path.is_file()
    assert statistics.block == 48
    assert torch.equal(niqe_statistics(path, tmp_path / "gone", 256).mean, statistics.mean)
    with pytest.raises(InputError, match="blocks of 48 px, expected 96"):
        niqe_statistics(path, tmp_path, 512)


def test_names_are_spread_over_the_sources():
    assert spread("abcdefgh", 4) == ("a", "c", "e", "g")
    assert spread("abc", None) == spread("abc", 7) == ("a", "b", "c")
    with pytest.raises(InputError):
        spread("abc", 0)


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
    base = {"psnr": 20.0, "lpips": 0.4, "frechet": 100.0, "identity": 0.5}
    good = {"psnr": 20.5, "lpips": 0.2, "frechet": 35.0, "identity": 0.8}
    bad = {"psnr": 19.5, "lpips": 0.21, "frechet": 36.0, "identity": 0.79}
    rows = {"LQ, bicubic": base, "m, fidelity 0": bad, "m, fidelity 1": good}
    table = aims_table(rows, "m", [0.0, 1.0]).splitlines()[2:]
    assert [line.split("|")[1].strip() for line in table] == ["0"] * 3 + ["1"] * 4
    assert [line.split("|")[5].strip() for line in table] == ["NO"] * 3 + ["yes"] * 4
    dial = dial_table(rows, "m", [0.0, 1.0]).splitlines()
    assert dial[-1] == "| monotone | rises: yes | rises: yes |"
    assert "| LQ, bicubic | 20.00 | – |" in quality_table(rows, ["LQ, bicubic"], ["psnr", "ssim"])


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
    exact = np.asarray(calibration_plot({"a": (truth, truth)})).astype(int)
    wrong = np.asarray(calibration_plot({"a": (truth, truth.flip(0))})).astype(int)
    assert np.abs(exact - wrong).sum() > 0
