"""`restore --report` and the AI label from the command line, on a fake network."""

import json
import os
import re

import numpy as np
import pytest
from PIL import Image

from restore.commands.tree import main
from restore.images.files import read_photo
from restore.images.metadata import AI_COMPOSITE
from restore.images.xmp import digital_source_type
from restore.pipeline.restorer import Restorer
from tests.images.test_xmp import DC, packet
from tests.pipeline.fakes import FixedDetector, InvertRuntime, face_at
from tests.pipeline.test_restorer import smooth
from tests.report.test_page import Checker, records


@pytest.fixture
def photos(monkeypatch, tmp_path):
    """A folder of photos, and a command line that gets a fake restorer."""

    def load(options):
        return Restorer(InvertRuntime(poison=200), FixedDetector(face_at(50, 40, 60)))

    monkeypatch.setattr("restore.pipeline.restorer.load_restorer", load)
    folder = tmp_path / "in"
    folder.mkdir()
    xmp = packet(f'<rdf:Description rdf:about="" {DC} dc:format="image/jpeg"/>')
    Image.fromarray(smooth(83, 101)).save(folder / "a.jpg", xmp=xmp, comment=b"kept")
    Image.fromarray(smooth(83, 101, seed=1)).save(folder / "b.png")
    return folder


def run(*arguments):
    return main([str(argument) for argument in arguments])


def test_every_page_of_a_scan_is_shown(photos, tmp_path):
    pages = [Image.fromarray(smooth(83, 101 + 10 * i, seed=i)) for i in range(3)]
    pages[0].save(photos / "scan.tif", save_all=True, append_images=pages[1:])
    (photos / "b.png").unlink()
    out = tmp_path / "out"
    assert run("-i", photos, "-o", out, "--report", "-s", "1") == 0
    html = (out / "report.html").read_text("utf-8")
    page = Checker(html)
    assert [r.get("pages") for r in records(html)] == [None, 3]
    for number, width in enumerate((101, 111, 121), 1):
        assert f"<h3>Page {number} of 3</h3>{width} x 83 px" in html
        assert re.search(rf"Before and after: [^\"]*scan\.tif, page {number}\"", html)
    assert page.tags.count("article") == 2
    assert html.count('class="face"') == 4
    assert len(set(re.findall(r'class="after"[^>]* src="([^"]+)"', html))) == 8


def source_type(path):
    return digital_source_type(read_photo(path).metadata.xmp)


def test_report_is_beside_the_results_and_goes_on(photos, tmp_path, capsys):
    (photos / "c.png").write_bytes(b"no image")
    out = tmp_path / "out"
    assert run("-i", photos, "-o", out, "--report") == 1
    page = (out / "report.html").read_text("utf-8")
    Checker(page)
    named = [os.path.basename(r["input"]) for r in records(page)]
    assert named == ["a.jpg", "b.png", "c.png"]
    for words in ("What failed", "no image", "restore</th>", "model</th><td>default<", "scale"):
        assert words in page
    lines = [json.loads(line) for line in (out / "results.jsonl").read_text("utf-8").splitlines()]
    assert [r["faces"] for r in records(page)[:2]] == [line["faces"] for line in lines[:2]]
    (photos / "c.png").unlink()
    Image.fromarray(smooth(83, 101, seed=2)).save(photos / "d.png")
    assert run("-i", photos, "-o", out, "--report", "--resume") == 0
    page = (out / "report.html").read_text("utf-8")
    assert [os.path.basename(r["input"]) for r in records(page)] == [*named, "d.png"]
    assert run("-i", photos / "b.png", "-o", tmp_path / "o", "--report", tmp_path / "p.html") == 0
    assert len(records((tmp_path / "p.html").read_text("utf-8"))) == 1


def test_file_names_that_are_no_utf8_are_reported(photos, tmp_path):
    odd = os.fsencode(photos) + b"/caf\xe9<b>.png"
    try:
        with open(odd, "wb") as file:
            file.write((photos / "b.png").read_bytes())
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    out = tmp_path / "out"
    assert run("-i", photos, "-o", out, "--report") == 0
    names = [json.loads(line)["input"] for line in (out / "results.jsonl").open(encoding="utf-8")]
    assert os.fsencode(names[-1]) == odd
    Checker((out / "report.html").read_text("utf-8"))


def test_restored_photos_are_labelled_unless_refused(photos, tmp_path):
    assert run("-i", photos, "-o", tmp_path / "yes") == 0
    jpeg, png = tmp_path / "yes/restored_imgs/a.jpg", tmp_path / "yes/restored_imgs/b.png"
    assert source_type(jpeg) == source_type(png) == AI_COMPOSITE
    assert b'dc:format="image/jpeg"' in read_photo(jpeg).metadata.xmp
    assert source_type(tmp_path / "yes/restored_faces/b_00.png") == AI_COMPOSITE
    assert source_type(tmp_path / "yes/cropped_faces/b_00.png") is None
    assert run("-i", photos, "-o", tmp_path / "no", "--no-ai-label") == 0
    kept = read_photo(tmp_path / "no/restored_imgs/a.jpg").metadata.xmp
    assert kept == read_photo(photos / "a.jpg").metadata.xmp
    assert source_type(tmp_path / "no/restored_faces/b_00.png") is None


def test_a_photo_without_a_restored_face_gets_no_label(photos, tmp_path):
    out = tmp_path / "out"
    assert run("-i", photos / "b.png", "-o", out, "--min_score", 0.95) == 0
    assert read_photo(out / "restored_imgs/b.png").metadata.xmp is None
    Image.fromarray(np.full((90, 90, 3), 200, np.uint8)).save(photos / "poison.png")
    assert run("-i", photos / "poison.png", "-o", out) == 1
    assert read_photo(out / "restored_imgs/poison.png").metadata.xmp is None
