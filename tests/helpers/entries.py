"""Entries of quality control, of small cords."""

from __future__ import annotations

from pathlib import Path

from deepseg_lite.bundles.review import Review
from deepseg_lite.qc.entry import Place, write_entry
from deepseg_lite.qc.rules import judge
from helpers.views import cord, view_of


def add(folder: Path, image: str = "/data/ds/sub-01/anat/t2.nii.gz", **given: object) -> Path:
    """Write an entry of a cord."""
    labels = given.pop("labels", cord((6, 40, 40)))
    review = given.pop("review", Review())
    view = view_of(labels, {"sc": (1,)})
    place = Place(folder, **given)
    verdict = judge(view, review, ())
    path = Path(image)
    results = [path.with_name("t2_seg.nii.gz")]
    return write_entry(place, path, results, view, verdict, review, task="tiny", command="x")


def add_many(folder: str, number: int, count: int) -> None:
    """Write entries of so many subjects."""
    for index in range(count):
        add(Path(folder), subject=f"sub-{number:02}-{index:03}")
