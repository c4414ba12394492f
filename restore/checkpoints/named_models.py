"""The models that have a name: where each is kept, its licence, how it is used, how it is fetched.

Fetching is explicit, verified, atomic and resumable.
"""

from __future__ import annotations

import http.client
import json
import os
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from restore.errors import CheckpointError
from restore.model_files import file_sha256

_RELEASES = "https://github.com/TencentARC/GFPGAN/releases/download"
_GFPGAN_LICENCE = (
    "repository Apache-2.0; weights carry no licence of their own and build on StyleGAN2 "
    "(NVIDIA, non-commercial) and FFHQ (CC BY-NC-SA 4.0)"
)
_FFHQ_CROP: Mapping[str, Any] = {
    "crop_size": 512,
    "template": {"name": "ffhq512", "zoom": 1.0, "centre": [256, 256]},
    "range": "-1..1",
}


@dataclass(frozen=True)
class ModelEntry:
    """A row of `MODELS`.

    `packaged`: file name in `restore/weights`; else `url` and `filename` in the cache. `sha256`
    None: not known for certain, so the first download pins it. `config`: what the file itself does
    not say (crop_size, template, range, and arguments that no tensor tells).
    """

    filename: str
    licence: str
    packaged: bool = False
    url: str | None = None
    sha256: str | None = None
    config: Mapping[str, Any] = field(default_factory=dict)


MODELS: dict[str, ModelEntry] = {
    "default": ModelEntry("default.safetensors", "see the file's header", packaged=True),
    "default-prior": ModelEntry(
        "default-prior.safetensors",
        "see the file's header",
        packaged=True,
        sha256="c4a6fd313f6e04c07bba426eec35591d925a4dec37bd7b1fa4e319898c638fe9",
    ),
    "gfpgan-v1": ModelEntry(
        "GFPGANv1.pth",
        _GFPGAN_LICENCE,
        url=f"{_RELEASES}/v0.1.0/GFPGANv1.pth",
        config={**_FFHQ_CROP, "resample": "fir"},
    ),
    "gfpgan-v1.2": ModelEntry(
        "GFPGANCleanv1-NoCE-C2.pth",
        _GFPGAN_LICENCE,
        url=f"{_RELEASES}/v0.2.0/GFPGANCleanv1-NoCE-C2.pth",
        config=_FFHQ_CROP,
    ),
    "gfpgan-v1.3": ModelEntry(
        "GFPGANv1.3.pth",
        _GFPGAN_LICENCE,
        url=f"{_RELEASES}/v1.3.0/GFPGANv1.3.pth",
        sha256="c953a88f2727c85c3d9ae72e2bd4846bbaf59fe6972ad94130e23e7017524a70",
        config=_FFHQ_CROP,
    ),
    "gfpgan-v1.4": ModelEntry(
        "GFPGANv1.4.pth",
        _GFPGAN_LICENCE,
        url=f"{_RELEASES}/v1.3.0/GFPGANv1.4.pth",
        sha256="e2cd4703ab14f4d01fd1383a8a8b266f9a5833dacee8e6a79d3bf21a1b6be5ad",
        config=_FFHQ_CROP,
    ),
    "stylegan2-ffhq512-c1": ModelEntry(
        "StyleGAN2_512_Cmul1_FFHQ_B12G4_scratch_800k.pth",
        "trained on FFHQ (CC BY-NC-SA 4.0)",
        url=f"{_RELEASES}/v0.1.0/StyleGAN2_512_Cmul1_FFHQ_B12G4_scratch_800k.pth",
        config={"resample": "fir"},
    ),
}


def find_model(name: str) -> ModelEntry:
    """The row of a name; an unknown one raises `CheckpointError` with the known ones."""
    if name not in MODELS:
        raise CheckpointError(
            f"There is no file and no model named {name!r}; named models: {', '.join(MODELS)}"
        )
    return MODELS[name]


WEIGHTS = Path(__file__).resolve().parents[1] / "weights"
CHUNK = 2**20
TIMEOUT_SECONDS = 30
Progress = Callable[[int, int | None], None]  # bytes so far, bytes in all where known


def cache_folder() -> Path:
    """`RESTORE_HOME`, else `restore` in the platform's cache folder; not created here."""
    home = os.environ.get("RESTORE_HOME")
    if home:
        return Path(home).expanduser()
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA")
        return Path(base) / "restore" if base else Path.home() / "AppData" / "Local" / "restore"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "restore"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "restore"


def locate_model(name: str) -> Path:
    """Path of a named model that is there already; never touches the network."""
    entry = find_model(name)
    path = _place(entry)
    if path.is_file():
        _check_cached(name, entry, path)
        return path
    if entry.packaged:
        raise CheckpointError(
            f"The packaged model {name!r} is missing at {path}; reinstall restore"
        )
    raise CheckpointError(
        f"Model {name!r} is not on this machine (looked for {path}); fetch it with: "
        f"restore download {name}"
    )


def _place(entry: ModelEntry) -> Path:
    return (WEIGHTS if entry.packaged else cache_folder() / "models") / entry.filename


def _check_cached(name: str, entry: ModelEntry, path: Path) -> None:
    """`CheckpointError` where a fetched file is no longer what was fetched.

    It is read once; the size and time of what was found good are kept beside it, so that the next
    start does not read hundreds of megabytes again.
    """
    expected = entry.sha256 or _read_pins().get(name)
    if entry.packaged or expected is None:
        return
    state = path.stat()
    found_good = f"{expected} {state.st_size} {state.st_mtime_ns}"
    note = path.with_name(path.name + ".checked")
    with suppress(OSError, UnicodeError):
        if note.read_text("utf-8") == found_good:
            return
    digest = file_sha256(path)
    if digest != expected.lower():
        raise CheckpointError(
            f"{path} has SHA-256 {digest}, expected {expected}: it is damaged or another file; "
            f"delete it and fetch it again with: restore download {name}"
        )
    with suppress(OSError):  # a folder that cannot be written costs the time again, no more
        note.write_text(found_good, "utf-8")


def download_model(name: str, offline: bool = False, progress: Progress | None = None) -> Path:
    """Path of a named model, fetched if it is not there.

    The SHA-256 must be that of `MODELS`; where the table does not know it, the first
    download writes it to `pins.json` in the cache and later ones must agree.
    """
    entry = find_model(name)
    path = _place(entry)
    if path.is_file():
        _check_cached(name, entry, path)
        return path
    if entry.packaged or entry.url is None:
        return locate_model(name)
    if offline:
        raise CheckpointError(f"Model {name!r} is not at {path}, and --offline forbids fetching it")
    with _locked(path.with_name(path.name + ".lock")):
        if path.is_file():  # another process was first
            return path
        pins = _read_pins()
        digest = fetch(entry.url, path, entry.sha256 or pins.get(name), progress)
        if entry.sha256 is None and name not in pins:
            _write_pins({**pins, name: digest})
    return path


def fetch(url: str, path: Path, sha256: str | None, progress: Progress | None = None) -> str:
    """Download `url` to `path` by way of `path.part`; returns the SHA-256 of what arrived.

    An earlier part is continued with a Range request when the server still has the same file. A
    wrong checksum deletes the part and raises; a broken connection keeps it and raises.
    """
    if not url.lower().startswith(("https://", "http://")):
        raise CheckpointError(f"Only http and https can be fetched, not {url}")
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    tag = path.with_name(path.name + ".part.tag")
    try:
        _receive(url, part, tag, progress)
    except urllib.error.HTTPError as error:
        raise CheckpointError(f"{url} answers {error.code} {error.reason}") from error
    except (OSError, http.client.HTTPException) as error:
        raise CheckpointError(
            f"Fetching {url} stopped: {error}; what came is kept, run it again to go on"
        ) from error
    digest = file_sha256(part)
    if sha256 is not None and digest != sha256.lower():
        part.unlink()
        tag.unlink(missing_ok=True)
        raise CheckpointError(
            f"{url} has SHA-256 {digest}, expected {sha256}: damaged or not the published file; "
            f"it was deleted"
        )
    os.replace(part, path)
    tag.unlink(missing_ok=True)
    return digest


class _SameKind(urllib.request.HTTPRedirectHandler):
    """Follows redirects to http and https alone, and none from https down to http."""

    def redirect_request(
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        """The request to make instead; `CheckpointError` for another kind of address."""
        kind = newurl.partition(":")[0].lower()
        if kind != "https" and (kind != "http" or req.type == "https"):
            raise CheckpointError(
                f"{req.full_url} redirects to {newurl}, which is not followed: expected another "
                f"{req.type} address. Fetch the file by hand where you trust that host"
            )
        return super().redirect_request(req, fp, code, msg, headers, newurl)


_OPENER = urllib.request.build_opener(_SameKind)


def _receive(url: str, part: Path, tag: Path, progress: Progress | None) -> None:
    """Fill `part`, continuing it where `tag` (the server's version mark) still holds."""
    start = part.stat().st_size if part.is_file() and tag.is_file() else 0
    request = urllib.request.Request(url, headers={"User-Agent": "restore"})
    if start:
        request.add_header("Range", f"bytes={start}-")
        request.add_header("If-Range", tag.read_text())
    try:
        response = _OPENER.open(request, timeout=TIMEOUT_SECONDS)
    except urllib.error.HTTPError as error:
        if not (start and error.code == 416):
            raise
        # The part is as long as the file or longer: begin again rather than trust it.
        part.unlink()
        tag.unlink()
        _receive(url, part, tag, progress)
        return
    with response:
        resumed = response.status == 206
        if not resumed:
            start = 0
            mark = response.headers.get("ETag") or response.headers.get("Last-Modified")
            if mark and not mark.startswith("W/"):
                tag.write_text(mark)
            else:
                tag.unlink(missing_ok=True)
        length = response.headers.get("Content-Length")
        total = start + int(length) if length is not None else None
        done = start
        with part.open("ab" if resumed else "wb") as file:
            while chunk := response.read(CHUNK):
                file.write(chunk)
                done += len(chunk)
                if progress is not None:
                    progress(done, total)
    if total is not None and done != total:
        raise OSError(f"{done} of {total} bytes arrived")


def _pins_path() -> Path:
    return cache_folder() / "pins.json"


def _read_pins() -> dict[str, str]:
    try:
        pins: Any = json.loads(_pins_path().read_text())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{_pins_path()} is damaged ({error}); mend or delete it") from error
    if not isinstance(pins, dict):
        raise CheckpointError(f"{_pins_path()} is damaged (no table); mend or delete it")
    return pins


def _write_pins(pins: dict[str, str]) -> None:
    part = _pins_path().with_suffix(".part")
    part.write_text(json.dumps(pins, indent=2, sort_keys=True))
    os.replace(part, _pins_path())


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """One process at a time; the system drops the lock of a process that dies."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        try:
            import fcntl
        except ImportError:  # Windows: two downloads at once are left to the checksum
            yield
            return
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
