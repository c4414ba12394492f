"""The command line of the latent tools: every command and option. Nothing heavy is imported here.

What a command does is the function `run_COMMAND` of `restore/latents/commands.py`, or of
`edit_commands.py` for edits, directions and styles.
"""

from __future__ import annotations

import argparse
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

Parser = argparse.ArgumentParser
FACE = "a seed (whole number), or a file of codes that `invert` wrote (FILE or FILE:NUMBER)"
DIRECTIONS_FILE = "a file of directions (default: the packaged)"


def add_latent_commands(subparsers: Any) -> None:
    """Add every command to the subparsers of an argparse parser.

    Each sets `run`: a function of the parsed arguments that does the work, prints what was written
    and returns the exit code. It raises RestoreError, OSError or ValueError for what is wrong.
    """
    for add in (_add_drawing, _add_crossing, _add_searching, _add_directions, _add_styles):
        add(subparsers)


def say(*lines: str) -> int:
    """Write the lines of a command's answer; the exit code 0."""
    sys.stdout.write("\n".join(lines) + "\n")
    return 0


def _command(subparsers: Any, name: str, summary: str, of: str = "") -> Parser:
    """A command, or a part `of` one, whose `run` is the function `run_NAME` of its module."""
    parser: Parser = subparsers.add_parser(name, help=summary, description=summary)
    module = "edit_commands" if of or name == "edit" else "commands"

    def run(arguments: argparse.Namespace) -> int:
        # torch and all else are imported when a command runs, not when its options are read
        commands = import_module(f"restore.latents.{module}")
        return int(getattr(commands, f"run_{of}{name}")(arguments))

    parser.set_defaults(run=run, part=name)
    return parser


def _whole(parser: Parser, name: str, default: int | None, text: str) -> None:
    parser.add_argument(name, type=int, default=default, help=text)


def _number(parser: Parser, name: str, default: float, text: str) -> None:
    parser.add_argument(name, type=float, default=default, help=text)


def _path(parser: Parser, name: str, text: str, required: bool = False) -> None:
    parser.add_argument(name, type=Path, required=required, help=text)


def _flag(parser: Parser, name: str, text: str) -> None:
    parser.add_argument(name, action="store_true", help=text)


def _output(parser: Parser, default: str | None, text: str) -> None:
    """`-o`; without a default it is required."""
    path = None if default is None else Path(default)
    parser.add_argument("-o", "--output", type=Path, default=path, required=not path, help=text)


def _model(parser: Parser, truncation: float | None = 0.7) -> None:
    text = "a generator's weights file, or the name of a model (default: the packaged prior)"
    parser.add_argument("--model", default="default-prior", help=text)
    if truncation is not None:
        text = f"psi: 1 full variety, 0 the mean face (default {truncation:g})"
        _number(parser, "--truncation", truncation, text)


def _two_faces(parser: Parser) -> None:
    parser.add_argument("first", metavar="FIRST", help=FACE)
    parser.add_argument("second", metavar="SECOND", help=FACE)


def _quiet(parser: Parser) -> None:
    _flag(parser, "--quiet", "no progress bar")


def _search(parser: Parser, steps: int) -> None:
    """Options of commands that optimise codes."""
    _whole(parser, "--steps", steps, f"of the search (default {steps})")
    parser.add_argument("--device", default="cpu")
    _flag(parser, "--half", "bfloat16: faster on processors that have it")
    _quiet(parser)


def _features(parser: Parser) -> None:
    text = "SqueezeNet 1.1 weights: features are matched as well as pixels (LPIPS)"
    _path(parser, "--features", text)


def _identity(parser: Parser) -> None:
    text = "an identity network's weights (MobileFaceNet, ArcFace); default: the packaged one, "
    _path(parser, "--identity", f"{text}where it is there")


def _several_faces(parser: Parser) -> None:
    _model(parser)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 4, 12], help="of the faces")
    _whole(parser, "--size", 128, "px of a face")


def _levels(parser: Parser) -> None:
    parser.add_argument("--levels", type=int, nargs=2, help="px, from to; none: all levels")


def _add_drawing(subparsers: Any) -> None:
    """Commands that draw faces by seed or code."""
    parser = _command(subparsers, "sample", "draw faces of people who do not exist on a sheet")
    _model(parser)
    _whole(parser, "--seed", 0, "of the first face; then counted up")
    _whole(parser, "--count", 16, "faces")
    _whole(parser, "--size", 256, "px of a face, up to the full size")
    _whole(parser, "--columns", None, "faces in a row of the sheet")
    _path(parser, "--folder", "also write each face as a PNG")
    _output(parser, "sheet.png", "a picture")

    parser = _command(subparsers, "spaces", "the styles of a generator, and where its codes lie")
    _model(parser, None)

    parser = _command(subparsers, "mix", "style mixing: coarse styles of some, fine ones of others")
    _model(parser)
    parser.add_argument("--faces", nargs="+", required=True, metavar="FACE", help=FACE)
    parser.add_argument("--styles", nargs="+", required=True, metavar="FACE", help=FACE)
    text = "px of the levels that are taken"
    parser.add_argument("--levels", type=int, nargs="+", default=[16, 32], help=text)
    _whole(parser, "--size", 256, "px of a picture")
    _output(parser, "mix.png", "the grid")

    parser = _command(subparsers, "strip", "interpolation strips: from face to face, in Z or W")
    _model(parser)
    parser.add_argument("faces", nargs="+", metavar="FACE", help=f"two or more: {FACE}")
    text = "straight lines in W (W+, S of codes), great circles in Z (seeds only), or both"
    parser.add_argument("--space", choices=("w", "z", "both"), default="w", help=text)
    _whole(parser, "--pictures", 7, "in a row, both ends included")
    _whole(parser, "--size", 256, "px of a picture")
    _output(parser, "strip.png", "the sheet")

    parser = _command(subparsers, "film", "a short film from face to face, MP4 or PNGs")
    _model(parser)
    parser.add_argument("faces", nargs="+", metavar="FACE", help=f"two or more: {FACE}")
    text = "straight lines in W, or great circles in Z (seeds only)"
    parser.add_argument("--space", choices=("w", "z"), default="w", help=text)
    _whole(parser, "--frames", 24, "from one face to the next")
    _whole(parser, "--rate", 24, "frames a second")
    _flag(parser, "--once", "end at the last face: no loop")
    _whole(parser, "--size", 512, "px of a frame")
    _quiet(parser)
    _output(parser, "film.mp4", "FILE.mp4, or a folder for PNGs")


def _add_crossing(subparsers: Any) -> None:
    """Commands that make one face of two."""
    parser = _command(subparsers, "cross", "one face of two, along a mask")
    _two_faces(parser)
    _model(parser)
    text = "what is taken from the first face"
    parser.add_argument("--regions", nargs="+", default=["eyes", "brows"], help=text)
    _path(parser, "--mask", "a square picture instead: white is the first's")
    _number(parser, "--softness", 0.02, "blur, share of the side")
    text = "blend features at every level, or search one W+ code that shows both"
    parser.add_argument("--method", choices=("blend", "search"), default="blend", help=text)
    _search(parser, 100)
    _features(parser)
    _whole(parser, "--size", 512, "px of a picture")
    _path(parser, "--codes", "keep the code that was searched")
    _output(parser, "cross.png", "the sheet")

    parser = _command(subparsers, "children", "children of two faces: genes of face regions")
    _two_faces(parser)
    _model(parser)
    _whole(parser, "--seed", 0, "of the draw")
    _whole(parser, "--count", 6, "children of this seed")
    _number(parser, "--dominance", 0.7, "0 all mixed, 1 either or")
    _number(parser, "--mutation-prob", 0.2, "of each gene")
    _number(parser, "--mutation", 0.35, "how much of it changes")
    _path(parser, "--genes", "keep the map of genes here, and read it again")
    _whole(parser, "--gene-faces", 2, "faces that it is measured on")
    _identity(parser)
    _whole(parser, "--size", 256, "px of a picture")
    _path(parser, "--codes", "keep the children's codes")
    _quiet(parser)
    _output(parser, "children.png", "the sheet")


def _add_searching(subparsers: Any) -> None:
    """Commands that search a face, or edit one."""
    parser = _command(
        subparsers, "invert", "the code of a photo's face, in W, W+ or S; local edits"
    )
    parser.add_argument("photo", type=Path, help="a photo with a face; our detector finds it")
    _model(parser, None)
    parser.add_argument("--space", choices=("w", "w_plus", "s"), default="w_plus")
    text = "'mean', or a restorer ('default', a file) whose encoder gives the start"
    parser.add_argument("--start", default="mean", help=text)
    _search(parser, 150)
    _number(parser, "--rate", 0.1, "deviations a step")
    _features(parser)
    _flag(parser, "--noise", "noise maps move as well")
    _whole(parser, "--size", 256, "px at which the face is matched")
    _whole(parser, "--face", 0, "0 the largest face of the photo")
    _path(parser, "--mask", "white counts, black is free; as large as photo")
    _path(parser, "--edit", "the photo painted over: followed in its colours")
    _path(parser, "--edit-mask", "white where the edit is followed")
    _whole(parser, "--edit-finest", 32, "px of its finest level")
    _whole(parser, "--tune", 0, "steps of pivotal tuning afterwards")
    _output(parser, "face.safetensors", "the codes")
    _path(parser, "--sheet", "photo and result; default beside the codes")

    parser = _command(
        subparsers,
        "imagine",
        "faces that a very bad photo could be of: several, labelled as imagined",
    )
    parser.add_argument("photo", type=Path, help="a photo whose face is too bad for the restorer")
    _model(parser)
    _whole(parser, "--count", 4, "faces; each search is by itself")
    _whole(parser, "--seed", 0, "of the first start; then counted up")
    text = "the photo is a square crop in the FFHQ frame: no detector (tiny faces are not found)"
    _flag(parser, "--aligned", text)
    _whole(parser, "--small", None, "px of the frame at which pictures are compared")
    _number(parser, "--blur", 0.5, "px of the photo, its own blur")
    _whole(parser, "--jpeg", None, "quality of an aligned crop that was a JPEG")
    _flag(parser, "--gray", "the photo is gray")
    _search(parser, 120)
    _identity(parser)
    _whole(parser, "--size", 512, "px of the faces written")
    _output(parser, "imagined", "a folder")

    parser = _command(subparsers, "edit", "move a face along a named direction: age, smile, ...")
    _model(parser)
    text = "see `directions list`"
    parser.add_argument("--direction", nargs="+", required=True, metavar="NAME", help=text)
    text = "one each, or one for all"
    parser.add_argument("--strength", nargs="+", type=float, default=[2.0], help=text)
    _path(parser, "--file", DIRECTIONS_FILE)
    whom = parser.add_mutually_exclusive_group(required=True)
    whom.add_argument("--seed", type=int, help="a face of nobody")
    whom.add_argument("--code", help="codes that `invert` wrote: FILE, or FILE:NUMBER")
    whom.add_argument("-i", "--input", type=Path, help="a photo; its largest face is inverted")
    _search(parser, 100)
    _features(parser)
    _whole(parser, "--size", 512, "px of the picture")
    _flag(parser, "--pair", "before and after side by side")
    _path(parser, "--codes", "also write the moved codes")
    _output(parser, "edited.png", "the picture")


def _add_directions(subparsers: Any) -> None:
    """The parts of `directions`."""
    parser = _command(subparsers, "directions", "list, compute and draw directions of edits")
    parts = parser.add_subparsers(metavar="PART", required=True)
    part = _command(parts, "list", "what there is, its unit and what was measured", "directions_")
    _path(part, "--file", DIRECTIONS_FILE)

    part = _command(parts, "sheet", "faces in rows, strengths in columns", "directions_")
    _several_faces(part)
    _path(part, "--file", DIRECTIONS_FILE)
    part.add_argument("--direction", nargs="*", default=[], help="names; none: all")
    _output(part, None, "a folder")
    for name, text in (
        ("sefa", "closed form from the weights (SeFa)"),
        ("ganspace", "principal axes of w (GANSpace)"),
    ):
        part = _command(parts, name, text, "directions_")
        _several_faces(part)
        _whole(part, "--count", 6, "directions")
        _levels(part)
        _output(part, None, "a folder")

    part = _command(parts, "channels", "channels of S by how locally they act", "directions_")
    _several_faces(part)
    _path(part, "--mesh", "FaceMesh 468 weights; none: the mean face")
    _whole(part, "--probes", 4, "random signs for each region")
    _whole(part, "--top", 5, "channels told for each region")
    _output(part, None, "a folder")

    part = _command(parts, "boundary", "from two folders of photos (InterFaceGAN)", "directions_")
    _model(part, None)
    _path(part, "--without", "photos without the trait", required=True)
    part.add_argument("--with", dest="with_trait", type=Path, required=True, help="and with it")
    part.add_argument("--restorer", default="default", help="whose encoder reads the photos")
    part.add_argument("--name", required=True)
    _levels(part)
    _output(part, None, "NAME.safetensors")

    part = _command(parts, "text", "from words, through an open_clip model on disk", "directions_")
    _model(part)
    _path(part, "--clip", "weights of an open_clip model", required=True)
    part.add_argument("--clip-model", default="ViT-B-32", help="its architecture in open_clip")
    _path(part, "--clip-config", "JSON of an architecture of your own")
    part.add_argument("--text", required=True, help='for instance "a smiling face"')
    part.add_argument("--neutral", default="a face")
    _whole(part, "--faces", 16, "that the gradients are averaged over")
    _whole(part, "--seed", 0, "of the first of them")
    _whole(part, "--channels", 100, "of S that move")
    _whole(part, "--size", 256, "px")
    _output(part, None, "NAME.safetensors")


def _add_styles(subparsers: Any) -> None:
    """The parts of `stylise`."""
    parser = _command(
        subparsers, "stylise", "fine-tune a copy of the prior to a style, swap layers"
    )
    parts = parser.add_subparsers(metavar="PART", required=True)
    part = _command(
        parts, "draw", "draw a style on faces of nobody: pictures to train on", "stylise_"
    )
    _model(part, 0.8)
    part.add_argument("--style", required=True, help="ink, halftone or sepia")
    _whole(part, "--count", 40, "faces")
    _whole(part, "--seed", 5000, "of the first face")
    _output(part, None, "a folder")

    part = _command(parts, "train", "fine-tune a copy of the prior, by an option file", "stylise_")
    part.add_argument("-opt", type=Path, required=True, help="options/stylise_*.yml")
    part.add_argument("--force_yml", nargs="+", default=[], metavar="KEY=VALUE")
    _quiet(part)
    _output(part, None, "NAME.safetensors")

    part = _command(
        parts, "swap", "coarse layers of one generator, fine ones of another", "stylise_"
    )
    part.add_argument("--coarse", default="default-prior", help="shape and person come from here")
    part.add_argument("--fine", required=True, help="texture and colour come from here")
    part.add_argument("--level", type=int, required=True, help="px from which the fine one paints")
    _number(part, "--softness", 0.0, "octaves of the change; 0 a cut")
    _output(part, None, "NAME.safetensors")

    part = _command(
        parts, "paint", "restore the faces of photos and paint them stylised", "stylise_"
    )
    part.add_argument("-i", "--input", type=Path, nargs="+", required=True)
    part.add_argument("--stylised", required=True, help="a file that train or swap wrote")
    part.add_argument("--restorer", default="default")
    part.add_argument("-w", "--fidelity", type=float, default=1.0, help="0..1")
    _output(part, None, "a folder")
