"""Nothing is sent anywhere and nothing is left behind: the main job, the page, a training.

Each runs in a process of its own with a home of its own. Python tells of its connects by an audit
hook; strace, where it is installed, of those that libraries make below Python.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.training.tiny import crops, loss_networks

ROOT = Path(__file__).resolve().parents[1]
HOOK = """
import os, sys
def watch(event, arguments):
    if event == "socket.getaddrinfo":
        told = [str(arguments[0])]
    elif event in ("socket.connect", "socket.sendto") and isinstance(arguments[1], tuple):
        told = [str(arguments[1][0])]
    else:
        return
    with open(os.environ["CONNECTS"], "a") as file:
        file.write("\\n".join(told) + "\\n")
sys.addaudithook(watch)
"""
MAIN_JOB = """
from restore.commands.tree import main
assert main(sys.argv[1:]) == 0
"""
PAGE = """
import http.client
from urllib.parse import urlsplit
from restore.pipeline.options import ModelOptions
from restore.pipeline.restorer import load_restorer
from restore.ui.server import serve
restorer = load_restorer(ModelOptions())
with serve(restorer) as address:
    parts = urlsplit(address)
    def ask(method, path, headers={}, body=None):
        connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=60)
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        return answer.status, answer.read(), answer.headers
    cookie = ask("GET", f"/?{parts.query}")[2]["set-cookie"].partition(";")[0]
    own = {"Cookie": cookie, "Origin": f"http://{parts.netloc}"}
    assert ask("GET", "/", own)[0] == 200
    with open(sys.argv[1], "rb") as file:
        photo = file.read()
    body = (b'--b\\r\\nContent-Disposition: form-data; name="files"; filename="a.jpg"\\r\\n\\r\\n'
            + photo + b"\\r\\n--b--\\r\\n")
    form = own | {"Content-Type": "multipart/form-data; boundary=b"}
    assert ask("POST", "/gradio_api/upload", form, body)[0] == 200
    assert restorer.restore(sys.argv[1], scale=1).faces
import huggingface_hub
"""
TRAINING = """
from restore.commands.tree import run_verb
assert run_verb("train", sys.argv[1:]) == 0
assert "tensorboard" in sys.modules
"""
LOCAL = ("127.0.0.1", "localhost", "::1", "0.0.0.0", "None", "")


def watched(code: str, arguments: list[str], room: Path, seconds: float = 300) -> None:
    """Run `code` in a home of its own; AssertionError where it connects out or leaves a file."""
    home, temporary = room / "home", room / "temporary"
    home.mkdir()
    temporary.mkdir()
    told, traced = room / "connects", room / "trace"
    kept = ("PATH", "LANG", "LD_LIBRARY_PATH", "SYSTEMROOT")
    environment = {name: os.environ[name] for name in kept if name in os.environ} | {
        "HOME": str(home), "TMPDIR": str(temporary), "PYTHONPATH": str(ROOT),
        "PYTHONDONTWRITEBYTECODE": "1", "CONNECTS": str(told), "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    command = [sys.executable, "-c", HOOK + code, *arguments]
    if shutil.which("strace"):
        watch = ["strace", "-f", "-qq", "--seccomp-bpf", "-e", "trace=connect,sendto,sendmsg"]
        command = [*watch, "-o", str(traced), *command]
    done = subprocess.run(
        command, env=environment, cwd=room, capture_output=True, text=True, timeout=seconds
    )
    assert done.returncode == 0, done.stderr[-3000:]
    python = told.read_text().split("\n") if told.exists() else []
    assert [host for host in python if host not in LOCAL] == []
    system = traced.read_text() if traced.exists() else ""
    addresses = re.findall(r'inet_addr\("([^"]+)"\)|inet_pton\(AF_INET6, "([^"]+)"', system)
    assert [a or b for a, b in addresses if (a or b) not in LOCAL] == []
    # torch makes an empty folder for what it compiles, beside other programs' temporary files.
    left = [*home.rglob("*"), *temporary.rglob("*")]
    assert [str(p) for p in left if not p.name.startswith("torchinductor_")] == []


def test_the_trace_sees_a_connect(tmp_path):
    """Of a host that cannot exist, and an address that no network routes."""
    code = (
        "import socket\ntry: socket.create_connection(('192.0.2.1', 9), 0.2)\nexcept OSError: pass"
    )
    with pytest.raises(AssertionError, match=r"192\.0\.2\.1"):
        watched(code, [], tmp_path)
    (tmp_path / "b").mkdir()
    with pytest.raises(AssertionError, match="note"):
        watched("open(os.path.expanduser('~/note'), 'w').close()", [], tmp_path / "b")


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_the_main_job(tmp_path, backend):
    pytest.importorskip(backend, reason=f"the extra {backend} is not installed")
    photo = str(ROOT / "samples" / "snapshot.jpg")
    words = ["-i", photo, "-o", "out", "-s", "1", "--report", "--backend", backend]
    watched(MAIN_JOB, words, tmp_path)
    record = json.loads((tmp_path / "out" / "results.jsonl").read_text("utf-8"))
    assert record["status"] == "restored"


def test_the_page(tmp_path):
    pytest.importorskip("gradio", reason="the extra ui is not installed")
    watched(PAGE, [str(ROOT / "samples" / "snapshot.jpg")], tmp_path)


def test_a_training(tmp_path):
    pytest.importorskip("tensorboard", reason="the extra train is not installed")
    folder = tmp_path / "datasets" / "tiny"
    folder.mkdir(parents=True)
    crops(folder, size=64)
    loss_networks(folder)
    force = ["train:total_iter=1", "logger:use_tb_logger=true",
             "train:perceptual_opt:heads_path=datasets/tiny/heads.pth"]  # fmt: skip
    words = ["-opt", str(ROOT / "options" / "tiny_cpu.yml"), "--force_yml", *force]
    watched(TRAINING, words, tmp_path)
    assert list(tmp_path.rglob("events.out.tfevents.*"))
