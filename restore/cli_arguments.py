"""The options of the command line; GFPGAN's names where it has them."""

from __future__ import annotations

import argparse

from restore import __version__

EPILOG = """commands: restore models | restore download NAME | restore export ...
exit code: 0 all done, 1 some photos failed, 2 nothing could be done, 130 interrupted"""


def build_parser() -> argparse.ArgumentParser:
    """The parser of `restore -i ...`."""
    parser = argparse.ArgumentParser(
        prog="restore",
        description="Restore the faces in photos. Restored detail is plausible, not evidence.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("-i", "--input", nargs="+", metavar="PATH", help="photos or folders of photos")
    add("-o", "--output", default="results", metavar="FOLDER", help="default: %(default)s")
    add(
        "-v",
        "--version",
        nargs="?",
        const="",
        metavar="GFPGAN",
        help=f"alone: print the version ({__version__}); with 1.2, 1.3 or 1.4: GFPGAN's model",
    )
    add("-s", "--upscale", type=float, default=2.0, metavar="FACTOR", help="default: %(default)s")
    add("--bg_upsampler", metavar="FILE", help="network for the background; default: Lanczos")
    add("--bg_tile", type=int, default=400, metavar="PX", help="its tiles, 0 for none; default 400")
    add("--suffix", help="put behind the names of what is restored")
    add("--only_center_face", action="store_true", help="only the face nearest to the middle")
    add("--aligned", action="store_true", help="the inputs are aligned face crops")
    add("--ext", default="auto", help="format of the photos: auto (as they came), jpg, png, ...")
    add(
        "-w", "--weight", type=float, metavar="0..1", help="fidelity: 1 photo leads, 0 prior paints"
    )
    _add_model_options(parser)
    _add_run_options(parser)
    return parser


def _add_model_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--model", metavar="NAME_OR_FILE", help="default: the model that is packaged")
    add("--device", help="such as cpu, cuda, cuda:1; default: the best there is")
    add(
        "--backend",
        default="auto",
        choices=["auto", "onnxruntime", "openvino", "torch"],
        help="default: %(default)s",
    )
    add("--threads", type=int, help="of the network; default: the backend's choice")
    add("--detector", default="default", metavar="NAME_OR_FILE", help="default: %(default)s")
    fetching = parser.add_mutually_exclusive_group()
    fetching.add_argument(
        "--offline", action="store_true", help="never fetch (this is the default)"
    )
    fetching.add_argument(
        "--download", action="store_true", help="fetch the model if it is missing"
    )


def _add_run_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--recursive", action="store_true", help="sub-folders as well; their tree is kept")
    existing = parser.add_mutually_exclusive_group()
    existing.add_argument("--resume", action="store_true", help="leave out what is done already")
    existing.add_argument("--overwrite", action="store_true", help="replace earlier results")
    add("--min_score", type=float, default=0.0, metavar="0..1", help="least score of a face")
    add("--min_face", type=float, default=0.0, metavar="PX", help="least distance of the eyes")
    add("--max_faces", type=int, metavar="N", help="only the N largest faces of a photo")
    add(
        "--allow_color", action="store_true", help="let faces of black-and-white photos have colour"
    )
    add("--quality", type=int, default=95, metavar="1..100", help="of JPEG, WebP, AVIF; default 95")
    add(
        "--subsampling",
        default="4:4:4",
        choices=["4:4:4", "4:2:2", "4:2:0"],
        help="chroma of JPEG and AVIF; default: %(default)s",
    )
    add("--report-json", metavar="FILE", help="a JSON line per photo; - for stdout; "
        "default: results.jsonl in the output folder")  # fmt: skip
    add("--report", nargs="?", const="", metavar="FILE", help="an HTML page with every photo and "
        "face before and after; default: report.html in the output folder")  # fmt: skip
    add("--no-ai-label", action="store_true", help="write no XMP digitalSourceType that says that "
        "a model made some of the photo")  # fmt: skip
    add("--quiet", action="store_true", help="errors only")
