"""The page served: on 127.0.0.1 alone, with its own files in a folder that goes with it."""

from __future__ import annotations

import os
import secrets
import shutil
import stat
import tempfile
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from restore.errors import DeviceError
from restore.images.write import is_alive
from restore.pipeline.restorer import Restorer
from restore.ui.page import build_page, import_gradio, page_script, page_style
from restore.ui.privacy import HOST, MAX_UPLOAD, LocalOnly

SESSIONS = 8
"""Browser tabs whose photos are kept in memory at once."""


@contextmanager
def serve(restorer: Restorer, port: int | None = None, open_browser: bool = False) -> Iterator[str]:
    """Serve the page in the background; gives its address, and ends with the block.

    The address holds the token of the session, without which nothing is answered.
    `port`: None for a free one from 7860 on. Photos that are dropped, and results, are copied to a
    temporary folder that is deleted at the end. Raises DeviceError where the port is taken.
    """
    gr = import_gradio()
    from gradio import routes
    from starlette.middleware import Middleware

    token = secrets.token_urlsafe(24)
    with page_folder() as folder:
        former = os.environ.get("GRADIO_TEMP_DIR")
        os.environ["GRADIO_TEMP_DIR"] = str(folder)  # where gradio puts what the browser sends
        vars(routes)["DEFAULT_TEMP_DIR"] = str(folder)  # where it makes one more folder
        try:
            page = build_page(restorer, folder)
            # One restoration at a time: the network uses all cores by itself.
            page.queue(default_concurrency_limit=1)
            try:
                _, address, _ = page.launch(
                    server_name=HOST,
                    server_port=port,
                    share=False,
                    inbrowser=False,
                    max_file_size=MAX_UPLOAD,
                    prevent_thread_lock=True,
                    quiet=True,
                    show_error=True,
                    footer_links=[],
                    ssr_mode=False,
                    pwa=False,
                    mcp_server=False,
                    enable_monitoring=False,
                    state_session_capacity=SESSIONS,
                    app_kwargs={"middleware": [Middleware(LocalOnly, token=token)]},
                    theme=_theme(gr),
                    css=page_style(),
                    head=page_script(),
                )
            except OSError as error:
                raise DeviceError(
                    f"the page cannot be served: {error}; choose another port with --port"
                ) from error
            try:
                address = f"{address}?token={token}"
                if open_browser:
                    webbrowser.open(address)
                yield address
            finally:
                page.close(verbose=False)
        finally:
            if former is None:
                os.environ.pop("GRADIO_TEMP_DIR", None)
            else:
                os.environ["GRADIO_TEMP_DIR"] = former


@contextmanager
def page_folder() -> Iterator[Path]:
    """A folder for the photos of one page, which is gone with the block.

    What pages that were killed have left is cleared away first. Nobody else may look into it.
    """
    user = os.getuid() if hasattr(os, "getuid") else 0
    root = Path(tempfile.gettempdir(), f"restore-ui-{user}")
    with suppress(FileExistsError):
        root.mkdir(mode=0o700)
    about = root.lstat()
    mine = stat.S_ISDIR(about.st_mode) and about.st_uid == user and not about.st_mode & 0o077
    if os.name == "posix" and not mine:  # somebody has laid it there for us
        root = Path(tempfile.mkdtemp(prefix="restore-ui-"))
    for old in root.iterdir():
        process = old.name.partition("-")[0]
        if process.isdecimal() and not is_alive(int(process)):
            shutil.rmtree(old, ignore_errors=True)
    folder = root / f"{os.getpid()}-{secrets.token_hex(4)}"
    folder.mkdir(mode=0o700)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        with suppress(OSError):
            root.rmdir()  # the last one


def _theme(gr: object) -> object:
    """Plain, with the fonts that the machine has."""
    themes = gr.themes  # type: ignore[attr-defined]
    return themes.Base(
        primary_hue="blue",
        neutral_hue="gray",
        radius_size="md",
        font=["system-ui", "sans-serif"],
        font_mono=["ui-monospace", "monospace"],
    )
