"""`restore prepare`: photos, tars of photos, or aligned crops into a training set."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from dataclasses import fields

from restore.commands.tree import GOOD
from restore.data.prepare.crops import PrepareSettings, load_face_tools

DEFAULTS = PrepareSettings()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments; filters are explained in `PrepareSettings`."""
    add = parser.add_argument
    add("inputs", nargs="+", help="folders, tars or single photos")
    add("--out", required=True, help="NAME.lmdb, or a folder for plain files")
    add("--size", type=int, default=DEFAULTS.size, help="side of the crops in px")
    add("--zoom", type=float, default=DEFAULTS.zoom, help="of the FFHQ template")
    add("--centre", type=float, nargs=2, default=DEFAULTS.centre, metavar=("X", "Y"),
        help="point of the 512 px template that the zoom keeps")  # fmt: skip
    add("--aligned", action="store_true", help="the inputs are aligned crops")
    add("--in-zoom", type=float, default=DEFAULTS.in_zoom, help="template of aligned inputs")
    add("--in-centre", type=float, nargs=2, default=DEFAULTS.in_centre, metavar=("X", "Y"))
    add("--detector", default=None, help="name of a detector, or none (aligned inputs alone); "
        "default for photos, none for aligned crops")  # fmt: skip
    add("--faces", choices=("all", "largest"), default=DEFAULTS.faces)
    add("--encoding", choices=("png", "webp", "jpg"), default=DEFAULTS.encoding)
    add("--quality", type=int, default=DEFAULTS.quality, help="of webp and jpg")
    add("--source", default=DEFAULTS.source, help="prefix, folder, or the source's name")
    for name, text in (
        ("min_score", "of the detector, 0..1"),
        ("min_side", "pixels of the photo under the crop's side, as a share of --size"),
        ("min_sharpness", "of the crop's middle; sharp faces have 2.5 and more"),
        ("min_inside", "share of the crop that lies in the photo"),
        ("max_tilt", "degrees"),
        ("max_turn", "of the head: 0 frontal, about 1 a profile"),
    ):
        add(f"--{name.replace('_', '-')}", type=float, default=getattr(DEFAULTS, name), help=text)
    add("--workers", type=int, default=os.cpu_count() or 1, help="threads")
    add("--limit", type=int, default=None, help="stop after this many photos")


def run(arguments: argparse.Namespace) -> int:
    """Prepare the set, and print what became of it."""
    from restore.data.prepare.run import prepare

    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    given = vars(arguments)
    detector = given["detector"] or ("none" if given["aligned"] else "default")
    given["detector"] = None if detector == "none" else detector
    for name in ("centre", "in_centre"):
        given[name] = tuple(given[name])
    settings = PrepareSettings(**{f.name: given[f.name] for f in fields(PrepareSettings)})
    tools = load_face_tools(settings.detector)
    report = prepare(
        given["inputs"], given["out"], settings, tools, given["workers"], given["limit"]
    )
    print(report)
    return GOOD
