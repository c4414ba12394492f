import cv2
import numpy as np
import pytest
import torch

from restore.data.frame import (
    FrameJitter,
    frame_boxes,
    frame_matrices,
    frame_points,
    to_ffhq_frame,
)
from restore.errors import InputError


def _crops(n: int, size: int) -> torch.Tensor:
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (n, size // 4, size // 4, 3), dtype=np.uint8)
    smooth = [cv2.resize(x, (size, size), interpolation=cv2.INTER_CUBIC) for x in noise]
    return torch.from_numpy(np.stack(smooth)).permute(0, 3, 1, 2).contiguous()


def _cv2_frame(crop: torch.Tensor, matrix: np.ndarray, size: int, flags: int) -> np.ndarray:
    """cv2's pixel i is at i, continuous coordinates have it at i + 0.5."""
    shifted = matrix.copy().astype(np.float64)
    shifted[:, 2] += shifted[:, :2] @ [0.5, 0.5] - 0.5
    image = crop.permute(1, 2, 0).numpy().astype(np.float32)
    return cv2.warpAffine(image, shifted, (size, size), flags=flags, borderMode=cv2.BORDER_REFLECT)


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
@pytest.mark.parametrize("jitter", [None, FrameJitter(0.08, 6.0, 12.0)])
def test_frame_is_warp_affine(mode, jitter):
    crops = _crops(3, 64)
    generator = torch.Generator().manual_seed(3)
    matrices = frame_matrices(3, 64, 64, jitter=jitter, generator=generator)
    image, _ = to_ffhq_frame(crops, 64, matrices=matrices, mode=mode)
    flags = cv2.INTER_LINEAR if mode == "bilinear" else cv2.INTER_CUBIC
    for i in range(3):
        wanted = _cv2_frame(crops[i], matrices[i].numpy(), 64, flags).clip(0, 255)
        found = ((image[i] + 1) * 127.5).permute(1, 2, 0).numpy()
        # cv2 rounds places to 1/32 px
        assert np.abs(found - wanted).mean() < 1.0
        assert np.quantile(np.abs(found - wanted), 0.99) < 5.0


def test_formula_of_the_square():
    image, mask = to_ffhq_frame(torch.full((1, 3, 60, 60), 200, dtype=torch.uint8), 120)
    assert image.shape == (1, 3, 120, 120) and mask.shape == (1, 1, 120, 120)
    assert torch.allclose(image, torch.full_like(image, 200 / 127.5 - 1), atol=1e-5)
    rows = mask[0, 0].any(1).nonzero().flatten()
    cols = mask[0, 0].any(0).nonzero().flatten()
    # a square of S / 1.2 = 100 px about (0.5 S, 140/256 S) = (60, 65.625), less half a source px
    assert (int(cols[0]), int(cols[-1])) == (11, 108)
    assert (int(rows[0]), int(rows[-1])) == (16, 114)
    assert set(mask.unique().tolist()) == {0.0, 1.0}


def test_template_points_return_to_the_ffhq_template():
    ffhq = torch.tensor([[192.98, 239.95], [318.90, 240.19], [256.63, 314.02], [201.26, 371.41]])
    zoomed = (ffhq - torch.tensor([256.0, 280.0])) * 1.2 * 128 / 512 + 64 - 0.5
    moved = frame_points(zoomed[None], frame_matrices(1, 128, 256))[0]
    assert torch.allclose(moved + 0.5, ffhq / 2, atol=1e-3)


def test_points_follow_the_pixels_under_jitter():
    crops = torch.zeros(4, 3, 64, 64)
    crops[:, :, 40, 24] = 1.0
    generator = torch.Generator().manual_seed(5)
    matrices = frame_matrices(4, 64, 96, 1.0, (256, 256), FrameJitter(0.1, 8, 16), generator)
    image, _ = to_ffhq_frame(crops, 96, matrices=matrices, mode="bilinear")
    points = frame_points(torch.tensor([[[24.0, 40.0]]]).expand(4, 1, 2), matrices)
    for i in range(4):
        y, x = divmod(int(image[i, 0].argmax()), 96)
        assert np.hypot(*(points[i, 0].numpy() - [x, y])) < 1.0


def test_boxes_keep_their_shape_and_unknown_ones_stay_unknown():
    matrices = frame_matrices(2, 64, 128, 1.0, (256, 256))
    boxes = torch.tensor([[[10.0, 10.0, 20.0, 30.0]], [[float("nan")] * 4]])
    moved = frame_boxes(boxes, matrices)
    assert torch.allclose(moved[0, 0], torch.tensor([20.5, 20.5, 40.5, 60.5]))
    assert moved[1].isnan().all()


def test_generator_repeats_and_samples_differ():
    a, b = (
        frame_matrices(5, 64, 64, jitter=FrameJitter(), generator=torch.Generator().manual_seed(7))
        for _ in range(2)
    )
    assert torch.equal(a, b)
    assert len({tuple(m.flatten().tolist()) for m in a}) == 5


def test_shrinking_does_not_alias():
    stripes = torch.zeros(1, 3, 128, 128)
    stripes[..., ::2] = 1.0
    image, mask = to_ffhq_frame(stripes, 32, zoom=1.0, centre=(256, 256))
    assert (image - 0.5).abs().max() < 0.05
    assert mask[..., 1:-1, 1:-1].all()


def test_mask_of_the_crop_is_carried():
    crops, valid = _crops(1, 64), torch.ones(1, 1, 64, 64, dtype=torch.uint8)
    valid[:, :, :, :32] = 0
    _, mask = to_ffhq_frame(crops, 64, zoom=1.0, centre=(256, 256), mask=valid)
    assert not mask[..., :32].any() and mask[0, 0, 1:-1, 33:63].all()


def test_wrong_shapes_are_named():
    with pytest.raises(InputError, match=r"square \[n,3,c,c\]"):
        to_ffhq_frame(torch.zeros(1, 3, 8, 9), 8)
    with pytest.raises(InputError, match="mask of shape"):
        to_ffhq_frame(torch.zeros(1, 3, 8, 8), 8, mask=torch.ones(1, 8, 8))
