"""`restore run`: photos and folders of photos in, restored photos out."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

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

MAX_AHEAD = 64
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

    if arguments.ahead is not None and not 0 <= arguments.ahead <= MAX_AHEAD:
        raise OptionError(f"--ahead is {arguments.ahead}; expected 0 to {MAX_AHEAD}")

    from restore.pipeline.names import plan_jobs, single_file
    from restore.pipeline.report import is_done, options_key, read_ledger
    from restore.pipeline.run import absent_line, faces_line, ignored_lines
    from restore.pipeline.walk import find_photos

    output = Path(arguments.output)
    walk = find_photos(arguments.input, arguments.recursive, output)
    for path, reason in walk.problems:
        say(f"restore: {path}: {reason}")
    for told in ignored_lines(walk):
        say(f"restore: {told}")
    if not walk.photos:
        say(_nothing_found(walk, arguments))
        return NOTHING_DONE
    single = single_file(walk.photos, output, arguments.overwrite)
    ledger = None if single else read_ledger(output / "results.jsonl")
    jobs = [single] if single else plan_jobs(
        walk.photos, output, arguments.ext, arguments.suffix, ledger, options.restore.aligned
    )  # fmt: skip
    earlier = [job for job in jobs if job.earlier is not None]
    if earlier and not (arguments.resume or arguments.overwrite):
        raise OptionError(
            f"{len(earlier)} of {count_of(len(jobs), 'photo')} have results in {output} already; "
            "go on with --resume, replace them with --overwrite, or choose another folder with -o"
        )
    key = options_key(
        options,
        model=model.shaping(),
        **{name: getattr(arguments, name) for name in ("reference", "ext", "suffix")},
    )
    options = replace(options, key=key)
    done = [job for job in jobs if arguments.resume and is_done(job.earlier, job.source, key)]
    todo = [job for job in jobs if job not in set(done)]
    with _report(arguments, None if single else output) as report:
        outcomes = _run(arguments, model, options, todo, report) if todo else []
    if not arguments.quiet:
        for line in (faces_line(outcomes), absent_line(outcomes)):
            if line:
                say(f"restore: {line}")
        say(_summary(outcomes, len(done), walk, output))
    return _exit_code(outcomes, len(done), walk)


def _run(
    arguments: argparse.Namespace,
    model: ModelOptions,
    options: RunOptions,
    jobs: list[Job],
    report: Callable[[Mapping[str, Any]], None],
) -> list[Outcome]:
    from tqdm import tqdm

    from restore.pipeline.restorer import load_restorer
    from restore.pipeline.run import ahead_of, run_overlapped
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

        def tell(record: Mapping[str, Any]) -> None:
            report({**record, "model": name, "scale": scale})

        for outcome in run_overlapped(restorer, jobs, options, watch, ahead, tell):
            outcomes.append(outcome)
            bar.update()
            line = _line(outcome)
            if line and (not arguments.quiet or not outcome.good):
                bar.clear()
                say(line)
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
    source = str(outcome.job.source)
    reason = outcome.reason or outcome.status
    if outcome.status == "restored":
        told = ("animation", "damaged", "the file is cut", "no end mark", "pictures: only")
        notes = outcome.record.get("notes", ())
        reason = "; ".join(n for n in notes if any(words in n for words in told))
        if not reason:
            return None
    return f"restore: {reason if reason.startswith(source) else f'{source}: {reason}'}"


def _summary(outcomes: list[Outcome], left_out: int, walk: Walk, output: Path) -> str:
    said = ["unchanged" if o.status == "restored" and not o.faces else o.status for o in outcomes]
    count = {status: said.count(status) for status in _WORDS}
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
    "unchanged": "unchanged",
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
    return (
        f"restore: error: found no photo in {', '.join(map(str, arguments.input))}{ignored}{deeper}"
    )


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
    from restore.images.write import WriteOptions
    from restore.pipeline.run import RunOptions

    if not 1 <= arguments.quality <= 100:
        raise OptionError(f"--quality is {arguments.quality}; expected 1 to 100")
    return RunOptions(
        from_flags(arguments, RestoreOptions),
        WriteOptions(arguments.quality, arguments.subsampling),
        not arguments.no_ai_label,
    )


@contextmanager
def _report(
    arguments: argparse.Namespace, output: Path | None
) -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """What takes the records: `results.jsonl` in the output, by which `--resume` knows what is
    done, and the file or stream of `--report-json`."""
    from restore.errors import InputError
    from restore.pipeline.report import Report, record_line

    paths = [] if output is None else [output / "results.jsonl"]
    if arguments.report_json not in (None, "-"):
        paths.append(Path(arguments.report_json))
    with ExitStack() as closing:
        reports = [closing.enter_context(Report(path)) for path in dict.fromkeys(paths)]

        def write(record: Mapping[str, Any]) -> None:
            for report in reports:
                report.write(record)
            if arguments.report_json == "-":
                try:
                    sys.stdout.write(record_line(record).decode("utf-8"))
                    sys.stdout.flush()
                except (OSError, ValueError, AttributeError) as error:
                    with suppress(OSError):  # nothing is said again when the program ends
                        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
                    raise InputError("standard output was closed (--report-json -)") from error

        yield write


def _page_path(arguments: argparse.Namespace) -> Path | None:
    """Where the HTML page of the run goes; None where none was asked for."""
    if arguments.report is None:
        return None
    return Path(arguments.report or Path(arguments.output, "report.html"))
