"""Faces that a very bad picture could be of: searched in W+ under a degradation (PULSE's idea).

PULSE (Menon et al. 2020) gives one such face as if it were the person. Here several are found from
different starts, with how well each explains the picture and how unlike they are among themselves:
the picture says no more than what they share. They are imagined, and labelled so.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from restore.degradation.blur import blur, gaussian_kernels
from restore.degradation.jpeg import jpeg
from restore.degradation.resize import full_canvas, resize_each
from restore.errors import InputError
from restore.images.metadata import AI_MADE, Metadata
from restore.images.xmp import set_source_type
from restore.latents.codes import Codes, paint_codes
from restore.latents.invert import InvertOptions, MatchWeights, Target, invert
from restore.latents.spaces import Generator, WStatistics, seeds_to_w_plus
from restore.metrics.paired import psnr


@dataclass(frozen=True)
class SoftDegradation:
    """What lies between a good face and the picture at hand.

    `size`: px of a side of the small picture. `blur_sigma`: px of the small picture, 0 none.
    `jpeg_quality`: 1..100 of the small picture, None for none. `gray`: the small picture is gray.
    """

    size: int
    blur_sigma: float = 0.0
    jpeg_quality: int | None = None
    gray: bool = False

    def __post_init__(self) -> None:
        if self.size < 4:
            raise InputError(f"a small picture of {self.size} px holds no face; expected 4 or more")
        if not 0 <= self.blur_sigma <= self.size:
            raise InputError(f"blur {self.blur_sigma} px; expected 0 to {self.size}")
        if self.jpeg_quality is not None and not 1 <= self.jpeg_quality <= 100:
            raise InputError(f"JPEG quality {self.jpeg_quality}; expected 1 to 100")

    def __call__(self, images: Tensor) -> Tensor:
        """[n,3,s,s] RGB in about [-1,1] -> [n,3,size,size], differentiable."""
        if images.shape[-1] < self.size:
            raise InputError(
                f"pictures of {images.shape[-1]} px cannot be degraded to {self.size} px; paint "
                "them larger"
            )
        canvas = full_canvas((images.clamp(-1, 1) + 1) / 2)
        sigma = self.blur_sigma * images.shape[-1] / self.size
        if sigma > 0.1:
            # three deviations on each side, as far as the picture's mirror image reaches
            radius = min(round(3 * sigma) + 1, images.shape[-1] - 1)
            each = torch.full((len(images),), sigma, device=images.device)
            zero = torch.zeros_like(each)
            canvas = blur(canvas, gaussian_kernels(2 * radius + 1, each, each, zero))
        if images.shape[-1] != self.size:
            canvas = resize_each(
                canvas, [(self.size, self.size)] * len(images), ["area"] * len(images)
            )
        if self.gray:
            luma = canvas.pixels.new_tensor([0.299, 0.587, 0.114])[:, None, None]
            gray = (canvas.pixels * luma).sum(1, keepdim=True)
            canvas = canvas.with_pixels(gray.expand_as(canvas.pixels))
        if self.jpeg_quality is not None:
            quality = np.full(len(images), self.jpeg_quality)
            canvas = jpeg(canvas, quality, differentiable=True)
        return canvas.pixels * 2 - 1


def painted_size(full: int, small: int) -> int:
    """Px to paint for a small picture: the smallest whole part of the full size that has at least
    two pixels under each of its own (64 or more), so that its grid does not show."""
    size = full
    while size // 2 >= max(2 * small, 64):
        size //= 2
    return size


LABEL = "IMAGINED - not the person"
SENTENCE = (
    "Imagined by a face generator: one of many faces that the picture could be of. It is not the "
    "person and identifies nobody."
)
PLAUSIBLE = MatchWeights(pyramid=4.0, features=0.0, plausible=0.1, together=0.2)
"""Codes are held close to those of the mapping: far from it, anything fits a few pixels."""


@dataclass(frozen=True)
class Imagined:
    """One face that fits: its start, codes, and PSNR in dB of its degraded picture to the input.

    `distance`: of its codes from the mean, in deviations; about 0.7 is usual, far above 1 no face.
    """

    seed: int
    codes: Codes
    match: float
    distance: float


def imagine(
    generator: Generator,
    small: Tensor,
    mask: Tensor | None,
    degradation: SoftDegradation,
    seeds: Sequence[int],
    statistics: WStatistics,
    options: InvertOptions | None = None,
    truncation: float = 0.7,
    progress: bool = False,
) -> Iterator[Imagined]:
    """Faces whose degraded pictures match a small one [1,3,s,s] RGB in [-1,1], one for each seed.

    A seed is where the search starts. `mask` [1,1,s,s]: what of the picture counts. `options`:
    its weights should hold the codes plausible (`PLAUSIBLE`, the default's).
    """
    if small.shape[-1] != degradation.size or len(small) != 1:
        raise InputError(
            f"the small picture has shape {tuple(small.shape)}; expected "
            f"(1, 3, {degradation.size}, {degradation.size})"
        )
    options = options or default_options(steps=120, half=False)
    size = painted_size(generator.out_size, degradation.size)
    target = Target(small, mask, through=degradation)
    for number, seed in enumerate(seeds, 1):
        start = seeds_to_w_plus(generator, [seed], truncation).contiguous()
        bar = f"face {number} of {len(seeds)}" if progress else None
        codes = invert(
            generator, [target], "w_plus", start, statistics, options, None, bar, size
        ).codes
        again = degradation(paint_codes(generator, codes, size))
        match = float(psnr(_rounded(again), _rounded(small), mask))
        yield Imagined(seed, codes, match, float(statistics.distance(codes.w_plus).mean()))


def most_unlike(embeddings: np.ndarray) -> tuple[float, float]:
    """(mean, least) cosine between the rows [n,d] of unit length of different imagined faces.

    Near 1 the picture tells the person; near 0 it fits people who have nothing in common.
    """
    if len(embeddings) < 2:
        return float("nan"), float("nan")
    cosines = embeddings @ embeddings.T
    pairs = cosines[np.triu_indices(len(embeddings), 1)]
    return float(pairs.mean()), float(pairs.min())


def labelled(picture: np.ndarray, text: str = LABEL) -> np.ndarray:
    """A picture RGB uint8 [h,w,3] with the label drawn into it, in a band along its lower side."""
    image = Image.fromarray(np.ascontiguousarray(picture))
    width, height = image.size
    band = max(12, height // 14)
    pen = ImageDraw.Draw(image)
    pen.rectangle((0, height - band, width, height), fill=(20, 20, 20))
    letter = band * 0.62
    font = ImageFont.load_default(size=letter)
    while pen.textlength(text, font) > width - 4 and letter > 6:
        letter -= 1
        font = ImageFont.load_default(size=letter)
    pen.text((width / 2, height - band / 2), text, fill=(255, 210, 60), font=font, anchor="mm")
    return np.asarray(image)


def imagined_metadata() -> Metadata:
    """What a file of such a face says of itself: PNG text, and IPTC's source type in XMP."""
    event = {"action": "created", "softwareAgent": "restore", "parameters": SENTENCE}
    xmp = set_source_type(None, AI_MADE, event)
    return Metadata(xmp=xmp, text=(("Title", LABEL), ("Description", SENTENCE)))


def default_options(steps: int, half: bool) -> InvertOptions:
    """Options of a search of that many steps."""
    return InvertOptions(steps, half=half, along_axes=True, weights=PLAUSIBLE)


def _rounded(image: Tensor) -> Tensor:
    """As 8 bits hold it."""
    return (image.clamp(-1, 1) * 127.5 + 127.5).round() / 127.5 - 1
