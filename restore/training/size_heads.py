"""Heads that let the frozen prior give images of 64, 128, 256 and 512 px: fitted, then trained."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from restore.networks.haar import haar
from restore.networks.mobile_stylegan import MobileStyleGAN


@dataclass(frozen=True)
class SizeHeadOptions:
    """How the heads are made; counts are images of the prior at its full size."""

    fit_images: int = 48
    train_images: int = 1200
    batch_size: int = 2
    learning_rate: float = 3e-4  # Adam, on weights for features of unit size; cosine to zero
    warmup_steps: int = 20
    max_minutes: float = 30.0
    seed: int = 0
    truncation: tuple[float, float] = (0.6, 1.0)  # uniform per sample


def draw_w_plus(
    generator: MobileStyleGAN,
    count: int,
    draws: torch.Generator,
    truncation: tuple[float, float] = (1.0, 1.0),
) -> Tensor:
    """Random codes [count,k,w_dim], the same w for every style, truncated per sample."""
    w = generator.mapping(torch.randn(count, generator.w_dim, generator=draws))
    low, high = truncation
    psi = low + (high - low) * torch.rand(count, 1, generator=draws)
    w = generator.w_mean + psi * (w - generator.w_mean)
    return w[:, None].expand(-1, generator.num_styles, -1)


def shrunken(image: Tensor, size: int) -> Tensor:
    """Image [n,3,s,s] -> [n,3,size,size], the mean over whole pixel blocks."""
    return F.avg_pool2d(image, image.shape[-1] // size)


class _Taps:
    """The features that each head reads and what its style comes from, beside the full image."""

    def __init__(self, generator: MobileStyleGAN) -> None:
        self.generator = generator

    @torch.no_grad()
    def __call__(self, w_plus: Tensor) -> tuple[dict[int, tuple[Tensor, Tensor, Tensor]], Tensor]:
        """Codes -> (head size -> features [n,c,size/2,size/2], up style [n,c], w), full image."""
        g = self.generator
        styles = g.styles(w_plus)
        x = g.conv_4(g.const.expand(w_plus.shape[0], -1, -1, -1), styles[0])
        taps = {}
        for i, level in enumerate(g.levels):
            if str(level) in g.heads:
                taps[level] = (x, styles[1 + 3 * i], w_plus[:, 1 + 3 * i])
            x = g.blocks[str(level)](x, styles[1 + 3 * i : 4 + 3 * i], None)
        return taps, g.to_rgb(x, styles[-1])


def fit_heads(generator: MobileStyleGAN, options: SizeHeadOptions) -> None:
    """Least squares of each head's 1x1 weights and bias against the shrunken full-size image."""
    draws = torch.Generator().manual_seed(options.seed)
    taps = _Taps(generator)
    grams: dict[int, Tensor] = {}
    rights: dict[int, Tensor] = {}
    for start in range(0, options.fit_images, options.batch_size):
        count = min(options.batch_size, options.fit_images - start)
        features, image = taps(draw_w_plus(generator, count, draws, options.truncation))
        for size, (x, up_style, _) in features.items():
            target = haar(shrunken(image, size)).movedim(1, -1).reshape(-1, 12).double()
            flat = (x * up_style[:, :, None, None]).movedim(1, -1).reshape(-1, x.shape[1])
            flat = torch.cat([flat, flat.new_ones(len(flat), 1)], 1)
            gram = (flat.T @ flat).double()
            grams[size] = grams.get(size, 0) + gram
            rights[size] = rights.get(size, 0) + flat.double().T @ target
    for size, gram in grams.items():
        ridge = 1e-6 * gram.diagonal().mean() * torch.eye(len(gram), dtype=gram.dtype)
        solution = torch.linalg.solve(gram + ridge, rights[size]).float()
        # Channels differ in size by orders of magnitude; the depthwise step evens them out, so
        # that the optimiser meets weights of one scale.
        rms = (gram.diagonal()[:-1] / gram[-1, -1]).sqrt().float().clamp_min(1e-4)
        head = generator.heads[str(size)]
        with torch.no_grad():
            head.depthwise.zero_()[:, 0, 1, 1] = 1 / rms
            head.weight.copy_((solution[:-1] * rms[:, None]).T[:, :, None, None])
            head.offset.bias.copy_(solution[-1])


def train_heads(
    generator: MobileStyleGAN,
    options: SizeHeadOptions,
    keep_going: Callable[[], bool] = lambda: True,
    on_image: Callable[[Tensor, Tensor], None] | None = None,
) -> Iterator[tuple[int, dict[int, float]]]:
    """Train all heads on detached features; yields (images seen, size -> mean squared error).

    The generator itself is not touched: its full-size path stays bit-equal. `on_image` gets the
    codes [n,k,w_dim] and full-size images of each step, so that they can be kept.
    """
    draws = torch.Generator().manual_seed(options.seed + 1)
    taps = _Taps(generator)
    heads = {int(size): head for size, head in generator.heads.items()}
    weights = [weight for head in heads.values() for weight in head.parameters()]
    optimiser = torch.optim.Adam(weights, options.learning_rate, betas=(0.9, 0.99))
    steps = max(1, options.train_images // options.batch_size)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser,
        lambda step: (
            min(1.0, (step + 1) / options.warmup_steps)
            * (0.5 + 0.5 * math.cos(math.pi * step / steps))
        ),
    )
    for step in range(steps):
        if not keep_going():
            return
        w_plus = draw_w_plus(generator, options.batch_size, draws, options.truncation)
        features, image = taps(w_plus)
        losses = []
        for size, (x, up_style, w) in features.items():
            head = heads[size]
            losses.append(F.mse_loss(head(x, head.style(w, up_style)), shrunken(image, size)))
        errors = torch.stack(losses)
        optimiser.zero_grad(set_to_none=True)
        # The logarithm gives every size the same say, whatever its error.
        errors.log().sum().backward()
        optimiser.step()
        schedule.step()
        if on_image is not None:
            on_image(w_plus, image)
        yield (step + 1) * options.batch_size, dict(zip(heads, errors.tolist(), strict=True))


def head_psnr(generator: MobileStyleGAN, count: int = 16, seed: int = 1234) -> dict[int, float]:
    """Mean PSNR in dB of each head against the shrunken full-size image, peak 2 ([-1,1])."""
    draws = torch.Generator().manual_seed(seed)
    taps = _Taps(generator)
    errors: dict[int, list[float]] = {}
    with torch.no_grad():
        for _ in range(count):
            features, image = taps(draw_w_plus(generator, 1, draws))
            for size, (x, up_style, w) in features.items():
                head = generator.heads[str(size)]
                made = head(x, head.style(w, up_style))
                error = F.mse_loss(made, shrunken(image, size)).clamp_min(1e-12)
                errors.setdefault(size, []).append(float(10 * torch.log10(4 / error)))
    return {size: sum(values) / len(values) for size, values in errors.items()}
