"""No visible edge: the gradient where a face's mask ends, against what the photo has there."""

import cv2
import numpy as np
import pytest

from restore.faces.align import align_face, face_mask, invert, warp
from restore.faces.paste import Patch, paste_faces
from restore.geometry import ffhq_template
from restore.pipeline.policies import in_photo_colours
from tests.faces.nobody import nobody, spoilt

SIZE = 128
TEMPLATE = ffhq_template(SIZE)
MASK = face_mask(SIZE)
SIDE = 200


def portrait(shift=(0, 0), wide=SIDE):
    """A blurred, noisy photo [SIDE,wide,3] of the face, moved; with the face's landmarks."""
    face = np.ascontiguousarray(nobody(SIDE))
    matrix = np.array([[1.0, 0, shift[0]], [0, 1, shift[1]]])
    photo = cv2.warpAffine(face, matrix, (wide, SIDE), borderMode=cv2.BORDER_REPLICATE)
    return spoilt(photo, blur=2, noise=3), ffhq_template(SIDE) + shift


def restored(crop):
    """What a network might make of the crop: sharper, brighter, of another tint."""
    crop = crop.astype(np.float32)
    sharp = crop + 1.5 * (crop - cv2.GaussianBlur(crop, (0, 0), 3)) + (18, 4, -12)
    return np.clip(sharp, 0, 255).astype(np.uint8)


def pasted(photo, all_landmarks, mask=MASK, colours=True):
    out, patches = photo.copy(), []
    for landmarks in all_landmarks:
        aligned = align_face(photo, landmarks, TEMPLATE, SIZE)
        face = restored(aligned.crop)
        face = in_photo_colours(aligned.crop, face) if colours else face
        patches.append(Patch(face, aligned.matrix, mask))
    return paste_faces(out, patches), patches


def seam(photo, out, patches):
    """Steepest change that the paste made along the rim of the masks, over the photo's own
    gradient there (95 %): what is below it the eye takes for the photo's."""
    size = photo.shape[1], photo.shape[0]
    cover = np.max([warp(p.mask, invert(p.matrix), *size, "constant") for p in patches], axis=0)
    rim = (cover > 0) & (cover < 0.15)
    steps = gradient(cv2.GaussianBlur(out.astype(np.float32) - photo, (0, 0), 1))
    own = gradient(cv2.GaussianBlur(photo.astype(np.float32), (0, 0), 1))
    return float(np.quantile(steps[rim], 0.95) / np.quantile(own[rim], 0.95))


def gradient(image):
    down = np.diff(image, axis=0, append=image[-1:])
    right = np.diff(image, axis=1, append=image[:, -1:])
    return np.hypot(down, right).max(2)


@pytest.mark.parametrize("shift", [(0, 0), (-70, 0), (60, 20), (0, -60), (0, 70)])
def test_no_seam_at_hair_chin_or_the_photo_s_border(shift):
    photo, landmarks = portrait(shift)
    out, patches = pasted(photo, [landmarks])
    assert seam(photo, out, patches) < 0.35
    assert np.abs(out.astype(int) - photo).max() > 20  # it did change the face
    # the measure sees a seam where there is one
    hard, patches = pasted(photo, [landmarks], (MASK > 0.5).astype(np.float32), colours=False)
    edge = Patch(patches[0].restored, patches[0].matrix, _rim_of_a_hard_mask())
    assert seam(photo, hard, [edge]) > 0.6


def test_overlapping_faces_have_no_seam_between_them():
    photo, landmarks = portrait(wide=300)
    photo = np.maximum(photo, portrait((90, 0), 300)[0])
    out, patches = pasted(photo, [landmarks, landmarks + np.array([90, 0])])
    assert seam(photo, out, patches) < 0.35
    # where one mask hands over to the other the change has no step either
    change = cv2.GaussianBlur(out.astype(np.float32) - photo, (0, 0), 1)
    between = gradient(change)[60:150, 120:170]
    own = gradient(cv2.GaussianBlur(photo.astype(np.float32), (0, 0), 1))[60:150, 120:170]
    assert np.quantile(between, 0.95) < np.quantile(own, 0.95)


def _rim_of_a_hard_mask():
    """A mask whose values below 0.15 lie where a hard mask has its edge."""
    hard = (MASK > 0.5).astype(np.uint8)
    edge = cv2.dilate(hard, np.ones((5, 5))) - cv2.erode(hard, np.ones((5, 5)))
    return np.where(edge > 0, np.float32(0.1), hard.astype(np.float32))
