"""The restorer on a fake network: sizes, depth, gray, alpha, failures, threads."""

import ast
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import restore
from restore.errors import InputError, OptionError, RestoreError
from restore.faces.face import Face
from restore.images.metadata import Metadata
from restore.images.photo import Photo
from restore.pipeline.options import RestoreOptions
from restore.pipeline.restorer import Restorer
from restore.pipeline.results import FaceChoice
from tests.pipeline.fakes import (
    BrightSquareDetector,
    FixedDetector,
    InvertRuntime,
    NoOcclusion,
    face_at,
)

RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def _waves_count_as_faces(monkeypatch):
    """The pictures here are waves, which the network would call covered faces."""
    monkeypatch.setattr("restore.trust.occlusion.packaged_occlusion_detector", NoOcclusion)


def smooth(height, width, channels=3, dtype=np.uint8, seed=0):
    y, x = np.mgrid[0:height, 0:width]
    waves = [1.5 + np.sin(x / (6 + c + seed)) * np.cos(y / (8 + c)) for c in range(channels)]
    return (np.stack(waves, -1) / 2.6 * np.iinfo(dtype).max).astype(dtype)


def one_face(size=60, **kwargs):
    return Restorer(InvertRuntime(**kwargs), FixedDetector(face_at(50, 40, size)))


def test_restore_is_the_single_public_class():
    assert restore.Restorer is Restorer


@pytest.mark.parametrize("scale", [0.5, 1, 1.37, 2, 3])
def test_size_is_exact_and_the_face_changed(scale):
    photo = smooth(83, 101)
    result = one_face().restore(photo, scale=scale)
    assert result.image.shape == (round(83 * scale), round(101 * scale), 3)
    assert result.status == "restored"
    plain = Restorer(InvertRuntime(), FixedDetector()).restore(photo, scale=scale).image
    different = np.abs(result.image.astype(int) - plain).max(2) > 8
    y, x = np.nonzero(different)
    assert len(y)
    assert abs(x.mean() / scale - 50) < 4  # the change lies where the face is
    assert not different[:, : int(15 * scale)].any()


def test_restored_face_reports_what_was_done():
    result = one_face().restore(smooth(83, 101))
    (face,) = result.faces
    assert face.status == "restored"
    assert face.crop.shape == face.restored.shape == (64, 64, 3)
    assert not np.array_equal(face.restored, face.crop)
    assert (face.strength, face.fidelity, face.changed) == (1.0, 1.0, True)
    assert abs(face.yaw) < 1
    assert face.quality.blur > 0
    mapped = face.landmarks @ face.matrix[:, :2].T + face.matrix[:, 2]
    assert np.abs(mapped - InvertRuntime().template).max() < 1e-6
    assert face.degradation["scale"] == pytest.approx(4)
    assert face.degradation["noise_sigma"] == pytest.approx(10)
    assert face.degradation["jpeg_quality"] == pytest.approx(70)
    stages = {"read", "detect", "align", "network", "trust", "background", "paste"}
    assert set(result.timings) == stages
    with pytest.raises(AttributeError):
        face.status = "failed"


def test_16_bit_pixels_outside_the_face_keep_all_bits():
    photo = RNG.integers(0, 65536, (83, 101, 3), dtype=np.uint16)
    result = one_face(30).restore(photo, scale=1)
    assert result.image.dtype == np.uint16
    changed = (result.image != photo).any(2)
    assert changed[40, 50]
    assert not changed[:, :30].any()
    assert not changed[:, 70:].any()


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_layout_and_depth_come_back(channels, dtype):
    photo = smooth(83, 101, channels, dtype)
    result = one_face().restore(photo, scale=2)
    assert result.image.shape == (166, 202, channels)
    assert result.image.dtype == dtype
    if channels in (2, 4):  # alpha is enlarged, the face does not touch it
        assert (
            np.abs(result.image[::2, ::2, -1] / 1.0 - photo[:, :, -1]).max()
            < 0.1 * np.iinfo(dtype).max
        )


def test_flat_gray_stays_flat_and_gray_rgb_stays_gray():
    flat = smooth(83, 101, 1)[:, :, 0]
    assert one_face().restore(flat).image.shape == (166, 202)
    rgb = np.dstack([flat] * 3)
    image = one_face().restore(rgb).image
    assert (image[..., 0] == image[..., 1]).all()
    assert (image[..., 1] == image[..., 2]).all()
    assert not np.array_equal(image, Restorer(InvertRuntime(), FixedDetector()).restore(rgb).image)
    assert one_face().restore(flat, keep_gray=False).image.shape == (166, 202, 3)


def test_no_face_still_gives_the_photo_and_says_so():
    photo = smooth(30, 40)
    result = Restorer(InvertRuntime(), FixedDetector()).restore(photo, scale=1)
    assert (result.status, result.reason, result.faces) == ("no_face", "no face was found", ())
    assert np.array_equal(result.image, photo)
    assert result.image is not photo
    for size in ((1, 1), (20000, 50)):
        result = Restorer(InvertRuntime(), FixedDetector()).restore(np.zeros((*size, 3), np.uint8))
        assert result.image.shape == (2 * size[0], 2 * size[1], 3)


def test_a_failing_face_is_returned_as_failed_and_the_others_go_on():
    photo = np.full((100, 300, 3), 40, np.uint8)
    photo[:, 100:200] = 200
    photo[:, 200:] = 90
    faces = [face_at(50, 50, 40), face_at(150, 50, 40), face_at(250, 50, 40)]
    runtime = InvertRuntime(poison=200)
    result = Restorer(runtime, FixedDetector(*faces)).restore(photo, scale=1)
    assert [face.status for face in result.faces] == ["restored", "failed", "restored"]
    assert "poison" in result.faces[1].reason
    assert result.status == "partial"
    assert "1 of 3 faces failed" in result.reason
    assert (result.image[:, 110:190] == 200).all()
    same = np.array([[5.0, 5.0]] * 5)
    flat = FixedDetector(type(faces[0])(faces[0].box, same, 0.9))
    result = Restorer(InvertRuntime(), flat).restore(photo, scale=1)
    assert result.status == "failed"
    assert "degenerate" in result.faces[0].reason


def test_faces_go_through_in_bounded_batches_with_progress():
    faces = [face_at(20 + 25 * i, 30, 20) for i in range(7)]
    runtime, seen = InvertRuntime(), []
    restorer = Restorer(runtime, FixedDetector(*faces), max_batch=3)
    restorer.restore(smooth(60, 200), progress=lambda done, total: seen.append((done, total)))
    assert runtime.batches == [3, 3, 1]
    assert seen == [(3, 7), (6, 7), (7, 7)]

    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        restorer.restore(smooth(60, 200), progress=stop)


def test_choice_of_faces():
    faces = [face_at(40, 40, 40, 0.6), face_at(104, 80, 60), face_at(160, 140, 35)]
    restorer = Restorer(InvertRuntime(), FixedDetector(*faces))

    def statuses(**kwargs):
        return [face.status for face in restorer.restore(smooth(166, 202), **kwargs).faces]

    assert statuses(only_center_face=True) == ["skipped", "restored", "skipped"]
    assert statuses(choice=FaceChoice(min_score=0.7)) == ["skipped", "restored", "restored"]
    assert statuses(choice=FaceChoice(max_faces=2)) == ["restored", "restored", "skipped"]
    assert statuses(choice=FaceChoice(min_eye_distance=9)) == ["restored", "restored", "skipped"]
    result = restorer.restore(smooth(166, 202), choice=FaceChoice(min_score=1.0))
    assert result.status == "no_face"
    assert "score 0.60" in result.reason


def test_aligned_crops():
    crop = smooth(128, 128)
    result = one_face().restore(crop, aligned=True)
    assert result.image.shape == (64, 64, 3)
    assert np.array_equal(result.image, result.faces[0].restored)
    gray = one_face().restore(crop[..., 0], aligned=True)
    assert gray.image.shape == (64, 64, 1)
    with pytest.raises(InputError, match="square"):
        one_face().restore(smooth(10, 12), aligned=True)


def test_restore_faces():
    restorer = one_face(poison=200)
    crops = np.stack([smooth(96, 96, seed=i) for i in range(5)])
    restored = restorer.restore_faces(crops)
    assert restored.shape == (5, 64, 64, 3)
    assert restored.dtype == np.uint8
    alone = np.concatenate([restorer.restore_faces(crop[None]) for crop in crops])
    assert np.array_equal(restored, alone)
    assert restorer.restore_faces(crops[:0]).shape == (0, 64, 64, 3)
    assert restorer.restore_faces(np.zeros((1, 32, 32, 3), np.uint8)).shape == (1, 64, 64, 3)
    with pytest.raises(InputError, match="h = w"):
        restorer.restore_faces(np.zeros((1, 32, 30, 3), np.uint8))
    with pytest.raises(InputError, match="float"):
        restorer.restore_faces(np.zeros((1, 32, 32, 3)))
    with pytest.raises(RestoreError, match=r"crop 0: .*poison"):
        restorer.restore_faces(np.full((1, 64, 64, 3), 200, np.uint8))


def test_fidelity_is_checked_and_used():
    photo = smooth(83, 101)
    full, half = (one_face().restore(photo, fidelity=f).image for f in (1, 0.5))
    assert not np.array_equal(full, half)
    with pytest.raises(OptionError, match="from 0 to 1"):
        one_face().restore(photo, fidelity=1.5)
    with pytest.raises(OptionError, match="no fidelity dial"):
        one_face(fidelity=False).restore(photo, fidelity=0.5)
    assert one_face(fidelity=False).restore(photo).status == "restored"


@pytest.mark.parametrize("scale", [0, -1, float("nan"), float("inf"), "2", None, True])
def test_impossible_scales(scale):
    with pytest.raises(OptionError, match=r"scale is .*; expected a number above 0"):
        one_face().restore(smooth(83, 101), scale=scale)


def test_a_scale_that_makes_too_many_pixels():
    with pytest.raises(InputError, match="choose a smaller scale"):
        one_face().restore(smooth(83, 101), scale=1e9)


def test_faces_found_elsewhere_are_taken_and_nothing_is_looked_for():
    restorer = one_face()
    photo = smooth(83, 101)
    (found,) = restorer.restore(photo, scale=1).faces
    restorer.detector = None
    face = Face(found.box, found.landmarks, found.score)
    given = restorer.restore(photo, RestoreOptions(scale=1), faces=[face])
    np.testing.assert_array_equal(given.image, one_face().restore(photo, scale=1).image)
    assert restorer.restore(photo, faces=[], scale=1).status == "no_face"


def test_keywords_stand_above_options_and_unknown_ones_are_named():
    restorer = one_face()
    options = RestoreOptions(scale=1, fidelity=0.5)
    assert restorer.restore(smooth(83, 101), options, scale=2).image.shape == (166, 202, 3)
    with pytest.raises(OptionError, match=r"scales: no option of a restoration; expected one of"):
        restorer.restore(smooth(83, 101), scales=2)


def test_inputs_of_every_kind(tmp_path):
    photo = smooth(83, 101)
    Image.fromarray(photo).save(tmp_path / "a.png")
    restorer = one_face()
    expected = restorer.restore(photo).image
    for source in (
        tmp_path / "a.png",
        str(tmp_path / "a.png"),
        Image.fromarray(photo),
        Photo(photo),
    ):
        assert np.array_equal(restorer.restore(source).image, expected)
    with pytest.raises(InputError, match="found list"):
        restorer.restore([1, 2])
    with pytest.raises(InputError, match="does not exist"):
        restorer.restore(tmp_path / "no.png")


def test_metadata_travels_with_the_new_size(tmp_path):
    exif = Image.Exif()
    exif[0x010F] = "Leica"
    exif[0x8769] = {0xA002: 101}
    photo = Photo(smooth(83, 101), metadata=Metadata(exif=exif.tobytes(), dpi=(300.0, 300.0)))
    assert one_face().restore(photo).save(tmp_path / "a.jpg") == ()
    with Image.open(tmp_path / "a.jpg") as saved:
        assert saved.getexif()[0x010F] == "Leica"
        assert saved.getexif().get_ifd(0x8769)[0xA002] == 202
        assert saved.info["dpi"] == (300, 300)


def test_colour_profile_is_minded():
    from tests.images.test_pixels import wide_profile

    photo = smooth(83, 101)
    plain = one_face().restore(Photo(photo), scale=1)
    wide = one_face().restore(Photo(photo, metadata=Metadata(icc=wide_profile())), scale=1)
    assert not np.array_equal(plain.faces[0].crop, wide.faces[0].crop)  # the network sees sRGB
    assert np.array_equal(plain.image[:, :15], wide.image[:, :15])  # the photo keeps its values


def test_eight_threads_give_the_same_bytes():
    photos = [smooth(60 + i, 80 + 2 * i, seed=i) for i in range(16)]
    restorer = Restorer(InvertRuntime(), BrightSquareDetector())
    alone = [restorer.restore(photo) for photo in photos]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(restorer.restore, photos * 3))
    for a, b in zip(alone * 3, together, strict=True):
        assert a.image.tobytes() == b.image.tobytes()
        assert a.faces[0].restored.tobytes() == b.faces[0].restored.tobytes()
    assert len({result.image.tobytes() for result in alone}) == 16


def test_the_light_core_imports_no_torch_at_module_level():
    root = Path(restore.__file__).parent
    for path in [
        *(root / "pipeline").glob("*.py"),
        *(root / "images").glob("*.py"),
        *(root / "commands").glob("*.py"),
    ]:
        for node in ast.parse(path.read_text("utf-8")).body:
            names = [alias.name for alias in getattr(node, "names", [])]
            module = getattr(node, "module", None) or ""
            assert not any(n.split(".")[0] == "torch" for n in [*names, module]), path
