"""Torch tensors as photos: the same pixels as the array, any device's dtype, wrong ranges said."""

import numpy as np
import pytest

from restore.errors import InputError
from restore.images.photo import photo_from_tensor
from restore.pipeline.restorer import as_photo
from tests.images.pictures import picture

torch = pytest.importorskip("torch")


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_a_tensor_is_the_same_photo_as_its_array(channels):
    array = picture(channels)
    expected = as_photo(array)
    tensor = torch.from_numpy(array).permute(2, 0, 1)
    floats = tensor / 255
    for given in (tensor, floats, floats.double(), floats.clone().requires_grad_()):
        photo = as_photo(given)
        assert np.array_equal(photo.pixels, expected.pixels)
        assert (photo.alpha is None) == (expected.alpha is None)
    near = as_photo(floats.bfloat16()).pixels.astype(int) - expected.pixels
    assert np.abs(near).max() <= 1


@pytest.mark.parametrize(
    ("tensor", "said"),
    [
        (torch.zeros(1, 3, 8, 8), "one by one"),
        (torch.zeros(8, 8), r"\[8, 8\]"),
        (torch.full((3, 8, 8), -1.0), r"\(x \+ 1\) / 2"),
        (torch.full((3, 8, 8), 255.0), "from 255 to 255"),
        (torch.full((3, 8, 8), float("nan")), "nan"),
        (torch.zeros(3, 8, 8, dtype=torch.int64), "int64"),
    ],
)
def test_what_is_no_photo_is_said(tensor, said):
    with pytest.raises(InputError, match=said):
        photo_from_tensor(tensor)
