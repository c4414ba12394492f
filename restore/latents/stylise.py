"""Fine-tuning a copy of the prior to the style of a few pictures, window by window, on a CPU."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from restore.errors import InputError
from restore.latents.drawn_styles import find_style
from restore.latents.layer_swap import level_of
from restore.latents.spaces import Generator
from restore.latents.stylise_options import StyliseOptions
from restore.latents.windows import (
    Window,
    draw_window,
    paint_window,
    whole_features,
    whole_level,
)
from restore.losses.adversarial import discriminator_loss, generator_loss
from restore.networks.discriminators import PatchDiscriminator

SHALLOW = 4  # activations of the feature network that textures are compared in
Target = Callable[[Window, Tensor, Tensor], Tensor]
"""(window, its plain pictures [n,3,s,s], random numbers [n]) -> pictures of the style there."""


@dataclass(frozen=True)
class Stylised:
    """The fine-tuned generator (its running average), and the losses of each step by name."""

    generator: Generator
    history: tuple[dict[str, float], ...]


def picture_target(pictures: Tensor) -> Target:
    """Windows of pictures [m,3,full,full] RGB in [-1,1], drawn at random, half of them mirrored."""
    if pictures.ndim != 4 or len(pictures) == 0:
        raise InputError("no pictures of the style; give a folder with one or more")

    def target(window: Window, plain: Tensor, numbers: Tensor) -> Tensor:
        chosen = (numbers * len(pictures)).long().clamp_max(len(pictures) - 1)
        flip = (numbers * len(pictures) * 2).long() % 2 == 1
        drawn = pictures[chosen]
        return window.of(torch.where(flip[:, None, None, None], drawn.flip(3), drawn))

    return target


def drawn_target(style: str) -> Target:
    """The style drawn on the windows themselves: pictures of the very same faces."""
    draw = find_style(style)

    def target(window: Window, plain: Tensor, numbers: Tensor) -> Tensor:
        return draw(plain.clamp(-1, 1), window)

    return target


def trained_part(generator: Generator, from_level: int, train_noise: bool) -> list[Tensor]:
    """What may learn: all layers that act at `from_level` px or above; others lose gradients."""
    generator.requires_grad_(False)
    part: list[Tensor] = []
    for name, tensor in [*generator.named_parameters(), *generator.named_buffers()]:
        level = level_of(generator, name)
        is_noise = "noise" in name.rsplit(".", 1)[-1]
        if level is None or level < from_level or name.startswith("heads."):
            continue
        if isinstance(tensor, nn.Parameter) or (is_noise and train_noise):
            part.append(tensor.requires_grad_(True))
    if not part:
        raise InputError(f"from_level {from_level} px leaves nothing to train")
    return part


def likeness(a: Tensor, b: Tensor, factor: int = 8) -> Tensor:
    """Correlation [n] of light and dark of two batches [n,3,s,s], shrunk by `factor`.

    1 where one is the other in other tones: brighter, of more contrast, in other colours.
    """
    factor = min(factor, max(1, a.shape[-1] // 4))
    small = [F.avg_pool2d(x.mean(1, keepdim=True), factor).flatten(1) for x in (a, b)]
    first, second = (x - x.mean(1, keepdim=True) for x in small)
    lengths = first.norm(dim=1) * second.norm(dim=1)
    return (first * second).sum(1) / lengths.clamp_min(1e-4)


def texture_distance(fake: Sequence[Tensor], real: Sequence[Tensor]) -> Tensor:
    """Distance of the means and deviations of maps [n,c,h,w] over a batch and all its places."""
    total = fake[0].new_zeros(())
    for a, b in zip(fake, real, strict=True):
        scale = b.std((0, 2, 3)).mean().clamp_min(1e-4)
        total = total + (a.mean((0, 2, 3)) - b.mean((0, 2, 3))).abs().mean() / scale
        total = total + (a.std((0, 2, 3)) - b.std((0, 2, 3))).abs().mean() / scale
    return total / len(fake)


def _textures(picture: Tensor, seen: Sequence[Tensor]) -> list[Tensor]:
    """The maps that textures are compared in: pixels, coarse pixels, shallow activations."""
    factor = min(8, picture.shape[-1] // 2)
    return [picture, F.avg_pool2d(picture, factor), *seen]


def stylise(
    generator: Generator,
    target: Target,
    options: StyliseOptions,
    features: nn.Module | None = None,
    show_progress: bool = False,
) -> Stylised:
    """Fine-tune a copy of `generator`; the one that is given stays as it is.

    Each step paints the same window of a few faces with the copy and with the original, and
    compares the copy's with pictures of the style at that place: a patch discriminator (on pixels,
    and on `features` where given; non-saturating), textures (mean and deviation of shallow
    features), light and dark kept as the original has them, and, where the target is a drawing
    of the same faces (`options.drawn`), L1. Can be interrupted: what was learnt so far is returned.
    """
    draws = torch.Generator().manual_seed(options.seed)
    live, average = copy.deepcopy(generator), copy.deepcopy(generator)
    part = trained_part(live, options.from_level, options.train_noise)
    averaged = trained_part(average, options.from_level, options.train_noise)
    average.requires_grad_(False)
    with torch.random.fork_rng():
        torch.manual_seed(options.seed)
        channels = tuple(getattr(features, "channels", ())) if features is not None else ()
        judge = PatchDiscriminator(3, feature_channels=channels[:SHALLOW])
    optim_g = torch.optim.Adam(_paced(part, options.lr_g), betas=(0.0, 0.99))
    optim_d = torch.optim.Adam(judge.parameters(), options.lr_d, betas=(0.0, 0.99))
    shared = options.from_level > whole_level(generator)  # nothing below the windows learns
    decay = 0.5 ** (1 / options.ema_half_life_steps)
    history: list[dict[str, float]] = []
    try:
        for step in _clock(options, show_progress):
            with torch.no_grad():
                w_plus = _draw_codes(generator, options, draws)
                styles = generator.styles(w_plus)
                window = draw_window(generator, options.window, draws)
                low = whole_features(generator, styles)
                plain = paint_window(generator, styles, window, low)
                real = target(window, plain, torch.rand(len(plain), generator=draws))
                real_seen = _seen(features, real)
            fake = paint_window(live, live.styles(w_plus), window, low if shared else None)
            fake_seen = _seen(features, fake)
            losses = _generator_losses(judge, fake, fake_seen, real, real_seen, plain, options)
            optim_g.zero_grad(set_to_none=True)
            torch.stack(list(losses.values())).sum().backward()
            optim_g.step()
            optim_d.zero_grad(set_to_none=True)
            told_fake = judge(fake.detach(), [f.detach() for f in fake_seen[:SHALLOW]])
            judged = discriminator_loss(judge(real, real_seen[:SHALLOW]), told_fake).mean()
            judged.backward()
            optim_d.step()
            keep = min(decay, (1 + step) / (10 + step))
            with torch.no_grad():
                for slow, fast in zip(averaged, part, strict=True):
                    slow.lerp_(fast, 1 - keep)
            history.append({n: float(v.detach()) for n, v in {**losses, "judge": judged}.items()})
    except KeyboardInterrupt:
        if not history:
            raise
    return Stylised(average.eval().requires_grad_(False), tuple(history))


def _paced(part: Sequence[Tensor], rate: float) -> list[dict[str, object]]:
    """Each tensor at a rate in proportion to its size: what equalised learning rates do.

    A MobileStyleGAN has no demodulation, so that steps of one size would blow some layers up.
    """
    sizes = [float(t.detach().square().mean().sqrt()) for t in part]
    return [
        {"params": [t], "lr": rate * max(size, 0.02)} for t, size in zip(part, sizes, strict=True)
    ]


def _clock(options: StyliseOptions, show_progress: bool) -> Iterator[int]:
    """Steps until the number or the minutes are reached."""
    end = time.monotonic() + 60 * options.max_minutes
    for step in tqdm(range(options.steps), desc="steps", disable=not show_progress):
        if time.monotonic() > end:
            return
        yield step


def _draw_codes(generator: Generator, options: StyliseOptions, draws: torch.Generator) -> Tensor:
    """W+ of faces of the generator."""
    width = getattr(generator, "z_dim", generator.w_dim)
    w = generator.mapping(torch.randn(options.batch_size, width, generator=draws))
    low, high = options.truncation
    psi = low + (high - low) * torch.rand(len(w), 1, generator=draws)
    w = generator.w_mean + psi * (w - generator.w_mean)
    return w[:, None].expand(-1, generator.num_styles, -1)


def _seen(features: nn.Module | None, picture: Tensor) -> list[Tensor]:
    return [] if features is None else list(features(picture))[:SHALLOW]


def _generator_losses(
    judge: PatchDiscriminator,
    fake: Tensor,
    fake_seen: Sequence[Tensor],
    real: Tensor,
    real_seen: Sequence[Tensor],
    plain: Tensor,
    options: StyliseOptions,
) -> dict[str, Tensor]:
    losses = {
        "adversarial": options.adversarial_weight * generator_loss(judge(fake, fake_seen)).mean(),
        "keep": options.keep_weight * (1 - likeness(fake, plain)).mean(),
    }
    if options.texture_weight > 0:
        fakes, reals = _textures(fake, fake_seen), _textures(real, real_seen)
        losses["texture"] = options.texture_weight * texture_distance(fakes, reals)
    if options.drawn is not None:
        losses["pair"] = options.pair_weight * (fake - real).abs().mean()
    return losses
