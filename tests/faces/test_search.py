"""The search, on a look that finds dots: tiles, turned copies, padding, second looks, bounds."""

import numpy as np
import pytest

from restore.errors import InputError
from restore.faces.detect import FaceSearch, SearchOptions, SecondLook
from restore.faces.detectors import bounded, padded, tiles, whole
from restore.faces.face import Face
from tests.faces.scene import placed_landmarks, smooth_photo


class DotLook:
    """Finds "faces" drawn as five dots of colours 10, 20 .. 50 on white; each needs a few pixels.

    upright: sees only faces whose eyes lie level. offset: an error of its landmarks in px.
    """

    def __init__(self, upright=False, offset=0.0, score=0.9):
        self.upright, self.offset, self.score = upright, offset, score
        self.seen = []

    def look(self, image, min_score=0.3):
        self.seen.append(image.shape[:2])
        points = []
        for channel in range(5):
            close = np.abs(image[..., 0].astype(int) - (40 + 40 * channel)) < 9
            rows, columns = np.nonzero(close & (image[..., 1] < 9))
            if len(rows) < 3:
                return []
            points.append((columns.mean(), rows.mean()))
        points = np.array(points) + self.offset
        across, down = points[1] - points[0], points[3:].mean(0) - points[:2].mean(0)
        if across[0] * down[1] < across[1] * down[0]:  # a mirrored face: left is still left
            points = points[[1, 0, 2, 4, 3]]
            across = points[1] - points[0]
        if self.upright and not across[0] > 2 * abs(across[1]):
            return []
        size = np.linalg.norm(across) * 1.3
        centre = points.mean(0)
        box = np.concatenate([centre - size, centre + size])
        return [Face(box, points, self.score)] if self.score >= min_score else []

    def look_batch(self, images, min_score=0.3):
        return [self.look(image, min_score) for image in images]


def photo_with(centre, eyes, degrees=0.0, height=300, width=400):
    photo = np.full((height, width, 3), 255, np.uint8)
    points = placed_landmarks(centre, eyes, degrees)
    y, x = np.mgrid[:height, :width]
    for index, (px, py) in enumerate(points):
        photo[np.hypot(x - px, y - py) < max(eyes / 7, 1.6)] = (40 + 40 * index, 0, 0)
    return photo, points


NO_SECOND = SearchOptions(second_look=None)


@pytest.mark.parametrize("degrees", [0, 85, 180, -88])
def test_turned_photos_are_found(degrees):
    photo, points = photo_with((200, 150), 60, degrees)
    faces = FaceSearch(DotLook(upright=True), NO_SECOND).detect(photo)
    assert len(faces) == 1
    np.testing.assert_allclose(faces[0].landmarks, points, atol=1)
    off = SearchOptions(second_look=None, try_turned=False)
    assert len(FaceSearch(DotLook(upright=True), off).detect(photo)) == (degrees == 0)


class SideBySide:
    """Sees the faces that are upright in the left or right half of an image, each by itself."""

    def __init__(self, score=0.9):
        self.half, self.seen = DotLook(upright=True, score=score), []

    def look(self, image, min_score=0.3):
        self.seen.append(image.size)
        halves = [[slice(None), slice(0, image.shape[1] // 2)]]
        halves += [[slice(None), slice(image.shape[1] // 2, None)]]
        if image.shape[0] > image.shape[1]:
            halves = [[rows, columns] for columns, rows in halves]
            halves[1][0] = slice(image.shape[0] // 2, None)
            halves[0][0] = slice(0, image.shape[0] // 2)
        found = []
        for rows, columns in halves:
            shift = np.array([[1.0, 0, columns.start or 0], [0, 1.0, rows.start or 0]])
            found += [f.transformed(shift) for f in self.half.look(image[rows, columns], min_score)]
        return found

    def look_batch(self, images, min_score=0.3):
        return [self.half.look(image, min_score) for image in images]


@pytest.mark.parametrize("degrees", [90, 180, -90])
def test_a_turned_face_beside_an_upright_one_is_found(degrees):
    left, one = photo_with((100, 100), 40, 0, 200, 200)
    right, other = photo_with((100, 100), 40, degrees, 200, 200)
    photo = np.concatenate([left, right], 1)
    look = SideBySide()
    faces = FaceSearch(look, NO_SECOND).detect(photo)
    assert len(faces) == 2
    faces = sorted(faces, key=lambda face: face.box[0])
    np.testing.assert_allclose(faces[0].landmarks, one, atol=1)
    np.testing.assert_allclose(faces[1].landmarks, other + np.array([200, 0]), atol=1)
    off = SearchOptions(second_look=None, try_turned=False)
    assert len(FaceSearch(SideBySide(), off).detect(photo)) == 1


def test_turned_looks_cost_less_than_the_overview():
    photo, _ = photo_with((400, 400), 60, 0, 1600, 1280)
    look = DotLook(upright=True)
    FaceSearch(look, SearchOptions(second_look=None, tiled_side=0)).detect(photo)
    pixels = [height * width for height, width in look.seen]
    assert len(pixels) == 5  # overview, padded overview, three turns
    assert sum(pixels[2:]) <= 0.76 * pixels[0]


def test_tiles_find_what_the_overview_cannot():
    photo, points = photo_with((1530, 410), 12, height=700, width=2000)
    options = SearchOptions(
        long_side=400, tiled_side=2000, small_side=0, second_look=None, try_turned=False
    )
    overview = SearchOptions(
        long_side=400, tiled_side=0, small_side=0, second_look=None, try_turned=False
    )
    assert FaceSearch(DotLook(), overview).detect(photo) == []
    faces = FaceSearch(DotLook(), options).detect(photo)
    assert len(faces) == 1
    np.testing.assert_allclose(faces[0].landmarks, points, atol=0.5)


def test_every_look_is_bounded():
    look = DotLook()
    FaceSearch(look).detect(np.zeros((3000, 4000, 3), np.uint8))
    assert max(max(shape) for shape in look.seen) <= 1280


@pytest.mark.parametrize("shape", [(200, 100), (90, 400), (401, 401)])
def test_tiles_cover_the_photo_and_overlap(shape):
    views = tiles(whole(np.zeros((*shape, 3), np.uint8)), 100, 20)
    covered = np.zeros(shape, int)
    for view in views:
        x, y = -view.matrix[:, 2].astype(int)
        height, width = view.image.shape[:2]
        assert max(height, width) <= 100
        covered[y : y + height, x : x + width] += 1
    assert covered.min() >= 1


def test_views_map_points_of_the_photo():
    photo = smooth_photo(80, 120)
    view = padded(bounded(whole(photo), 60), 0.5)
    assert view.image.shape == (100, 120, 3)
    at = view.matrix @ [59.5, 39.5, 1]
    np.testing.assert_allclose(at, [59.5, 49.5])


def test_second_look_averages_an_error_away():
    """The look's error is one px of whatever it is shown: a large upright crop makes it small."""
    photo, points = photo_with((200, 150), 20, 20)
    first = FaceSearch(DotLook(offset=2.0), NO_SECOND).detect(photo)[0]
    second = FaceSearch(DotLook(offset=2.0)).detect(photo)[0]
    error = [np.abs(face.landmarks - points).mean() for face in (first, second)]
    assert error[1] < error[0]


def test_second_look_drops_what_it_does_not_see():
    class OnlyWhole(DotLook):
        def look_batch(self, images, min_score=0.3):
            return [[] for _ in images]

    photo, _ = photo_with((200, 150), 60)
    assert FaceSearch(OnlyWhole()).detect(photo) == []
    assert len(FaceSearch(OnlyWhole(), NO_SECOND).detect(photo)) == 1


def test_filters_are_options():
    photo, _ = photo_with((200, 150), 60)
    assert FaceSearch(DotLook(), SearchOptions(min_eye_distance=70)).detect(photo) == []
    assert FaceSearch(DotLook(score=0.6), SearchOptions(min_score=0.65)).detect(photo) == []
    assert len(FaceSearch(DotLook(score=0.7), SearchOptions(min_score=0.65)).detect(photo)) == 1


def test_degenerate_landmarks_of_a_look_are_dropped():
    class Spot(DotLook):
        def look(self, image, min_score=0.3):
            return [Face(np.array([0, 0, 9, 9]), np.full((5, 2), 4.0), 0.9)]

    options = SearchOptions(second_look=SecondLook(), try_turned=False)
    assert FaceSearch(Spot(), options).detect(smooth_photo(40, 40)) == []
    assert FaceSearch(Spot(), NO_SECOND).detect(smooth_photo(40, 40)) == []


@pytest.mark.parametrize("photo", [np.zeros((9, 9)), np.zeros((9, 9, 4)), np.zeros((0, 9, 3))])
def test_what_is_no_photo_is_refused(photo):
    with pytest.raises(InputError):
        FaceSearch(DotLook()).detect(photo.astype(np.uint8))
    with pytest.raises(InputError):
        FaceSearch(DotLook()).detect(np.zeros((9, 9, 3), np.uint16))
