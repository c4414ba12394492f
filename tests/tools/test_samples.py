"""Scenes and sample photos: what is composed, and that the files carry what they should."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from restore.errors import InputError
from restore.images.files import read_photo
from tests.latents.tiny import mobile
from tools.samples import (
    SAMPLE_PHOTOS,
    framed,
    group,
    lay,
    metadata_of,
    oval_mask,
    pixels_of,
    plain_wall,
    print_of,
    resized,
    vignette,
    write_sample_photos,
)

SAMPLES = Path(__file__).resolve().parents[2] / "samples"
FACES = {photo.name: len(photo.seeds) for photo in SAMPLE_PHOTOS}


def flat(value, height=40, width=40):
    return np.full((height, width, 3), value, np.float32)


def test_a_group_keeps_its_people_and_joins_them_softly():
    scene = group([flat(0.2), flat(0.8), flat(0.4)], 40, overlap=0.25)
    assert scene.shape == (40, 40 + 30 + 30, 3)
    assert np.allclose(scene[:, :28], 0.2, atol=1e-3)
    assert np.allclose(scene[:, 42:58], 0.8, atol=1e-3)
    assert np.allclose(scene[:, -28:], 0.4, atol=1e-3)
    assert (np.diff(scene[:, 30:40, 0], axis=1) >= -1e-6).all()  # from 0.2 up to 0.8, no jumps back
    with pytest.raises(InputError):
        group([], 40)


def test_the_seam_runs_where_the_pictures_agree():
    left, right = flat(0.0), flat(1.0)
    left[:, 33], right[:, 5] = 0.5, 0.5  # the overlap is left[:, 28:] and right[:, :12]: column 5
    scene = group([left, right], 40, overlap=0.3)[:, 28:40, 0]
    crossing = np.abs(scene - 0.5).argmin(axis=1)
    assert (np.abs(crossing - 5) <= 1).all()


def test_a_turned_print_covers_its_place_and_shades_the_ground():
    scene = lay(flat(0.5, 100, 120), print_of(flat(0.1, 30, 30), 5), (60, 50), 30)
    assert scene.shape == (100, 120, 3)
    assert np.allclose(scene[50, 60], 0.1, atol=0.02)
    assert np.allclose(scene[2, 2], 0.5, atol=1e-3)
    assert scene.min() >= 0 and scene.max() <= 1
    assert (scene[50:85, 60:100] < 0.49).any()


def test_frames_and_borders_leave_the_picture_as_it_is():
    picture = np.random.default_rng(0).random((24, 20, 3)).astype(np.float32)
    np.testing.assert_array_equal(print_of(picture, 4)[4:-4, 4:-4], picture)
    np.testing.assert_allclose(framed(picture, 6, 3, (0.3, 0.2, 0.1))[9:-9, 9:-9], picture)


def test_a_vignette_shows_the_picture_in_the_middle_and_the_card_at_its_corners():
    card = plain_wall(60, 80, (0.8, 0.7, 0.6), seed=1)
    result = vignette(flat(0.1, 50, 40), card)
    assert np.allclose(result[40, 30], 0.1, atol=1e-3)
    np.testing.assert_array_equal(result[:15], card[:15])
    with pytest.raises(InputError, match="does not fit"):
        vignette(flat(0.1, 90, 40), card)


def test_the_oval_touches_no_corner():
    mask = oval_mask(40, 60, 0.02)
    assert mask[20, 30] == 1 and mask[0, 0] == 0 and mask[20, 0] == 0


def test_resizing_keeps_the_shape_unless_a_height_is_given():
    assert resized(flat(0.5, 20, 40), 20).shape == (10, 20, 3)
    assert resized(flat(0.5, 20, 40), 20, 7).shape == (7, 20, 3)


def test_a_photo_is_stored_turned_and_read_upright(tmp_path):
    photo = next(p for p in SAMPLE_PHOTOS if p.orientation == 6)
    picture = np.zeros((20, 40, 3), np.float32)
    picture[:5] = 1  # light at the top
    stored = pixels_of(photo, picture)
    assert stored.shape == (40, 20, 3)
    from restore.images.write import write_photo

    path = tmp_path / "turned.jpg"
    write_photo(path, stored, metadata_of(photo, 20, 40))
    shown = read_photo(path).pixels
    assert shown.shape == (20, 40, 3)
    assert shown[:4].mean() > 240 and shown[8:].mean() < 15


def test_sixteen_bits_are_used():
    photo = next(p for p in SAMPLE_PHOTOS if p.bits == 16)
    values = pixels_of(photo, flat(0.5, 32, 32))
    assert values.dtype == np.uint16 and values.ndim == 2
    assert len(np.unique(values)) > 100 and abs(values.mean() / 65535 - 0.5) < 0.01


def test_photos_are_written_with_exif_and_profile_and_the_same_twice(tmp_path):
    photos = [replace(p, seeds=p.seeds[:2]) for p in SAMPLE_PHOTOS if p.name in ("snapshot.jpg",)]
    first = write_sample_photos(mobile(), tmp_path / "a", photos)
    second = write_sample_photos(mobile(), tmp_path / "b", photos)
    assert [p.read_bytes() for p in first] == [p.read_bytes() for p in second]
    photo = read_photo(first[0])
    assert photo.metadata.icc and b"Generated faces" in photo.metadata.exif


@pytest.mark.parametrize("name", sorted(FACES))
def test_the_committed_photos_are_read_whole(name):
    photo = read_photo(SAMPLES / name)
    assert photo.notes == () and photo.metadata.exif
    described = next(p for p in SAMPLE_PHOTOS if p.name == name)
    assert (photo.alpha is not None) == described.oval
    assert photo.pixels.dtype == (np.uint16 if described.bits == 16 else np.uint8)
    assert (photo.pixels.ndim == 2) == described.gray
    assert described.gray or photo.metadata.icc


def test_the_folder_of_photos_is_small():
    assert sum(path.stat().st_size for path in SAMPLES.iterdir()) < 2_000_000


@pytest.mark.slow
def test_every_face_of_the_committed_photos_is_found():
    from restore.faces.detect import load_detector
    from restore.images.pixels import to_uint8

    detector = load_detector(threads=1)
    found = {}
    for name in FACES:
        pixels = read_photo(SAMPLES / name).pixels
        pixels = to_uint8(pixels) if pixels.dtype == np.uint16 else pixels
        pixels = np.repeat(pixels[:, :, None], 3, 2) if pixels.ndim == 2 else pixels
        found[name] = len(detector.detect(np.ascontiguousarray(pixels)))
    assert found == FACES
