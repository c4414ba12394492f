"""Reference photos in the pipeline: which fidelity is taken, for whom, and what is refused."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from restore.cli import main
from restore.errors import InputError, OptionError
from restore.pipeline.guard import FIDELITIES, IdentityGuard, choose_by_references, load_references
from restore.pipeline.restorer import Restorer
from restore.pipeline.results import RestoredFace
from restore.trust.identity import References
from tests.faces.nobody import nobody
from tests.pipeline.fakes import FixedDetector
from tests.pipeline.test_trust import Painter, Thumbnails, restorer_for

SIDE = 128


def guard_of(painter):
    return IdentityGuard(Thumbnails(), painter.template)


def face_of(painter, crop):
    restored = painter.run(crop[None], 1.0)[0][0]
    return RestoredFace(
        np.zeros(4), painter.template, 1.0, "restored",
        crop=crop, restored=restored, fidelity=1.0,
    )  # fmt: skip


def known(*crops):
    return References(Thumbnails().embed(np.stack(crops)), ("a.jpg",) * len(crops))


def test_the_fidelity_that_shows_the_person_is_taken():
    painter = Painter(size=SIDE)
    face = face_of(painter, nobody(SIDE))
    person = choose_by_references(
        painter, [face], known(nobody(SIDE)), guard_of(painter), max_batch=2
    )[0]
    assert person.fidelity == 1.0 and person.restored is face.restored
    other = choose_by_references(
        painter, [face], known(painter.other), guard_of(painter), max_batch=2
    )[0]
    assert other.fidelity == min(FIDELITIES)
    np.testing.assert_array_equal(other.restored, painter.run(face.crop[None], 0.2)[0][0])


def test_of_several_faces_only_the_closest_is_theirs():
    painter = Painter(size=SIDE)
    stranger = np.ascontiguousarray(nobody(SIDE)[:, ::-1].transpose(1, 0, 2))
    faces = [face_of(painter, stranger), face_of(painter, nobody(SIDE))]
    painter.asked.clear()
    found = choose_by_references(painter, faces, known(nobody(SIDE)), guard_of(painter), 4)
    assert found[0] is faces[0]
    assert sorted(painter.asked) == pytest.approx(sorted(FIDELITIES[1:]))


def test_without_dial_or_network_there_is_no_choice():
    painter = Painter(size=SIDE, dial=False)
    with pytest.raises(OptionError, match="dial"):
        choose_by_references(painter, [], known(nobody(SIDE)), guard_of(painter), 4)
    none = IdentityGuard(None, painter.template, "it is missing")
    with pytest.raises(OptionError, match="it is missing"):
        choose_by_references(Painter(size=SIDE), [], known(nobody(SIDE)), none, 4)
    with pytest.raises(OptionError, match="it is missing"):
        load_references(".", FixedDetector(), none)


def test_a_folder_guides_a_photo(tmp_path):
    photo = tmp_path / "person.png"
    cv2.imwrite(str(photo), nobody(256)[..., ::-1])
    restorer = restorer_for(256)
    references = restorer.references(tmp_path)
    assert references.files == ("person.png",) and not references.left_out
    face = restorer.restore(nobody(256), references=references).faces[0]
    assert face.fidelity == 1.0
    assert sorted(set(restorer.runtime.asked)) == pytest.approx(sorted(FIDELITIES))
    lonely = Restorer(Painter(), FixedDetector(), identity=Thumbnails())
    with pytest.raises(InputError, match="no face"):
        lonely.references(tmp_path)


def test_the_command_line_says_what_is_wrong_with_a_folder(tmp_path, capsys):
    photo = tmp_path / "person.png"
    cv2.imwrite(str(photo), nobody(128)[..., ::-1])
    command = ["-i", str(photo), "-o", str(tmp_path / "out"), "--reference", str(tmp_path / "no")]
    assert main(command) == 2
    assert "reference photos" in capsys.readouterr().err
    assert not list(tmp_path.glob("out/**/*.png"))
