import csv
import json
from dataclasses import dataclass, replace

import cv2
import numpy as np
import pytest

from restore.data.face_dataset import FaceDataset, read_record, template_landmarks
from restore.data.prepare.__main__ import main
from restore.data.prepare.crops import (
    FaceTools,
    PrepareSettings,
    load_face_tools,
    sharpness,
    tilt_of,
    turn_of,
)
from restore.data.prepare.run import find_photos, prepare
from restore.data.stores import decode_rgb, encode_image, open_store
from restore.errors import InputError
from tests.data.crops import write_store

SIZE = 64
SETTINGS = PrepareSettings(size=SIZE, detector="fake", min_sharpness=0.0, max_tilt=45)


@dataclass(frozen=True)
class Found:
    box: np.ndarray
    landmarks: np.ndarray
    score: float = 0.9

    @property
    def size(self) -> float:
        return float(self.box[2] - self.box[0])


def face(x: float, y: float, side: float, score: float = 0.9, turn: float = 0.0) -> Found:
    """A face whose FFHQ crop is a square of `side` px with its corner at x, y."""
    points = template_landmarks(512, 1.0, (256, 256)) * (side / 512)
    c, s = np.cos(np.radians(turn)), np.sin(np.radians(turn))
    middle = points.mean(0)
    points = (points - middle) @ np.array([[c, s], [-s, c]]) + middle + [x, y]
    box = np.array([points[:, 0].min(), points[:, 1].min(), points[:, 0].max(), points[:, 1].max()])
    return Found(box, points, score)


def tools_that_find(faces: dict[tuple[int, ...], list[Found]]) -> FaceTools:
    """Real alignment, and a detector that knows photos by their size."""
    return replace(load_face_tools(None), detect=lambda photo: faces.get(photo.shape[:2], []))


def photo(height: int, width: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (height // 10, width // 10, 3), dtype=np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    (folder / "album").mkdir(parents=True)
    for name, pixels in (
        ("two.png", photo(128, 200)),
        ("album/one.png", photo(120, 120, 1)),
        ("empty.png", photo(80, 80, 2)),
    ):
        (folder / name).write_bytes(encode_image(pixels))
    (folder / "broken.jpg").write_bytes(b"no picture")
    (folder / "notes.txt").write_text("not a photo")
    return folder


FACES = {
    (128, 200): [face(10, 10, 70), face(100, 20, 96), face(150, 0, 20)],
    (120, 120): [face(20, 20, 80)],
}


def test_a_folder_of_photos_becomes_a_set(photos, tmp_path):
    out = tmp_path / "set.lmdb"
    text = prepare([photos], out, SETTINGS, tools_that_find(FACES), workers=2)
    store = open_store(out)
    assert sorted(store.keys) == ["album/one", "two", "two--1"]
    record = read_record(store.record("two"))
    assert record.photo == "two.png" and record.source == "two" and record.size == SIZE
    assert np.allclose(record.landmarks, template_landmarks(SIZE, 1, (256, 256)), atol=0.6)
    # the largest comes first: its crop is the photo's square, scaled by 64 / 96
    wanted = cv2.resize(
        photo(128, 200)[20:116, 100:196], (SIZE, SIZE), interpolation=cv2.INTER_AREA
    )
    assert np.abs(store.image("two").astype(int) - wanted).mean() < 6
    assert "| small | 1 |" in text and "| no face | 1 |" in text and "| unreadable | 1 |" in text
    with (tmp_path / "set.report" / "dropped.csv").open() as file:
        rows = {(r["photo"], r["face"]): (r["reason"], r["detail"]) for r in csv.DictReader(file)}
    assert rows[("two.png", "2")] == ("small", "0.31 is below 0.50")
    assert rows[("empty.png", "")][0] == "no face"
    assert decode_rgb((tmp_path / "set.report" / "contact_sheet.jpg").read_bytes()).size
    assert decode_rgb((tmp_path / "set.report" / "dropped_sheet.jpg").read_bytes()).size
    sample = FaceDataset(store)[0]
    assert sample.gt.shape == (3, SIZE, SIZE) and sample.mask.all()


def test_cut_off_and_resumed_is_the_same_set(photos, tmp_path):
    whole, parts = tmp_path / "a.lmdb", tmp_path / "b.lmdb"
    prepare([photos], whole, SETTINGS, tools_that_find(FACES))
    seen = []
    tools = tools_that_find(FACES)
    counting = replace(tools, decode=lambda data: seen.append(data) or tools.decode(data))
    for _ in range(3):
        prepare([photos], parts, SETTINGS, counting, limit=2)
    assert len(seen) == 4
    # a line that was cut off while it was written: that photo is done again
    journal = tmp_path / "b.report" / "photos.jsonl"
    lines = journal.read_text().splitlines(keepends=True)
    journal.write_text("".join(lines[:-1]) + lines[-1][:10])
    prepare([photos], parts, SETTINGS, counting)
    assert len(seen) == 5
    one, two = open_store(whole), open_store(parts)
    assert one.keys == two.keys
    for key in one.keys:
        assert np.array_equal(one.image(key), two.image(key))
        assert one.record(key) == two.record(key)
    text = [(tmp_path / f"{name}.report" / "report.md").read_text() for name in "ab"]
    assert text[0] == text[1]
    with pytest.raises(InputError, match="size: 64 then, 32 now"):
        prepare([photos], parts, replace(SETTINGS, size=32), counting)


@pytest.mark.parametrize(
    ("found", "settings", "reason"),
    [
        (face(20, 20, 80, score=0.3), {}, "score"),
        (face(20, 20, 30), {}, "small"),
        (face(-50, 20, 100), {}, "border"),
        (face(20, 20, 80, turn=80), {}, "tilt"),
        (face(20, 20, 80), {"max_turn": -1.0}, "turn"),
        (face(20, 20, 80), {"min_sharpness": 200.0}, "blurred"),
        (Found(np.zeros(4), np.ones((5, 2))), {}, "landmarks"),
    ],
)
def test_each_filter_names_itself(photos, tmp_path, found, settings, reason):
    tools = tools_that_find({(120, 120): [found]})
    (photos / "two.png").unlink()
    with_filter = replace(SETTINGS, **settings)
    prepare([photos / "album"], tmp_path / "set", with_filter, tools)
    (entry,) = map(json.loads, (tmp_path / "set.report/photos.jsonl").read_text().splitlines())
    assert not entry["kept"] and [d["reason"] for d in entry["dropped"]] == [reason]


def test_border_that_is_kept_is_masked(photos, tmp_path):
    tools = tools_that_find({(120, 120): [face(-16, 20, 80)]})
    prepare([photos / "album"], tmp_path / "set", replace(SETTINGS, min_inside=0.5), tools)
    mask = FaceDataset(open_store(tmp_path / "set"))[0].mask[0]
    left = 16 / 80 * SIZE
    assert not mask[:, : int(left) - 1].any() and mask[:, int(left) + 2 :].all()


def test_aligned_crops_change_their_template(tmp_path):
    (tmp_path / "in").mkdir()
    canvas = np.zeros((90, 90, 3), np.uint8)
    for x, y in template_landmarks(90, 1.2, (256, 280)).round().astype(int):
        canvas[y - 1 : y + 2, x - 1 : x + 2] = 255
    (tmp_path / "in" / "a.png").write_bytes(encode_image(canvas))
    settings = PrepareSettings(
        size=SIZE, aligned=True, in_zoom=1.2, in_centre=(256, 280), detector=None,
        min_inside=0.5, min_sharpness=0,
    )  # fmt: skip
    prepare([tmp_path / "in"], tmp_path / "out", settings, load_face_tools(None))
    sample = FaceDataset(open_store(tmp_path / "out"))[0]
    assert np.allclose(sample.landmarks, template_landmarks(SIZE, 1, (256, 256)), atol=0.25)
    for x, y in sample.landmarks.round().astype(int):
        assert sample.gt[0, y, x] > 100
    # the old crop fills a square of size / 1.2, as README of the shared crops has it
    assert sample.mask.mean() == pytest.approx(1 / 1.44, abs=0.04)


def test_crops_of_the_same_template_stay_as_they_are(tmp_path):
    path = write_store("tar", tmp_path)
    settings = PrepareSettings(size=16, aligned=True, detector=None, min_sharpness=0)
    prepare([path], tmp_path / "out.lmdb", settings, load_face_tools(None))
    before, after = open_store(path), open_store(tmp_path / "out.lmdb")
    assert sorted(before.keys) == sorted(after.keys)
    for key in before.keys:
        assert np.array_equal(before.image(key), after.image(key))


def test_names_become_keys(tmp_path):
    for name in ("a.b.png", "a-b.png", "ü  x.jpg", "sub/c.webp", "--.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    keys = {place.name: place.key for place in find_photos([tmp_path])}
    assert keys["sub/c.webp"] == "sub/c" and keys["ü  x.jpg"] == "x" and keys["--.png"] == "photo"
    assert keys["a.b.png"] != keys["a-b.png"] and keys["a.b.png"].startswith("a-b-")
    assert all("." not in key and "--" not in key and " " not in key for key in keys.values())
    with pytest.raises(InputError, match="prepare them one by one"):
        find_photos([tmp_path, tmp_path / "a.b.png"])
    with pytest.raises(InputError, match="does not exist"):
        find_photos([tmp_path / "gone"])


def test_measures():
    sharp = photo(64, 64)
    assert sharpness(sharp) > 1.2 * sharpness(cv2.GaussianBlur(sharp, (0, 0), 2))
    assert tilt_of(face(0, 0, 100, turn=30).landmarks) == pytest.approx(30, abs=1)
    frontal = template_landmarks(512, 1, (256, 256))
    assert turn_of(frontal) < 0.05
    turned = frontal.copy()
    turned[2, 0] += 63
    assert turn_of(turned) == pytest.approx(1.0, abs=0.06)
    assert turn_of(np.ones((5, 2))) == float("inf")


def test_command_line(photos, tmp_path, capsys):
    write_store("disk", tmp_path)
    out = str(tmp_path / "set.lmdb")
    arguments = [str(tmp_path / "crops"), "--aligned", "--size", "8", "--out", out]
    assert main([*arguments, "--min-sharpness", "0", "--workers", "1"]) == 0
    assert "6 crops kept" in capsys.readouterr().out
    assert main([*arguments, "--zoom", "1.2"]) == 1
    assert "error: set.report belongs to a set with other settings" in capsys.readouterr().err
    assert main([str(photos), "--detector", "none", "--out", out]) == 1
    assert "photos need one" in capsys.readouterr().err


@pytest.mark.shared
def test_a_real_photo(shared, tmp_path):
    inputs = [shared / "photos" / "group" / "Audrey_Hepburn.jpg"]
    settings = PrepareSettings(size=128)
    prepare(inputs, tmp_path / "set", settings, load_face_tools("default"))
    record = read_record(open_store(tmp_path / "set").record("Audrey_Hepburn"))
    assert np.abs(record.landmarks - template_landmarks(128, 1, (256, 256))).max() < 10
