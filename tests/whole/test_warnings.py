"""Warnings: one value reaches stderr, the record, ``--json`` and Python (faults 2 and 3)."""

from __future__ import annotations

import json
import re

import nibabel as nib
import numpy as np
import pytest
from helpers.bundles import make_affine, make_data, make_manifest, write_bundle, write_image
from helpers.paths import ROOT

import deepseg_lite
from deepseg_lite.notice import EMPTY, STRUCTURE_EMPTY, Notice
from deepseg_lite.qc.reviewing import PROBLEM

PAGE = (ROOT / "docs" / "users" / "warnings.md").read_text(encoding="utf-8")


@pytest.fixture
def dark(tmp_path):
    """Write an image in which the tiny model finds nothing."""
    return write_image(tmp_path / "dark.nii.gz", make_data() * 0.4, make_affine("LPS"))


def test_an_empty_result_is_an_event(command, tiny_bundle, dark):
    """Fault 2: on stderr, in the record and in the report, with the file and the label."""
    outcome = command("run", tiny_bundle, "-i", dark, "--json")
    assert outcome.code == 0
    (report,) = json.loads(outcome.out)["results"]
    (warning,) = report["Warnings"]
    assert warning["code"] == "empty"
    assert warning["file"] == "dark.nii.gz"
    assert warning["figures"] == {"structures": ["cord"]}
    assert outcome.err == f"{dark}: {warning['text']}\n"
    record = json.loads(dark.with_name("dark_seg.json").read_text())
    assert record["Warnings"] == [warning]


def test_an_empty_result_fails_where_asked(command, tiny_bundle, dark, image_file):
    """Fault 2: exit code 3, and the files are there."""
    assert command("run", tiny_bundle, "-i", dark, "--fail-empty").code == 3
    assert dark.with_name("dark_seg.nii.gz").exists()
    assert command("run", tiny_bundle, "-i", image_file, "--fail-empty").code == 0


def test_quiet_means_quiet_and_the_record_still_says_it(command, tiny_bundle, dark):
    outcome = command("run", tiny_bundle, "-i", dark, "-q")
    assert outcome.err == ""
    record = json.loads(dark.with_name("dark_seg.json").read_text())
    assert [warning["code"] for warning in record["Warnings"]] == ["empty"]


def test_a_good_image_has_no_warning(command, tiny_bundle, image_file):
    outcome = command("run", tiny_bundle, "-i", image_file, "--json")
    assert json.loads(outcome.out)["results"][0]["Warnings"] == []
    assert outcome.err == ""


def test_a_structure_of_which_nothing_is_found_is_named(command, tmp_path):
    """Fault 2: some of several labels."""
    bundle = write_bundle(tmp_path / "b", "regions")
    data = np.full((8, 16, 16), 0.55, np.float32)
    data[2:6, 4:12, 4:12] = 0.65
    image = write_image(tmp_path / "a.nii", data, make_affine("LPS"))
    outcome = command("run", bundle, "-i", image, "--json")
    (report,) = json.loads(outcome.out)["results"]
    empty = {name for name, volume in report["Volumes_mm3"].items() if volume == 0}
    assert 0 < len(empty) < len(report["Volumes_mm3"])
    (warning,) = report["Warnings"]
    assert warning["code"] == "structure-empty"
    assert set(warning["figures"]["structures"]) == empty


def test_a_failed_case_has_its_warnings_in_the_report(command, tiny_bundle, tmp_path):
    image = nib.Nifti1Image(np.zeros((8, 8, 8), np.float32), make_affine("LPS"))
    image.header.set_xyzt_units("meter")
    nib.save(image, tmp_path / "zeros.nii")
    (tmp_path / "packed.nii.gz").write_bytes((tmp_path / "zeros.nii").read_bytes())
    outcome = command("run", tiny_bundle, "-i", tmp_path / "packed.nii.gz", "--json")
    (error,) = json.loads(outcome.out)["errors"]
    assert "nothing but zeros" in error["error"]
    assert [warning["code"] for warning in error["warnings"]] == ["name"]


def test_python_is_told_as_it_happens_and_with_the_result(tiny_bundle, dark):
    """Faults 2 and 3: in the API, for paths, images and arrays."""
    segment = deepseg_lite.load(tiny_bundle, device="cpu", threads=1)
    told: list[Notice] = []
    result = segment(dark, notify=told.append)
    assert [notice.code for notice in told] == ["empty"]
    assert result.extra["warnings"] == tuple(told)
    image = nib.load(dark)
    image.header.set_xyzt_units("micron")
    told.clear()
    segment(image, notify=told.append)
    assert [notice.code for notice in told] == ["unit", "empty"]
    told.clear()
    segment(make_data() * 0.4, affine=np.eye(4), notify=told.append, soft=True)
    assert [notice.code for notice in told] == ["empty"]


def test_maps_without_anything_are_empty_in_python_too(tmp_path, dark):
    """Fault 2: models whose result is a map for each label."""
    steps = {"values": "maps", "channels": 2}
    outputs = {**make_manifest()["outputs"], **steps}
    outputs["labels"] = [{"name": "dark", "values": [1]}, {"name": "cord", "values": [2]}]
    bundle = write_bundle(tmp_path / "b", outputs=outputs)
    told: list[Notice] = []
    segment = deepseg_lite.load(bundle, device="cpu", threads=1)
    result = segment(dark, notify=told.append)
    assert result.shape[-1] == 2
    assert [(notice.code, notice.figures["structures"]) for notice in told] == [
        ("structure-empty", ["cord"])
    ]


def test_every_code_is_on_the_page():
    """What the code says and what the page explains are the same codes."""
    found = set()
    for path in (ROOT / "deepseg_lite").rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        found |= set(re.findall(r'\bNotice\(\s*"([a-z-]+)"', text))
        found |= set(re.findall(r'\bnotice\(\s*"([a-z-]+)"', text))
    found |= {EMPTY, STRUCTURE_EMPTY, PROBLEM}
    rows = [line.split("|")[1] for line in PAGE.splitlines() if line.startswith("| `")]
    assert set(re.findall(r"`([a-z-]+)`", " ".join(rows))) == found
