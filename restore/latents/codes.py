"""Codes of faces (W+, S, noise maps): painting them, with gradients, and files that keep them."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from restore.checkpoints.weights_file import read_tensors, write_tensors
from restore.errors import CheckpointError, InputError
from restore.latents.spaces import Generator, check_styles, style_layers, to_w_plus
from restore.model_files import read_header
from restore.networks.mobile_stylegan import MobileStyleGAN


def check_size(generator: Generator, size: int) -> int:
    """`size` where it is a whole part of the full size, 16 px or more; else InputError."""
    full = generator.out_size
    if not 16 <= size <= full or full % size:
        whole = [full >> i for i in range(12) if full >> i >= 16]
        raise InputError(f"size {size}: expected one of {', '.join(map(str, whole))} px")
    return size


def paint(
    generator: Generator,
    styles: Sequence[Tensor],
    size: int,
    noise: Mapping[str, Tensor] | None = None,
) -> Tensor:
    """S, one [n,c] per style layer -> image [n,3,size,size] RGB about [-1,1], not clamped.

    The image is the full-size one, averaged down: no size head takes part. `size` as `check_size`
    wants it. `noise` replaces maps by their names of `noise_maps`. Differentiable in both.
    """
    if noise:
        names = {f"generator.{name}": value for name, value in noise.items()}
        found: Tensor = functional_call(_Painter(generator, size), names, (list(styles),))
        return found
    return _paint(generator, styles, size)


def free_styles(generator: Generator, w: Tensor) -> list[Tensor]:
    """S, one [1,c] per style layer, of a code w [w_dim]: leaves that take gradients."""
    styles = generator.styles(to_w_plus(generator, w[None]))
    return [style.detach().requires_grad_(True) for style in styles]


def noise_maps(generator: Generator) -> dict[str, Tensor]:
    """The stored noise of every convolution, name -> [1,1,r,r]; empty where there is none."""
    found = {}
    for name, buffer in generator.named_buffers():
        last = name.rsplit(".", 1)[-1]
        if last == "noise" or last.startswith("noise_"):
            found[name] = buffer
    return found


class _Painter(nn.Module):
    """What `functional_call` needs: a module whose forward paints."""

    def __init__(self, generator: Generator, size: int) -> None:
        super().__init__()
        self.generator = generator
        self.size = size

    def forward(self, styles: Sequence[Tensor]) -> Tensor:
        return _paint(self.generator, styles, self.size)


def _paint(generator: Generator, styles: Sequence[Tensor], size: int) -> Tensor:
    full = generator.out_size
    if isinstance(generator, MobileStyleGAN):
        half = full // 2
        features = generator.features(styles, None, half)
        if size == full:
            found: Tensor = generator.to_rgb(features, styles[-1])
            return found
        # The mean of four pixels is half of the LL band, and a mean of pixels goes through the 1x1
        # convolution: averaging the features first is the same image for less work.
        if size < half:
            features = F.avg_pool2d(features, half // size)
        return generator.to_rgb.halved(features, styles[-1])
    image = generator.synthesis_from_styles(styles)
    return image if size == full else F.avg_pool2d(image, full // size)


FORMAT = "restore-codes/1"


@dataclass(frozen=True)
class Codes:
    """`w_plus` [n,k,w_dim]. `styles`, one [n,c] per style layer, lead where they are there (S is
    larger than W+). `noise`: maps that replace the generator's, name -> [n or 1,1,r,r]."""

    w_plus: Tensor
    styles: tuple[Tensor, ...] | None = None
    noise: Mapping[str, Tensor] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.w_plus)


def styles_of(generator: Generator, codes: Codes) -> list[Tensor]:
    """S of the codes."""
    return generator.styles(codes.w_plus) if codes.styles is None else list(codes.styles)


def gaussian_blur(planes: Tensor, sigma: float, radius: int, border: str) -> Tensor:
    """Planes [n,1,h,w] blurred by a Gaussian of `sigma` px cut off at `radius` px.

    `border`: "reflect" or "replicate", as torch's padding knows them.
    """
    places = torch.arange(-radius, radius + 1, device=planes.device).to(planes)
    line = torch.exp(-0.5 * (places / sigma).square())
    line = (line / line.sum()).reshape(1, 1, 1, -1)
    padded = F.pad(planes, [radius] * 4, mode=border)
    return F.conv2d(F.conv2d(padded, line), line.transpose(2, 3))


@torch.no_grad()
def join_codes(generator: Generator, parts: Sequence[Codes]) -> Codes:
    """Codes of several faces as one batch: S where any has it, noise maps where all have them."""
    w_plus = torch.cat([part.w_plus for part in parts])
    styles = None
    if any(part.styles is not None for part in parts):
        layers = zip(*(styles_of(generator, part) for part in parts), strict=True)
        styles = tuple(torch.cat(layer) for layer in layers)
    noise = {
        name: torch.cat([part.noise[name].expand(len(part), -1, -1, -1) for part in parts])
        for name in set.intersection(*(set(part.noise) for part in parts))
    }
    return Codes(w_plus, styles, noise)


@torch.no_grad()
def paint_codes(generator: Generator, codes: Codes, size: int) -> Tensor:
    """The pictures [n,3,size,size] of codes, RGB clamped to [-1,1]; sizes as `check_size`."""
    check_size(generator, size)
    return paint(generator, styles_of(generator, codes), size, codes.noise).clamp(-1, 1)


@torch.no_grad()
def paint_faces(generator: Generator, w_plus: Tensor, size: int, half: bool = False) -> Tensor:
    """W+ [n,k,w_dim] -> [n,3,size,size] RGB in [-1,1], the full-size faces averaged down.

    One by one: little memory, and on a CPU faster than a batch. `half`: bfloat16 convolutions.
    """
    check_size(generator, size)
    with torch.autocast(w_plus.device.type, torch.bfloat16, enabled=half):
        faces = [paint(generator, generator.styles(code), size) for code in w_plus.split(1)]
    return torch.cat(faces).float().clamp(-1, 1)


def save_codes(path: str | os.PathLike[str], codes: Codes, names: Sequence[str] = ()) -> None:
    """Write codes (float32) atomically; `names` of the faces go into the header."""

    tensors = {"w_plus": codes.w_plus}
    tensors |= {f"style.{i:02d}": s for i, s in enumerate(codes.styles or ())}
    tensors |= {f"noise.{name}": value for name, value in codes.noise.items()}
    plain = {k: v.detach().float() for k, v in tensors.items()}
    header = {"format": FORMAT, "names": json.dumps(list(names))}
    write_tensors(path, plain, header)


def load_codes(path: str | os.PathLike[str], generator: Generator) -> Codes:
    """Codes of a file, held against the generator that they are to be painted by.

    Raises CheckpointError for another kind of file, InputError where they do not fit.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"no codes at {path}; `invert` writes such a file")
    found = read_header(path).get("format")
    if found != FORMAT:
        raise CheckpointError(f"{path} is of format {found!r}; expected {FORMAT!r}, from `invert`")
    tensors = read_tensors(path)
    w_plus = tensors["w_plus"]
    expected = (generator.num_styles, generator.w_dim)
    if w_plus.ndim != 3 or tuple(w_plus.shape[1:]) != expected:
        raise InputError(
            f"{path}: codes of shape {tuple(w_plus.shape)}; this generator wants "
            f"[n,{expected[0]},{expected[1]}]: give the --model that they were found with"
        )
    device = generator.w_mean.device
    styles = tuple(tensors[k].to(device) for k in sorted(tensors) if k.startswith("style."))
    if styles:
        check_styles(generator, styles)
    noise = {
        k.removeprefix("noise."): v.to(device) for k, v in tensors.items() if k.startswith("noise.")
    }
    strange = sorted(set(noise) - set(noise_maps(generator)))
    if strange:
        raise InputError(f"{path}: noise maps {strange[:3]} that this generator has not")
    return Codes(w_plus.to(device), styles or None, noise)


def describe(generator: Generator) -> str:
    """The layers of S as a Markdown table: name, level, row of W+, channels."""
    lines = ["| style | level, px | row of W+ | channels |", "|---|---|---|---|"]
    for layer in style_layers(generator):
        lines.append(f"| {layer.name} | {layer.level} | {layer.row} | {layer.channels} |")
    return "\n".join(lines)
