"""`restore ui`: the page, from the command line."""

from __future__ import annotations

import argparse
import sys
import threading
from collections.abc import Sequence

from restore.cli_arguments import add_runtime_options


def main(argv: Sequence[str] | None = None) -> int:
    """Serve the page until Ctrl-C."""
    options = _parser().parse_args(argv)

    from restore.ui.page import import_gradio

    import_gradio()  # before the model: what is missing is said at once

    from restore.pipeline.restorer import load_restorer
    from restore.ui.server import serve

    restorer = load_restorer(
        options.model, options.device, options.backend, options.detector, threads=options.threads
    )
    with serve(restorer, options.port, not options.no_browser) as address:
        print(f"restore: the page is at {address} (Ctrl-C ends it)", file=sys.stderr)
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            return 0
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="restore ui",
        description="A page on this machine: drop photos, compare, tune, save. Nothing is sent.",
    )
    add = parser.add_argument
    add("--port", type=int, help="default: a free one from 7860 on")
    add("--no-browser", action="store_true", help="only say the address")
    add("--model", default="default", metavar="NAME_OR_FILE", help="default: the packaged model")
    add_runtime_options(parser)
    add("--detector", default="default", metavar="NAME_OR_FILE", help="default: %(default)s")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
