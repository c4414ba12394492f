"""`restore run`: photos and folders of photos in, restored photos out."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import IO, TYPE_CHECKING

from restore import __version__
from restore.commands.flags import add_flags, from_flags
from restore.commands.tree import (
    GOOD,
    NOTHING_DONE,
    SOME_FAILED,
    Interrupted,
    count_of,
    say,
)
from restore.errors import OptionError
from restore.pipeline.options import ModelOptions, RestoreOptions

if TYPE_CHECKING:
    from restore.pipeline.names import Job
    from restore.pipeline.run import Outcome, RunOptions
    from restore.pipeline.walk import Walk

GFPGAN_VERSIONS = {name: f"gfpgan-v{name}" for name in ("1", "1.2", "1.3", "1.4")}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags; GFPGAN's names where it has them."""
    add = parser.add_argument
    add("photos", nargs="*", metavar="PATH", help="photos or folders of photos")
    add("-i", "--input", nargs="+", default=[], metavar="PATH", help="the same, as GFPGAN has it")
    add("-o", "--output", default="results", metavar="FOLDER", help="default: %(default)s")
    add(
        "-v",
        "--version",
        nargs="?",
        const="",
        metavar="GFPGAN",
        help=f"alone: print the version ({__version__}); with 1.2, 1.3 or 1.4: GFPGAN's model",
    )
    add_flags(parser.add_argument_group("what is done with a photo"), RestoreOptions)
    add_flags(parser.add_argument_group("the model, and where it runs"), ModelOptions)
    parser.add_argument(
        "--offline",
        dest="stay_offline",
        action="store_true",
        help="never fetch (this is the default)",
    )
    _add_run_arguments(parser.add_argument_group("the run"))


def _add_run_arguments(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--recursive", action="store_true", help="sub-folders as well; their tree is kept")
    existing = group.add_mutually_exclusive_group()
    existing.add_argument("--resume", action="store_true", help="leave out what is done already")
    existing.add_argument("--overwrite", action="store_true", help="replace earlier results")
    add(
        "--reference",
        metavar="FOLDER",
        help="good photos of the same person: of several fidelities the closest face is taken",
    )
    add("--suffix", help="put behind the names of what is restored")
    add("--ext", default="auto", help="format of the photos: auto (as they came), jpg, png, ...")
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


def run(arguments: argparse.Namespace) -> int:
    """Restore what was asked for; the exit code."""
    if arguments.version == "":
        print(f"restore {__version__}")
        return GOOD
    arguments.input = [*arguments.photos, *arguments.input]
    if not arguments.input:
        arguments.parser.error("say what to restore: restore PHOTO_OR_FOLDER")
    model, options = model_options_of(arguments), run_options_of(arguments)
    if arguments.stay_offline and not model.offline:
        arguments.parser.error("--offline and --download exclude one another")

    from restore.pipeline.names import plan_jobs
    from restore.pipeline.run import is_done
    from restore.pipeline.summary import absent_line, faces_line
    from restore.pipeline.walk import find_photos

    output = Path(arguments.output)
    walk = find_photos(arguments.input, arguments.recursive, output)
    for path, reason in walk.problems:
        say(f"restore: {path}: {reason}")
    if not walk.photos:
        say(_nothing_found(walk, arguments))
        return NOTHING_DONE
    jobs = plan_jobs(walk.photos, output, arguments.ext, arguments.suffix)
    done = [job for job in jobs if is_done(job, options.restore.aligned)]
    if done and not (arguments.resume or arguments.overwrite):
        raise OptionError(
            f"{len(done)} of {count_of(len(jobs), 'photo')} have results in {output} already; "
            "go on with --resume, replace them with --overwrite, or choose another folder with -o"
        )
    todo = [job for job in jobs if arguments.overwrite or job not in set(done)]
    with _report(arguments, output) as report:
        outcomes = _run(arguments, model, options, todo, report) if todo else []
    if not arguments.quiet:
        for line in (faces_line(outcomes), absent_line(outcomes)):
            if line:
                say(f"restore: {line}")
        say(_summary(outcomes, len(done) if arguments.resume else 0, walk, output))
    return _exit_code(outcomes, len(jobs) - len(todo), walk)


def _run(
    arguments: argparse.Namespace,
    model: ModelOptions,
    options: RunOptions,
    jobs: list[Job],
    report: IO[str],
) -> list[Outcome]:
    from tqdm import tqdm

    from restore.pipeline.overlap import ahead_of, run_overlapped
    from restore.pipeline.report import write_record
    from restore.pipeline.restorer import load_restorer
    from restore.report.page import run_page

    restorer = load_restorer(model)
    restorer.guard.require(options.restore.trust)
    if arguments.reference is not None:
        references = restorer.references(arguments.reference)
        for name, reason in references.left_out:
            say(f"restore: reference photo {name} was left out: {reason}")
        options = replace(options, references=references)
    name, scale = str(model.model), options.restore.scale
    outcomes: list[Outcome] = []
    # disable=None: a bar on a terminal, none in a log.
    bar = tqdm(total=len(jobs), unit="photo", disable=True if arguments.quiet else None)
    closing = ExitStack()
    try:
        page = run_page(_page_path(arguments), restorer, options, name, len(jobs), arguments.resume)
        watch = closing.enter_context(page)
        ahead = ahead_of(restorer.runtime) if arguments.ahead is None else arguments.ahead
        for outcome in run_overlapped(restorer, jobs, options, watch, ahead):
            write_record(report, {**outcome.record, "model": name, "scale": scale})
            outcomes.append(outcome)
            bar.update()
            line = _line(outcome)
            if line and (not arguments.quiet or not outcome.good):
                bar.write(line, file=sys.stderr)
    except Interrupted:
        bar.close()
        say(
            f"restore: interrupted after {len(outcomes)} of {count_of(len(jobs), 'photo')}, "
            "which are whole; the same command with --resume goes on"
        )
        raise
    finally:
        closing.close()
        bar.close()
    return outcomes


def _line(outcome: Outcome) -> str | None:
    """What is said of a photo while it runs; None where all went well."""
    if outcome.status == "restored":
        return None
    source = str(outcome.job.source)
    reason = outcome.reason or outcome.status
    return f"restore: {reason if reason.startswith(source) else f'{source}: {reason}'}"


def _summary(outcomes: list[Outcome], left_out: int, walk: Walk, output: Path) -> str:
    count = {status: sum(o.status == status for o in outcomes) for status in _WORDS}
    parts = [f"{count[status]} {words}" for status, words in _WORDS.items() if count[status]]
    if left_out:
        parts.append(f"{left_out} done before")
    if walk.problems:
        parts.append(f"{count_of(len(walk.problems), 'input')} unreadable")
    if walk.ignored:
        parts.append(f"{count_of(len(walk.ignored), 'other file')} ignored")
    faces = sum(outcome.faces for outcome in outcomes)
    total = f"{count_of(len(outcomes), 'photo')}, {count_of(faces, 'face')} restored"
    return f"restore: {total} ({', '.join(parts)}) -> {output}"


_WORDS = {
    "restored": "restored",
    "no_face": "without a face",
    "partial": "with a face that failed",
    "failed": "whose faces failed",
    "error": "could not be done",
}


def _exit_code(outcomes: list[Outcome], done_before: int, walk: Walk) -> int:
    if all(outcome.good for outcome in outcomes) and not walk.problems:
        return GOOD
    written = any(outcome.status != "error" for outcome in outcomes)
    return SOME_FAILED if written or done_before else NOTHING_DONE


def _nothing_found(walk: Walk, arguments: argparse.Namespace) -> str:
    ignored = f" ({len(walk.ignored)} other files were ignored)" if walk.ignored else ""
    deeper = "" if arguments.recursive else "; --recursive looks into sub-folders"
    return f"restore: error: found no photo in {', '.join(arguments.input)}{ignored}{deeper}"


def model_options_of(arguments: argparse.Namespace) -> ModelOptions:
    """What is to be loaded; -v names GFPGAN's models. OptionError where both name one."""
    if arguments.version is None:
        return from_flags(arguments, ModelOptions)
    if arguments.model:
        raise OptionError("-v and --model both name a model; give one of them")
    if arguments.version not in GFPGAN_VERSIONS:
        known = ", ".join(GFPGAN_VERSIONS)
        raise OptionError(f"-v {arguments.version}: GFPGAN's versions are {known}; or use --model")
    return from_flags(arguments, ModelOptions, model=GFPGAN_VERSIONS[arguments.version])


def run_options_of(arguments: argparse.Namespace) -> RunOptions:
    """What the parsed flags ask of a run; OptionError where a value is out of range."""
    from restore.images.files_write import WriteOptions
    from restore.pipeline.run import RunOptions

    if not 1 <= arguments.quality <= 100:
        raise OptionError(f"--quality is {arguments.quality}; expected 1 to 100")
    return RunOptions(
        from_flags(arguments, RestoreOptions),
        WriteOptions(arguments.quality, arguments.subsampling),
        not arguments.no_ai_label,
    )


@contextmanager
def _report(arguments: argparse.Namespace, output: Path) -> Iterator[IO[str]]:
    from restore.pipeline.report import open_report

    if arguments.report_json == "-":
        yield sys.stdout
        return
    path = Path(arguments.report_json) if arguments.report_json else output / "results.jsonl"
    with open_report(path) as file:
        yield file


def _page_path(arguments: argparse.Namespace) -> Path | None:
    """Where the HTML page of the run goes; None where none was asked for."""
    if arguments.report is None:
        return None
    return Path(arguments.report or Path(arguments.output, "report.html"))
