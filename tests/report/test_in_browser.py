"""The page in a headless Chromium: slider by mouse and key, filters, dark mode, no request."""

import pytest

from restore.report.page import ReportPage
from tests.browser import complaints, open_browser, requested
from tests.report.photos import failed_record, record_of, restored_photo

NASTY = "<img src=x onerror='window.hacked=1'>.png"


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "report.html"
    photo, result = restored_photo(faces=2, side=300)
    with ReportPage(path, {"model": "default"}, 3) as page:
        page.add(record_of(result, "a.png"), photo, result)
        page.add(record_of(result, NASTY), photo, result)
        page.add(failed_record("c.png", "is no image"), None, None)
    with open_browser() as browser:
        browser.get(path.as_uri())
        browser.address = path.as_uri()
        yield browser


def cut(browser) -> float:
    """Where the first slider stands, in % of the width: as drawn, not as asked for."""
    script = (
        "const box = document.querySelector('.compare');"
        "return getComputedStyle(box.querySelector('.before')).clipPath"
    )
    clip = browser.execute_script(script)  # inset(0px calc(100% - 50%) 0px 0px), or its value
    inner = clip.partition(" ")[2].split("%")
    right = float(inner[0]) if "calc" not in clip else 100 - float(inner[1].split("-")[1])
    return 100 - right


def test_the_slider_moves_by_key_and_by_mouse(browser):
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys

    slider = browser.find_element("css selector", ".compare input")
    assert slider.get_attribute("aria-label") == "Before and after: a.png"
    assert cut(browser) == pytest.approx(50)
    browser.execute_script("arguments[0].focus()", slider)
    slider.send_keys(*[Keys.ARROW_RIGHT] * 4)
    assert cut(browser) == pytest.approx(52)
    slider.send_keys(Keys.HOME)
    assert cut(browser) == pytest.approx(0)
    width = slider.size["width"]
    ActionChains(browser).move_to_element(slider).click().perform()
    assert cut(browser) == pytest.approx(50, abs=2)
    drag = ActionChains(browser).click_and_hold(slider).move_by_offset(width // 4, 0).release()
    drag.perform()
    assert cut(browser) == pytest.approx(75, abs=3)


def test_it_is_used_by_keyboard(browser):
    from selenium.webdriver.common.keys import Keys

    seen = []
    browser.get(browser.address)
    for _ in range(12):
        active = browser.switch_to.active_element
        seen.append(active.get_attribute("aria-label") or active.text)
        active.send_keys(Keys.TAB)
    for control in ("Problems", "Find a file by its name", "Before and after: a.png"):
        assert control in seen


def test_filters_and_face_numbers(browser):
    def shown():
        photos = browser.find_elements("css selector", ".photo")
        return [p.get_attribute("data-name") for p in photos if p.is_displayed()]

    assert shown() == ["a.png", NASTY, "c.png"]
    browser.find_element("css selector", "[data-only=bad]").click()
    assert shown() == ["c.png"]
    browser.find_element("css selector", "[data-only='']").click()
    find = browser.find_element("id", "find")
    find.send_keys("A.PNG")
    assert shown() == ["a.png"]
    find.clear()
    find.send_keys("p")
    tag = browser.find_element("css selector", ".tag")
    assert not tag.is_displayed()
    browser.find_element("id", "boxes").click()
    assert tag.is_displayed()
    assert tag.text == "1"


def test_it_is_dark_where_the_reader_wants_it_dark(browser):
    def paper(scheme):
        feature = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", feature)
        colour = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
        return [int(v) for v in colour.strip("rgb()").split(",")]

    assert max(paper("dark")) < 60
    assert min(paper("light")) > 200


def test_it_asks_for_nothing_and_runs_nothing_of_a_file_name(browser):
    browser.get(browser.address)
    assert set(requested(browser)) == {browser.address}
    assert complaints(browser) == []
    assert browser.execute_script("return window.hacked") is None
    pictures = "return [...document.images].every(i => i.complete && i.naturalWidth > 0)"
    assert browser.execute_script(pictures)
