"""References: the person of a folder of photos, and the candidate that is closest."""

from __future__ import annotations

import numpy as np
import pytest

from restore.errors import InputError
from restore.trust.identity import References, choose_candidate, read_references


class Colour:
    """Identity by the mean colour."""

    name = "colour"

    def embed(self, crops):
        mean = crops.reshape(len(crops), -1, 3).mean(1).astype(np.float32) + 1
        return mean / np.linalg.norm(mean, axis=1, keepdims=True)


RED, GREEN, BLUE = (np.eye(3, dtype=np.uint8)[i] * 255 for i in range(3))


def faces(*colours):
    return np.stack([np.broadcast_to(c, (8, 8, 3)) for c in colours])


def read_from(folder, photos):
    for name in photos:
        (folder / name).write_bytes(b"")

    def read(path):
        if photos[path.name] is None:
            raise InputError("is no image")
        return photos[path.name]

    return read_references(folder, read, lambda found: found, Colour())


def test_of_several_faces_the_one_that_the_other_photos_show(tmp_path):
    photos = {"a.jpg": faces(GREEN), "b.jpg": faces(RED, BLUE, GREEN), "c.png": faces(GREEN)}
    found = read_from(tmp_path, photos)
    assert found.files == ("a.jpg", "b.jpg", "c.png")
    assert found.vectors.shape == (3, 3)
    assert (found.vectors.argmax(1) == 1).all()


def test_photos_without_a_face_are_left_out_and_said(tmp_path):
    photos = {"a.jpg": faces(RED), "b.jpg": None, "c.jpg": np.zeros((0, 8, 8, 3), np.uint8)}
    found = read_from(tmp_path, photos)
    assert found.left_out == (("b.jpg", "is no image"), ("c.jpg", "no face was found"))
    with pytest.raises(InputError, match="shows no face"):
        read_from(tmp_path, dict.fromkeys(photos))


def test_folders_without_photos(tmp_path):
    for folder, said in ((tmp_path, "holds no photo"), (tmp_path / "none", "does not exist")):
        with pytest.raises(InputError, match=said):
            read_references(folder, lambda path: None, lambda rgb: rgb, Colour())


def test_the_closest_candidate_is_chosen_and_the_first_of_equals():
    known = References(Colour().embed(faces(GREEN, GREEN)), ("a", "b"))
    index, cosines = choose_candidate(Colour().embed(faces(RED, BLUE, GREEN, GREEN)), known)
    assert index == 2 and cosines.shape == (4,)
    assert cosines[2] == pytest.approx(1, abs=1e-5) and cosines[0] < 0.1
    near = Colour().embed(faces(RED, GREEN)) * 0.1 + Colour().embed(faces(GREEN, GREEN))
    assert choose_candidate(near, known)[0] == 1 and choose_candidate(near, known, 0.1)[0] == 0
    with pytest.raises(InputError, match="candidates"):
        choose_candidate(np.zeros((0, 3)), known)
