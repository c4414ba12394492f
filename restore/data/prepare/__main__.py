"""`python -m restore.data.prepare INPUT... --out SET.lmdb`: the command line of the preparation."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from dataclasses import fields

from restore.data.prepare.crops import PrepareSettings, load_face_tools
from restore.data.prepare.run import prepare
from restore.errors import RestoreError

DEFAULTS = PrepareSettings()


def build_parser() -> argparse.ArgumentParser:
    """The arguments; filters are explained in `PrepareSettings`."""
    parser = argparse.ArgumentParser(
        prog="python -m restore.data.prepare",
        description="Photos, tars of photos, or aligned crops into an LMDB that BasicSR reads too.",
    )
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
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it; 0, or 1 with one line that says what is wrong."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    given = vars(build_parser().parse_args(arguments))
    detector = given["detector"] or ("none" if given["aligned"] else "default")
    given["detector"] = None if detector == "none" else detector
    for name in ("centre", "in_centre"):
        given[name] = tuple(given[name])
    try:
        settings = PrepareSettings(**{f.name: given[f.name] for f in fields(PrepareSettings)})
        tools = load_face_tools(settings.detector)
        print(prepare(
            given["inputs"], given["out"], settings, tools, given["workers"], given["limit"]
        ))  # fmt: skip
    except RestoreError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
