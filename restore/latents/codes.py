"""Codes of faces: W+, and where they were found, S and noise maps; kept in a safetensors file."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from restore.config.model_header import read_header
from restore.errors import CheckpointError, InputError
from restore.latents.paint import check_size, noise_maps, paint
from restore.latents.spaces import Generator, style_layers
from restore.latents.styles import check_styles

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
    if codes.styles is not None:
        return list(codes.styles)
    return generator.styles(codes.w_plus)


@torch.no_grad()
def join_codes(generator: Generator, parts: Sequence[Codes]) -> Codes:
    """Codes of several faces as one batch: S where any has it, noise maps where all have them."""
    w_plus = torch.cat([part.w_plus for part in parts])
    styles = None
    if any(part.styles is not None for part in parts):
        layers = zip(*(styles_of(generator, part) for part in parts), strict=True)
        styles = tuple(torch.cat(layer) for layer in layers)
    names = set.intersection(*(set(part.noise) for part in parts))
    noise = {}
    for name in names:
        maps = [part.noise[name].expand(len(part), -1, -1, -1) for part in parts]
        noise[name] = torch.cat(maps)
    return Codes(w_plus, styles, noise)


@torch.no_grad()
def paint_codes(generator: Generator, codes: Codes, size: int) -> Tensor:
    """The pictures [n,3,size,size] of codes, RGB clamped to [-1,1]; sizes as `check_size`."""
    check_size(generator, size)
    return paint(generator, styles_of(generator, codes), size, codes.noise).clamp(-1, 1)


def save_codes(path: str | os.PathLike[str], codes: Codes, names: Sequence[str] = ()) -> None:
    """Write codes (float32) atomically; `names` of the faces go into the header."""
    import json

    from safetensors.torch import save

    from restore.images.files_write import write_atomically

    tensors = {"w_plus": codes.w_plus}
    tensors |= {f"style.{i:02d}": s for i, s in enumerate(codes.styles or ())}
    tensors |= {f"noise.{name}": value for name, value in codes.noise.items()}
    plain = {k: v.detach().float().cpu().contiguous().clone() for k, v in tensors.items()}
    header = {"format": FORMAT, "names": json.dumps(list(names))}
    write_atomically(Path(path), save(plain, header))


def load_codes(path: str | os.PathLike[str], generator: Generator) -> Codes:
    """Codes of a file, held against the generator that they are to be painted by.

    Raises CheckpointError for another kind of file, InputError where they do not fit.
    """
    from safetensors.torch import load_file

    path = Path(path)
    if not path.is_file():
        raise InputError(f"no codes at {path}; `invert` writes such a file")
    found = read_header(path).get("format")
    if found != FORMAT:
        raise CheckpointError(f"{path} is of format {found!r}; expected {FORMAT!r}, from `invert`")
    tensors = load_file(path)
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
