"""The page under attack: other hosts, other sites, no token, addresses to fetch, large bodies."""

import asyncio
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from restore.ui.privacy import POLICY, LocalOnly
from restore.ui.server import page_folder
from tests.ui.parts import restorer_with_two_faces, save_photo

TOKEN = "the-token"
HOME = (b"host", b"127.0.0.1:7860")
COOKIE = (b"cookie", b"other=1; restore_7860=the-token")


def ask(*headers, path="/config", query=b"", method="GET", body=b"", most=100):
    """Status and headers of an answer, and how much of the body the page was given."""
    sent, given = [], []

    async def app(scope, receive, send):
        message = await receive()
        given.append(len(message.get("body", b"")))
        await send({"type": "http.response.start", "status": 200, "headers": [(b"a", b"b")]})
        await send({"type": "http.response.body", "body": b"page"})

    async def send(message):
        sent.append(message)

    async def receive():
        return {"type": "http.request", "body": body}

    scope = {"type": "http", "method": method, "path": path, "query_string": query,
             "headers": list(headers)}  # fmt: skip
    asyncio.run(LocalOnly(app, TOKEN, most)(scope, receive, send))
    return sent[0]["status"], dict(sent[0]["headers"]), sum(given)


def test_the_page_itself_is_answered_with_the_policy():
    status, headers, _ = ask(HOME, COOKIE, (b"origin", b"http://127.0.0.1:7860"))
    assert status == 200
    assert headers[b"a"] == b"b"
    assert headers[b"content-security-policy"].decode() == POLICY
    assert "http" not in POLICY.replace("https", "http").replace("'self'", "")
    local = ask((b"host", b"localhost:7860"), COOKIE)
    assert local[0] == 200


def test_the_address_sets_the_token_once():
    status, headers, _ = ask(HOME, path="/", query=b"token=the-token")
    assert (status, headers[b"location"]) == (303, b"/")
    assert headers[b"set-cookie"].startswith(b"restore_7860=the-token;")
    assert b"HttpOnly" in headers[b"set-cookie"]
    assert b"SameSite=Strict" in headers[b"set-cookie"]
    assert ask(HOME, path="/", query=b"token=guessed")[0] == 401


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ([(b"host", b"evil.example:7860"), COOKIE], 421),
        ([(b"host", b"127.0.0.1.evil.example:80"), COOKIE], 421),
        ([(b"host", b"127.0.0.1@x:1"), COOKIE], 421),
        ([COOKIE], 421),
        ([HOME, COOKIE, (b"origin", b"http://evil.example")], 403),
        ([HOME, COOKIE, (b"origin", b"null")], 403),
        ([HOME, COOKIE, (b"origin", b"http://127.0.0.1:7861")], 403),
        ([HOME, COOKIE, (b"sec-fetch-site", b"cross-site")], 403),
        ([HOME, COOKIE, (b"sec-fetch-site", b"same-site")], 403),
        ([HOME], 401),
        ([HOME, (b"cookie", b"restore_7860=guessed")], 401),
        ([HOME, (b"cookie", b"restore_7861=the-token")], 401),
        ([HOME, COOKIE, (b"content-length", b"101")], 413),
        ([HOME, COOKIE, (b"content-length", b"many")], 413),
    ],
)
def test_all_others_are_refused_on_every_route(headers, status):
    for path in ("/", "/config", "/gradio_api/upload", "/gradio_api/file=/tmp/a", "/assets/x.js"):
        for method in ("GET", "POST", "HEAD"):
            assert ask(*headers, path=path, method=method)[0] == status


def test_bodies_are_bounded_also_where_their_length_is_not_said():
    assert ask(HOME, COOKIE, method="POST", body=bytes(100))[2] == 100
    assert ask(HOME, COOKIE, method="POST", body=bytes(101))[2] == 0


@pytest.mark.parametrize("path", ["/gradio_api/file=http://127.0.0.1:9/", "/gradio_api/proxy=x",
    "/gradio_api/file=http%3A%2F%2F127.0.0.1", "/gradio_api/file=HTTP:/x"])  # fmt: skip
def test_routes_that_fetch_are_closed(path):
    assert ask(HOME, COOKIE, path=path)[0] == 403


def test_photos_of_a_page_that_was_killed_are_cleared_away(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    code = (
        "import os, sys, tempfile; tempfile.tempdir = sys.argv[1]\n"
        "from restore.ui.server import page_folder\n"
        "with page_folder() as folder:\n    (folder / 'photo.jpg').write_text('x'); os._exit(9)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path)]).returncode == 9
    assert len(list(tmp_path.rglob("photo.jpg"))) == 1
    with page_folder() as folder:
        assert list(tmp_path.rglob("photo.jpg")) == []
        assert folder.stat().st_mode & 0o077 == 0
        with page_folder() as other:  # a second page beside it stays
            assert other != folder
        assert folder.is_dir()
    assert list(tmp_path.iterdir()) == []
    (tmp_path / f"restore-ui-{os.getuid()}").symlink_to("/")
    with page_folder() as folder:
        assert folder.parent.parent == tmp_path


@contextmanager
def listening():
    """A host that is not ours: its address, and the connections it got."""
    got = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.1)
        stop = threading.Event()

        def take():
            while not stop.is_set():
                try:
                    connection, _ = server.accept()
                except TimeoutError:
                    continue
                got.append(connection.recv(100))
                connection.close()

        thread = threading.Thread(target=take)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}/photo.png", got
        time.sleep(0.3)
        stop.set()
        thread.join()


def fetch(address, method, path, headers=(), body=None):
    parts = urlsplit(address)
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=20)
    connection.request(method, path, body, dict(headers))
    answer = connection.getresponse()
    return answer.status, answer.read(), answer.headers


def test_the_real_page_plays_with_nobody_else(tmp_path):
    pytest.importorskip("gradio", reason="the extra ui is not installed")
    from restore.ui.server import serve

    with listening() as (elsewhere, got), serve(restorer_with_two_faces()) as address:
        parts = urlsplit(address)
        assert fetch(address, "GET", "/")[0] == 401
        status, _, headers = fetch(address, "GET", f"/?{parts.query}")
        assert status == 303
        cookie = headers["set-cookie"].partition(";")[0]
        own = {"Cookie": cookie, "Origin": f"http://{parts.netloc}"}
        status, page, headers = fetch(address, "GET", "/", own)
        assert status == 200
        assert b"masthead" in page or b"gradio" in page
        assert headers["content-security-policy"] == POLICY
        config = json.loads(fetch(address, "GET", "/config", own)[1])

        photo = save_photo(tmp_path / "a.jpg").read_bytes()
        body = (b'--b\r\nContent-Disposition: form-data; name="files"; filename="a.jpg"\r\n\r\n'
                + photo + b"\r\n--b--\r\n")  # fmt: skip
        form = {"Content-Type": "multipart/form-data; boundary=b"}
        foreign = {"Cookie": cookie, "Origin": "http://evil.example"}
        assert fetch(address, "POST", "/gradio_api/upload", foreign | form, body)[0] == 403
        status, told, _ = fetch(address, "POST", "/gradio_api/upload", own | form, body)
        assert status == 200
        (kept,) = json.loads(told)
        assert Path(kept).read_bytes() == photo

        for path in (f"/gradio_api/file={elsewhere}", f"/gradio_api/proxy={elsewhere}"):
            for method in ("GET", "HEAD"):
                assert fetch(address, method, path, own)[0] == 403
        for number in range(len(config["dependencies"])):
            file = {"path": elsewhere, "url": elsewhere, "meta": {"_type": "gradio.FileData"}}
            event = {"fn_index": number, "session_hash": "s", "data": [[file], elsewhere] * 6}
            fetch(address, "POST", "/gradio_api/queue/join",
                  own | {"Content-Type": "application/json"}, json.dumps(event))  # fmt: skip
        fetch_until = time.monotonic() + 2
        while time.monotonic() < fetch_until and not got:
            time.sleep(0.1)
    assert got == []
    assert not Path(kept).exists()


def test_the_program_connects_to_nobody_and_clears_up_when_its_terminal_goes(tmp_path):
    code = (
        "import socket\nfrom restore.ui.privacy import stay_inside\nstay_inside()\n"
        "for host in ('192.0.2.1', 'example.invalid'):\n"
        "    try:\n        socket.create_connection((host, 80), 1)\n"
        "    except PermissionError as error:\n        print('stopped')\n"
        "a = socket.create_server(('127.0.0.1', 0))\n"
        "socket.create_connection(a.getsockname()).close(); print('home')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.count("stopped") == 2, done.stderr
    assert "home" in done.stdout

    pytest.importorskip("gradio", reason="the extra ui is not installed")
    command = [sys.executable, "-m", "restore", "ui", "--no-browser"]
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    assert "the page is at http://127.0.0.1:" in process.stderr.readline()
    assert list(tmp_path.glob("restore-ui-*/*"))
    process.send_signal(signal.SIGHUP)
    process.communicate(timeout=60)
    assert list(tmp_path.glob("restore-ui-*/*")) == []
