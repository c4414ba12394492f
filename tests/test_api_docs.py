"""docs/api.md and docs/examples are true: code blocks run, every field is named, the apps work."""

import json
import re
import threading
from dataclasses import fields
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

import restore
from restore.errors import CancelledError
from restore.images.files import decode_photo, read_photo
from restore.images.xmp import digital_source_type
from restore.pipeline.restorer import Restorer
from tests.ui.parts import restorer_with_two_faces, save_photo

DOCS = Path(__file__).resolve().parents[1] / "docs"
API = (DOCS / "api.md").read_text("utf-8")


@pytest.fixture
def photo(tmp_path, monkeypatch):
    """A working folder with grandma.jpg, and a fake where a restorer is loaded."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(DOCS / "examples")
    monkeypatch.setattr(Restorer, "load", lambda **options: restorer_with_two_faces())
    return save_photo(tmp_path / "grandma.jpg")


def test_the_code_of_the_page_runs(photo, capsys):
    pytest.importorskip("torch")
    names: dict = {}
    blocks = re.findall(r"```python\n(.*?)```", API, re.DOTALL)
    assert len(blocks) >= 5
    for block in blocks:
        exec(compile(block, "docs/api.md", "exec"), names)
    assert read_photo("grandma_restored.jpg").size == (440, 240)
    assert "2 of 2" in capsys.readouterr().out


@pytest.mark.parametrize(
    "kind", [restore.RestoredPhoto, restore.RestoredFace, restore.TrustOptions, restore.FaceChoice]
)
def test_every_field_is_on_the_page(kind):
    assert [f.name for f in fields(kind) if f"`{f.name}`" not in API] == []


def test_photo_app(photo, capsys):
    app = import_module("photo_app")
    assert app.main(["grandma.jpg", "out.jpg"]) == 0
    said = capsys.readouterr().out
    assert "2 of 2 faces" in said
    assert "face 2: " in said
    assert read_photo("out.jpg").size == (440, 240)
    assert app.main(["none.jpg", "out.jpg"]) == 1
    assert app.main([]) == 2


def test_photo_app_stops(photo):
    app = import_module("photo_app")
    started, go_on = threading.Event(), threading.Event()

    def wait(done, total):
        started.set()
        go_on.wait(10)

    restorer = restorer_with_two_faces()
    restorer.max_batch = 1
    tasks = app.PhotoApp(restorer)
    task = tasks.restore(photo, wait, fidelity=None)
    started.wait(10)
    assert not task.done
    task.cancel()
    go_on.set()
    with pytest.raises(CancelledError):
        task.result(10)
    assert task.done
    tasks.close()


def test_fastapi_app(photo, monkeypatch):
    pytest.importorskip("fastapi", reason="no fastapi")
    pytest.importorskip("httpx", reason="no httpx, which FastAPI's test client needs")
    from fastapi.testclient import TestClient

    app = import_module("fastapi_app")
    with TestClient(app.create_app(restorer_with_two_faces())) as client:
        assert client.get("/health").json()["status"] == "ok"
        answer = client.post(
            "/restore?scale=2&fidelity=0.5",
            content=photo.read_bytes(),
            headers={"content-type": "image/png"},
        )
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "image/png"
        restored = decode_photo(answer.content)
        assert restored.size == (440, 240)
        assert b"Leica" in restored.metadata.exif
        assert digital_source_type(restored.metadata.xmp) is not None
        told = json.loads(answer.headers["x-restore-report"])
        assert len(told["faces"]) == 2
        plain = restorer_with_two_faces().restore(photo, scale=2, fidelity=0.5)
        assert np.array_equal(restored.pixels, plain.image)
        wrong = client.post("/restore", content=b"no photo")
        assert (wrong.status_code, "no image" in wrong.json()["detail"]) == (422, True)
        assert client.post("/restore?scale=9", content=b"").status_code == 422
        monkeypatch.setattr(app, "MAX_BYTES", 100)
        assert client.post("/restore", content=photo.read_bytes()).status_code == 413
