"""Batches: prefixes, plans, one worker, and (slow) a whole run on Ray's local mode."""

import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

import restore
from restore.cluster import PhotoWorker, Prefix, WorkerOptions, failures, plan_batch
from restore.commands.tree import run_verb
from restore.errors import InputError
from restore.pipeline.options import RestoreOptions
from restore.pipeline.restorer import Restorer
from restore.pipeline.run import RunOptions
from tests.pipeline.fakes import BrightSquareDetector, InvertRuntime

pytest.importorskip("fsspec", reason="no fsspec: the extra ray is not installed")


def picture(seed=0):
    pixels = np.random.default_rng(seed).integers(0, 90, (80, 90, 3), np.uint8)
    pixels[30:35, 40:44] = 255
    return cv2.imencode(".png", pixels)[1].tobytes()


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "in"
    for i, name in enumerate(("a.png", "a.tif.png", "sub/a.png", "sub/broken.png", "notes.txt")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(picture(i))
    (folder / "sub/broken.png").write_bytes(b"no picture")
    (folder / "a.webp").write_bytes(b"nor this")
    return folder


@pytest.fixture
def memory():
    """A prefix in fsspec's object store in memory."""
    from fsspec.implementations.memory import MemoryFileSystem

    MemoryFileSystem().pipe("/store/in/x/b.png", picture(5))
    yield "memory://store"
    MemoryFileSystem().rm("/store", recursive=True)


def test_a_local_prefix(tmp_path):
    prefix = Prefix(str(tmp_path / "p"))
    assert (prefix.exists(), prefix.names()) == (False, [])
    source = tmp_path / "file"
    source.write_bytes(b"1")
    prefix.put(source, "deep/down/file.bin")
    prefix.put(source, "top.bin")
    assert prefix.names() == ["deep/down/file.bin", "top.bin"]
    prefix.fetch("deep/down/file.bin", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == b"1"
    with pytest.raises(InputError, match="cannot be opened"):
        Prefix("nonsense://x").names()


def test_an_object_store(memory, tmp_path):
    prefix = Prefix(f"{memory}/in")
    assert prefix.names() == ["x/b.png"]
    prefix.fetch("x/b.png", tmp_path / "b.png")
    prefix.put(tmp_path / "b.png", "y/c.png")
    assert prefix.names() == ["x/b.png", "y/c.png"]


def test_plan_names_and_resumes(photos, tmp_path):
    source, target = Prefix(str(photos)), Prefix(str(tmp_path / "out"))
    plan = plan_batch(source, target)
    assert (plan.done, plan.ignored) == (0, 1)
    names = {row["source"]: (row["folder"], row["name"], row["ending"]) for row in plan.todo}
    assert names == {
        "a.png": (".", "a_png", ".png"),
        "a.webp": (".", "a_webp", ".webp"),
        "a.tif.png": (".", "a.tif", ".png"),
        "sub/a.png": ("sub", "a", ".png"),
        "sub/broken.png": ("sub", "broken", ".png"),
    }
    (tmp_path / "out/restored_imgs/sub").mkdir(parents=True)
    (tmp_path / "out/records/sub").mkdir(parents=True)
    (tmp_path / "out/restored_imgs/sub/a.png").write_bytes(b"done")
    with pytest.raises(InputError, match="no record that says of what"):
        plan_batch(source, target)
    row = next(row for row in plan.todo if row["source"] == "sub/a.png")
    record = {"status": "restored", "options": "k", "source": json.loads(row["identity"])}

    def done(record, **options):
        (tmp_path / "out/records/sub/a.json").write_text(json.dumps(record))
        return plan_batch(source, target, key="k", **options).done

    assert done(record) == 1
    assert done(record, again=True) == 0
    assert done(record | {"status": "partial"}) == 0
    assert done(record | {"options": "other"}) == 0
    assert done(record | {"source": record["source"] | {"size": "1"}}) == 0
    with pytest.raises(InputError, match=r"was made of sub/a\.png under elsewhere"):
        done(record | {"source": record["source"] | {"prefix": "elsewhere"}})
    assert done(record) == 1
    (photos / "sub/a.png").write_bytes(picture(9) + b"more")
    assert plan_batch(source, target, key="k").done == 0
    below = Prefix(str(photos / "out"))  # results of a former run inside the source
    (photos / "out/restored_imgs").mkdir(parents=True)
    (photos / "out/restored_imgs/a_png.png").write_bytes(b"done")
    (photos / "out/records").mkdir()
    row = next(row for row in plan.todo if row["source"] == "a.png")
    record = {"status": "restored", "options": "", "source": json.loads(row["identity"])}
    (photos / "out/records/a_png.json").write_text(json.dumps(record))
    assert len(plan_batch(source, below).todo) == 4


def test_one_worker_does_what_the_command_line_does(photos, memory, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "restore.pipeline.restorer.load_restorer",
        lambda options: Restorer(InvertRuntime(64), BrightSquareDetector()),
    )
    target = Prefix(f"{memory}/out")
    run = RunOptions(RestoreOptions(scale=1), ai_label=False)
    worker = PhotoWorker(WorkerOptions(Prefix(str(photos)), target, crops=True, run=run))
    plan = plan_batch(Prefix(str(photos)), target)
    records = [json.loads(worker(row)["record"]) for row in plan.todo]
    assert [r["input"] for r in failures(records)] == ["a.webp", "sub/broken.png"]
    told = [json.dumps(r | {"source": None}) for r in records]
    assert not any(str(tmp_path) in text or "restore-" in text for text in told)
    good = next(r for r in records if r["input"] == "sub/a.png")
    assert good["output"] == "restored_imgs/sub/a.png"
    assert good["faces"][0]["file"] == "restored_faces/sub/a_00.png"
    names = target.names()
    assert {"cmp/sub/a_00.png", "restored_imgs/sub/a.png", "records/sub/broken.json"} <= set(names)
    assert len([n for n in names if n.startswith("records/")]) == 5
    target.fetch("restored_imgs/sub/a.png", tmp_path / "found.png")
    expected = worker._restorer.restore(photos / "sub/a.png", scale=1).image
    found = cv2.imread(str(tmp_path / "found.png"))[:, :, ::-1]
    np.testing.assert_array_equal(found, expected)
    again = plan_batch(Prefix(str(photos)), target, key=run.key)  # failures are tried again
    assert [row["source"] for row in again.todo] == ["a.webp", "sub/broken.png"]


def test_names_with_quotes_are_names(tmp_path, monkeypatch):
    monkeypatch.setattr(
        "restore.pipeline.restorer.load_restorer",
        lambda options: Restorer(InvertRuntime(64), BrightSquareDetector()),
    )
    names = ['a"b.png', "c\\d.png", "e'f.png", "g\n.png"]
    (tmp_path / "in").mkdir()
    for name in names:
        (tmp_path / "in" / name).write_bytes(picture())
    source, target = Prefix(str(tmp_path / "in")), Prefix(str(tmp_path / "out"))
    worker = PhotoWorker(WorkerOptions(source, target, run=RunOptions(RestoreOptions(scale=1))))
    records = [json.loads(worker(row)["record"]) for row in plan_batch(source, target).todo]
    assert sorted(record["input"] for record in records) == sorted(names)
    assert [record["status"] for record in records] == ["restored"] * 4
    assert plan_batch(source, target).done == 4


def test_a_photo_that_vanished_is_a_record(photos, tmp_path, monkeypatch):
    monkeypatch.setattr("restore.pipeline.restorer.load_restorer", lambda options: None)
    source, target = Prefix(str(photos)), Prefix(str(tmp_path / "out"))
    plan = plan_batch(source, target)
    (photos / "a.png").unlink()
    row = next(row for row in plan.todo if row["source"] == "a.png")
    record = json.loads(PhotoWorker(WorkerOptions(source, target))(row)["record"])
    assert record["status"] == "error"
    assert record["reason"].startswith("cannot be fetched")


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        ((), "there is nothing"),
        (("--workers", "0"), "expected 1 or more"),
        (("-w", "2"), "expected a number from 0 to 1"),
        (("--gpus", "-1"), "0 or more"),
    ],
)
def test_bad_requests_are_one_line(tmp_path, capsys, extra, said):
    words = ["-i", str(tmp_path / "gone"), "-o", str(tmp_path / "out"), *extra]
    assert run_verb("cluster", words) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


@pytest.mark.slow
def test_on_ray(tmp_path):
    pytest.importorskip("ray", reason="the extra ray is not installed")
    samples = Path(restore.__file__).parents[1] / "samples"
    source = tmp_path / "in"
    source.mkdir()
    (source / "snapshot.jpg").write_bytes((samples / "snapshot.jpg").read_bytes())
    (source / "broken.jpg").write_bytes(b"no picture")
    command = [
        sys.executable, "-m", "restore", "cluster", "-i", str(source), "-o", str(tmp_path / "out"),
        "-s", "1", "--workers", "1", "--quiet",
    ]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": str(samples.parent)}
    for round_, expected in enumerate(("2 photos, 1 with", "1 photos, 1 with")):
        done = subprocess.run(
            command, capture_output=True, text=True, env=environment, timeout=300, cwd=tmp_path
        )
        assert done.returncode == 1, done.stderr
        assert expected in done.stderr
        assert f"{round_} done before" in done.stderr
        assert "broken.jpg: " in done.stderr
    restored = cv2.imread(str(tmp_path / "out/restored_imgs/snapshot.jpg"))
    assert restored.shape == cv2.imread(str(samples / "snapshot.jpg")).shape
    listed = (tmp_path / "out/failures.jsonl").read_text().splitlines()
    assert [json.loads(line)["input"] for line in listed] == ["broken.jpg"]
    record = json.loads((tmp_path / "out/records/snapshot.json").read_text())
    assert record["status"] == "restored"
    assert len(record["faces"]) >= 1
