"""What a run may write where: never an input, never another's file, done means done."""

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
from restore.commands.tree import main
from restore.images.files import read_photo
from restore.pipeline.restorer import Restorer
from restore.trust.verdict import Verdict
from tests.pipeline.fakes import FixedDetector, InvertRuntime, face_at
from tests.pipeline.test_restorer import smooth

ROOT = Path(restore.__file__).parents[1]


@pytest.fixture(autouse=True)
def fake(monkeypatch):
    """The command line gets this restorer; its network fails on crops of one gray."""
    restorer = Restorer(InvertRuntime(poison=200), FixedDetector(face_at(50, 40, 60)))
    monkeypatch.setattr("restore.pipeline.restorer.load_restorer", lambda *_, **__: restorer)
    return restorer


def photo(path, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(smooth(83, 101, seed=seed)).save(path)
    return path


def run(*arguments):
    return main([*map(str, arguments), "-s", "1"])


def records(out):
    lines = (out / "results.jsonl").read_text("utf-8").splitlines()
    return [json.loads(line) for line in lines]


def names(out):
    return sorted(path.name for path in (out / "restored_imgs").iterdir())


# Done means: the same file with the same options


def test_two_folders_with_equal_names_never_meet(tmp_path):
    first, second = (photo(tmp_path / x / "IMG_0001.png", i) for i, x in enumerate("AB"))
    out = tmp_path / "out"
    assert run("-i", first.parent, "-o", out) == 0
    before = (out / "restored_imgs/IMG_0001.png").read_bytes()
    assert run("-i", second.parent, "-o", out, "--resume") == 0
    assert names(out) == ["IMG_0001.png", "IMG_0001_2.png"]
    assert (out / "restored_imgs/IMG_0001.png").read_bytes() == before
    assert len({(out / f"cropped_faces/{n}_00.png").read_bytes()
                for n in ("IMG_0001", "IMG_0001_2")}) == 2  # fmt: skip
    for folder in (first.parent, second.parent):  # each keeps its name
        assert run("-i", folder, "-o", out, "--resume") == 0
    assert len(records(out)) == 2
    assert run("-i", first.parent, second.parent, "-o", out, "--overwrite") == 0
    assert names(out) == ["IMG_0001.png", "IMG_0001_2.png"]


def test_a_replaced_photo_and_other_options_are_done_again(tmp_path):
    source, out = photo(tmp_path / "in/a.png"), tmp_path / "out"
    assert run("-i", source, "-o", out) == 0
    first = (out / "restored_imgs/a.png").read_bytes()
    photo(source, seed=1)
    assert run("-i", source, "-o", out, "--resume") == 0
    second = (out / "restored_imgs/a.png").read_bytes()
    assert second != first
    assert run("-i", source, "-o", out, "--resume") == 0
    assert len(records(out)) == 2
    assert run("-i", source, "-o", out, "--resume", "-w", "0.5") == 0
    assert (out / "restored_imgs/a.png").read_bytes() != second
    assert names(out) == ["a.png"]


def test_a_photo_that_failed_is_not_done(tmp_path, fake):
    source, out = tmp_path / "in/a.png", tmp_path / "out"
    source.parent.mkdir()
    Image.fromarray(np.full((83, 101, 3), 200, np.uint8)).save(source)
    assert run("-i", source, "-o", out) == 1
    assert run("-i", source, "-o", out, "--resume") == 1
    fake.runtime.poison = None
    assert run("-i", source, "-o", out, "--resume") == 0
    assert [record["status"] for record in records(out)] == ["failed", "failed", "restored"]
    source.write_bytes(b"no photo any more")
    assert run("-i", source, "-o", out, "--resume") == 2
    assert names(out) == ["a.png"]


# No output is an input, nor a file of somebody else's


def test_reports_go_to_files_of_their_own(tmp_path, capsys):
    source, out = photo(tmp_path / "in/a.png"), tmp_path / "out"
    before = source.read_bytes()
    letter = tmp_path / "letter.txt"
    letter.write_text('{"a": 1}\n')
    for option in ("--report", "--report-json"):
        for file in (source, letter, "/dev/full"):
            assert run("-i", source, "-o", out, option, file, "--overwrite") == 2
            said = capsys.readouterr().err
            assert "Traceback" not in said
            assert "error" in said
    assert source.read_bytes() == before
    assert letter.read_text() == '{"a": 1}\n'
    for name in ("results.jsonl", "report.html"):
        (out / name).unlink(missing_ok=True)
        out.mkdir(exist_ok=True)
        (out / name).symlink_to(letter)
        assert run("-i", source, "-o", out, "--report", "--overwrite") == 2
        (out / name).unlink()
    assert letter.read_text() == '{"a": 1}\n'


def test_files_that_no_run_wrote_stay(tmp_path, capsys):
    source, out = photo(tmp_path / "in/a.png"), tmp_path / "out"
    (out / "restored_imgs").mkdir(parents=True)
    (out / "restored_imgs/a.png").write_bytes(b"mine")
    assert run("-i", source, "-o", out, "--overwrite") == 0
    assert (out / "restored_imgs/a.png").read_bytes() == b"mine"
    assert names(out) == ["a.png", "a_2.png"]
    (out / "cmp").mkdir(exist_ok=True)
    (out / "cmp/b_00.png").write_bytes(b"mine")
    other = photo(tmp_path / "in/b.png")
    assert run("-i", other, "-o", out) == 2
    assert "no crop of this program" in capsys.readouterr().err
    assert (out / "cmp/b_00.png").read_bytes() == b"mine"


def test_crops_never_replace_inputs(tmp_path, capsys):
    out = tmp_path / "out"
    photo(out / "cropped_faces/a_00.png")
    source = photo(tmp_path / "in/a.png")
    assert run("-i", source, out / "cropped_faces", "-o", out) == 2
    assert "is an input" in capsys.readouterr().err


def test_one_photo_to_one_file(tmp_path, capsys):
    source, target = photo(tmp_path / "in/a.png"), tmp_path / "new/b.jpg"
    assert run("-i", source, "-o", target) == 0
    assert [path.name for path in target.parent.iterdir()] == ["b.jpg"]
    with Image.open(target) as image:
        assert image.size == (101, 83)
    assert run("-i", source, "-o", target) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert run("-i", source, "-o", target, "--overwrite") == 0
    assert run("-i", source, "-o", source, "--overwrite") == 2
    assert "is an input" in capsys.readouterr().err
    mine = photo(tmp_path / "mine.png")
    assert run("-i", source, "-o", mine, "--overwrite") == 2
    assert "not a result of this program" in capsys.readouterr().err
    assert run("-i", source, mine, "-o", tmp_path / "c.png") == 2
    assert "there are 2 photos" in capsys.readouterr().err


def test_the_input_folder_may_be_the_output_folder(tmp_path):
    folder = photo(tmp_path / "f/a.png").parent
    photo(folder / "sub/b.png")
    for _ in range(2):
        assert run("-i", folder, "-o", folder, "--recursive", "--resume") == 0
    assert len(records(folder)) == 2
    assert len(list(folder.rglob("restored_imgs/**/*.png"))) == 2


# Names


def test_names_that_are_too_long_are_cut_each_in_its_own_way(tmp_path):
    long = "ä" * 120
    for end in ("x", "y"):
        photo(tmp_path / f"in/{long}{end}.png")
    out = tmp_path / "out"
    assert run("-i", tmp_path / "in", "-o", out) == 0
    assert len(names(out)) == 2
    assert all(len(os.fsencode(p.name)) <= 255 for p in out.rglob("*"))
    assert run("-i", tmp_path / "in", "-o", out, "--resume") == 0
    assert len(records(out)) == 2


def test_inputs_that_cannot_be_looked_at_are_named(tmp_path, capsys):
    for name in ("x" * 300, "a\0b", tmp_path / "gone.png"):
        assert run("-i", name, "-o", tmp_path / "out") == 2
        said = capsys.readouterr().err
        assert "cannot be looked at" in said or "does not exist" in said
        assert "Traceback" not in said


def test_control_characters_of_names_do_not_reach_the_terminal(tmp_path, capsys):
    source = tmp_path / "in/\x1b[2J\x07.png"
    source.parent.mkdir()
    source.write_bytes(b"no photo")
    assert run("-i", source, "-o", tmp_path / "out") == 2
    said = capsys.readouterr().err
    assert "\x1b" not in said
    assert r"\x1b[2J\x07.png" in said


def test_what_is_ignored_is_named_with_the_reason(tmp_path, capsys):
    photo(tmp_path / "in/a.png")
    for name in ("b.CR2", "c.mp4", "d.jxl", "notes.txt"):
        (tmp_path / "in" / name).write_bytes(b"x")
    os.mkfifo(tmp_path / "in/pipe.jpg")
    assert run("-i", tmp_path / "in", "-o", tmp_path / "out") == 0
    said = capsys.readouterr().err
    for words in ("b.CR2: ignored: a raw photo", "c.mp4: ignored: a film", "d.jxl: ignored",
                  "pipe.jpg: ignored: no regular file", "5 other files ignored"):  # fmt: skip
        assert words in said


# Pages and animations


@pytest.mark.parametrize(("ext", "files"), [("auto", 1), ("png", 3)])
def test_each_page_of_a_scan_is_restored(tmp_path, ext, files):
    pages = [Image.fromarray(smooth(83, 101 + i, seed=i)) for i in range(3)]
    source, out = tmp_path / "scan.tif", tmp_path / "out"
    pages[0].save(source, save_all=True, append_images=pages[1:])
    assert run("-i", source, "-o", out, "--ext", ext) == 0
    written = sorted((out / "restored_imgs").iterdir())
    assert len(written) == files
    for index, page in enumerate(pages):
        found = read_photo(written[0], page=index) if files == 1 else read_photo(written[index])
        assert found.size == page.size
        assert not np.array_equal(found.pixels, np.asarray(page))
    (record,) = records(out)
    assert record["pages"] == 3
    assert [face["page"] for face in record["faces"]] == [1, 2, 3]
    assert len(list((out / "cropped_faces").iterdir())) == 3
    assert run("-i", source, "-o", out, "--ext", ext, "--resume") == 0
    assert len(records(out)) == 1


def test_animations_and_unchanged_photos_are_said(tmp_path, capsys, monkeypatch):
    frames = [Image.fromarray(smooth(83, 101, seed=i)) for i in range(3)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert run("-i", tmp_path / "a.gif", "-o", tmp_path / "out") == 0
    assert "an animation: only its first frame was restored" in capsys.readouterr().err
    good = Verdict("already_good", "it is")
    monkeypatch.setattr("restore.pipeline.policies.judge", lambda *_: good)
    assert run("-i", photo(tmp_path / "b.png"), "-o", tmp_path / "out") == 0
    assert "1 photo, 0 faces restored (1 unchanged)" in capsys.readouterr().err


# Values out of range


@pytest.mark.parametrize(
    "arguments",
    [("--threads", 100_000), ("--threads", 0), ("--max_faces", -3), ("--min_score", 5),
     ("--min_score", "nan"), ("--min_face", "nan"), ("--max-megapixels", 0), ("--ahead", -1),
     ("--max-megapixels", "nan"), ("-w", "nan"), ("--identity_threshold", "nan")],
)  # fmt: skip
def test_values_out_of_range_are_refused_in_one_line(tmp_path, capsys, arguments):
    source = photo(tmp_path / "a.png")
    assert run("-i", source, "-o", tmp_path / "out", *arguments) == 2
    said = capsys.readouterr().err
    assert said.startswith("restore: error: ")
    assert said.count("\n") == 1
    assert not (tmp_path / "out").exists()


# Closed streams, and Ctrl-C

SLOW = """
import sys, time
import restore.pipeline.restorer as assemble
from restore.pipeline.restorer import Restorer
from restore.trust.verdict import Verdict
from tests.pipeline.fakes import FixedDetector, InvertRuntime, face_at

class Slow(InvertRuntime):
    def run(self, crops, fidelity):
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            time.sleep(0.01)
        return super().run(crops, fidelity)

assemble.load_restorer = lambda *a: Restorer(Slow(), FixedDetector(face_at(50, 40, 60)))
from restore.commands.tree import main
print("ready", flush=True)
sys.exit(main(sys.argv[1:]))
"""


def start(tmp_path, seconds, *arguments, **options):
    for i in range(3):
        photo(tmp_path / f"in/{i}.png", i)
    command = [sys.executable, "-c", SLOW.replace("SECONDS", str(seconds)), "-s", "1"]
    command += ["-i", str(tmp_path / "in"), "-o", str(tmp_path / "out"), *arguments]
    return subprocess.Popen(command, cwd=ROOT, text=True, **options)


@pytest.mark.parametrize("times", [1, 2])
def test_ctrl_c_ends_a_run_at_once(tmp_path, times):
    process = start(tmp_path, 60, stderr=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout.readline() == "ready\n"
    time.sleep(1)
    began = time.monotonic()
    for _ in range(times):
        process.send_signal(signal.SIGINT)
        time.sleep(0.02)
    _, said = process.communicate(timeout=20)
    assert time.monotonic() - began < 3
    assert process.returncode == 130
    assert "Traceback" not in said


def test_closed_streams_end_no_run_with_a_trace(tmp_path):
    program = SLOW.replace("SECONDS", "0").replace('print("ready", flush=True)', "")
    for number, shell in enumerate(("2>&-", "2>/dev/full", "1>&- 2>&-")):
        out = tmp_path / f"out{number}"
        photo(tmp_path / "a.png")
        script = tmp_path / "run.py"
        script.write_text(f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{program}")
        command = f"'{sys.executable}' {script} -s 1 -i {tmp_path}/a.png -o {out} {shell}"
        done = subprocess.run(["bash", "-c", command], check=False)
        assert done.returncode == 0, shell
        assert names(out) == ["a.png"]
    process = start(tmp_path, 0.3, "--report-json", "-", stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE)  # fmt: skip
    assert process.stdout.readline() == "ready\n"
    process.stdout.close()
    said = process.stderr.read()
    assert process.wait(30) == 2
    assert "Traceback" not in said
    assert "standard output was closed" in said
