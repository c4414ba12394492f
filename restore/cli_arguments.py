"""The options of the command line; GFPGAN's names where it has them."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from restore import __version__
from restore.errors import OptionError

if TYPE_CHECKING:
    from restore.pipeline.run import RunOptions

EPILOG = """commands: restore models | restore download NAME | restore export ... | restore ui
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
        "-w",
        "--weight",
        "--fidelity",
        dest="weight",
        type=_fidelity,
        metavar="0..1|auto",
        help="1 photo leads (default), 0 prior paints; auto: by each face's estimated degradation",
    )
    _add_model_options(parser)
    _add_trust_options(parser)
    _add_run_options(parser)
    return parser


def add_runtime_options(parser: argparse.ArgumentParser) -> None:
    """`--device`, `--backend` and `--threads`, as every command that runs the network has them."""
    add = parser.add_argument
    add("--device", help="such as cpu, cuda, cuda:1; default: the best there is")
    add(
        "--backend",
        default="auto",
        choices=["auto", "onnxruntime", "openvino", "torch"],
        help="default: %(default)s",
    )
    add("--threads", type=int, help="of the network; default: the backend's choice")


def _add_model_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--model", metavar="NAME_OR_FILE", help="default: the model that is packaged")
    add_runtime_options(parser)
    add(
        "--precision",
        default="auto",
        choices=["auto", "float32", "bfloat16", "float16"],
        help="of the network; auto: bfloat16 where OpenVINO and the CPU have it, float16 on CUDA",
    )
    add("--detector", default="default", metavar="NAME_OR_FILE", help="default: %(default)s")
    fetching = parser.add_mutually_exclusive_group()
    fetching.add_argument(
        "--offline", action="store_true", help="never fetch (this is the default)"
    )
    fetching.add_argument(
        "--download", action="store_true", help="fetch the model if it is missing"
    )


def _add_trust_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--identity",
        default="report",
        choices=["off", "report", "blend", "keep"],
        help="is it still the person? report the cosine (default), blend the photo's face back in, "
        "or keep the photo's face, where it is below the threshold",
    )
    add("--identity_threshold", type=float, metavar="COSINE", help="default: the calibrated one")
    add("--identity_network", metavar="FILE", help="default: the one that is packaged")
    add(
        "--reference",
        metavar="FOLDER",
        help="good photos of the same person: of several fidelities the closest face is taken",
    )
    add(
        "--no_gentle",
        action="store_true",
        help="restore in full what is too small, degraded, turned or covered to be honest",
    )
    add("--restore_good", action="store_true", help="also faces that are good already")
    add("--no_detail", action="store_true", help="no detail of the photo on top of large faces")
    add(
        "--grain",
        default="off",
        choices=["off", "match"],
        help="match: give faces the grain of their surroundings",
    )
    add("--seed", type=int, default=0, help="of the grain; default: %(default)s")


def _fidelity(text: str) -> float | str:
    if text == "auto":
        return text
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 0 to 1, nor auto") from None


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
        "--allow_color",
        "--colorize",
        dest="allow_color",
        action="store_true",
        help="let faces of black-and-white and sepia photos have the network's colours",
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
    add("--ahead", type=int, metavar="N", help="photos restored at once while one is written; "
        "0: one after the other; default: by the machine")  # fmt: skip
    add("--quiet", action="store_true", help="errors only")


def run_options_of(options: argparse.Namespace) -> RunOptions:
    """What the parsed options ask of a run; OptionError where a value is out of range."""
    from restore.images.files_write import WriteOptions
    from restore.pipeline.canvas import scaled_size
    from restore.pipeline.options import TrustOptions
    from restore.pipeline.results import FaceChoice
    from restore.pipeline.run import RunOptions

    scaled_size(1, 1, options.upscale)
    if options.weight not in (None, "auto") and not 0 <= options.weight <= 1:
        raise OptionError(f"-w is {options.weight}; expected a number from 0 to 1, or auto")
    if not 1 <= options.quality <= 100:
        raise OptionError(f"--quality is {options.quality}; expected 1 to 100")
    return RunOptions(
        options.upscale,
        options.weight,
        options.aligned,
        not options.allow_color,
        FaceChoice(
            options.only_center_face, options.min_score, options.min_face, options.max_faces
        ),
        WriteOptions(options.quality, options.subsampling),
        not options.no_ai_label,
        TrustOptions(
            options.identity,
            options.identity_threshold,
            gentle=not options.no_gentle,
            keep_good=not options.restore_good,
            detail=not options.no_detail,
            grain=options.grain,
            seed=options.seed,
        ),
    )
