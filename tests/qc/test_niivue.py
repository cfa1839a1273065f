"""The page of one case in 3-D: what is in it, and that a browser shows it without a network."""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from helpers.bundles import make_affine, make_data, write_bundle, write_image
from helpers.click_runner import invoke

from deepseg_lite.cli.group import cli
from deepseg_lite.errors import OptionError
from deepseg_lite.qc.niivue import find_case
from deepseg_lite.qc.report import read_entries

NIIVUE = os.environ.get("DEEPSEG_LITE_NIIVUE")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Return a folder with the results of two images."""
    monkeypatch.delenv("DEEPSEG_LITE_NIIVUE", raising=False)
    bundle = write_bundle(tmp_path / "bundle", "regions")
    for subject in ("sub-01", "sub-02"):
        place = tmp_path / "ds" / subject / "anat"
        place.mkdir(parents=True)
        image = write_image(place / "t2.nii.gz", make_data(), make_affine("LPS"))
        done = invoke(cli, ["run", bundle, "-i", image, "--qc", tmp_path / "qc"])
        assert done.exit_code == 0, done.output
    return tmp_path / "qc"


@pytest.fixture
def script(tmp_path):
    path = tmp_path / "niivue.js"
    path.write_text("globalThis.niivue = {NVImage: '</script>'}")
    return path


def content(page: Path) -> dict:
    """Return what a page shows."""
    found = re.search(r'id="case">(.*?)</script>', page.read_text(encoding="utf-8"), re.DOTALL)
    return json.loads(found.group(1))


def test_the_page_holds_image_results_colours_and_script(folder, script):
    done = invoke(cli, ["qc", folder, "--niivue", "sub-02", "--niivue-script", script])
    assert done.exit_code == 0, done.output
    page = Path(done.stdout.strip())
    assert page.parent == folder
    text = page.read_text(encoding="utf-8")
    assert "'<\\/script>'" in text
    assert not re.search(r"https?://", text)
    shown = content(page)
    (entry,) = [each for each in read_entries(folder) if each["subject"] == "sub-02"]
    assert shown["legend"] == [
        {"name": each["name"], "color": each["color"]} for each in entry["structures"]
    ]
    image, result = shown["volumes"]
    assert (image["name"], result["name"]) == ("t2.nii.gz", "t2_seg.nii.gz")
    labels = result["labels"]
    assert labels["labels"] == ["", "cord", "gray/matter"]
    assert labels["I"] == [0, 1, 2]
    colors = [
        f"#{r:02x}{g:02x}{b:02x}" for r, g, b in zip(*(labels[c] for c in "RGB"), strict=True)
    ]
    assert colors[1:] == [each["color"] for each in entry["structures"]]
    voxel = np.linalg.solve(make_affine("LPS"), [*shown["centre"], 1])[:3]
    assert make_data()[tuple(np.round(voxel).astype(int))] > 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--niivue", "sub-01"], "npm pack @niivue/niivue"),
        (["--niivue", "sub-01", "--niivue-script", "other.js"], "is not NiiVue"),
        (["--niivue", "sub-09", "--niivue-script", "niivue.js"], "no result"),
        (["--niivue", "sub-0", "--niivue-script", "niivue.js"], "2 results have"),
    ],
)
def test_what_cannot_be_shown_is_one_line(folder, script, words, said):
    script.with_name("other.js").write_text("alert(1)")
    words = [script.with_name(word) if word.endswith(".js") else word for word in words]
    done = invoke(cli, ["qc", folder, *words])
    assert done.exit_code == 1
    assert said in str(done.exception)
    assert "\n" not in str(done.exception)
    assert not list(folder.glob("*.html"))


def test_an_image_that_went_elsewhere_is_one_line(folder, script):
    (entry,) = [each for each in read_entries(folder) if each["subject"] == "sub-01"]
    Path(entry["path"], entry["inputFile"]).unlink()
    done = invoke(cli, ["qc", folder, "--niivue", entry["id"], "--niivue-script", script])
    assert "run this where the image and its results are" in str(done.exception)


def test_of_several_entries_of_an_image_the_newest_is_meant():
    entries = [
        {"id": number, "path": "/d", "inputFile": name, "task": "sc"}
        for number, name in (("1", "a.nii"), ("3", "a.nii"), ("2", "a.nii"), ("4", "b.nii"))
    ]
    assert find_case(entries, "a.nii")["id"] == "3"
    assert find_case(entries, "1")["id"] == "1"
    with pytest.raises(OptionError, match="2 results"):
        find_case(entries, "/d/")


@pytest.mark.skipif(not NIIVUE, reason="needs NiiVue, in DEEPSEG_LITE_NIIVUE")
def test_a_browser_shows_it_without_a_network(folder):
    webdriver = pytest.importorskip("selenium.webdriver", reason="needs selenium and Chromium")
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not (chromium and driver):
        pytest.skip("needs Chromium and its driver")
    done = invoke(cli, ["qc", folder, "--niivue", "sub-01", "--niivue-script", NIIVUE])
    options = webdriver.ChromeOptions()
    for word in ("headless=new", "no-sandbox", "use-gl=angle", "use-angle=swiftshader"):
        options.add_argument(f"--{word}")
    options.add_argument("--enable-unsafe-swiftshader")
    options.binary_location = chromium
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    browser = webdriver.Chrome(options, webdriver.ChromeService(driver))
    try:
        browser.get(Path(done.stdout.strip()).as_uri())
        end = time.monotonic() + 120
        while not (state := browser.execute_script("return document.body.dataset.state")):
            assert time.monotonic() < end, "nothing happened"
            time.sleep(0.1)
        told = browser.execute_script("return document.getElementById('told').textContent")
        assert state == "shown", told
        assert browser.execute_script("return viewer.volumes.length") == 2
        assert told  # the place of the crosshair, and the values there
        assert "cord" in told or "gray/matter" in told
        assert [e for e in browser.get_log("browser") if e["level"] == "SEVERE"] == []
        sent = [json.loads(e["message"])["message"] for e in browser.get_log("performance")]
        urls = [
            message["params"]["request"]["url"]
            for message in sent
            if message["method"] == "Network.requestWillBeSent"
        ]
        assert [url for url in urls if url.split(":")[0] not in ("file", "data", "blob")] == []
    finally:
        browser.quit()
