"""Photos restored ahead of their writing: the same files, records and order as one by one."""

import json
import threading
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from restore.errors import CancelledError
from restore.images.files import Page
from restore.pipeline.names import plan_jobs
from restore.pipeline.options import RestoreOptions
from restore.pipeline.restorer import Restorer
from restore.pipeline.run import RunOptions, WorkingAhead, run_jobs, run_overlapped
from restore.pipeline.walk import find_photos
from tests.pipeline.fakes import BrightSquareDetector, InvertRuntime

CHANGING = ("seconds", "timings", "time", "output", "file")


@pytest.fixture
def folder(tmp_path):
    photos = tmp_path / "in"
    photos.mkdir()
    for i in range(7):
        picture = np.random.default_rng(i).integers(0, 90, (80 + 5 * i, 90, 3), np.uint8)
        picture[30 : 34 + i, 40:44] = 255
        cv2.imwrite(str(photos / f"{i}.png"), picture)
    (photos / "3.png").write_bytes(b"no picture")
    return photos


def restorer():
    return Restorer(InvertRuntime(64), BrightSquareDetector())


def jobs_of(folder, output):
    return plan_jobs(find_photos([folder]).photos, output)


def steady(record):
    """A record without what differs between two runs."""
    if isinstance(record, dict):
        return {k: steady(v) for k, v in record.items() if k not in CHANGING}
    return [steady(v) for v in record] if isinstance(record, list) else record


@pytest.mark.parametrize("ahead", [1, 2, 5])
def test_equal_to_one_by_one(folder, tmp_path, ahead):
    options = RunOptions(
        RestoreOptions(scale=1.5), ai_label=False
    )  # the label holds the time of day
    plain = list(run_jobs(restorer(), jobs_of(folder, tmp_path / "a"), options))
    found = list(run_overlapped(restorer(), jobs_of(folder, tmp_path / "b"), options, ahead=ahead))
    assert [o.status for o in plain].count("error") == 1
    assert [steady(o.record) for o in found] == [steady(o.record) for o in plain]
    assert [o.job.source.name for o in found] == [f"{i}.png" for i in range(7)]
    names = sorted(p.relative_to(tmp_path / "a") for p in (tmp_path / "a").rglob("*.png"))
    assert len(names) == 6 * 4
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    assert json.dumps([o.record for o in found])


class Counting:
    """Counts what is in work or ready and not fetched, and who was cancelled."""

    def __init__(self):
        self.started, self.lock, self.cancelled = [], threading.Lock(), []

    def restore(self, photo, options, cancel, slow=0.0):
        with self.lock:
            self.started.append(photo)
        end = time.monotonic() + slow
        while time.monotonic() < end:
            if cancel():
                self.cancelled.append(photo)
                raise CancelledError("stopped")
            time.sleep(0.005)
        return f"restored {photo}"


def test_no_more_than_asked_are_in_work():
    counting = Counting()
    working = WorkingAhead(counting, range(9), 3)
    assert counting.started == []
    for i in range(9):
        assert working.restore(i, RestoreOptions()) == f"restored {i}"
        time.sleep(0.01)
        assert len(counting.started) <= min(9, i + 1 + 3)
    assert counting.started == list(range(9))
    working.close()


def test_another_order_is_refused():
    working = WorkingAhead(Counting(), "abc", 2)
    working.restore("a", RestoreOptions())
    with pytest.raises(ValueError, match="which comes first"):
        working.restore("c", RestoreOptions())
    working.close()


def test_the_pages_of_a_photo_that_failed_are_left_out():
    pages = [Page(Path("a.tif"), index) for index in range(3)]
    working = WorkingAhead(Counting(), [*pages, "b"], 2)
    assert working.restore(pages[0], RestoreOptions()) == f"restored {pages[0]}"
    assert working.restore("b", RestoreOptions()) == "restored b"
    working.close()


def test_closing_cancels_what_is_in_work():
    slow = Counting()
    working = WorkingAhead(slow, range(4), 2)
    working._start(RestoreOptions(), {"slow": 60.0})
    working.close()
    assert set(slow.cancelled) == set(slow.started) != set()


def test_an_interruption_leaves_whole_photos(folder, tmp_path):
    jobs = jobs_of(folder, tmp_path / "out")
    run = run_overlapped(restorer(), jobs, RunOptions(RestoreOptions(scale=1)), ahead=3)
    done = [next(run), next(run)]
    run.close()  # what an exception in the caller's loop does
    assert [o.job.source.name for o in done] == ["0.png", "1.png"]
    written = sorted(p.name for p in (tmp_path / "out" / "restored_imgs").iterdir())
    assert written == ["0.png", "1.png"]


def test_pages_after_a_failed_one_end_in_silence(tmp_path, monkeypatch):
    """They are in work when nobody asks for them any more."""
    told, passed_over = [], threading.Event()
    monkeypatch.setattr(threading, "excepthook", told.append)

    class Failing:
        def restore(self, source, options, cancel=None, **also):
            if source == Page(tmp_path / "a.tif", 1):
                passed_over.wait(10)
            if isinstance(source, Page):
                raise ValueError(f"page {source.index}")
            return source

    pages = [Page(tmp_path / "a.tif", 0), Page(tmp_path / "a.tif", 1), "next"]
    working = WorkingAhead(Failing(), pages, ahead=3)
    with pytest.raises(ValueError, match="page 0"):
        working.restore(pages[0], RestoreOptions())
    assert working.restore("next", RestoreOptions()) == "next"
    passed_over.set()
    working.close()
    assert told == []
