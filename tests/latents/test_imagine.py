"""Search under a degradation, and the label of what is imagined."""

import numpy as np
import pytest
import torch

from restore.errors import InputError
from restore.images.files import read_photo
from restore.images.metadata import AI_MADE
from restore.images.write import write_photo
from restore.images.xmp import digital_source_type
from restore.latents.codes import paint_codes
from restore.latents.imagine import (
    LABEL,
    SoftDegradation,
    default_options,
    imagine,
    imagined_metadata,
    labelled,
    most_unlike,
    painted_size,
)
from restore.latents.spaces import measure_w, z_of_seeds, z_to_w_plus
from tests.latents.tiny import mobile


def test_shrinking_alone_is_the_mean_of_the_pixels():
    image = torch.rand(2, 3, 32, 32) * 2 - 1
    expected = torch.nn.functional.avg_pool2d(image, 4)
    torch.testing.assert_close(SoftDegradation(8)(image), expected)
    assert torch.equal(SoftDegradation(32)(image), image) or torch.allclose(
        SoftDegradation(32)(image), image, atol=1e-6
    )


def test_blur_keeps_the_mean_and_takes_the_contrast():
    image = torch.rand(1, 3, 64, 64) * 2 - 1
    sharp, soft = SoftDegradation(16)(image), SoftDegradation(16, blur_sigma=1.0)(image)
    assert soft.std() < 0.6 * sharp.std()
    torch.testing.assert_close(soft.mean(), sharp.mean(), atol=0.03, rtol=0)


@pytest.mark.parametrize(
    "kind", [SoftDegradation(16, 0.7, 60), SoftDegradation(12, gray=True), SoftDegradation(9)]
)
def test_gradients_reach_the_picture(kind):
    image = (torch.rand(1, 3, 32, 32) * 1.6 - 0.8).requires_grad_()
    out = kind(image)
    assert out.shape == (1, 3, kind.size, kind.size)
    (out * torch.randn_like(out)).sum().backward()
    assert image.grad.abs().sum() > 0 and image.grad.isfinite().all()
    if kind.gray:
        torch.testing.assert_close(out[:, 0], out[:, 2])


def test_degradations_that_cannot_be_are_refused():
    with pytest.raises(InputError, match="3 px holds no face"):
        SoftDegradation(3)
    with pytest.raises(InputError, match="JPEG quality 0"):
        SoftDegradation(16, jpeg_quality=0)
    with pytest.raises(InputError, match="paint them larger"):
        SoftDegradation(16)(torch.zeros(1, 3, 8, 8))
    assert painted_size(1024, 16) == 64 and painted_size(1024, 60) == 128
    assert painted_size(64, 60) == 64


def test_faces_that_fit_are_found_from_several_starts():
    net = mobile()
    statistics = measure_w(net, 2048, rank=8)
    net.w_mean.copy_(statistics.mean)
    truth = z_to_w_plus(net, z_of_seeds(net, [5]), 0.7)
    degradation = SoftDegradation(8)
    small = degradation(net.synthesis(truth).clamp(-1, 1))
    options = default_options(60, False)
    found = list(imagine(net, small, None, degradation, [1, 2], statistics, options))
    assert [face.seed for face in found] == [1, 2]
    for face in found:
        start = z_to_w_plus(net, z_of_seeds(net, [face.seed]), 0.7)
        before = (degradation(net.synthesis(start).clamp(-1, 1)) - small).square().mean()
        again = degradation(paint_codes(net, face.codes, 64))
        assert (again - small).square().mean() < 0.1 * before
        assert face.match > 20 and face.distance < 3
    assert not torch.allclose(found[0].codes.w_plus, found[1].codes.w_plus, atol=0.05)
    with pytest.raises(InputError, match=r"expected .*8, 8\)"):
        next(imagine(net, small[..., :4, :4], None, degradation, [1], statistics))


def test_the_picture_and_its_file_say_that_it_is_imagined(tmp_path):
    plain = np.full((128, 128, 3), 120, np.uint8)
    picture = labelled(plain)
    np.testing.assert_array_equal(picture[:100], plain[:100])
    band = picture[-9:].astype(int)
    assert (band.max(2) > 200).any() and np.median(band) < 60
    write_photo(tmp_path / "a.png", picture, imagined_metadata())
    metadata = read_photo(tmp_path / "a.png").metadata
    assert digital_source_type(metadata.xmp) == AI_MADE
    assert ("Title", LABEL) in metadata.text and "not the person" in LABEL.lower()
    assert b"not the person" in metadata.xmp.lower().replace(b"not the\n", b"not the ")


def test_how_unlike_faces_are():
    rows = np.eye(3, dtype=np.float32)
    assert most_unlike(rows) == (0, 0)
    assert most_unlike(np.stack([rows[0]] * 2)) == (1, 1)
    assert np.isnan(most_unlike(rows[:1])[0])
