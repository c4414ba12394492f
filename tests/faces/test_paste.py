"""Paste-back: exactness outside, faithfulness inside, seams, depths, overlaps, cut faces."""

import numpy as np
import pytest

from restore.errors import InputError
from restore.faces.align import align_face, face_mask, scale_matrix, warp
from restore.faces.paste import Patch, paste_face, paste_faces
from restore.geometry import ffhq_template
from tests.faces.scene import placed_landmarks, smooth_photo

SIZE = 128
TEMPLATE = ffhq_template(SIZE)
MASK = face_mask(SIZE)


def mask_on(canvas, matrix):
    from restore.faces.align import invert

    return warp(MASK, invert(matrix), canvas.shape[1], canvas.shape[0], "constant")


@pytest.mark.parametrize("eyes", [8, 31, 33, 80])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_the_same_crop_changes_next_to_nothing(eyes, dtype):
    full = {np.uint8: 255, np.uint16: 65535, np.float32: 1}[dtype]
    photo = (smooth_photo(200, 220) / 255 * full).astype(dtype)
    aligned = align_face(photo, placed_landmarks((100, 95), eyes, 12), TEMPLATE, SIZE)
    out = paste_face(photo.copy(), aligned.crop, aligned.matrix, MASK, crop=aligned.crop)
    touched = mask_on(photo, aligned.matrix) > 0
    change = np.abs(out.astype(float) - photo) / full
    assert change[touched].mean() < 1 / 255
    assert out.dtype == dtype


@pytest.mark.parametrize("centre", [(100, 95), (2, 3), (219, 199), (-30, 100)])
def test_pixels_outside_the_mask_are_untouched(centre):
    photo = np.random.default_rng(0).integers(0, 256, (200, 220, 3), np.uint8)
    aligned = align_face(photo, placed_landmarks(centre, 30, 12), TEMPLATE, SIZE)
    out = photo.copy()
    assert paste_face(out, 255 - aligned.crop, aligned.matrix, MASK) is out
    touched = mask_on(photo, aligned.matrix) > 1e-4
    changed = (out != photo).any(2)
    assert changed[touched].mean() > 0.8
    assert not changed[~touched].any()


def test_a_face_outside_the_photo_changes_nothing():
    photo = smooth_photo(40, 40)
    aligned = align_face(photo, placed_landmarks((400, 400), 8), TEMPLATE, SIZE)
    np.testing.assert_array_equal(
        paste_face(photo.copy(), aligned.crop, aligned.matrix, MASK), photo
    )


def test_no_seam_at_the_edge_of_the_mask():
    """A face of another brightness and of noise: no step where it ends, as the eye would see it."""
    photo = smooth_photo(300, 300)
    aligned = align_face(photo, placed_landmarks((150, 140), 40), TEMPLATE, SIZE)
    brighter = np.clip(aligned.crop.astype(int) + 40, 0, 255).astype(np.uint8)

    def worst_step(canvas):
        change = canvas.astype(float) - photo
        mask = mask_on(photo, aligned.matrix)
        rim = (mask > 0) & (mask < 0.1)
        steps = (
            np.abs(np.diff(change, axis=0))[:, :-1].max(2),
            np.abs(np.diff(change, axis=1))[:-1].max(2),
        )
        return max(step[rim[:-1, :-1]].max() for step in steps)

    hard = MASK > 0.5
    soft = paste_face(photo.copy(), brighter, aligned.matrix, MASK)
    edged = paste_face(photo.copy(), brighter, aligned.matrix, hard.astype(np.float32))
    assert worst_step(soft) <= 4
    change = np.abs(np.diff(edged.astype(float) - photo, axis=0)).max()
    assert change > 15  # the measure sees a seam where there is one


def test_detail_above_the_crop_goes_back_on_top():
    """A face of 400 px through a crop of 128 px: what the crop cannot hold comes from the photo."""
    random = np.random.default_rng(3)
    photo = smooth_photo(400, 420)
    photo = np.clip(photo + random.normal(0, 12, photo.shape), 0, 255).astype(np.uint8)
    aligned = align_face(photo, placed_landmarks((210, 190), 100), TEMPLATE, SIZE)
    touched = mask_on(photo, aligned.matrix) > 0.9
    plain = paste_face(photo.copy(), aligned.crop, aligned.matrix, MASK)
    whole = paste_face(
        photo.copy(), aligned.crop, aligned.matrix, MASK, crop=aligned.crop, detail=1
    )
    half = paste_face(
        photo.copy(), aligned.crop, aligned.matrix, MASK, crop=aligned.crop, detail=0.5
    )
    error = [np.abs(out.astype(float) - photo)[touched].mean() for out in (plain, half, whole)]
    assert error[0] > 5
    assert error[2] <= 0.5
    assert abs(error[1] - error[0] / 2) < 1
    darker = (aligned.crop * 0.8).astype(np.uint8)
    out = paste_face(photo.copy(), darker, aligned.matrix, MASK, crop=aligned.crop, detail=1)
    assert (photo.astype(float) - out)[touched].mean() == pytest.approx(
        (aligned.crop - darker.astype(float)).mean(), rel=0.3
    )
    with pytest.raises(InputError, match="detail"):
        paste_face(photo, aligned.crop, aligned.matrix, MASK, detail=1)


@pytest.mark.parametrize("scale", [0.5, 2.0, 3.0])
def test_a_resized_canvas_gets_the_face_in_its_place(scale):
    import cv2

    photo = smooth_photo(160, 160)
    aligned = align_face(photo, placed_landmarks((80, 75), 40, 5), TEMPLATE, SIZE)
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    canvas = cv2.resize(photo, None, fx=scale, fy=scale, interpolation=how)
    out = paste_face(canvas.copy(), aligned.crop, scale_matrix(aligned.matrix, scale), MASK)
    off = paste_face(
        canvas.copy(),
        aligned.crop,
        scale_matrix(aligned.matrix, scale) + np.array([[0, 0, 1.0]]),
        MASK,
    )
    error = np.abs(out.astype(float) - canvas).mean()
    assert error < 1
    assert error < np.abs(off.astype(float) - canvas).mean() / 2


def test_overlapping_faces_do_not_depend_on_their_order():
    photo = smooth_photo(200, 300)
    patches = []
    for centre, value in (((110, 100), 0), ((185, 100), 255)):
        aligned = align_face(photo, placed_landmarks(centre, 32), TEMPLATE, SIZE)
        patches.append(Patch(np.full_like(aligned.crop, value), aligned.matrix, MASK))
    one = paste_faces(photo.copy(), patches)
    np.testing.assert_array_equal(one, paste_faces(photo.copy(), patches[::-1]))
    assert one[100, 110].max() < 8  # each face's middle is its own
    assert one[100, 185].min() > 247


def test_a_kept_neighbour_keeps_its_middle():
    photo = smooth_photo(200, 260)
    mask = face_mask(128)
    white = np.full((128, 128, 3), 255, np.uint8)
    matrix = np.array([[1.0, 0, -20], [0, 1, -30]])
    beside = np.array([[1.0, 0, -70], [0, 1, -30]])
    alone = paste_faces(photo.copy(), [Patch(white, matrix, mask)])
    both = paste_faces(photo.copy(), [Patch(white, matrix, mask), Patch(None, beside, mask)])
    change = np.abs(both.astype(int) - photo).max(2)
    before = np.abs(alone.astype(int) - photo).max(2)
    middle = (slice(80, 120), slice(125, 150))  # of the kept face; the other's rim reaches it
    assert before[middle].max() > 60
    assert change[middle].max() < 0.35 * before[middle].max()
    assert (change <= before + 1).all()
    untouched = paste_faces(photo.copy(), [Patch(None, beside, mask)])
    np.testing.assert_array_equal(untouched, photo)


def test_single_pastes_equal_a_joint_one_where_nothing_overlaps():
    photo = smooth_photo(150, 400)
    patches = []
    for centre in ((70, 75), (320, 75)):
        aligned = align_face(photo, placed_landmarks(centre, 20), TEMPLATE, SIZE)
        patches.append(Patch(255 - aligned.crop, aligned.matrix, MASK))
    joint = paste_faces(photo.copy(), patches)
    single = photo.copy()
    for patch in patches:
        paste_face(single, patch.restored, patch.matrix, patch.mask)
    np.testing.assert_array_equal(joint, single)


def test_strips_join_without_a_trace(monkeypatch):
    photo = smooth_photo(200, 220)
    aligned = align_face(photo, placed_landmarks((100, 95), 40, 12), TEMPLATE, SIZE)
    whole = paste_face(photo.copy(), 255 - aligned.crop, aligned.matrix, MASK)
    monkeypatch.setattr("restore.faces.paste._STRIP_PIXELS", 4000)
    strips = paste_face(photo.copy(), 255 - aligned.crop, aligned.matrix, MASK)
    assert np.abs(whole.astype(int) - strips).max() <= 2


def crowd(columns, rows, apart=34, eyes=16):
    """A photo and the patches of faces that touch their neighbours on all sides."""
    photo = smooth_photo(rows * apart + 60, columns * apart + 60)
    patches = []
    for index in range(columns * rows):
        centre = 45 + index % columns * apart, 45 + index // columns * apart
        aligned = align_face(photo, placed_landmarks(centre, eyes, 5 * index), TEMPLATE, SIZE)
        value = (80 * index) % 256
        restored = None if index == 4 else np.full_like(aligned.crop, value)
        patches.append(Patch(restored, aligned.matrix, MASK))
    return photo, patches


def plainly_pasted(canvas, patches):
    """The formula of `paste_faces`, each face laid over the whole canvas."""
    from restore.faces.align import invert

    old = canvas.astype(float)
    masks, faces = [], []
    for patch in patches:
        size = (canvas.shape[1], canvas.shape[0])
        masks.append(np.clip(mask_on(canvas, patch.matrix), 0, 1).astype(float))
        back = invert(patch.matrix)
        faces.append(
            old if patch.restored is None else warp(patch.restored, back, *size, "replicate")
        )
    shares = np.stack([mask**4 for mask in masks])
    mixed = np.einsum("nhw,nhwc->hwc", shares, np.stack(faces).astype(float))
    mixed /= np.maximum(shares.sum(0), 1e-30)[..., None]
    restored = [
        mask for mask, patch in zip(masks, patches, strict=True) if patch.restored is not None
    ]
    strongest = np.max(restored, 0)[..., None]
    return np.rint(old + (mixed - old) * strongest)


def test_a_crowd_is_what_the_plain_sum_says():
    photo, patches = crowd(3, 3)
    out = paste_faces(photo.copy(), patches)
    error = np.abs(out - plainly_pasted(photo, patches))
    assert error.max() <= 12  # where shares of black and white meet, a 32nd of a px is some levels
    assert error.mean() < 0.1
    turned = paste_faces(photo.copy(), patches[::-1])
    assert np.abs(out.astype(int) - turned).max() <= 1  # sums of floats


def test_a_crowd_costs_no_more_than_its_faces(monkeypatch):
    """Pixels that are warped grow with the faces, not with how many of them touch."""
    import restore.faces.paste as module

    def pixels(columns, rows):
        seen = []

        def counted(image, matrix, width, height, *rest):
            seen.append(width * height)
            return warp(image, matrix, width, height, *rest)

        monkeypatch.setattr(module, "warp", counted)
        photo, patches = crowd(columns, rows)
        paste_faces(photo, patches)
        return sum(seen)

    assert pixels(6, 6) < 4.6 * pixels(3, 3)


@pytest.mark.parametrize("shape", [(90, 90), (90, 90, 1), (90, 90, 4)])
def test_gray_and_alpha_canvases(shape):
    canvas = np.full(shape, 100, np.uint8)
    matrix = align_face(
        np.zeros((90, 90, 3), np.uint8), placed_landmarks((45, 45), 15), TEMPLATE, SIZE
    ).matrix
    restored = np.zeros((SIZE, SIZE, 3), np.uint8)
    restored[..., 1] = 255
    out = paste_face(canvas.copy(), restored, matrix, MASK)
    assert out.shape == shape
    if len(shape) == 3 and shape[2] == 4:
        assert (out[..., 3] == 100).all()
        assert out[45, 45, :3].tolist() == [0, 255, 0]
    else:
        assert abs(int(out[45, 45].max()) - 150) <= 1  # luma of green


def test_sixteen_bit_keeps_more_than_eight():
    ramp = np.linspace(20000, 21000, 200).astype(np.uint16)
    photo = np.broadcast_to(ramp[None, :, None], (200, 200, 3)).copy()
    aligned = align_face(photo, placed_landmarks((100, 95), 30), TEMPLATE, SIZE)
    out = paste_face(photo.copy(), aligned.crop, aligned.matrix, MASK)
    assert np.abs(out.astype(int) - photo).max() < 20


def test_bad_arguments():
    canvas = smooth_photo(20, 20)
    crop = np.zeros((SIZE, SIZE, 3), np.uint8)
    matrix = np.eye(2, 3)
    with pytest.raises(InputError, match="mask"):
        paste_face(canvas, crop[:9], matrix, MASK)
    with pytest.raises(InputError, match="canvas"):
        paste_face(canvas.astype(np.float64), crop, matrix, MASK)
    canvas.setflags(write=False)
    with pytest.raises(InputError, match="read-only"):
        paste_face(canvas, crop, matrix, MASK)
