"""What keeps the page on this machine: gradio's reporting off, and a policy the browser holds."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

HOST = "127.0.0.1"
QUIET = {
    "GRADIO_ANALYTICS_ENABLED": "False",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_OFFLINE": "1",
    "DO_NOT_TRACK": "1",
}
"""Environment that gradio and what it imports read once, when they are imported."""
# The page's scripts stand in it, and gradio compiles its templates: both need the "unsafe" words.
POLICY = (
    "default-src 'self'; img-src 'self' data: blob:; media-src 'self' blob:; "
    "font-src 'self' data:; style-src 'self' 'unsafe-inline'; "
    "script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; "
    "connect-src 'self'; worker-src 'self' blob:; frame-ancestors 'none'; base-uri 'self'; "
    "object-src 'none'; form-action 'self'"
)
"""With it the browser refuses to load anything from another host."""

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]


def silence_reports() -> None:
    """Set `QUIET`, before gradio is imported."""
    os.environ.update(QUIET)


class LocalOnly:
    """ASGI middleware: refuses foreign Host names (DNS rebinding), adds `POLICY` to each answer."""

    def __init__(self, app: App) -> None:
        self.app = app

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        named = dict(scope["headers"]).get(b"host", b"").decode("latin-1")
        if named.rpartition(":")[0] not in (HOST, "localhost"):
            await send({"type": "http.response.start", "status": 421, "headers": []})
            await send({"type": "http.response.body", "body": b"this page is for 127.0.0.1 only"})
            return

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                extra = ((b"content-security-policy", POLICY.encode()),
                         (b"referrer-policy", b"no-referrer"))  # fmt: skip
                message["headers"] = [*message.get("headers", ()), *extra]
            await send(message)

        await self.app(scope, receive, answer)
