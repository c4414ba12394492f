"""Template, similarity and aligned crops."""

import cv2
import numpy as np
import pytest

from restore.errors import InputError
from restore.faces.align import LANDMARK_WEIGHTS, align_face, invert, scale_matrix
from restore.geometry import FFHQ_512, ffhq_template, similarity
from tests.faces.scene import placed_landmarks, smooth_photo


def apply(matrix, points):
    return points @ matrix[:, :2].T + matrix[:, 2]


def test_template_at_512_is_the_published_one():
    np.testing.assert_allclose(ffhq_template(512), FFHQ_512)


def test_template_scales_about_pixel_edges():
    # pixel centres of a frame half the size: 2 (x + 0.5) - 0.5
    np.testing.assert_allclose(2 * (ffhq_template(256) + 0.5) - 0.5, FFHQ_512)


def test_zoomed_template_follows_the_formula_of_the_training_crops():
    expected = (np.array(FFHQ_512) - (256, 280)) * 1.2 + 256
    np.testing.assert_allclose(ffhq_template(512, 1.2, (256, 280)), expected)


@pytest.mark.parametrize("degrees", [0, 17, 93, -140])
def test_similarity_agrees_with_opencv_on_clean_points(degrees):
    points = placed_landmarks((310.5, 222.25), 61.7, degrees)
    ours = similarity(points, ffhq_template(512), LANDMARK_WEIGHTS)
    theirs, _ = cv2.estimateAffinePartial2D(points, ffhq_template(512), method=cv2.LMEDS)
    np.testing.assert_allclose(ours[:, :2], theirs[:, :2], atol=1e-4)
    np.testing.assert_allclose(ours[:, 2], theirs[:, 2], atol=0.05)


def test_similarity_is_the_least_squares_optimum():
    random = np.random.default_rng(0)
    source = placed_landmarks((50, 60), 40, 20) + random.normal(0, 3, (5, 2))
    target, weights = ffhq_template(512), np.array(LANDMARK_WEIGHTS)
    # reference: the four parameters of [a -b; b a] by linear least squares
    rows, values = [], []
    for (x, y), (u, v), weight in zip(source, target, weights, strict=True):
        rows += [np.sqrt(weight) * np.array(r) for r in ([x, -y, 1, 0], [y, x, 0, 1])]
        values += [np.sqrt(weight) * u, np.sqrt(weight) * v]
    a, b, dx, dy = np.linalg.lstsq(np.array(rows), np.array(values), rcond=None)[0]
    np.testing.assert_allclose(
        similarity(source, target, weights), [[a, -b, dx], [b, a, dy]], rtol=1e-9, atol=1e-7
    )


def test_similarity_never_mirrors():
    mirrored = placed_landmarks((0, 0), 50) * (-1, 1)
    assert np.linalg.det(similarity(mirrored, ffhq_template(512))[:, :2]) > 0


@pytest.mark.parametrize(
    "points",
    [np.full((5, 2), 7.0), np.full((5, 2), np.nan), np.zeros((4, 2)), np.full((5, 2), np.inf)],
)
def test_degenerate_landmarks_are_refused(points):
    with pytest.raises(InputError):
        similarity(points, ffhq_template(512))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_crop_puts_landmarks_on_the_template(dtype):
    full = {np.uint8: 255, np.uint16: 65535, np.float32: 1}[dtype]
    landmarks = placed_landmarks((90, 80), 30, 25)
    dots = np.zeros((160, 180, 3))
    y, x = np.mgrid[:160, :180]
    for point in landmarks:
        dots += np.exp(-((x - point[0]) ** 2 + (y - point[1]) ** 2) / 8)[..., None]
    image = (np.clip(dots, 0, 1) * full).astype(dtype)
    template = ffhq_template(128)
    aligned = align_face(image, landmarks, template, 128)
    assert aligned.crop.dtype == dtype
    assert aligned.crop.shape == (128, 128, 3)
    np.testing.assert_allclose(apply(aligned.matrix, landmarks), template, atol=1e-6)
    yy, xx = np.mgrid[:128, :128]
    for point in template:
        weight = aligned.crop[..., 0].astype(float)
        weight = weight * ((xx - point[0]) ** 2 + (yy - point[1]) ** 2 < 49)
        centre = np.array([(weight * xx).sum(), (weight * yy).sum()]) / weight.sum()
        np.testing.assert_allclose(centre, point, atol=0.1)


def test_inverse_round_trip():
    matrix = similarity(placed_landmarks((90, 80), 30, 25), ffhq_template(128))
    points = np.random.default_rng(0).uniform(0, 128, (9, 2))
    np.testing.assert_allclose(apply(matrix, apply(invert(matrix), points)), points, atol=1e-9)


def test_a_gray_image_is_aligned_too():
    crop = align_face(
        smooth_photo(60, 60, 1)[..., 0], placed_landmarks((30, 30), 12), ffhq_template(32), 32
    )
    assert crop.crop.shape == (32, 32)


def test_constant_border_is_gray_in_every_depth():
    for dtype, full in ((np.uint8, 255), (np.uint16, 65535), (np.float32, 1)):
        image = np.zeros((40, 40, 3), dtype)
        crop = align_face(image, placed_landmarks((0, 0), 20), ffhq_template(64), 64, "constant")
        np.testing.assert_allclose(
            crop.crop[0, 0] / full, np.array([135, 133, 132]) / 255, atol=1e-3
        )


def test_unknown_border_is_named():
    with pytest.raises(InputError, match="mirror"):
        align_face(smooth_photo(9, 9), placed_landmarks((4, 4), 2), ffhq_template(8), 8, "mirror")


@pytest.mark.parametrize("scale", [0.5, 2.0, 3.0, (2.0, 1.5)])
def test_scaled_matrix_names_the_same_place(scale):
    matrix = similarity(placed_landmarks((90, 80), 30, 25), ffhq_template(128))
    factor = np.broadcast_to(scale, 2)
    photo = np.array([[0.0, 0.0], [10.25, 33.5], [-0.5, -0.5]])
    canvas = (photo + 0.5) * factor - 0.5
    np.testing.assert_allclose(apply(scale_matrix(matrix, scale), canvas), apply(matrix, photo))
