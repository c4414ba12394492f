"""The page served: on 127.0.0.1 alone, with its own files in a folder that goes with it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from restore.errors import DeviceError
from restore.pipeline.restorer import Restorer
from restore.ui.page import build_page, import_gradio, page_script, page_style
from restore.ui.privacy import HOST, LocalOnly

SESSIONS = 8
"""Browser tabs whose photos are kept in memory at once."""


@contextmanager
def serve(restorer: Restorer, port: int | None = None, open_browser: bool = False) -> Iterator[str]:
    """Serve the page in the background; gives its address, and ends with the block.

    `port`: None for a free one from 7860 on. Photos that are dropped, and results, are copied to a
    temporary folder that is deleted at the end. Raises DeviceError where the port is taken.
    """
    gr = import_gradio()
    from starlette.middleware import Middleware

    with TemporaryDirectory(prefix="restore-ui-") as folder:
        former = os.environ.get("GRADIO_TEMP_DIR")
        os.environ["GRADIO_TEMP_DIR"] = folder  # where gradio puts what the browser sends
        try:
            page = build_page(restorer, Path(folder))
            # One restoration at a time: the network uses all cores by itself.
            page.queue(default_concurrency_limit=1)
            try:
                _, address, _ = page.launch(
                    server_name=HOST,
                    server_port=port,
                    share=False,
                    inbrowser=open_browser,
                    prevent_thread_lock=True,
                    quiet=True,
                    show_error=True,
                    footer_links=[],
                    ssr_mode=False,
                    pwa=False,
                    mcp_server=False,
                    enable_monitoring=False,
                    state_session_capacity=SESSIONS,
                    app_kwargs={"middleware": [Middleware(LocalOnly)]},
                    theme=_theme(gr),
                    css=page_style(),
                    head=page_script(),
                )
            except OSError as error:
                raise DeviceError(
                    f"the page cannot be served: {error}; choose another port with --port"
                ) from error
            try:
                yield address
            finally:
                page.close(verbose=False)
        finally:
            if former is None:
                os.environ.pop("GRADIO_TEMP_DIR", None)
            else:
                os.environ["GRADIO_TEMP_DIR"] = former


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
