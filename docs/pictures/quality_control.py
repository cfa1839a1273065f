"""Make the pictures of the page of quality control: four kinds of tasks, as raters see them.

    python docs/pictures/quality_control.py IMAGE [--out docs/pictures]

Needs selenium, Chromium and pillow. The committed pictures are of sub-9709Ses2 of the Spinal Cord
Gray Matter Imaging Challenge (CC0 1.0), segmented by the shipped model, and of phantoms.
"""

from __future__ import annotations

import argparse
import io
import json
import shutil
import sys
import tempfile
from pathlib import Path

import nibabel as nib
import numpy as np
from PIL import Image
from selenium import webdriver

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests"))

from helpers import raters_views
from helpers.views import view_of

import deepseg_lite
from deepseg_lite.qc.entry import Place, write_entry
from deepseg_lite.qc.report import build_page
from deepseg_lite.qc.rules import judge
from deepseg_lite.qc.view import Shown, View, make_view
from deepseg_lite.store.tasks import find_task
from deepseg_lite.volume import voxel_volume

WINDOW = "1400,980"
FINEST = 8
"""Levels of a colour that become one: files of half the size."""
STUDY = Path("/data/study")


def add(folder: Path, task: str, subject: str, image: str, view: View) -> None:
    """Add an entry of a view."""
    review = find_task(task).review
    path = STUDY / subject / "anat" / f"{subject}_{image}.nii.gz"
    results = [path.with_name(f"{subject}_{image}_seg.nii.gz")]
    verdict = judge(view, review, ())
    write_entry(
        Place(folder), path, results, view, verdict, review, task=task, command="deepseg-lite run"
    )


def real_view(path: Path) -> View:
    """Return a real image with what the shipped model finds."""
    model = deepseg_lite.load("sc_gm_t2star")
    image = nib.load(path)
    labels = np.asanyarray(model(path).dataobj)
    structures = {label.name: label.values for label in model.bundle.outputs.labels}
    volume = voxel_volume(image.affine, image.header.get_zooms()[:3])
    return make_view([image.get_fdata()], [Shown(labels, structures)], image.affine, volume)


def spoilt(view: View) -> View:
    """Return a cord that is interrupted, with a piece elsewhere."""
    labels = (view.labels == 1).astype(np.uint8)
    labels[20:23] = 0
    labels[8:10, 40:60, 40:60] = 1
    return view_of(labels, {"sc": (1,)}, view.spacing, view.channels[0])


def main() -> None:
    """Write one picture of each kind."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("image", type=Path)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    given = parser.parse_args()
    labels = Path(deepseg_lite.__file__).parent / "workflows" / "spine" / "labels.json"
    spine = {name: (value,) for name, value in json.loads(labels.read_text())["names"].items()}
    lesions = raters_views.lesions()
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work)
        add(folder, "sc_gm_t2star", "sub-01", "T2starw", real_view(given.image))
        add(folder, "seg_sc_lesion_t2w_sci", "sub-02", "T2w", lesions)
        add(folder, "seg_spinal_rootlets_t2w", "sub-03", "T2w", raters_views.rootlets())
        add(folder, "totalspineseg", "sub-04", "T2w", raters_views.spine(spine))
        add(folder, "seg_sc_contrast_agnostic", "sub-05", "T2w", spoilt(lesions))
        shoot(build_page(folder), given.out)


def shoot(page: Path, out: Path) -> None:
    """Write what the page shows of each kind."""
    options = webdriver.ChromeOptions()
    for word in ("--headless=new", "--no-sandbox", "--hide-scrollbars", f"--window-size={WINDOW}"):
        options.add_argument(word)
    options.binary_location = shutil.which("chromium") or ""
    browser = webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver")))
    browser.get(page.as_uri())
    kinds = {"sub-01": "gray-matter", "sub-02": "lesion", "sub-03": "rootlets", "sub-04": "spine"}
    for subject, name in {**kinds, "sub-05": "fail"}.items():
        browser.execute_script(
            "go(view.shown.findIndex(entry => entry.subject === arguments[0]))", subject
        )
        browser.execute_async_script(
            "Promise.all([...document.images].map(i => i.decode())).then(arguments[0])"
        )
        picture = Image.open(io.BytesIO(browser.get_screenshot_as_png())).convert("RGB")
        few = picture.point(lambda level: min(round(level / FINEST) * FINEST, 255))
        few.save(out / f"qc-{name}.png", optimize=True)
    browser.quit()


if __name__ == "__main__":
    main()
