"""`directions PART`: list and draw directions; find them by measures, weights, labels or words."""

from __future__ import annotations

import argparse
from pathlib import Path

from restore.latents.commands import direction_parts as parts
from restore.latents.commands.arguments import add_model, add_truncation


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line of `directions`."""
    part = parser.add_subparsers(dest="part", required=True)
    listed = part.add_parser("list", help="what there is, its unit and what was measured")
    listed.add_argument("--file", type=Path, help="a file of directions (default: the packaged)")
    sheet = part.add_parser("sheet", help="faces in rows, strengths in columns")
    _with_faces(sheet)
    sheet.add_argument("--file", type=Path, help="a file of directions (default: the packaged)")
    sheet.add_argument("--direction", nargs="*", default=[], help="names; none: all")
    sheet.add_argument("-o", "--output", type=Path, required=True, help="a folder")
    find = part.add_parser("find", help="age, smile, glasses ...: what the packaged file holds")
    add_model(find)
    find.add_argument("--mesh", type=Path, required=True, help="FaceMesh 468 weights")
    find.add_argument("--identity", type=Path, help="MobileFaceNet weights: identity kept; for age")
    find.add_argument("--texture", type=Path, help="SqueezeNet 1.1 weights; for age")
    find.add_argument("--ages", type=Path, help="CSV with the columns name, age")
    find.add_argument("--age-faces", type=Path, help="the crops that it names (folder, tar, array)")
    find.add_argument("--age-zoom", type=float, default=1.2, help="of their template; 1: FFHQ's")
    find.add_argument("--age-count", type=int, default=2400, help="of them, at random")
    find.add_argument("--count", type=int, default=2000, help="faces that are sampled")
    find.add_argument("--faces", type=int, default=16, help="fresh faces for scale and check each")
    find.add_argument("--keep", type=Path, help="file that the samples' measures are kept in")
    find.add_argument("--half", action="store_true", help="checks paint in bfloat16: faster")
    find.add_argument("--only", nargs="*", default=[], help="names of directions to look for")
    find.add_argument("-o", "--output", type=Path, required=True, help="NAME.safetensors")
    for name, text in (
        ("sefa", "closed form from the weights (SeFa)"),
        ("ganspace", "principal axes of w (GANSpace)"),
    ):
        free = part.add_parser(name, help=text)
        _with_faces(free)
        free.add_argument("--count", type=int, default=6)
        _with_levels(free)
        free.add_argument("-o", "--output", type=Path, required=True, help="a folder")
    channels = part.add_parser("channels", help="channels of S by how locally they act")
    _with_faces(channels)
    channels.add_argument("--mesh", type=Path, help="FaceMesh 468 weights; none: the mean face")
    channels.add_argument("--probes", type=int, default=4, help="random signs for each region")
    channels.add_argument("--top", type=int, default=5, help="channels told for each region")
    channels.add_argument("-o", "--output", type=Path, required=True, help="a folder")
    boundary = part.add_parser("boundary", help="from two folders of photos (InterFaceGAN)")
    add_model(boundary)
    boundary.add_argument("--without", type=Path, required=True, help="photos without the trait")
    boundary.add_argument("--with", dest="with_trait", type=Path, required=True, help="and with it")
    boundary.add_argument("--restorer", default="default", help="whose encoder reads the photos")
    boundary.add_argument("--name", required=True)
    _with_levels(boundary)
    boundary.add_argument("-o", "--output", type=Path, required=True, help="NAME.safetensors")
    words = part.add_parser("text", help="from words, through an open_clip model on disk")
    add_model(words)
    add_truncation(words)
    words.add_argument("--clip", type=Path, required=True, help="weights of an open_clip model")
    words.add_argument("--clip-model", default="ViT-B-32", help="its architecture in open_clip")
    words.add_argument("--clip-config", type=Path, help="JSON of an architecture of your own")
    words.add_argument("--text", required=True, help='for instance "a smiling face"')
    words.add_argument("--neutral", default="a face")
    words.add_argument("--faces", type=int, default=16, help="that the gradients are averaged over")
    words.add_argument("--seed", type=int, default=0, help="of the first of them")
    words.add_argument("--channels", type=int, default=100, help="of S that move")
    words.add_argument("--size", type=int, default=256, help="px")
    words.add_argument("-o", "--output", type=Path, required=True, help="NAME.safetensors")


def _with_faces(parser: argparse.ArgumentParser) -> None:
    add_model(parser)
    add_truncation(parser)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 4, 12], help="of the faces")
    parser.add_argument("--size", type=int, default=128, help="px of a face")


def _with_levels(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--levels", type=int, nargs=2, default=None, help="px, from to; none: all levels"
    )


def run(arguments: argparse.Namespace) -> str:
    """Run one part; returns the lines to print."""
    return parts.PARTS[arguments.part](arguments)
