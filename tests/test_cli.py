"""The command line from end to end on a fake network: options, folders, exit codes, interrupts."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import restore
from restore.commands.tree import main, verb_parser
from restore.errors import CheckpointError
from restore.pipeline.options import ModelOptions
from restore.pipeline.restorer import Restorer
from tests.pipeline.fakes import FixedDetector, InvertRuntime, face_at
from tests.pipeline.test_restorer import smooth

ROOT = Path(restore.__file__).parents[1]
# The public command line. Whoever takes one away or renames it breaks somebody's script.
FLAGS = {
    "-h", "--help", "-i", "--input", "-o", "--output", "-v", "--version", "-s", "--upscale",
    "--bg_upsampler", "--bg_tile", "--suffix", "--only_center_face", "--aligned", "--ext", "-w",
    "--weight", "--fidelity", "--model", "--device", "--backend", "--threads", "--detector",
    "--offline",
    "--download", "--recursive", "--resume", "--overwrite", "--min-score", "--min-face",
    "--max-faces", "--allow-color", "--quality", "--subsampling", "--report-json", "--quiet",
    "--report", "--no-ai-label", "--colorize", "--identity", "--identity-threshold",
    "--precision", "--ahead", "--identity-network", "--no-gentle", "--restore-good",
    "--no-detail", "--grain", "--seed", "--reference", "--max-megapixels", "--strict",
}  # fmt: skip


@pytest.fixture
def fake(monkeypatch):
    """The command line gets this restorer instead of a real one; returns the calls it made."""
    calls = []

    def load(options):
        calls.append(options)
        return Restorer(InvertRuntime(poison=200), FixedDetector(face_at(50, 40, 60)))

    monkeypatch.setattr("restore.pipeline.restorer.load_restorer", load)
    return calls


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "in"
    (folder / "sub").mkdir(parents=True)
    for i, name in enumerate(("a.jpg", "a.png", "b.png", "sub/c.png")):
        Image.fromarray(smooth(83, 101, seed=i)).save(folder / name)
    (folder / "notes.txt").write_text("no photo")
    return folder


def run(*arguments):
    return main([str(argument) for argument in arguments])


def lines(output):
    return [json.loads(line) for line in (output / "results.jsonl").read_text("utf-8").splitlines()]


def files(folder):
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def test_the_flags_are_frozen():
    found = {flag for action in verb_parser("run")._actions for flag in action.option_strings}
    assert found == FLAGS


def test_folder_in_folder_out(fake, photos, tmp_path, capsys):
    out = tmp_path / "out"
    assert run("-i", photos, "-o", out, "-s", 1.5) == 0
    names = ("a_jpg", "a_png", "b")
    kinds = ("cmp", "cropped_faces", "restored_faces")
    assert files(out) == sorted(
        [f"{kind}/{name}_00.png" for kind in kinds for name in names]
        + ["restored_imgs/a_jpg.jpg", "restored_imgs/a_png.png", "restored_imgs/b.png"]
        + ["results.jsonl"]
    )  # fmt: skip
    with Image.open(out / "restored_imgs/b.png") as image:
        assert image.size == (round(101 * 1.5), round(83 * 1.5))
    with Image.open(out / "cmp/b_00.png") as image:
        assert image.size == (128, 64)
    records = lines(out)
    assert [Path(r["input"]).name for r in records] == ["a.jpg", "a.png", "b.png"]
    assert records[2]["status"] == "restored"
    assert records[2]["output"] == str(out / "restored_imgs/b.png")
    assert records[2]["faces"][0]["file"] == str(out / "restored_faces/b_00.png")
    assert records[2]["faces"][0]["degradation"]["jpeg_quality"] == pytest.approx(70)
    assert "3 photos, 3 faces restored" in capsys.readouterr().err


def test_options_reach_the_loader_and_the_writer(fake, photos, tmp_path):
    out = tmp_path / "out"
    assert run("-i", photos / "b.png", "-o", out, "-v", "1.3", "--device", "cuda:1", "--backend",
               "torch", "--detector", "yunet:x.onnx", "--download", "--threads", 3, "--ext", "jpg",
               "--suffix", "new", "--bg_tile", 7, "--bg_upsampler", "x.pth") == 0  # fmt: skip
    assert fake == [
        ModelOptions(
            model="gfpgan-v1.3",
            device="cuda:1",
            backend="torch",
            detector="yunet:x.onnx",
            offline=False,
            threads=3,
            bg_upsampler="x.pth",
            bg_tile=7,
        )
    ]
    assert (out / "restored_imgs/b_new.jpg").is_file()
    assert (out / "restored_faces/b_00_new.png").is_file()


def test_recursive_keeps_the_tree(fake, photos, tmp_path):
    assert run("-i", photos, "-o", tmp_path / "out", "--recursive", "--quiet") == 0
    assert (tmp_path / "out/restored_imgs/sub/c.png").is_file()
    assert (tmp_path / "out/cropped_faces/sub/c_00.png").is_file()


def test_aligned(fake, tmp_path):
    Image.fromarray(smooth(96, 96)).save(tmp_path / "a.png")
    out = tmp_path / "out"
    assert run("-i", tmp_path / "a.png", "-o", out, "--aligned") == 0
    assert files(out) == [
        "cmp/a_00.png", "cropped_faces/a_00.png", "restored_faces/a_00.png", "results.jsonl",
    ]  # fmt: skip
    assert run("-i", tmp_path / "a.png", "-o", out, "--aligned", "--resume") == 0
    assert len(lines(out)) == 1


def test_broken_files_are_isolated(fake, photos, tmp_path, capsys):
    (photos / "empty.jpg").write_bytes(b"")
    (photos / "letter.jpg").write_text("Dear grandma")
    out = tmp_path / "out"
    assert run("-i", photos, "-o", out) == 1
    assert (out / "restored_imgs/b.png").is_file()
    said = capsys.readouterr().err
    assert "empty.jpg: is empty (0 bytes)" in said
    assert "letter.jpg: is no image: it holds text" in said
    status = {Path(record["input"]).name: record["status"] for record in lines(out)}
    assert status["empty.jpg"] == status["letter.jpg"] == "error"
    assert status["b.png"] == "restored"


def test_a_photo_whose_face_failed_is_written_and_counts_as_failed(fake, tmp_path, capsys):
    Image.fromarray(np.full((83, 101, 3), 200, np.uint8)).save(tmp_path / "a.png")
    assert run("-i", tmp_path / "a.png", "-o", tmp_path / "out") == 1
    assert (tmp_path / "out/restored_imgs/a.png").is_file()
    assert "this face is poison" in capsys.readouterr().err


def test_no_face_is_written_and_said(monkeypatch, photos, tmp_path, capsys):
    nobody = Restorer(InvertRuntime(), FixedDetector())
    monkeypatch.setattr("restore.pipeline.restorer.load_restorer", lambda *a: nobody)
    assert run("-i", photos / "b.png", "-o", tmp_path / "out") == 0
    assert (tmp_path / "out/restored_imgs/b.png").is_file()
    assert "no face was found" in capsys.readouterr().err
    assert lines(tmp_path / "out")[0]["status"] == "no_face"


def test_earlier_results_are_resumed_or_replaced_but_never_by_accident(
    fake, photos, tmp_path, capsys
):
    out = tmp_path / "out"
    assert run("-i", photos, "-o", out) == 0
    first = (out / "restored_imgs/b.png").stat().st_mtime_ns
    assert run("-i", photos, "-o", out) == 2
    assert "--resume" in capsys.readouterr().err
    (out / "restored_imgs/a_png.png").unlink()
    assert run("-i", photos, "-o", out, "--resume") == 0
    assert "2 done before" in capsys.readouterr().err
    assert (out / "restored_imgs/b.png").stat().st_mtime_ns == first
    assert len(lines(out)) == 4
    assert run("-i", photos, "-o", out, "--overwrite") == 0
    assert (out / "restored_imgs/b.png").stat().st_mtime_ns > first
    calls = len(fake)
    assert run("-i", photos, "-o", out, "--resume") == 0
    assert len(fake) == calls  # nothing to do: no model is loaded


def test_report_on_stdout_and_healing_of_a_cut_line(fake, photos, tmp_path, capsys):
    assert run("-i", photos / "b.png", "-o", tmp_path / "out", "--report-json", "-") == 0
    assert json.loads(capsys.readouterr().out)["status"] == "restored"
    assert len(lines(tmp_path / "out")) == 1  # by which --resume knows
    (tmp_path / "r.jsonl").write_text('{"input": "a.p')
    run("-i", photos / "a.png", "-o", tmp_path / "out", "--report-json", tmp_path / "r.jsonl")
    assert json.loads((tmp_path / "r.jsonl").read_text().splitlines()[1])["status"] == "restored"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["-i", "PHOTOS/no.png"], "does not exist"),
        (["-i", "PHOTOS/notes.txt"], "holds text"),
        (["-i", "PHOTOS/empty"], "found no photo"),
        (["-i", "PHOTOS/b.png", "-s", "0"], "scale"),
        (["-i", "PHOTOS/b.png", "-w", "2"], "from 0 to 1"),
        (["-i", "PHOTOS/b.png", "--ext", "docx"], "expected one of"),
        (["-i", "PHOTOS/b.png", "-v", "9"], "GFPGAN's versions"),
        (["-i", "PHOTOS/b.png", "-v", "1.3", "--model", "x"], "both name a model"),
        (["-i", "PHOTOS/b.png", "--quality", "0"], "1 to 100"),
        (["-i", "PHOTOS/b.png", "-o", "PHOTOS/notes.txt"], "cannot be written"),
        (["download", "no-such-model"], "no model named"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(fake, photos, tmp_path, capsys, arguments, words):
    (photos / "empty").mkdir()
    filled = [argument.replace("PHOTOS", str(photos)) for argument in arguments]
    where = [] if "-o" in filled or filled[0] == "download" else ["-o", str(tmp_path / "out")]
    assert main([*filled, *where]) == 2
    captured = capsys.readouterr()
    assert words in captured.err
    assert "Traceback" not in captured.err


def test_model_that_is_not_there(photos, tmp_path, capsys, monkeypatch):
    def load(options):
        raise CheckpointError("Model 'x' is not on this machine")

    monkeypatch.setattr("restore.pipeline.restorer.load_restorer", load)
    assert run("-i", photos / "b.png", "-o", tmp_path / "out", "--model", "x") == 2
    assert capsys.readouterr().err == "restore: error: Model 'x' is not on this machine\n"


@pytest.mark.parametrize("arguments", [[], ["--nonsense"], ["-i", "x", "--offline", "--download"]])
def test_usage_errors(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2


def test_version_and_models(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"restore {restore.__version__}\n"
    assert main(["models"]) == 0
    assert "gfpgan-v1.4: " in capsys.readouterr().out


SLOW_RUN = """
import sys, time
import restore.pipeline.restorer as assemble
from restore.pipeline.options import ModelOptions
from restore.pipeline.restorer import Restorer
from tests.pipeline.fakes import FixedDetector, InvertRuntime, face_at

class Slow(InvertRuntime):
    def run(self, crops, fidelity):
        time.sleep(0.3)
        return super().run(crops, fidelity)

assemble.load_restorer = lambda options: Restorer(Slow(), FixedDetector(face_at(50, 40, 60)))
from restore.commands.tree import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupt_leaves_nothing_half_written_and_resume_goes_on(tmp_path, number, code):
    photos, out = tmp_path / "in", tmp_path / "out"
    photos.mkdir()
    for i in range(8):
        Image.fromarray(smooth(83, 101, seed=i)).save(photos / f"{i}.png")
    command = [sys.executable, "-c", SLOW_RUN, "-i", str(photos), "-o", str(out)]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not list(out.glob("restored_imgs/*.png")) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert process.returncode == code, said
    assert "--resume goes on" in said
    assert "Traceback" not in said
    written = list(out.rglob("*.png"))
    assert 0 < len(list(out.glob("restored_imgs/*.png"))) < 8
    assert not [path for path in files(out) if path.endswith(".part")]
    for path in written:
        with Image.open(path) as image:
            image.load()
    assert lines(out)
    done = subprocess.run([*command, "--resume"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert len(list(out.glob("restored_imgs/*.png"))) == 8


@pytest.mark.parametrize("entry", [["-m", "restore"], ["inference_restore.py"]])
def test_every_entry_is_the_same_command_line(entry):
    done = subprocess.run(
        [sys.executable, *entry, "--version"], cwd=ROOT, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (0, f"restore {restore.__version__}\n")


def test_imports_are_light():
    code = (
        "import sys, restore, restore.commands.tree;"
        "heavy = {'torch', 'cv2', 'onnxruntime', 'numpy', 'PIL', 'tqdm'} & set(sys.modules);"
        "sys.exit(', '.join(heavy) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


WITHOUT_TORCH = """
import sys
sys.modules["torch"] = None
import restore
from restore.commands.tree import main
try:
    restore.load_network
except restore.errors.MissingExtraError as error:
    print(error)
for words in ("train -opt x.yml", "latents sample", "degrade -i a -o b.png"):
    print(main(words.split()))
"""


def test_what_needs_torch_names_the_pip_line_where_there_is_none(tmp_path):
    (tmp_path / "x.yml").write_text("name: x\n")
    done = subprocess.run(
        [sys.executable, "-c", "import restore.errors\n" + WITHOUT_TORCH],
        capture_output=True, text=True, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    said, *codes = done.stdout.split("\n")[:4]
    assert 'pip install "restore[torch]"' in said
    assert codes[1:] == ["2", "2"]
    assert done.stderr.count('pip install "restore[torch]"') >= 2
    assert "Traceback" not in done.stderr
