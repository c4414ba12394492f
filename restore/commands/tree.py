"""The command line: one tree of verbs; errors and interrupts become exit codes here alone.

A verb's module has `add_arguments(parser)` and `run(arguments) -> int`; it is imported when its
verb is asked for.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from restore.errors import MissingExtraError, RestoreError

GOOD, SOME_FAILED, NOTHING_DONE = 0, 1, 2
EXTRA_OF = {"torch": "torch", "torchvision": "torch", "lmdb": "train", "lpips": "train"}
"""Packages that a command may lack -> the extra that brings them."""
WORKER = "restore"
"""Name of the threads that restore photos ahead (`restore.pipeline.run`)."""
EXIT_CODES = "exit code: 0 all done, 1 some of it failed, 2 nothing could be done, 130 interrupted"


@dataclass(frozen=True)
class Verb:
    """One verb: its line in the help, and the module and functions behind it."""

    told: str
    module: str
    add_arguments: str = "add_arguments"
    run: str = "run"


VERBS: Mapping[str, Verb] = {
    "run": Verb("restore photos and folders of photos (may be left out)", "run"),
    "ui": Verb("a page on this machine: drop photos, compare, tune, save", "ui"),
    "models": Verb("the models that have a name, or what a model file says of itself", "models"),
    "download": Verb(
        "fetch a named model, verified", "models", "add_download_arguments", "run_download"
    ),
    "export": Verb("write the ONNX graph of a model", "export"),
    "train": Verb("train as an option file says", "train"),
    "test": Verb("validate as an option file says, without training", "test"),
    "prepare": Verb("make a training set of photos or crops", "prepare"),
    "degrade": Verb("a contact sheet of what a recipe does to faces", "degrade"),
    "latents": Verb("work in the prior's latent spaces", "latents"),
    "cluster": Verb("restore large sets of photos on a Ray cluster", "cluster"),
}


class Interrupted(KeyboardInterrupt):
    """SIGINT or SIGTERM arrived; `code` is the exit code that tells."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.code = 128 + number


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code. Without a verb it is `run`."""
    words = list(sys.argv[1:] if argv is None else argv)
    name = "run"
    if words and words[0] in VERBS:
        name = words.pop(0)
    return run_verb(name, words)


def run_verb(name: str, words: Sequence[str], prog: str | None = None) -> int:
    """Run one verb with the words after it; the exit code. Errors of the user are one line."""

    def work() -> int:
        verb = VERBS[name]
        module = import_module(f"restore.commands.{verb.module}")
        parser = verb_parser(name, prog)
        arguments = parser.parse_args(spelled(parser, words))
        arguments.parser = parser
        return int(getattr(module, verb.run)(arguments))

    return exit_code_of(work)


def exit_code_of(work: Callable[[], int]) -> int:
    """The exit code of a program's work; what is wrong is told in one line."""
    fill_streams()
    try:
        with interrupts():
            return work()
    except RestoreError as error:
        say(f"restore: error: {error}")
        for thread in threading.enumerate():
            if thread.name == WORKER:  # in native code it must not outlive Python
                thread.join()
        return NOTHING_DONE
    except Interrupted as interrupt:
        say("restore: interrupted")
        if threading.active_count() > 1:  # a thread in native code cannot be ended otherwise
            os._exit(interrupt.code)
        return interrupt.code
    except BrokenPipeError:  # who read our output has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return SOME_FAILED
    except ModuleNotFoundError as error:
        extra = EXTRA_OF.get((error.name or "").partition(".")[0])
        if extra is None:
            raise
        say(f"restore: error: {MissingExtraError(str(error.name), extra, 'this command')}")
        return NOTHING_DONE
    except OSError as error:  # a disk that is full, a folder that may not be read
        say(f"restore: error: {error}")
        return NOTHING_DONE


def verb_parser(name: str, prog: str | None = None) -> argparse.ArgumentParser:
    """The parser of a verb."""
    verb = VERBS[name]
    module = import_module(f"restore.commands.{verb.module}")
    listed = ", ".join(other for other in VERBS if other != "run")
    parser = argparse.ArgumentParser(
        prog=prog or (f"restore {name}" if name != "run" else "restore"),
        description=verb.told[0].upper() + verb.told[1:] + ".",
        epilog=(f"other verbs: {listed}; restore VERB --help\n" if name == "run" else "")
        + EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    getattr(module, verb.add_arguments)(parser)
    return parser


def spelled(parser: argparse.ArgumentParser, words: Sequence[str]) -> list[str]:
    """Words with flags as the parser spells them: --min_score is --min-score.

    A flag that the parser has as it is typed stays; what follows a bare -- is no flag.
    """
    known = {flag for action in parser._actions for flag in action.option_strings}
    alike = {flag.replace("_", "-"): flag for flag in known}
    out: list[str] = []
    for i, word in enumerate(words):
        if word == "--":
            return [*out, *words[i:]]
        match = re.match(r"(--[\w-]+)(=.*)?$", word, re.DOTALL)
        if match and match[1] not in known:
            word = alike.get(match[1].replace("_", "-"), match[1]) + (match[2] or "")
        out.append(word)
    return out


@contextmanager
def interrupts() -> Iterator[None]:
    """Ctrl-C and SIGTERM end the run between two instructions, so that nothing stays half-done."""

    def interrupt(number: int, frame: Any) -> None:
        for other in former:  # a second time: at once, whatever is being tidied up
            signal.signal(other, lambda n, _: os._exit(128 + n))
        raise Interrupted(number)

    former: dict[int, Any] = {}
    with suppress(ValueError):  # not the main thread: signals go elsewhere
        for wanted in (signal.SIGINT, signal.SIGTERM):
            former[wanted] = signal.signal(wanted, interrupt)
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


def fill_streams() -> None:
    """Open what was closed at the start: the next file opened would be taken for standard error."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "r+"))  # noqa: SIM115


def say(text: str) -> None:
    """A line on standard error, which may be closed: that ends no run.

    Control characters of file names are shown, not obeyed.
    """
    shown = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
    with suppress(OSError, ValueError, AttributeError):
        print(shown, file=sys.stderr, flush=True)


def count_of(number: int, noun: str) -> str:
    """Such as "1 photo", "3 photos"."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
