"""From a prior to the file of its heads for small pictures: painted, trained, measured, written."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from tqdm import tqdm

from restore.checkpoints.load import load_network
from restore.checkpoints.prior_heads_file import save_prior_heads
from restore.errors import CheckpointError, OptionError
from restore.networks.mobile_stylegan import MobileStyleGAN, PriorHeads
from restore.training.size_heads import SizeHeadOptions, head_psnr, paint_faces, train_heads

MEASURED = 8  # faces that the card's figures are the mean of


def make_prior_heads(
    model: str,
    path: str | Path,
    options: SizeHeadOptions,
    sizes: Sequence[int],
    max_minutes: float = 60,
) -> dict[int, float]:
    """Train heads of the generator of `model` and write them; returns size -> dB reached.

    Training ends after its steps, or after `max_minutes`, with what was learnt so far.
    """
    network = load_network(model)
    generator = getattr(network, "decoder", network)
    if not isinstance(generator, MobileStyleGAN):
        raise CheckpointError(f"{model} holds no MobileStyleGAN; only that prior has such heads")
    generator.requires_grad_(False)
    try:
        heads = PriorHeads(list(generator.channels.values()), sizes)
    except ValueError as error:
        raise OptionError(str(error)) from error
    heads.start_from(generator)
    faces = list(tqdm(paint_faces(generator, sizes, options), "faces", options.images))
    end = time.monotonic() + 60 * max_minutes
    steps = train_heads(generator, heads, faces, options, lambda: time.monotonic() < end)
    bar = tqdm(steps, "steps", options.steps)
    for errors in bar:
        bar.set_postfix({f"{s} px": f"{-10 * math.log10(e / 4):.1f} dB" for s, e in errors.items()})
    reached = head_psnr(generator, partial(heads, generator), sizes, MEASURED)
    save_prior_heads(path, heads, generator, reached)
    return reached
