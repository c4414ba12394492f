import pytest
import torch

from restore.losses.parts import (
    PART_SIZES,
    PARTS,
    crop_parts,
    part_discriminator_loss,
    part_generator_losses,
)
from restore.networks.discriminators import PartDiscriminator

SIZES = {"left_eye": 8, "right_eye": 8, "mouth": 12}


def boxes(n=2):
    one = torch.tensor([[2.0, 3, 10, 11], [14, 3, 22, 11], [6, 16, 20, 30]])
    return one.expand(n, -1, -1).clone()


def judges():
    return {name: PartDiscriminator(width=1) for name in PARTS}


def test_whole_pixels_are_cut_out_exactly():
    image = torch.rand(2, 3, 32, 32)
    # edges of the pixels 4..11 in pixel coordinates
    box = torch.tensor([3.5, 5.5, 11.5, 13.5]).expand(2, 3, 4)
    crop = crop_parts(image, box, {"mouth": 8})["mouth"]
    torch.testing.assert_close(crop, image[:, :, 6:14, 4:12], rtol=1e-4, atol=1e-5)


def test_equals_torchvisions_roi_align():
    ops = pytest.importorskip("torchvision.ops")
    image = torch.rand(2, 3, 32, 32)
    crops = crop_parts(image, boxes(), SIZES)
    for index, name in enumerate(PARTS):
        rois = torch.cat((torch.arange(2.0)[:, None], boxes()[:, index]), dim=1)
        expected = ops.roi_align(image, rois, SIZES[name], sampling_ratio=1, aligned=False)
        torch.testing.assert_close(crops[name], expected, rtol=1e-4, atol=1e-5)


def test_unknown_boxes_count_nothing():
    image, gt = torch.rand(2, 3, 32, 32).requires_grad_(), torch.rand(2, 3, 32, 32)
    holes = boxes()
    holes[1] = float("nan")
    holes[0, 2] = 0
    networks = judges()
    losses = part_generator_losses(networks, image, gt, holes, SIZES)
    assert losses["part_gan"][1] == 0
    assert losses["part_style"][1] == 0
    sum(v.sum() for v in losses.values()).backward()
    assert torch.isfinite(image.grad).all()
    assert image.grad[1].abs().max() == 0
    assert image.grad[0, :, 16:].abs().max() == 0  # the mouth of the first is unknown
    assert image.grad[0, :, 3:11].abs().max() > 0
    assert part_discriminator_loss(networks, image, gt, holes, SIZES)[1] == 0


def test_generator_and_discriminator_sides():
    image, gt = torch.rand(2, 3, 32, 32), torch.rand(2, 3, 32, 32)
    networks = judges()
    assert part_generator_losses(networks, gt, gt, boxes(), SIZES)["part_style"].max() == 0
    assert part_generator_losses(networks, image, gt, boxes(), SIZES)["part_style"].min() > 0
    bare = part_generator_losses(networks, image, gt, boxes(), SIZES, style=False)
    assert bare["part_style"].abs().max() == 0
    part_discriminator_loss(networks, image.requires_grad_(), gt, boxes(), SIZES).sum().backward()
    assert image.grad is None
    assert all(p.grad is not None for n in networks.values() for p in n.parameters())
    assert set(PART_SIZES) == set(PARTS)


def test_gradcheck():
    image = torch.rand(1, 3, 32, 32, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda x: crop_parts(x, boxes(1).double(), {"left_eye": 4})["left_eye"], (image,)
    )
