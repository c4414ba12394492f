"""A copy of the prior fine-tuned to the style of a few pictures, window by window, on a CPU."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
import yaml
from PIL import Image
from torch import Tensor, nn
from tqdm import tqdm

from restore.data.stores import open_store
from restore.errors import InputError, OptionError
from restore.latents.codes import gaussian_blur
from restore.latents.generate import level_of, luminance
from restore.latents.photos import image_tensor, resized
from restore.latents.spaces import Generator, to_w_plus, z_width
from restore.losses.adversarial import discriminator_loss, generator_loss
from restore.networks.discriminators import PatchDiscriminator
from restore.networks.mobile_stylegan import (
    SLOPE,
    MobileStyleGAN,
    SeparableStyledConv,
    inverse_haar,
)
from restore.networks.prior_restorer import PriorRestorer
from restore.options.parse import Notes, apply_overrides, parse_block


@dataclass(frozen=True, kw_only=True)
class StyliseOptions:
    """What to train on, what may change, for how long."""

    name: str = "stylised"
    model: str = "default-prior"
    """A generator's weights file, or the name of a model."""
    pictures: str | None = None
    """Folder of pictures in the style, faces in the FFHQ frame; they need no partners."""
    drawn: str | None = None
    """Or a style that our own code draws on the prior's own faces: ink, halftone, sepia."""
    feature_network: str | None = None
    """Weights file of SqueezeNet 1.1 or VGG19: compares textures; helps much."""
    from_level: int = 32
    """px: layers below stay as they are, and with them pose, shape and who it is."""
    train_noise: bool = True
    """The fixed noise maps learn too: a screen or paper that does not move with the face."""
    window: int = 256
    """px of the full-size picture that a step paints; the face's place in it is random."""
    batch_size: int = 2
    steps: int = 100000
    max_minutes: float = 15.0
    """The run ends at whichever of steps and max_minutes comes first."""
    lr_g: float = 1e-2
    """Adam's rate as a share of each tensor's size."""
    lr_d: float = 2e-3
    adversarial_weight: float = 1.0
    texture_weight: float = 3.0
    """Mean and deviation of pixels and features as in the pictures."""
    keep_weight: float = 2.0
    """Light and dark of the window as the unchanged prior has them, whatever their tones."""
    pair_weight: float = 10.0
    """L1 to the drawing of the same face; only with `drawn`."""
    ema_half_life_steps: float = 60.0
    truncation: tuple[float, float] = (0.5, 1.0)
    seed: int = 0

    def problems(self) -> Iterable[str]:
        if (self.pictures is None) == (self.drawn is None):
            yield "pictures: give a folder, or drawn: a style's name; one of the two"
        if not 0 <= self.truncation[0] <= self.truncation[1] <= 1.5:
            yield f"truncation: found {list(self.truncation)}, expected [low, high] in 0..1.5"
        above_0 = ("batch_size", "steps", "window", "max_minutes", "lr_g", "lr_d")
        for key in (*above_0, "ema_half_life_steps"):
            if getattr(self, key) <= 0:
                yield f"{key}: found {getattr(self, key)}, expected more than 0"


def load_stylise_options(path: str | Path, overrides: Iterable[str] = ()) -> StyliseOptions:
    """Read and check an option file; OptionError lists all problems with the nearest keys."""
    try:
        block = yaml.safe_load(Path(path).read_text("utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise OptionError(f"option file {path} cannot be read as YAML: {error}") from error
    if not isinstance(block, dict):
        raise OptionError(f"{path} holds no block of keys; expected pictures: or drawn: and others")
    notes = Notes()
    block, notes.problems = apply_overrides(block, overrides)
    options: StyliseOptions = parse_block(StyliseOptions, block, "", notes)
    if notes.problems:
        raise OptionError("\n  ".join([f"{path} cannot be used:", *notes.problems]))
    return options


MARGIN = 2  # px of the last whole level around a window; two convolutions a level reach less far


@dataclass(frozen=True)
class Window:
    """A square of `size` px at (top, left) of the picture of `full` px."""

    top: int
    left: int
    size: int
    full: int

    def of(self, picture: Tensor) -> Tensor:
        """The window of pictures [n,c,full,full]."""
        rows, columns = (slice(start, start + self.size) for start in (self.top, self.left))
        return picture[..., rows, columns]


def whole_level(generator: Generator, largest: int = 64) -> int:
    """The level in px up to which features are painted whole, at most `largest`."""
    if not isinstance(generator, MobileStyleGAN):
        return generator.out_size
    return max((level for level in generator.levels if level <= largest), default=8)


def draw_window(generator: Generator, size: int, draws: torch.Generator) -> Window:
    """A random window, on the grid of the last whole level. A StyleGAN2's is cut out of the whole.

    Raises InputError where `size` is no multiple of that grid's cells, or too large.
    """
    full = generator.out_size
    cell = full // whole_level(generator)
    if not cell <= size <= full or size % cell:
        raise InputError(f"window {size} px: expected a multiple of {cell} up to {full}")
    places = (full - size) // cell + 1
    top, left = torch.randint(0, places, (2,), generator=draws).tolist()
    return Window(top * cell, left * cell, size, full)


def paint_window(
    generator: Generator, styles: Sequence[Tensor], window: Window, features: Tensor | None = None
) -> Tensor:
    """S -> the window [n,3,size,size] of the full-size picture, not clamped.

    The same pixels as painting all and cutting, to rounding: what the features above the last
    whole level read lies within `MARGIN`. Differentiable. StyleGAN2 is painted whole and cut.
    `features` [n,c,r,r]: those of the last whole level, where they are known already.
    """
    if window.full != generator.out_size:
        raise InputError(f"a window of {window.full} px; this generator has {generator.out_size}")
    if not isinstance(generator, MobileStyleGAN):
        return window.of(generator.synthesis_from_styles(styles))
    level = whole_level(generator)
    x = generator.features(styles, None, level) if features is None else features
    cell, corner = window.full // level, (window.top, window.left)
    top, left = (max(0, start // cell - MARGIN) for start in corner)
    bottom, right = (min(level, (start + window.size) // cell + MARGIN) for start in corner)
    x = x[..., top:bottom, left:right]
    for i, r in enumerate(generator.levels):
        if r > level:
            place = (top * r // level, left * r // level)
            block = generator.blocks[str(r)]
            up, one, two = styles[1 + 3 * i : 4 + 3 * i]
            x = inverse_haar(x * up[:, :, None, None])
            x = _convolved(block.conv1, x, one, place)
            x = _convolved(block.conv2, x, two, place)
    inner = Window(window.top - top * cell, window.left - left * cell, window.size, window.full)
    return inner.of(generator.to_rgb(x, styles[-1]))


def _convolved(
    layer: SeparableStyledConv, x: Tensor, style: Tensor, place: tuple[int, int]
) -> Tensor:
    """`SeparableStyledConv.forward` on a part of its input whose top left pixel is `place`."""
    y = F.conv2d(x * style[:, :, None, None], layer.depthwise, padding=1, groups=x.shape[1])
    y = F.conv2d(y, layer.pointwise, layer.bias)
    top, left = place
    noise = layer.noise[..., top : top + x.shape[2], left : left + x.shape[3]]
    return F.leaky_relu(y + noise, SLOPE)


PAPER, INK = (0.965, 0.94, 0.88), (0.09, 0.09, 0.14)
CREAM, BLUE = (0.97, 0.95, 0.9), (0.12, 0.19, 0.42)
PLATE_DARK, PLATE_LIGHT = (0.17, 0.09, 0.04), (0.97, 0.89, 0.72)


def ink(picture: Tensor, window: Window | None = None) -> Tensor:
    """Brush lines where luminance has edges (XDoG, Winnemöller 2011), dark washes, on paper."""
    unit = _unit(picture, window)
    light = luminance(picture)[:, None]
    fine, broad = _blurred(light, 2.4 * unit), _blurred(light, 4.2 * unit)
    sharp = fine + 9 * (fine - broad)
    lines = torch.sigmoid((sharp - 0.34) * 14)
    wash = _blurred(light, 4 * unit)
    darker, lighter = torch.sigmoid((wash - 0.28) * 30), torch.sigmoid((wash - 0.55) * 30)
    tones = 0.72 + 0.16 * darker + 0.12 * lighter
    return _toned((lines * tones).clamp(0, 1), INK, PAPER)


def halftone(picture: Tensor, window: Window | None = None) -> Tensor:
    """A newspaper's screen: dots at 45 degrees whose size follows the luminance, blue on cream."""
    unit = _unit(picture, window)
    light = _blurred(luminance(picture)[:, None], 3 * unit)
    y, x = _places(picture, window)
    turn = math.pi / (8.0 * unit)  # rows of dots 8 px apart at 1024, every other one shifted
    screen = torch.cos(x * turn) * torch.cos(y * turn)
    value = torch.sigmoid((light * 1.15 - 0.5 + 0.42 * screen) * 9)
    return _toned(value, BLUE, CREAM)


def sepia(picture: Tensor, window: Window | None = None) -> Tensor:
    """An albumen plate: blue-sensitive emulsion, brown to cream, soft, dark towards the corners."""
    unit = _unit(picture, window)
    values = (picture + 1) / 2
    # the emulsion saw blue and little red: skin darkens, skies and eyes pale
    seen = (values * values.new_tensor((0.12, 0.33, 0.55))[:, None, None]).sum(1, keepdim=True)
    soft = _blurred(seen, 1.2 * unit)
    exposed = (1.35 * soft).clamp(max=1)
    curve = exposed * exposed * (3 - 2 * exposed)
    y, x = _places(picture, window)
    full = picture.shape[-1] if window is None else window.full
    away = ((x / full - 0.5).square() + (y / full - 0.5).square()).sqrt() / 0.707
    return _toned(curve * (1 - 0.55 * away.clamp(0, 1).pow(2.5)), PLATE_DARK, PLATE_LIGHT)


Drawing = Callable[[Tensor, Window | None], Tensor]
DRAWN: Mapping[str, Drawing] = {"ink": ink, "halftone": halftone, "sepia": sepia}
"""Name -> function (picture [n,3,s,s] RGB in [-1,1], window) -> the same drawn, [-1,1].

With a window the picture is that part of a larger one: strokes keep the size and the place that
they have on the whole. Borders of a window are blurred by reflection, a few pixels deep.
"""


def find_style(name: str) -> Drawing:
    """A drawn style by its name; InputError lists them."""
    if name not in DRAWN:
        raise InputError(f"no drawn style {name!r}; there are {', '.join(DRAWN)}")
    return DRAWN[name]


def _unit(picture: Tensor, window: Window | None) -> float:
    return (picture.shape[-1] if window is None else window.full) / 1024


def _places(picture: Tensor, window: Window | None) -> tuple[Tensor, Tensor]:
    top, left = (0, 0) if window is None else (window.top, window.left)
    height, width = picture.shape[-2:]
    y = torch.arange(height, device=picture.device) + top + 0.5
    x = torch.arange(width, device=picture.device) + left + 0.5
    return y[:, None].to(picture), x[None].to(picture)


def _blurred(plane: Tensor, sigma: float) -> Tensor:
    radius = min(max(1, math.ceil(2.5 * sigma)), min(plane.shape[-2:]) - 1)
    return gaussian_blur(plane, max(sigma, 0.2), radius, "reflect")


def _toned(value: Tensor, dark: tuple[float, ...], light: tuple[float, ...]) -> Tensor:
    low, high = (value.new_tensor(tone)[:, None, None] for tone in (dark, light))
    return (low + value * (high - low)) * 2 - 1


def load_pictures(folder: str | Path, size: int) -> Tensor:
    """Every picture of a folder (or tar, LMDB, array) at `size` px: [n,3,size,size] in [-1,1].

    They are taken as faces in the FFHQ frame: square, or cut to their middle square.
    """
    store = open_store(folder)
    pictures = []
    for key in store.keys:
        pixels = Image.fromarray(store.image(key))
        side = min(pixels.size)
        left, top = (pixels.width - side) // 2, (pixels.height - side) // 2
        square = pixels.crop((left, top, left + side, top + side))
        pictures.append(
            image_tensor(np.asarray(square.resize((size, size), Image.Resampling.LANCZOS)))
        )
    if not pictures:
        raise InputError(f"{folder} holds no pictures; expected some in the style")
    return torch.cat(pictures)


@torch.no_grad()
def restored_in_style(
    restorer: PriorRestorer, stylised: Generator, faces: Tensor, crop_size: int, fidelity: float = 1
) -> Tensor:
    """Bad faces [n,3,s,s] in the FFHQ frame -> the same restored, as the stylised decoder paints.

    The restorer's encoder reads codes and SFT maps; the stylised copy of its decoder is given both
    and paints its full size. Raises InputError where the two decoders differ in form.
    """
    decoder = restorer.decoder
    same = (decoder.num_styles, decoder.w_dim, decoder.out_size)
    if same != (stylised.num_styles, stylised.w_dim, stylised.out_size):
        raise InputError(
            "the stylised generator is not of the form of the restorer's decoder; fine-tune it "
            "from that decoder (model: default-prior)"
        )
    painter, seen = PriorRestorer(restorer.encoder, stylised), resized(faces, crop_size)
    found: Tensor = painter(seen.clamp(-1, 1), fidelity, stylised.out_size).image.clamp(-1, 1)
    return found


SHALLOW = 4  # activations of the feature network that textures are compared in
StyleTarget = Callable[[Window, Tensor, Tensor], Tensor]
"""(window, its plain pictures [n,3,s,s], random numbers [n]) -> pictures of the style there."""


@dataclass(frozen=True)
class Stylised:
    """The fine-tuned generator (its running average), and the losses of each step by name."""

    generator: Generator
    history: tuple[dict[str, float], ...]


def picture_target(pictures: Tensor) -> StyleTarget:
    """Windows of pictures [m,3,full,full] RGB in [-1,1], drawn at random, half of them mirrored."""
    if pictures.ndim != 4 or len(pictures) == 0:
        raise InputError("no pictures of the style; give a folder with one or more")

    def target(window: Window, plain: Tensor, numbers: Tensor) -> Tensor:
        chosen = (numbers * len(pictures)).long().clamp_max(len(pictures) - 1)
        flip = (numbers * len(pictures) * 2).long() % 2 == 1
        drawn = pictures[chosen]
        return window.of(torch.where(flip[:, None, None, None], drawn.flip(3), drawn))

    return target


def drawn_target(style: str) -> StyleTarget:
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


def tone_correlation(a: Tensor, b: Tensor, factor: int = 8) -> Tensor:
    """Correlation [n] of light and dark of two batches [n,3,s,s], shrunk by `factor`.

    1 where one is the other in other tones: brighter, of more contrast, in other colours.
    """
    factor = min(factor, max(1, a.shape[-1] // 4))
    small = (F.avg_pool2d(x.mean(1, keepdim=True), factor).flatten(1) for x in (a, b))
    first, second = (x - x.mean(1, keepdim=True) for x in small)
    lengths = first.norm(dim=1) * second.norm(dim=1)
    found: Tensor = (first * second).sum(1) / lengths.clamp_min(1e-4)
    return found


def texture_distance(fake: Sequence[Tensor], real: Sequence[Tensor]) -> Tensor:
    """Distance of the means and deviations of maps [n,c,h,w] over a batch and all its places."""
    total, dims = fake[0].new_zeros(()), (0, 2, 3)
    for a, b in zip(fake, real, strict=True):
        scale = b.std(dims).mean().clamp_min(1e-4)
        total = total + (a.mean(dims) - b.mean(dims)).abs().mean() / scale
        total = total + (a.std(dims) - b.std(dims)).abs().mean() / scale
    return total / len(fake)


def _textures(picture: Tensor, seen: Sequence[Tensor]) -> list[Tensor]:
    """The maps that textures are compared in: pixels, coarse pixels, shallow activations."""
    factor = min(8, picture.shape[-1] // 2)
    return [picture, F.avg_pool2d(picture, factor), *seen]


def stylise(
    generator: Generator,
    target: StyleTarget,
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
        discriminator = PatchDiscriminator(3, feature_channels=channels[:SHALLOW])
    optim_g = torch.optim.Adam(_paced(part, options.lr_g), betas=(0.0, 0.99))
    optim_d = torch.optim.Adam(discriminator.parameters(), options.lr_d, betas=(0.0, 0.99))
    shared = options.from_level > whole_level(generator)  # nothing below the windows learns
    decay = 0.5 ** (1 / options.ema_half_life_steps)
    history: list[dict[str, float]] = []
    try:
        for step in _clock(options, show_progress):
            with torch.no_grad():
                w_plus = _draw_codes(generator, options, draws)
                styles = generator.styles(w_plus)
                window = draw_window(generator, options.window, draws)
                low = None
                if isinstance(generator, MobileStyleGAN):
                    low = generator.features(styles, None, whole_level(generator))
                plain = paint_window(generator, styles, window, low)
                real = target(window, plain, torch.rand(len(plain), generator=draws))
                real_seen = _seen(features, real)
            fake = paint_window(live, live.styles(w_plus), window, low if shared else None)
            fake_seen = _seen(features, fake)
            losses = _generator_losses(
                discriminator, fake, fake_seen, real, real_seen, plain, options
            )
            optim_g.zero_grad(set_to_none=True)
            torch.stack(list(losses.values())).sum().backward()
            optim_g.step()
            optim_d.zero_grad(set_to_none=True)
            told_fake = discriminator(fake.detach(), [f.detach() for f in fake_seen[:SHALLOW]])
            loss_d = discriminator_loss(discriminator(real, real_seen[:SHALLOW]), told_fake).mean()
            loss_d.backward()
            optim_d.step()
            keep = min(decay, (1 + step) / (10 + step))
            with torch.no_grad():
                for slow, fast in zip(averaged, part, strict=True):
                    slow.lerp_(fast, 1 - keep)
            history.append(
                {n: float(v.detach()) for n, v in {**losses, "discriminator": loss_d}.items()}
            )
    except KeyboardInterrupt:
        if not history:
            raise
    return Stylised(average.eval().requires_grad_(False), tuple(history))


def _paced(part: Sequence[Tensor], rate: float) -> list[dict[str, object]]:
    """Each tensor at a rate in proportion to its size: what equalised learning rates do.

    A MobileStyleGAN has no demodulation, so that steps of one size would blow some layers up.
    """

    def size(t: Tensor) -> float:
        return float(t.detach().square().mean().sqrt())

    return [{"params": [t], "lr": rate * max(size(t), 0.02)} for t in part]


def _clock(options: StyliseOptions, show_progress: bool) -> Iterator[int]:
    """Steps until the number or the minutes are reached."""
    end = time.monotonic() + 60 * options.max_minutes
    for step in tqdm(range(options.steps), desc="steps", disable=not show_progress):
        if time.monotonic() > end:
            return
        yield step


def _draw_codes(generator: Generator, options: StyliseOptions, draws: torch.Generator) -> Tensor:
    """W+ of faces of the generator."""
    z = torch.randn(options.batch_size, z_width(generator), generator=draws)
    w, (low, high) = generator.mapping(z), options.truncation
    psi = low + (high - low) * torch.rand(len(w), 1, generator=draws)
    return to_w_plus(generator, generator.w_mean + psi * (w - generator.w_mean))


def _seen(features: nn.Module | None, picture: Tensor) -> list[Tensor]:
    return [] if features is None else list(features(picture))[:SHALLOW]


def _generator_losses(
    discriminator: PatchDiscriminator,
    fake: Tensor,
    fake_seen: Sequence[Tensor],
    real: Tensor,
    real_seen: Sequence[Tensor],
    plain: Tensor,
    options: StyliseOptions,
) -> dict[str, Tensor]:
    losses = {
        "adversarial": options.adversarial_weight
        * generator_loss(discriminator(fake, fake_seen)).mean(),
        "keep": options.keep_weight * (1 - tone_correlation(fake, plain)).mean(),
    }
    if options.texture_weight > 0:
        fakes, reals = _textures(fake, fake_seen), _textures(real, real_seen)
        losses["texture"] = options.texture_weight * texture_distance(fakes, reals)
    if options.drawn is not None:
        losses["pair"] = options.pair_weight * (fake - real).abs().mean()
    return losses
