"""The Haar wavelet step of MobileStyleGAN: sub-bands to an image of twice the size, and back."""

from __future__ import annotations

import torch
from torch import Tensor


def inverse_haar(bands: Tensor) -> Tensor:
    """Sub-bands [n,4c,h,w] -> [n,c,2h,2w].

    The first c channels are LL; the other 3c belong in threes (LH, HL, HH) to their channel
    (MobileStyleGAN, arXiv 2104.04767, section 3.2, in the channel order of its public weights).
    """
    c = bands.shape[1] // 4
    ll = bands[:, :c]
    lh, hl, hh = bands[:, c:].unflatten(1, (c, 3)).unbind(2)
    top, bottom = ll + lh, ll - lh
    sides, cross = hl + hh, hl - hh
    # rows (0,·): LL+LH ± (HL+HH); rows (1,·): LL-LH ± (HL-HH)
    quad = torch.stack([top + sides, top - sides, bottom + cross, bottom - cross], dim=2)
    return torch.pixel_shuffle(quad.flatten(1, 2) * 0.5, 2)


def haar(image: Tensor) -> Tensor:
    """Image [n,c,2h,2w] -> sub-bands [n,4c,h,w] in the order that `inverse_haar` reads."""
    c = image.shape[1]
    a, b, d, e = torch.pixel_unshuffle(image, 2).unflatten(1, (c, 4)).unbind(2)
    ll, lh = (a + b + d + e) * 0.5, (a + b - d - e) * 0.5
    hl, hh = (a - b + d - e) * 0.5, (a - b - d + e) * 0.5
    return torch.cat([ll, torch.stack([lh, hl, hh], dim=2).flatten(1, 2)], dim=1)
