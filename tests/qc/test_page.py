"""The page in a browser: every key, marks that stay, exports, and ten thousand results."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from helpers.views import cord, view_of

from deepseg_lite.bundles.review import Expected, Review
from deepseg_lite.qc.entry import Place, write_entry
from deepseg_lite.qc.report import build_page, read_entries
from deepseg_lite.qc.rules import judge
from deepseg_lite.qc.serving import served

webdriver = pytest.importorskip("selenium.webdriver", reason="needs selenium and Chromium")
CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="needs Chromium and its driver")

CORD = Expected(pieces=1, continuous=True)
FRAMES = """
const done = arguments[0], box = document.getElementById("scroll"), times = [];
let last = performance.now(), count = 0;
function step() {
  const now = performance.now(); times.push(now - last); last = now;
  box.scrollTop += 2000;
  if (++count < 100) requestAnimationFrame(step); else done(times.sort((a, b) => a - b));
}
requestAnimationFrame(step);
"""
WORK = """
const box = document.getElementById("scroll"), times = [];
for (let count = 0; count < 100; count++) {
  const begun = performance.now();
  box.scrollTop = 2000 * count;
  drawRows();
  document.getElementById("rows").getBoundingClientRect();
  times.push(performance.now() - begun);
}
return times.sort((a, b) => a - b);
"""
COLORS = """
const styles = getComputedStyle(document.documentElement);
return Object.fromEntries(arguments[0].map(name => [name, styles.getPropertyValue("--" + name)]));
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with three results: a good one, a doubtful one, an empty one."""
    folder = tmp_path_factory.mktemp("qc")
    good, doubtful = cord((8, 40, 40)), cord((8, 40, 40))
    doubtful[3] = 0
    cases = (("sub-01", good, "seg"), ("sub-02", doubtful, "lesion"), ("sub-03", good * 0, "seg"))
    for subject, labels, kind in cases:
        view, review = view_of(labels, {"sc": (1,)}, image=good + 1.0), Review(kind=kind)
        verdict = judge(view, Review(structures={"sc": CORD}), ())
        path = Path("/data/ds") / subject / "anat" / "t2.nii.gz"
        place = Place(folder)
        write_entry(place, path, [], view, verdict, review, task=kind, command="deepseg-lite")
    build_page(folder)
    return folder


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    downloads = tmp_path_factory.mktemp("downloads")
    options = webdriver.ChromeOptions()
    for word in ("--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1400,900"):
        options.add_argument(word)
    options.binary_location = CHROMIUM
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    prefs = {
        "download.default_directory": str(downloads),
        "profile.default_content_setting_values.automatic_downloads": 1,
    }
    options.add_experimental_option("prefs", prefs)
    driver = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
    driver.downloads = downloads
    yield driver
    driver.quit()


class Page:
    """Page in a browser."""

    def __init__(self, browser: Any, path: Path) -> None:
        self.browser = browser
        browser.get(path.as_uri())

    def keys(self, *keys: str) -> None:
        """Press keys, one after another."""
        for key in keys:
            self.browser.switch_to.active_element.send_keys(key)

    def text(self, name: str) -> str:
        """Return the text of an element."""
        return self.browser.find_element("id", name).text

    def run(self, script: str) -> Any:
        """Return what a script returns."""
        return self.browser.execute_script(f"return {script}")

    @property
    def chosen(self) -> str:
        """Return the subject of the chosen row."""
        return self.run("view.shown[view.at].subject")


@pytest.fixture
def page(browser: Any, folder: Path) -> Iterator[Page]:
    page = Page(browser, folder / "index.html")
    page.run("localStorage.clear()")
    page = Page(browser, folder / "index.html")
    yield page
    severe = [entry for entry in browser.get_log("browser") if entry["level"] != "INFO"]
    assert severe == []
    sent = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    urls = [
        message["params"]["request"]["url"]
        for message in sent
        if message["method"] == "Network.requestWillBeSent"
    ]
    assert [url for url in urls if url.split(":")[0] not in ("file", "data", "blob")] == []


def test_the_worst_verdict_comes_first_and_its_findings_are_told(page):
    assert page.run("view.shown.map(e => e.subject).join()") == "sub-02,sub-03,sub-01"
    page.keys("j")
    assert page.text("verdict") == "✗ fail"
    assert "fail, empty: the result is empty." in page.text("findings")
    assert "sc: none" in page.text("legend")
    assert page.run("[...document.images].every(i => i.complete && i.naturalWidth > 0)")
    assert (
        page.run("document.images[0].alt") == "axial view of t2.nii.gz, nothing found; verdict fail"
    )


def test_every_key_does_what_it_says(page):
    down, up, right = "\ue015", "\ue013", "\ue014"
    page.keys(down)
    assert page.chosen == "sub-03"
    page.keys(up, "j", "j", "k")
    assert page.chosen == "sub-03"
    page.keys("\ue010")
    assert page.chosen == "sub-01"
    page.keys("\ue011")
    assert page.chosen == "sub-02"
    page.keys(right)
    assert page.run("[...document.querySelectorAll('.stack img + img')].every(i => i.hidden)")
    page.keys(right)
    assert not page.run("[...document.querySelectorAll('.stack img + img')].some(i => i.hidden)")
    assert "outline_img.png" in page.run("document.images[1].src")
    page.keys("o")
    assert "filled_img.png" in page.run("document.images[1].src")
    wide = page.run("document.images[0].width")
    page.keys("d")
    assert page.run("document.images[0].width") != wide
    marks = "[markOf(view.shown[view.at]).qc, markOf(view.shown[view.at]).rank].join()"
    for expected in ("pass,", "fail,", "artifact,", ","):
        page.keys("f")
        assert page.run(marks) == expected
    for key, expected in (("!", "pass,"), ("@", "fail,"), ("#", "artifact,")):
        code = f"Digit{'!@#'.index(key) + 1}"
        event = json.dumps({"key": key, "code": code, "shiftKey": True, "bubbles": True})
        page.run(f"document.body.dispatchEvent(new KeyboardEvent('keydown', {event}))")
        assert page.run(marks) == expected
    page.keys("7")
    assert page.run(marks) == "artifact,7"
    page.keys("7")
    assert page.run(marks) == "artifact,"
    page.keys("/")
    assert page.run("document.activeElement.id") == "search"


def test_the_pictures_of_the_next_result_are_read_ahead(page, browser):
    asked: list[str] = []

    def has_asked(place: int) -> bool:
        log = browser.get_log("performance")
        sent = [json.loads(entry["message"])["message"] for entry in log]
        asked.extend(
            message["params"]["request"]["url"]
            for message in sent
            if message["method"] == "Network.requestWillBeSent"
        )
        folder = page.run(f"view.shown[{place}].pictures.axial.folder")
        return any(quote(folder) in url for url in asked)

    wait_for(lambda: has_asked(1))
    assert not has_asked(2)
    page.keys("j")
    wait_for(lambda: has_asked(2))


def test_slices_are_looked_at_one_by_one(page):
    page.keys("\ue007")
    assert page.run("document.getElementById('viewer').open")
    shown = page.browser.find_element("css selector", "#viewer p").text
    assert shown.startswith("t2.nii.gz, slice 0 (1 of ")
    page.keys("\ue015", "\ue015", "\ue013", "+", "]", "}", ",", "o", "\ue014")
    assert page.run("viewer.slice") == 1
    assert page.run("viewer.zoom") == pytest.approx(1.25)
    assert page.run("viewer.light") == pytest.approx(1.1)
    assert page.run("viewer.opacity") == pytest.approx(0.9)
    page.keys("\ue00c")
    assert not page.run("document.getElementById('viewer').open")


def test_marks_survive_a_reload_and_a_file(page, folder, browser):
    page.keys("f", "f", "5", "j", "f", "f", "f")
    assert page.text("count") == "3 of 3, 2 marked"
    again = Page(browser, folder / "index.html")
    assert again.run("Object.values(marks).map(m => m.qc + m.rank).sort().join()") == (
        "artifact,fail5"
    )
    path = downloaded(browser, lambda: browser.find_element("id", "save").click(), "marks.json")
    again.run("localStorage.clear()")
    fresh = Page(browser, folder / "index.html")
    assert fresh.run("Object.keys(marks).length") == 0
    browser.find_element("id", "file").send_keys(str(path))
    wait_for(lambda: fresh.run("Object.keys(marks).length") == 2)
    assert fresh.text("count") == "3 of 3, 2 marked"


def test_exports_can_be_read(page, browser, folder):
    page.keys("f", "f", "j", "f", "f", "f")

    def export(name: str) -> str:
        script = (
            f"(() => {{ document.getElementById('export').value = '{name}';"
            "document.getElementById('give').click(); })()"
        )
        return downloaded(browser, lambda: page.run(script), name).read_text(encoding="utf-8")

    assert export("qc_fail.yml") == "FILES_LESION:\n- /data/ds/sub-02/anat/t2.nii.gz\n"
    assert export("qc_artifact.yml") == "FILES_SEG:\n- /data/ds/sub-03/anat/t2.nii.gz\n"
    assert export("exclude.yml").count("- /data") == 2
    rows = [line.split("\t") for line in export("qc.tsv").splitlines()]
    assert len({len(row) for row in rows}) == 1
    assert [row[8] for row in rows[1:]] == ["", "fail", "artifact"]


def test_results_can_be_filtered_searched_and_sorted(page):
    page.keys("/")
    page.keys("sub-01")
    assert page.text("count") == "1 of 3"
    browser = page.browser
    browser.find_element("id", "search").clear()
    page.run(
        "(() => { const s = document.getElementById('level'); s.value = 'fail'; s.onchange(); })()"
    )
    assert page.text("count") == "2 of 3"
    page.run(
        "(() => { const s = document.getElementById('level'); s.value = ''; s.onchange(); })()"
    )
    browser.find_element("css selector", "#heads span:nth-child(2) button").click()
    assert page.run("view.shown.map(e => e.subject).join()") == "sub-01,sub-02,sub-03"
    browser.find_element("css selector", "#heads span:nth-child(2) button").click()
    assert page.run("view.shown.map(e => e.subject).join()") == "sub-03,sub-02,sub-01"


def test_ten_thousand_results_scroll(browser, folder, tmp_path):
    entries = read_entries(folder)
    (tmp_path / "js").mkdir()
    many = [{**entries[n % 3], "id": str(n), "subject": f"sub-{n:05}"} for n in range(10_000)]
    text = f"window.SCT_QC_UUID = 'many'; window.SCT_QC_DATASETS = {json.dumps(many)};"
    (tmp_path / "js" / "datasets.js").write_text(text)
    shutil.copy(folder / "index.html", tmp_path)
    for part in ("ds",):
        shutil.copytree(folder / part, tmp_path / part)
    page = Page(browser, tmp_path / "index.html")
    assert page.text("count") == "10000 of 10000"
    times = browser.execute_async_script(FRAMES)
    print(f"frames while scrolling: median {times[50]:.1f} ms, 95 % {times[95]:.1f} ms")
    work = browser.execute_script(WORK)
    print(f"of which the page's own: median {work[50]:.1f} ms, 95 % {work[95]:.1f} ms")
    assert page.run("document.querySelectorAll('#rows .row').length") < 100
    page.keys("\ue010")
    assert page.chosen.startswith("sub-")
    browser.get_log("browser"), browser.get_log("performance")


def luminance(color: str) -> float:
    """Return the relative luminance of #rgb or #rrggbb, as WCAG 2.1 defines it."""
    digits = color.strip().lstrip("#")
    digits = "".join(2 * digit for digit in digits) if len(digits) == 3 else digits
    parts = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    """Return the contrast ratio of two colours, 1 to 21."""
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_contrast_is_computed_as_wcag_has_it():
    assert contrast("#fff", "#000000") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast_is_enough_for_people_who_see_less(page, browser, scheme):
    emulated = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", emulated)
    texts, grounds = ("text", "soft", "pass", "warn", "fail"), ("ground", "panel", "chosen")
    found = browser.execute_script(COLORS, [*texts, *grounds, "focus"])
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    poor = {
        (text, ground): contrast(found[text], found[ground])
        for text in texts
        for ground in grounds
        if contrast(found[text], found[ground]) < 4.5
    }
    assert poor == {}  # AA for text
    assert all(contrast(found["focus"], found[ground]) >= 3 for ground in grounds)


def test_the_keyboard_alone_is_enough(page, browser):
    """Everything that can be clicked is reached by Tab, has a name, and works by a key."""
    tab, reached = "\ue004", []
    for _ in range(60):
        page.keys(tab)
        script = "(e => e.id || e.textContent.trim())(document.activeElement)"
        reached.append(page.run(script))
    wanted = page.run(
        "[...document.querySelectorAll('button, select, input:not([hidden]), [tabindex=\"0\"]')]"
        ".filter(e => e.checkVisibility()).map(e => e.id || e.textContent.trim())"
    )
    assert set(wanted) <= set(reached)
    unnamed = page.run(
        "[...document.querySelectorAll('button, select, input, dialog, section, [role=grid]')]"
        ".filter(e => !(e.textContent.trim() && e.matches('button')) && !e.hidden"
        " && !e.getAttribute('aria-label')).filter(e => !e.closest('dialog') || e.open)"
        ".map(e => e.outerHTML)"
    )
    assert unnamed == []
    browser.find_element("id", "scroll").send_keys("")
    page.run("document.getElementById('scroll').focus()")
    page.keys("j")
    chosen = page.run("document.getElementById('scroll').getAttribute('aria-activedescendant')")
    assert page.run(f"document.getElementById('{chosen}').getAttribute('aria-selected')") == "true"
    before = page.run("document.getElementById('case').scrollTop")
    page.keys(" ")
    assert page.run("document.getElementById('case').scrollTop") >= before
    button = "document.querySelector('#marking button:nth-child(2)')"
    page.run(f"{button}.focus()")
    page.keys("\ue007")
    assert page.run(f"{button}.getAttribute('aria-pressed')") == "true"
    assert page.run("markOf(view.shown[view.at]).qc") == "fail"
    assert page.run("document.activeElement.id") == "scroll"
    assert not page.run("document.getElementById('viewer').open")


def test_pictures_say_what_they_show_and_layers_are_silent(page):
    alts = page.run(
        "[...document.querySelectorAll('.stack')]"
        ".map(stack => [...stack.querySelectorAll('img')].map(image => image.alt))"
    )
    assert len(alts) == 2
    for ground, over in alts:
        assert "view of t2.nii.gz" in ground
        assert "verdict fail" in ground
        assert over == ""


def test_a_print_has_the_result_and_nothing_to_click(page, browser):
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    seen = page.run(
        "['header', '#list', '#help', '#marking', '#title', '#verdict', '#findings', '#legend',"
        " '.stack img'].filter(each => document.querySelector(each).checkVisibility())"
    )
    assert seen == ["#title", "#verdict", "#findings", "#legend", ".stack img"]
    ground = page.run("getComputedStyle(document.body).backgroundColor")
    document = browser.execute_cdp_cmd("Page.printToPDF", {"printBackground": False})["data"]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
    assert ground == "rgb(255, 255, 255)"
    assert len(document) > 10_000


def test_the_page_is_served_on_this_computer_alone(browser, folder):
    with served(folder) as address:
        browser.get(f"{address}/index.html")
        assert browser.execute_script("return entries.length") == 3
    browser.get_log("browser"), browser.get_log("performance")


def downloaded(browser: Any, action: Callable[[], object], name: str) -> Path:
    """Return the file that an action brings."""
    path = browser.downloads / name
    path.unlink(missing_ok=True)
    action()
    wait_for(lambda: path.is_file() and path.stat().st_size > 0)
    return path


def wait_for(is_so: Callable[[], bool]) -> None:
    """Wait until something is so, for a while."""
    end = time.monotonic() + 20
    while not is_so():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)
