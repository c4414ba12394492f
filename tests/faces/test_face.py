"""The face itself, its measures, and the filters."""

import numpy as np
import pytest

from restore.errors import InputError
from restore.faces.align import invert
from restore.faces.detectors import turned, whole
from restore.faces.face import Face, centre_face, keep_faces
from tests.faces.scene import placed_face, smooth_photo


def test_measures():
    face = placed_face((50, 60), 20, 90)
    assert face.eye_distance == pytest.approx(20)
    assert face.tilt == pytest.approx(90, abs=1)
    assert placed_face((50, 60), 20).tilt == pytest.approx(0, abs=1)
    assert face.size == pytest.approx(52)


def test_arrays_are_frozen_copies():
    box = np.zeros(4)
    face = Face(box, np.zeros((5, 2)), 1)
    box[0] = 5
    assert face.box[0] == 0
    with pytest.raises(ValueError, match="read-only"):
        face.landmarks[0] = 1


def test_shapes_are_checked():
    with pytest.raises(InputError):
        Face(np.zeros(4), np.zeros((4, 2)), 1)


@pytest.mark.parametrize("quarters", [0, 1, 2, 3])
def test_turned_views_map_back(quarters):
    photo = smooth_photo(30, 50)
    view = turned(whole(photo), quarters)
    x, y = 13, 21
    at = view.matrix @ [x, y, 1]
    assert (view.image[round(at[1]), round(at[0])] == photo[y, x]).all()
    face = placed_face((20, 15), 6, 10)
    back = face.transformed(view.matrix).transformed(invert(view.matrix))
    np.testing.assert_allclose(back.landmarks, face.landmarks, atol=1e-9)
    np.testing.assert_allclose(back.box, face.box, atol=1e-9)


def test_filters():
    faces = [placed_face((50, 50), e, score=s) for e, s in ((10, 0.9), (40, 0.6), (20, 0.3))]
    assert [f.eye_distance for f in keep_faces(faces)] == pytest.approx([40, 20, 10])
    assert [f.score for f in keep_faces(faces, min_score=0.5)] == [0.6, 0.9]
    assert [f.score for f in keep_faces(faces, min_eye_distance=15)] == [0.6, 0.3]
    assert [f.score for f in keep_faces(faces, max_faces=1)] == [0.6]


def test_centre_face():
    near, far = placed_face((48, 52), 10), placed_face((80, 20), 30)
    assert centre_face([far, near], 100, 100) is near
    assert centre_face([], 100, 100) is None
