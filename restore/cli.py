"""The command line: photos in, restored photos out; `models`, `download` and `export`."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from restore import __version__
from restore.cli_arguments import build_parser, run_options_of
from restore.errors import OptionError, RestoreError

if TYPE_CHECKING:
    from restore.pipeline.names import Job
    from restore.pipeline.run import Outcome, RunOptions
    from restore.pipeline.walk import Walk

GOOD, SOME_FAILED, NOTHING_DONE = 0, 1, 2
GFPGAN_VERSIONS = {name: f"gfpgan-v{name}" for name in ("1", "1.2", "1.3", "1.4")}


class Interrupted(KeyboardInterrupt):
    """SIGINT or SIGTERM arrived; `code` is the exit code that tells."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.code = 128 + number


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        with _interrupts():
            if arguments and arguments[0] in COMMANDS:
                return COMMANDS[arguments[0]](arguments[1:])
            return restore_photos(arguments)
    except RestoreError as error:
        _say(f"restore: error: {error}")
        return NOTHING_DONE
    except Interrupted as interrupt:
        _say("restore: interrupted")
        return interrupt.code


def restore_photos(argv: Sequence[str]) -> int:
    """`restore -i ...`: restore photos and folders of photos."""
    parser = build_parser()
    options = parser.parse_args(argv)
    if options.version == "":
        print(f"restore {__version__}")
        return GOOD
    if not options.input:
        parser.error("say what to restore: -i PHOTO_OR_FOLDER")
    model = _model_of(options)
    run_options = run_options_of(options)

    from restore.pipeline.names import plan_jobs
    from restore.pipeline.run import is_done
    from restore.pipeline.summary import absent_line, faces_line
    from restore.pipeline.walk import find_photos

    output = Path(options.output)
    walk = find_photos(options.input, options.recursive, output)
    for path, reason in walk.problems:
        _say(f"restore: {path}: {reason}")
    if not walk.photos:
        _say(_nothing_found(walk, options))
        return NOTHING_DONE
    jobs = plan_jobs(walk.photos, output, options.ext, options.suffix)
    done = [job for job in jobs if is_done(job, options.aligned)]
    if done and not (options.resume or options.overwrite):
        raise OptionError(
            f"{len(done)} of {_count(len(jobs), 'photo')} have results in {output} already; "
            "go on with --resume, replace them with --overwrite, or choose another folder with -o"
        )
    todo = [job for job in jobs if options.overwrite or job not in set(done)]
    with _report(options, output) as report:
        outcomes = _run(model, options, run_options, todo, report) if todo else []
    if not options.quiet:
        for line in (faces_line(outcomes), absent_line(outcomes)):
            if line:
                _say(f"restore: {line}")
        _say(_summary(outcomes, len(done) if options.resume else 0, walk, output))
    return _exit_code(outcomes, len(jobs) - len(todo), walk)


def _run(
    model: str,
    options: argparse.Namespace,
    run_options: RunOptions,
    jobs: list[Job],
    report: IO[str],
) -> list[Outcome]:
    from tqdm import tqdm

    from restore.pipeline.overlap import ahead_of, run_overlapped
    from restore.pipeline.report import write_record
    from restore.pipeline.restorer import load_restorer
    from restore.report.page import run_page

    restorer = load_restorer(
        model,
        options.device,
        options.backend,
        options.detector,
        not options.download,
        options.threads,
        options.bg_upsampler,
        options.bg_tile,
        options.identity_network,
        options.precision,
    )
    restorer.guard.require(run_options.trust)
    if options.reference is not None:
        references = restorer.references(options.reference)
        for name, reason in references.left_out:
            _say(f"restore: reference photo {name} was left out: {reason}")
        run_options = replace(run_options, references=references)
    outcomes: list[Outcome] = []
    # disable=None: a bar on a terminal, none in a log.
    bar = tqdm(total=len(jobs), unit="photo", disable=True if options.quiet else None)
    closing = ExitStack()
    try:
        page = run_page(
            _page_path(options), restorer, run_options, model, len(jobs), options.resume
        )
        watch = closing.enter_context(page)
        ahead = ahead_of(restorer.runtime) if options.ahead is None else options.ahead
        for outcome in run_overlapped(restorer, jobs, run_options, watch, ahead):
            write_record(report, {**outcome.record, "model": model, "scale": run_options.scale})
            outcomes.append(outcome)
            bar.update()
            line = _line(outcome)
            if line and (not options.quiet or not outcome.good):
                bar.write(line, file=sys.stderr)
    except Interrupted:
        bar.close()
        _say(
            f"restore: interrupted after {len(outcomes)} of {_count(len(jobs), 'photo')}, "
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
        parts.append(f"{_count(len(walk.problems), 'input')} unreadable")
    if walk.ignored:
        parts.append(f"{_count(len(walk.ignored), 'other file')} ignored")
    faces = sum(outcome.faces for outcome in outcomes)
    total = f"{_count(len(outcomes), 'photo')}, {_count(faces, 'face')} restored"
    return f"restore: {total} ({', '.join(parts)}) -> {output}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


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


def _nothing_found(walk: Walk, options: argparse.Namespace) -> str:
    ignored = f" ({len(walk.ignored)} other files were ignored)" if walk.ignored else ""
    deeper = "" if options.recursive else "; --recursive looks into sub-folders"
    return f"restore: error: found no photo in {', '.join(options.input)}{ignored}{deeper}"


def _model_of(options: argparse.Namespace) -> str:
    if options.version is None:
        return options.model or "default"
    if options.model:
        raise OptionError("-v and --model both name a model; give one of them")
    if options.version not in GFPGAN_VERSIONS:
        known = ", ".join(GFPGAN_VERSIONS)
        raise OptionError(f"-v {options.version}: GFPGAN's versions are {known}; or use --model")
    return GFPGAN_VERSIONS[options.version]


@contextmanager
def _report(options: argparse.Namespace, output: Path) -> Iterator[IO[str]]:
    from restore.pipeline.report import open_report

    if options.report_json == "-":
        yield sys.stdout
        return
    path = Path(options.report_json) if options.report_json else output / "results.jsonl"
    with open_report(path) as file:
        yield file


def _page_path(options: argparse.Namespace) -> Path | None:
    """Where the HTML page of the run goes; None where none was asked for."""
    if options.report is None:
        return None
    return Path(options.report or Path(options.output, "report.html"))


@contextmanager
def _interrupts() -> Iterator[None]:
    """Ctrl-C and SIGTERM end the run between two instructions, so that nothing stays half-done."""

    def interrupt(number: int, frame: Any) -> None:
        raise Interrupted(number)

    try:
        former = {n: signal.signal(n, interrupt) for n in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:  # not the main thread: signals go elsewhere
        former = {}
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


def list_models(argv: Sequence[str]) -> int:
    """`restore models`: the models that have a name."""
    from restore.checkpoints.download import locate_model
    from restore.checkpoints.models_table import MODELS
    from restore.errors import CheckpointError

    argparse.ArgumentParser(prog="restore models", description=list_models.__doc__).parse_args(argv)
    for name, entry in MODELS.items():
        try:
            where = str(locate_model(name))
        except CheckpointError:
            where = "not on this machine"
        print(f"{name}: {where}; licence: {entry.licence}")
    return GOOD


def download(argv: Sequence[str]) -> int:
    """`restore download NAME`: fetch a named model, verified, to the cache."""
    from tqdm import tqdm

    from restore.checkpoints.download import download_model
    from restore.checkpoints.models_table import find_model

    parser = argparse.ArgumentParser(prog="restore download", description=download.__doc__)
    parser.add_argument("name", nargs="+")
    for name in parser.parse_args(argv).name:
        _say(f"restore: licence of {name}: {find_model(name).licence}")
        with tqdm(unit="B", unit_scale=True, disable=None) as bar:

            def show(done: int, total: int | None, bar: Any = bar) -> None:
                bar.total = total
                bar.update(done - bar.n)

            path = download_model(name, progress=show)
        print(path)
    return GOOD


def export(argv: Sequence[str]) -> int:
    """`restore export ...`: write the ONNX graph of a model."""
    return import_module("restore.runtime.export").main(argv) or GOOD


def ui(argv: Sequence[str]) -> int:
    """`restore ui`: a page on this machine to drop, compare, tune and save photos."""
    return import_module("restore.ui.__main__").main(argv) or GOOD


def degrade(argv: Sequence[str]) -> int:
    """`restore degrade`: a sheet of what a recipe makes of good faces."""
    return int(import_module("restore.degrade_sheet").main(argv))


COMMANDS = {
    "models": list_models,
    "download": download,
    "export": export,
    "ui": ui,
    "degrade": degrade,
}


def _say(text: str) -> None:
    print(text, file=sys.stderr)
