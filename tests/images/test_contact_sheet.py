"""Contact sheets: where pictures and captions stand, and what is refused."""

import numpy as np
import pytest

from restore.errors import InputError
from restore.images.contact_sheet import GAP, grid_sheet


def test_a_sheet_places_its_pictures():
    pictures = [np.full((20, 30, 3), 40 * i, np.uint8) for i in range(5)]
    sheet = grid_sheet(pictures, columns=3)
    assert sheet.size == (3 * (30 + GAP) + GAP, 2 * (20 + GAP) + GAP)
    pixels = np.asarray(sheet)
    for i in range(5):
        y, x = GAP + (i // 3) * (20 + GAP), GAP + (i % 3) * (30 + GAP)
        np.testing.assert_array_equal(pixels[y : y + 20, x : x + 30], pictures[i])
    captioned = np.asarray(grid_sheet(pictures, list("abcde"), 3))
    assert captioned.shape[0] > pixels.shape[0]
    with pytest.raises(InputError, match="none"):
        grid_sheet([])
    with pytest.raises(InputError, match="2 captions for 5"):
        grid_sheet(pictures, ["a", "b"])
    with pytest.raises(InputError, match="shapes"):
        grid_sheet([pictures[0], pictures[0][:10]])
