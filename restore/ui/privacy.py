"""What keeps the page on this machine: gradio's reporting off, and a policy the browser holds."""

from __future__ import annotations

import hmac
import os
import sys
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import parse_qs, unquote

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

MAX_UPLOAD = 300 << 20
"""Most bytes of what is sent to the page at once."""
OPEN = ("/gradio_api/startup-events", "/manifest.json")
"""Routes that tell nothing and are asked for without the cookie: by gradio itself, by browsers."""
_FETCHING = ("://", ":/", "proxy=", "/dev/", "run-history", "deep_link", "/login", "/monitoring")
"""In the paths of routes that make the server connect out, or that the page does not use."""

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]


def silence_reports() -> None:
    """Set `QUIET`, before gradio is imported."""
    os.environ.update(QUIET)


class LocalOnly:
    """ASGI middleware that only lets the page itself in, and lets nothing out.

    Each request must name this machine as its host (DNS rebinding), come from the page where it
    says from where it comes (Origin, Sec-Fetch-Site), and carry the session's token: as a cookie,
    which the address of the page sets once. Routes that fetch something for the browser are closed,
    bodies are bounded, and each answer carries `POLICY`.
    """

    def __init__(self, app: App, token: str, most: int = MAX_UPLOAD) -> None:
        """`token`: of the session, in the page's address as `?token=`; `most`: bytes of a body."""
        self.app, self.token, self.most = app, token, most

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        headers = {name.lower(): value.decode("latin-1") for name, value in scope["headers"]}
        status, said, extra = self._refusal(scope, headers)
        if scope["type"] != "http":  # the page has no websockets
            await send({"type": "websocket.close", "code": 1008})
            return
        if status:
            start = {"type": "http.response.start", "status": status, "headers": extra}
            await send(start)
            await send({"type": "http.response.body", "body": said.encode()})
            return
        taken = 0

        async def bounded() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            # One that says nothing of its length is cut off.
            return {"type": "http.disconnect"} if taken > self.most else message

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                extra = ((b"content-security-policy", POLICY.encode()),
                         (b"referrer-policy", b"no-referrer"))  # fmt: skip
                message["headers"] = [*message.get("headers", ()), *extra]
            await send(message)

        await self.app(scope, bounded, answer)

    def _refusal(
        self, scope: Message, headers: dict[bytes, str]
    ) -> tuple[int, str, list[tuple[bytes, bytes]]]:
        """Status, words and headers of the answer to what is not let in; status 0 for the rest."""
        host = headers.get(b"host", "")
        name, _, port = host.rpartition(":")
        if name not in (HOST, "localhost"):
            return 421, "this page is for 127.0.0.1 only", []
        origin, site = headers.get(b"origin"), headers.get(b"sec-fetch-site", "none")
        if (origin is not None and origin != f"http://{host}") or site not in (
            "none",
            "same-origin",
        ):
            return 403, "requests of other pages are refused", []
        path = unquote(scope["path"])
        if scope["type"] == "http" and scope["method"] == "GET" and path in OPEN:
            return 0, "", []
        cookie = f"restore_{port}".encode()
        if path == "/" and self._is_token(parse_qs(scope.get("query_string", b"")).get(b"token")):
            value = cookie + b"=" + self.token.encode() + b"; Path=/; HttpOnly; SameSite=Strict"
            return 303, "", [(b"location", b"/"), (b"set-cookie", value)]
        given = [part.strip().encode("latin-1") for part in headers.get(b"cookie", "").split(";")]
        values = [part.partition(b"=")[2] for part in given if part.startswith(cookie + b"=")]
        if not self._is_token(values):
            return 401, "open the page by the address that restore ui has said", []
        if any(word in path.lower() for word in _FETCHING):
            return 403, "this page fetches nothing from elsewhere", []
        length = headers.get(b"content-length", "0")
        if not length.isdecimal() or int(length) > self.most:
            return 413, f"at most {self.most} bytes are taken at once", []
        return 0, "", []

    def _is_token(self, given: list[bytes] | None) -> bool:
        return any(hmac.compare_digest(value, self.token.encode()) for value in given or ())


def close_downloads() -> None:
    """Take gradio's way to fetch what a browser names by its address (event data hold it too)."""
    from gradio import processing_utils

    async def refuse(url: str, *_: Any, **__: Any) -> Any:
        raise PermissionError("this page fetches nothing from elsewhere")

    for name in ("async_ssrf_protected_get", "async_ssrf_protected_download"):
        setattr(processing_utils, name, refuse)


def stay_inside() -> None:
    """From now on this process connects to this machine alone, whatever a package tries.

    An audit hook, which cannot be taken away again: for the program `restore ui` alone.
    """

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "socket.connect" and isinstance(arguments[1], tuple):
            host = str(arguments[1][0])
        elif event == "socket.getaddrinfo":
            host = str(arguments[0] or HOST)
        else:
            return
        if host not in (HOST, "localhost", "::1", "0.0.0.0", ""):
            raise PermissionError(f"restore ui sends nothing anywhere: {host} was refused")

    sys.addaudithook(watch)
