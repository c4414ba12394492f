"""The page driven in a headless Chromium: drop, compare, tune, choose, save; nothing leaves."""

import ipaddress
import socket
import time

import pytest

from restore.images.files import read_photo
from restore.images.metadata import AI_COMPOSITE
from restore.images.xmp import digital_source_type
from tests.browser import complaints, open_browser, requested
from tests.ui.parts import restorer_with_two_faces, save_photo

pytestmark = pytest.mark.slow
PATIENCE = 60  # seconds; on two busy cores gradio's page takes ten


def wait(what, seconds=PATIENCE):
    """The first truthy answer of `what()`; elements that are replaced meanwhile are asked anew."""
    from selenium.common.exceptions import WebDriverException

    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if found := what():
                return found
        except (WebDriverException, IndexError):
            pass
        time.sleep(0.1)
    raise AssertionError("it did not happen in time")


@pytest.fixture
def peers(monkeypatch):
    """The addresses that Python connects to."""
    seen = []
    connect = socket.socket.connect

    def noted(self, address):
        seen.append(address)
        return connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", noted)
    return seen


def test_from_drop_to_save(tmp_path, peers):
    pytest.importorskip("gradio", reason="no gradio (pip install .[ui])")
    from restore.ui.server import serve

    restorer = restorer_with_two_faces()
    good = save_photo(tmp_path / "good photo.jpg")
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"\x89PNG no image")
    downloads = tmp_path / "downloads"
    with open_browser() as browser, serve(restorer) as address:
        browser.execute_cdp_cmd(
            "Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(downloads)}
        )

        def find(selector):
            return browser.find_elements("css selector", selector)

        def statuses():
            return [e.text for e in find("#faces .face .status")]

        browser.get(address)
        wait(lambda: find("#drop input[type=file]"))
        assert "plausible, not evidence" in browser.page_source
        find("#drop input[type=file]")[0].send_keys(f"{good}\n{broken}")

        # faces are found, numbered, and have cards
        wait(lambda: len(statuses()) == 2)
        assert [tag.text for tag in find("#photo .tag")] == ["1", "2"]
        assert find("#photo .tag")[0].is_displayed()
        first = find("#photo .after")[0].get_attribute("src")
        find("#boxes input")[0].click()
        assert not find("#photo .tag")[0].is_displayed()

        # before and after
        slider = find("#photo .compare input")[0]
        browser.execute_script("arguments[0].focus()", slider)
        slider.send_keys("\ue014" * 10)  # arrow right
        assert cut(browser) == pytest.approx(55)

        # fidelity: the network runs again, the faces are not looked for again
        dial = find("#fidelity input[type=number]")[0]
        browser.execute_script("arguments[0].select()", dial)
        dial.send_keys("0.5\t")
        wait(lambda: restorer.runtime.dials[-1] == [0.5, 0.5])
        wait(lambda: find("#photo .after")[0].get_attribute("src") != first)
        assert restorer.detector.looks == 1
        assert cut(browser) == pytest.approx(55)  # the slider stays where it was

        # a face is left out
        find("#chosen input")[1].click()
        wait(lambda: statuses()[1:] == ["skipped"])
        assert "it was not chosen" in find("#faces")[0].text
        find("#chosen input")[1].click()
        wait(lambda: statuses()[1:] != ["skipped"])

        # what cannot be read is said in the page
        find("#which input")[0].click()
        wait(lambda: [o for o in find("[role=option]") if "broken" in o.text])[0].click()
        wait(lambda: "broken.png" in find("#message .problem")[0].text)
        find("#which input")[0].click()
        wait(lambda: [o for o in find("[role=option]") if "good" in o.text])[0].click()
        wait(lambda: len(statuses()) == 2)
        assert find("#message .problem") == []

        find("#save")[0].click()
        wait(lambda: "Saved" in find("#message .done")[0].text)
        path = wait(lambda: list(downloads.glob("*.jpg")))[0]
        asked = requested(browser)
        assert complaints(browser) == []
    assert asked
    assert [url for url in asked if not url.startswith(address.partition("?")[0])] == []
    hosts = {a[0] for a in peers if isinstance(a, tuple)}
    assert all(ipaddress.ip_address(host).is_loopback for host in hosts - {"localhost"})
    saved = read_photo(path)
    assert saved.size == (440, 240)
    assert b"Leica" in saved.metadata.exif
    assert digital_source_type(saved.metadata.xmp) == AI_COMPOSITE


def cut(browser) -> float:
    """Where the slider of the photo stands, in %."""
    script = "return document.querySelector('#photo .compare').style.getPropertyValue('--cut')"
    return float(browser.execute_script(script).rstrip("%"))
