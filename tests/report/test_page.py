"""The HTML file of a run: whole after each photo, escaped, bounded, continued."""

import json
import re
import tracemalloc
from dataclasses import fields
from html.parser import HTMLParser

import numpy as np
import pytest

from restore.errors import InputError
from restore.pipeline.results import RestoredFace
from restore.report.page import SUMMARY_BYTES, Counts, ReportPage, summary_html
from restore.report.section import (
    Thumbnails,
    number,
    numbers_of_face,
    small_picture,
    thumbnails_for,
)
from tests.report.photos import failed_record, record_of, restored_photo

NASTY = (
    "\"><img src=x onerror='window.hacked=1'></script><script>window.hacked=2</script>\udcff.png"
)
VOID = {"meta", "img", "input", "br", "link", "!doctype"}


class Checker(HTMLParser):
    """Balanced tags, and everything that could load or run something."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.stack, self.sources, self.handlers = [], [], []
        self.tags, self.scripts = [], []
        self.feed(page)
        self.close()
        assert self.stack == []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.sources += [v for k, v in attributes if k in ("src", "href", "srcset", "data")]
        self.handlers += [k for k, _ in attributes if k.startswith("on")]
        if tag not in VOID:
            self.stack.append(tag)

    def handle_endtag(self, tag):
        assert self.stack.pop() == tag

    def handle_data(self, data):
        if self.stack and self.stack[-1] == "script":
            self.scripts.append(data)


def read(path) -> str:
    return path.read_text("utf-8")


def records(page: str) -> list[dict]:
    found = re.findall(r'<script type="application/json" class="record">(.*?)</script>', page)
    return [json.loads(text) for text in found]


def test_the_page_is_whole_after_each_photo_and_holds_all_numbers(tmp_path):
    path = tmp_path / "new" / "report.html"
    photo, result = restored_photo(faces=2)
    with ReportPage(path, {"model": "default", "scale": 2}, photos=3) as page:
        Checker(read(path))
        for count, name in enumerate(("a.png", "b.png"), 1):
            page.add(record_of(result, name), photo, result)
            whole = read(path)
            assert len(records(whole)) == count
            checked = Checker(whole)
            assert checked.tags.count("article") == count
        page.add(failed_record("c.png", "c.png: is no image"), None, None)
        Checker(read(path))
    whole = read(path)
    assert Checker(whole).tags.count("input") == 1 + 2 * 3  # the search, and a slider each
    assert "<b>3</b>photos" in whole
    assert "<b>4</b>faces restored" in whole
    assert "<b>1</b>error" in whole
    assert "<bdi>c.png</bdi>: is no image" in whole
    assert "plausible, not evidence" in whole
    face = records(whole)[0]["faces"][0]
    named = {field.name for field in fields(RestoredFace)} - {"crop", "restored"}
    assert named <= set(face)
    assert face["degradation"]["jpeg_quality"] == pytest.approx(70)
    assert "JPEG quality</th><td>70<" in whole
    assert all(source.startswith("data:image/jpeg;base64,") for source in Checker(whole).sources)


def test_nothing_from_a_file_becomes_markup(tmp_path):
    photo, result = restored_photo()
    path = tmp_path / "r.html"
    with ReportPage(path, {NASTY: NASTY}, photos=2) as page:
        page.add(record_of(result, NASTY, notes=[NASTY], reason=NASTY), photo, result)
        page.add(failed_record(NASTY, NASTY), None, None)
    checked = Checker(read(path))
    assert checked.handlers == []
    assert checked.tags.count("img") == 4
    assert [text for text in checked.scripts if "hacked" in text and not text.startswith("{")] == []
    assert records(read(path))[0]["input"] == NASTY


def test_a_later_run_goes_on_and_a_torn_page_is_begun_anew(tmp_path):
    path = tmp_path / "r.html"
    photo, result = restored_photo()
    with ReportPage(path, {}, 2) as page:
        page.add(record_of(result, "a.png"), photo, result)
    with ReportPage(path, {}, 1, go_on=True) as page:
        page.add(failed_record("b.png", "broken"), None, None)
    whole = read(path)
    Checker(whole)
    assert [r["input"] for r in records(whole)] == ["a.png", "b.png"]
    assert "<b>2</b>photos" in whole
    assert "Continued" in whole
    path.write_bytes(path.read_bytes()[:-400])  # a crash in the middle of a write
    with ReportPage(path, {}, 1, go_on=True) as page:
        page.add(failed_record("c.png", "broken"), None, None)
    assert [r["input"] for r in records(read(path))] == ["c.png"]
    with ReportPage(path, {}, 1) as page:
        pass
    assert records(read(path)) == []


def test_the_summary_has_room_for_any_failures():
    counts = Counts()
    for i in range(500):
        counts.add(failed_record(f"{i}{'<&>é' * 80}", '"' * 300))
    assert len(summary_html(counts).encode()) < SUMMARY_BYTES - 100
    assert counts.photos == {"error": 500}
    assert 0 < len(counts.failures) < 500
    assert len(counts.failures) + counts.more_failures == 500


def test_pictures_are_bounded_and_memory_is_that_of_one_photo(tmp_path):
    assert thumbnails_for(500).photo_side < thumbnails_for(5).photo_side
    photo, result = restored_photo(side=400)
    path = tmp_path / "r.html"
    with ReportPage(path, {}, 500) as page:
        page.add(record_of(result), photo, result)
        first = path.stat().st_size
        tracemalloc.start()
        for _ in range(20):
            page.add(record_of(result), photo, result)
        held, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    section = (path.stat().st_size - first) / 20
    assert held < section  # less than one photo of twenty stays in memory
    assert 500 * section < 60e6


def test_many_faces_have_numbers_and_few_pictures(tmp_path):
    photo, result = restored_photo(faces=5)
    path = tmp_path / "r.html"
    with ReportPage(path, {}, 1, sizes=Thumbnails(64, 32, faces=2)) as page:
        page.add(record_of(result), photo, result)
    assert Checker(read(path)).tags.count("img") == 2 + 2 * 2
    assert read(path).count('class="face"') == 5


@pytest.mark.parametrize("channels", [0, 1, 2, 3, 4])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_every_kind_of_pixels_becomes_a_small_srgb_picture(channels, dtype):
    shape = (300, 200, channels) if channels else (300, 200)
    top = np.iinfo(dtype).max
    small = small_picture(np.full(shape, top, dtype), 60)
    assert small.shape == (60, 40, 3)
    assert small.dtype == np.uint8
    assert (small == 255).all()
    clear = np.zeros((8, 8, 4), dtype)
    assert (small_picture(clear, 60) == 255).all()


def test_numbers_that_are_new_are_shown_without_a_change_here():
    main, others = numbers_of_face({"identity": 0.8123, "hat": {"size": 3.0}, "box": [0, 0, 5, 9]})
    assert main == [("identity (cosine)", "0.81"), ("size (px)", "5 x 9")]
    assert others == [("hat size", "3")]
    assert [number(v) for v in (0.0, 75.23, 1.0, 7, "a")] == ["0", "75.2", "1", "7", "a"]


def test_a_page_that_cannot_be_written_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="--report"):
        ReportPage(tmp_path / "file" / "r.html", {}, 1)
