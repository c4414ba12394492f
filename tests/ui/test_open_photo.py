"""Open photos: faces are looked for once, wishes reach the network, files keep their metadata."""

import numpy as np
import pytest

from restore.errors import InputError
from restore.images.files import read_photo
from restore.images.metadata import AI_COMPOSITE
from restore.images.xmp import digital_source_type
from restore.pipeline.options import RestoreOptions, TrustOptions
from restore.report.section import spoken
from restore.ui.open_photo import (
    faces_view,
    open_photo,
    photo_view,
    problem,
    restore_open,
    save_restored,
)
from tests.ui.parts import restorer_with_two_faces, save_photo

PLAIN = TrustOptions(identity="off", gentle=False, keep_good=False)


def test_faces_are_found_once_and_the_network_runs_again(tmp_path):
    restorer = restorer_with_two_faces()
    opened = open_photo(save_photo(tmp_path / "a.jpg"))
    opened, first = restore_open(restorer, opened, RestoreOptions(scale=1, trust=PLAIN))
    assert [face.changed for face in first.faces] == [True, True]
    opened, second = restore_open(
        restorer, opened, RestoreOptions(scale=1, fidelity=0.5, trust=PLAIN)
    )
    assert restorer.detector.looks == 1
    assert restorer.runtime.dials == [[1.0, 1.0], [0.5, 0.5]]
    assert not np.array_equal(first.image, second.image)
    fresh = restorer_with_two_faces()
    plain = fresh.restore(tmp_path / "a.jpg", scale=1, fidelity=0.5, trust=PLAIN)
    assert np.array_equal(second.image, plain.image)


def test_faces_that_are_not_wished_for_stay(tmp_path):
    restorer = restorer_with_two_faces()
    opened = open_photo(save_photo(tmp_path / "a.jpg"))
    wishes = RestoreOptions(scale=1, trust=PLAIN)
    for _ in range(2):  # at the first look and later
        opened, result = restore_open(restorer, opened, wishes, {0})
        assert result.faces[0].status == "skipped"
        assert [face.changed for face in result.faces] == [False, True]
        assert np.array_equal(result.image[40:80, 40:80], opened.photo.pixels[40:80, 40:80])
    opened, result = restore_open(restorer, opened, RestoreOptions(scale=1), {0, 1})
    assert np.array_equal(result.image, opened.photo.pixels)


def test_what_is_saved_has_the_metadata_and_the_label(tmp_path):
    restorer = restorer_with_two_faces()
    opened = open_photo(save_photo(tmp_path / "a.jpg"))
    opened, result = restore_open(restorer, opened, RestoreOptions(trust=PLAIN, scale=2))
    path, notes = save_restored(opened, result, tmp_path)
    assert (path.name, notes) == ("a_restored.jpg", ())
    saved = read_photo(path)
    assert saved.size == (440, 240)
    assert b"Leica" in saved.metadata.exif
    assert b'dc:format="image/jpeg"' in saved.metadata.xmp
    assert digital_source_type(saved.metadata.xmp) == AI_COMPOSITE
    path, _ = save_restored(opened, result, tmp_path, ai_label=False)
    assert digital_source_type(read_photo(path).metadata.xmp) is None


def test_the_view_shows_boxes_statuses_and_escapes(tmp_path):
    opened = open_photo(save_photo(tmp_path / "<b>a.jpg"))
    opened, result = restore_open(
        restorer_with_two_faces(), opened, RestoreOptions(scale=1, trust=PLAIN)
    )
    html = photo_view(opened, result) + faces_view(opened, result)
    assert html.count('class="tag"') == 2
    assert "hidden" not in html
    assert html.count(f">{spoken(result.faces[0].status)}</span>") >= 1
    assert html.count('class="status') == 2
    assert "2 faces found" in html
    assert "<b>a" not in html
    assert problem("<i>") == '<p class="problem" role="alert">&lt;i&gt;</p>'
    with pytest.raises(InputError):
        open_photo(tmp_path / "none.jpg")
