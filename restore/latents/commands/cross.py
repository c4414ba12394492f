"""`cross`: one face of two, the first inside a mask, the second outside."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from restore.latents.commands.arguments import add_features, add_model, add_search, add_truncation
from restore.latents.commands.face_argument import FACE_HELP

if TYPE_CHECKING:
    from torch import Tensor


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line of `cross`."""
    parser.add_argument("first", metavar="FIRST", help=FACE_HELP)
    parser.add_argument("second", metavar="SECOND", help=FACE_HELP)
    add_model(parser)
    parser.add_argument(
        "--regions", nargs="+", default=["eyes", "brows"], help="what is taken from the first face"
    )
    parser.add_argument("--mask", type=Path, help="a square picture instead: white is the first's")
    parser.add_argument("--softness", type=float, default=0.02, help="blur, share of the side")
    parser.add_argument(
        "--method",
        choices=("blend", "search"),
        default="blend",
        help="blend features at every level, or search one W+ code that shows both",
    )
    add_truncation(parser)
    add_search(parser, 100)
    add_features(parser)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--codes", type=Path, help="keep the code that was searched")
    parser.add_argument("-o", "--output", type=Path, default=Path("cross.png"), help="the sheet")


def run(arguments: argparse.Namespace) -> str:
    """Cross; returns the line to print."""
    import numpy as np
    import torch

    from restore.errors import InputError
    from restore.latents.codes import Codes, join_codes, paint_codes, save_codes
    from restore.latents.commands.face_argument import (
        face_codes,
        face_name,
        load_features,
        squared,
    )
    from restore.latents.crossover import blend, cross_by_search, soft_masks
    from restore.latents.generate import load_generator, to_uint8
    from restore.latents.invert import InvertOptions
    from restore.latents.paint import check_size
    from restore.latents.sheets import grid_sheet
    from restore.latents.spaces import measure_w
    from restore.runtime.memory import keep_freed_memory

    if arguments.codes is not None and arguments.method == "blend":
        raise InputError("--codes: a blend of features has no code; use --method search")
    keep_freed_memory()
    generator = load_generator(arguments.model, arguments.device)
    size = check_size(generator, arguments.size)
    words = (arguments.first, arguments.second)
    parents = [face_codes(text, generator, arguments.truncation) for text in words]
    masks = soft_masks(_mask(arguments, size).to(generator.w_mean), arguments.softness)
    both = join_codes(generator, parents)
    painted = [paint_codes(generator, parent, size) for parent in parents]
    if arguments.method == "blend":
        child = blend(generator, both, masks, size)
    else:
        sought = min(size, max(256, generator.out_size // 4))
        options = InvertOptions(arguments.steps, half=arguments.half)
        small = soft_masks(squared(masks[:1] * 2 - 1, sought) / 2 + 0.5, 0.0)
        label = None if arguments.quiet else "cross"
        found = cross_by_search(
            generator, both, small, sought, measure_w(generator), options,
            load_features(arguments.features, arguments.device), label,
        )  # fmt: skip
        child = paint_codes(generator, Codes(found.codes.w_plus), size)
        if arguments.codes is not None:
            save_codes(arguments.codes, found.codes, [f"{words[0]} in {words[1]}"])
    shown = (masks[:1].cpu().numpy()[0] * 255).round().astype(np.uint8).transpose(1, 2, 0)
    pictures = [to_uint8(painted[0])[0], np.repeat(shown, 3, 2), to_uint8(painted[1])[0]]
    pictures.append(to_uint8(child)[0])
    captions = [face_name(words[0]), "mask of it", face_name(words[1]), arguments.method]
    plain = (masks[0] * painted[0] + masks[1] * painted[1]).clamp(-1, 1)
    pictures.append(to_uint8(plain)[0])
    captions.append("pixels alone")
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    grid_sheet(pictures, captions, len(pictures)).save(arguments.output)
    with torch.no_grad():
        seam = float((child - plain).abs().mean()) * 127.5
    return f"{arguments.output}: {', '.join(captions)}; {seam:.1f} of 255 from the pixels' own mix"


def _mask(arguments: argparse.Namespace, size: int) -> Tensor:
    """The mask [1,1,size,size] of the first face."""
    import cv2
    import numpy as np
    import torch

    from restore.errors import InputError
    from restore.images.depth import to_rgb, to_uint8
    from restore.images.files import read_photo
    from restore.latents.face_regions import REGIONS, region_masks

    if arguments.mask is not None:
        pixels = to_uint8(to_rgb(read_photo(arguments.mask).pixels))
        if pixels.shape[0] != pixels.shape[1]:
            raise InputError(
                f"{arguments.mask} is {pixels.shape[1]} x {pixels.shape[0]} px; the "
                "mask of a face must be square"
            )
        gray = pixels.astype(np.float32).mean(2) / 255
        shrink = size < len(gray)
        way = cv2.INTER_AREA if shrink else cv2.INTER_LINEAR
        return torch.from_numpy(cv2.resize(gray, (size, size), interpolation=way))[None, None]
    strange = [region for region in arguments.regions if region not in REGIONS]
    if strange:
        raise InputError(f"regions {strange}: expected some of {', '.join(REGIONS)}")
    masks = region_masks(size)
    total = sum(masks[region] for region in arguments.regions)
    return torch.from_numpy(np.clip(total, 0, 1).astype(np.float32))[None, None]
