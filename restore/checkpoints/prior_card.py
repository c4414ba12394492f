"""The card of the public face prior: author, licence, lineage, what it may be used for."""

from __future__ import annotations

PRIOR_LICENCE = (
    "Apache-2.0 (licence file of the wheel random-face 2021.7.21.1); lineage: distilled from "
    "NVIDIA's StyleGAN2-FFHQ (non-commercial) trained on FFHQ (CC BY-NC-SA): "
    "research and personal use"
)

_CARD = """# The public face prior

MobileStyleGAN (arXiv 2104.04767) at 1024x1024, from the PyPI wheel random-face 2021.7.21.1 by
Sergei Belousov, converted by `python -m restore.checkpoints import-prior`.

- Licence file of the wheel: Apache-2.0. Lineage: distilled from NVIDIA's StyleGAN2-FFHQ, whose
  weights are for non-commercial use, trained on FFHQ, whose images are CC BY-NC-SA. Use it for
  research and personal purposes, as with GFPGAN's own weights.
- It mirrors FFHQ: mostly adult, mostly light-skinned, web portraits of around 2019. Faces that are
  rare there (small children, the very old, many Asian and African faces, headwear) are painted
  less truly. docs/models.md has the measured error by group.
- The faces it draws are of nobody. They must not be passed off as photographs of a person.
- Stored as {dtype}.
"""


def prior_card(dtype: str) -> str:
    """The card as markdown; `dtype` is what the tensors are stored in."""
    return _CARD.format(dtype=dtype)
