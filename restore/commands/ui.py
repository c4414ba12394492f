"""`restore ui`: the page, from the command line."""

from __future__ import annotations

import argparse
import signal
import threading

from restore.commands.flags import add_flags, from_flags
from restore.commands.tree import GOOD, say
from restore.pipeline.options import ModelOptions


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `restore ui`."""
    parser.add_argument("--port", type=int, help="default: a free one from 7860 on")
    parser.add_argument("--no-browser", action="store_true", help="only say the address")
    add_flags(parser, ModelOptions)


def run(arguments: argparse.Namespace) -> int:
    """Serve the page until Ctrl-C."""
    from restore.ui.page import import_gradio
    from restore.ui.privacy import stay_inside

    stay_inside()
    for name in ("SIGTERM", "SIGHUP"):  # a closed terminal, too, clears the photos away
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.default_int_handler)
    import_gradio()  # before the model: what is missing is said at once

    from restore.pipeline.restorer import load_restorer
    from restore.ui.server import serve

    restorer = load_restorer(from_flags(arguments, ModelOptions))
    with serve(restorer, arguments.port, not arguments.no_browser) as address:
        say(f"restore: the page is at {address} (Ctrl-C ends it)")
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            return GOOD
    return GOOD
