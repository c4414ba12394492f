"""Downloads from a server of our own on 127.0.0.1: verified, atomic, resumed, pinned, offline."""

import hashlib
import http.server
import json
import os
import threading
import urllib.request
from typing import ClassVar

import pytest

from restore.checkpoints import named_models
from restore.checkpoints.named_models import (
    MODELS,
    ModelEntry,
    cache_folder,
    download_model,
    fetch,
    file_sha256,
    locate_model,
)
from restore.errors import CheckpointError

CONTENT = bytes(range(256)) * 4000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Server(http.server.BaseHTTPRequestHandler):
    """Serves `content` with an ETag and ranges; `cut` breaks the next answer off there."""

    content = CONTENT
    cut = None
    requests: ClassVar[list] = []

    def do_GET(self):
        cls = type(self)
        asked = self.headers.get("Range")
        cls.requests.append(asked)
        if self.path.startswith("/to/"):
            self.send_response(302)
            self.send_header("Location", self.path.removeprefix("/to/"))
            self.end_headers()
            return
        if self.path != "/net.pth":
            self.send_error(404)
            return
        tag = f'"{hashlib.md5(cls.content).hexdigest()}"'
        body, start = cls.content, 0
        if asked and self.headers.get("If-Range") == tag:
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
            if start >= len(body):
                self.send_error(416)
                return
            body = body[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", tag)
        self.end_headers()
        if cls.cut is not None:
            body, cls.cut = body[: cls.cut], None
        self.wfile.write(body)

    def log_message(self, *args):
        pass


@pytest.fixture
def server():
    handler = type("Handler", (Server,), {"requests": []})
    http_server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=http_server.serve_forever, daemon=True)
    thread.start()
    handler.url = f"http://127.0.0.1:{http_server.server_port}/net.pth"
    yield handler
    http_server.shutdown()
    http_server.server_close()


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("RESTORE_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def enter(monkeypatch, url, sha256=None):
    entry = ModelEntry("net.pth", "none", url=url, sha256=sha256)
    monkeypatch.setitem(named_models.MODELS, "test-net", entry)


def test_fetch_verifies_and_leaves_one_file(server, tmp_path):
    seen = []
    digest = fetch(server.url, tmp_path / "net.pth", SHA256, lambda *p: seen.append(p))
    assert digest == SHA256 and (tmp_path / "net.pth").read_bytes() == CONTENT
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert [p.name for p in tmp_path.iterdir()] == ["net.pth"]


def test_wrong_checksum_leaves_nothing(server, tmp_path):
    with pytest.raises(CheckpointError, match=f"has SHA-256 {SHA256}, expected {'0' * 64}"):
        fetch(server.url, tmp_path / "net.pth", "0" * 64)
    assert not list(tmp_path.iterdir())


def test_a_broken_download_is_resumed(server, tmp_path):
    server.cut = 300_000
    with pytest.raises(CheckpointError, match="run it again to go on"):
        fetch(server.url, tmp_path / "net.pth", SHA256)
    assert not (tmp_path / "net.pth").exists()
    fetch(server.url, tmp_path / "net.pth", SHA256)
    assert server.requests == [None, "bytes=300000-"]
    assert file_sha256(tmp_path / "net.pth") == SHA256


def test_a_changed_file_is_not_glued_to_the_old_part(server, tmp_path):
    server.cut = 300_000
    with pytest.raises(CheckpointError):
        fetch(server.url, tmp_path / "net.pth", None)
    server.content = CONTENT[::-1]
    fetch(server.url, tmp_path / "net.pth", None)
    assert (tmp_path / "net.pth").read_bytes() == CONTENT[::-1]


def test_a_part_that_is_already_whole_starts_again(server, tmp_path):
    (tmp_path / "net.pth.part").write_bytes(CONTENT)
    (tmp_path / "net.pth.part.tag").write_text(f'"{hashlib.md5(CONTENT).hexdigest()}"')
    fetch(server.url, tmp_path / "net.pth", SHA256)
    assert server.requests == [f"bytes={len(CONTENT)}-", None]


def test_errors_of_the_server_and_the_address(server, tmp_path):
    with pytest.raises(CheckpointError, match="answers 404"):
        fetch(server.url + "x", tmp_path / "net.pth", None)
    with pytest.raises(CheckpointError, match="Only http"):
        fetch("file:///etc/passwd", tmp_path / "net.pth", None)
    assert not (tmp_path / "net.pth").exists()


def test_redirects_stay_with_http(server, tmp_path):
    base = server.url.removesuffix("net.pth")
    fetch(f"{base}to/{server.url}", tmp_path / "net.pth", SHA256)
    for elsewhere in ("ftp://127.0.0.1/net.pth", "FTP://127.0.0.1/a", "file:///etc/passwd"):
        with pytest.raises(CheckpointError, match=r"which is not followed|is not allowed"):
            fetch(f"{base}to/{elsewhere}", tmp_path / "other.pth", None)
    assert [path.name for path in tmp_path.iterdir()] == ["net.pth"]
    down = urllib.request.Request("https://127.0.0.1/net.pth")
    with pytest.raises(CheckpointError, match="expected another https"):
        named_models._SameKind().redirect_request(down, None, 302, "Found", {}, server.url)


@pytest.mark.parametrize("known", [True, False])
def test_a_cached_model_is_checked_again(server, home, monkeypatch, known):
    enter(monkeypatch, server.url, SHA256 if known else None)
    path = download_model("test-net")
    assert locate_model("test-net") == path
    reads = []
    monkeypatch.setattr(
        named_models, "file_sha256", lambda file: reads.append(file) or file_sha256(file)
    )
    assert locate_model("test-net") == path
    assert reads == []  # unchanged since it was found good
    path.write_bytes(CONTENT[:-1] + b"x")
    os.utime(path, ns=(1, 1))
    for find in (locate_model, download_model):
        with pytest.raises(CheckpointError, match="fetch it again with: restore download test-net"):
            find("test-net")


def test_unknown_checksum_is_pinned_on_first_download(server, home, monkeypatch):
    enter(monkeypatch, server.url)
    path = download_model("test-net")
    assert json.loads((home / "pins.json").read_text()) == {"test-net": SHA256}
    assert locate_model("test-net") == path
    download_model("test-net")
    assert len(server.requests) == 1  # what is there is not fetched again
    path.unlink()
    server.content = CONTENT[::-1]
    with pytest.raises(CheckpointError, match=f"expected {SHA256}"):
        download_model("test-net")
    assert not path.exists()


def test_offline_and_missing(server, home, monkeypatch):
    enter(monkeypatch, server.url, SHA256)
    with pytest.raises(CheckpointError, match="--offline forbids"):
        download_model("test-net", offline=True)
    with pytest.raises(CheckpointError, match="restore download test-net"):
        locate_model("test-net")
    assert server.requests == [] and not home.exists()


def test_damaged_pins_are_reported(server, home, monkeypatch):
    enter(monkeypatch, server.url)
    home.mkdir()
    (home / "pins.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"pins\.json is damaged"):
        download_model("test-net")


def test_cache_folder(monkeypatch, tmp_path):
    monkeypatch.delenv("RESTORE_HOME", raising=False)
    monkeypatch.setattr(named_models.sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "restore"
    monkeypatch.setenv("RESTORE_HOME", str(tmp_path / "mine"))
    assert cache_folder() == tmp_path / "mine"


def test_the_table_is_sound():
    for name, entry in MODELS.items():
        assert entry.packaged != (entry.url is not None), name
        if entry.url is not None:
            assert entry.url.startswith("https://") and entry.url.endswith(entry.filename)
            assert entry.sha256 is None or (len(entry.sha256) == 64 and int(entry.sha256, 16))
        assert entry.licence
