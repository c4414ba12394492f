"""A web service: post a photo, get it back restored, with what was done to each face.

Run it: pip install fastapi uvicorn; uvicorn --app-dir docs/examples fastapi_app:app
Try it: curl --data-binary @grandma.jpg http://127.0.0.1:8000/restore -o restored.jpg -D -
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from fastapi import FastAPI, HTTPException, Query, Request, Response

from restore import RestoredPhoto, Restorer
from restore.errors import CancelledError, InputError, RestoreError
from restore.pipeline.report import photo_record

MAX_BYTES = 40 * 2**20
AT_ONCE = 2  # photos in memory at once; more only queue for the same cores
SUFFIXES = {"image/jpeg": ".jpg", "image/png": ".png", "image/webp": ".webp", "image/tiff": ".tif"}


@dataclass
class Service:
    """What lives as long as the server."""

    restorer: Restorer | None = None
    room: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_ONCE))


def create_app(restorer: Restorer | None = None) -> FastAPI:
    """The application; `restorer`: None to load the default one when the server starts."""
    service = Service(restorer)

    @asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        if service.restorer is None:
            service.restorer = await asyncio.to_thread(Restorer.load)
        yield

    app = FastAPI(title="restore", lifespan=life)

    @app.get("/health")
    async def health() -> dict[str, str]:
        """Whether it runs, and in what."""
        assert service.restorer is not None
        return {"status": "ok", "runtime": service.restorer.runtime.name}

    @app.post("/restore")
    async def restore(
        request: Request,
        scale: float = Query(1.0, ge=0.1, le=4),
        fidelity: float | None = Query(None, ge=0, le=1),
    ) -> Response:
        """The body is a photo's file; the answer is one as well, with the photo's metadata."""
        assert service.restorer is not None
        suffix = SUFFIXES.get(request.headers.get("content-type", ""), ".jpg")
        data = await _body(request)
        async with service.room:
            gone = threading.Event()
            # The event loop stays free: numpy, OpenCV and the network let other threads run.
            work = asyncio.create_task(
                asyncio.to_thread(
                    service.restorer.restore,
                    data,
                    scale=scale,
                    fidelity=fidelity,
                    cancel=gone.is_set,
                )
            )
            try:
                while not (await asyncio.wait([work], timeout=0.5))[0]:
                    if await request.is_disconnected():
                        gone.set()
                result = await work
                encoded = await asyncio.to_thread(result.encode, suffix)
            except CancelledError as error:
                raise HTTPException(499, "the client went away") from error
            except InputError as error:
                raise HTTPException(422, str(error)) from error
            except RestoreError as error:
                raise HTTPException(500, str(error)) from error
        headers = {"X-Restore-Report": _report(result)}
        media = next(kind for kind, known in SUFFIXES.items() if known == suffix)
        return Response(encoded, media_type=media, headers=headers)

    return app


async def _body(request: Request) -> bytes:
    """The body, as long as it is no longer than MAX_BYTES."""
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > MAX_BYTES:
            raise HTTPException(413, f"the photo is larger than {MAX_BYTES} bytes")
        parts.append(part)
    return b"".join(parts)


def _report(result: RestoredPhoto) -> str:
    """Status, and identity and status of at most 20 faces, as ASCII JSON for a header."""
    record = photo_record(result, {})
    kept = ("box", "status", "identity", "strength", "reason")
    faces = [{name: face[name] for name in kept} for face in record["faces"][:20]]
    return json.dumps({"status": record["status"], "notes": list(result.notes), "faces": faces})


app = create_app()
