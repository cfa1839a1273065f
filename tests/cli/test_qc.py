"""Quality control on the command line: entries and verdicts of runs, and the page."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from helpers.bundles import make_affine, make_data, write_bundle, write_image
from helpers.click_runner import invoke

from deepseg_lite.cli.group import cli
from deepseg_lite.qc import reviewing
from deepseg_lite.qc.report import read_entries


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """Return a bundle and an image."""
    folder = tmp_path / "ds" / "sub-01" / "anat"
    folder.mkdir(parents=True)
    return write_bundle(tmp_path / "bundle"), write_image(folder / "t2.nii.gz", make_data())


def run(bundle: Path, image: Path, *words: object) -> tuple[int, dict]:
    result = invoke(cli, ["run", bundle, "-i", image, "--overwrite", "--json", *words])
    return result.exit_code, json.loads(result.stdout)


def test_a_run_adds_an_entry_and_its_record_has_the_verdict(files, tmp_path):
    code, report = run(*files, "--qc", tmp_path / "qc")
    assert code == 0
    (entry,) = read_entries(tmp_path / "qc")
    assert (entry["dataset"], entry["subject"], entry["inputFile"]) == ("ds", "sub-01", "t2.nii.gz")
    assert entry["task"] == "tiny_threshold"
    assert entry["results"] == [str(files[1].with_name("t2_seg.nii.gz"))]
    assert entry["cmdline"].startswith("deepseg-lite")
    (result,) = report["results"]
    assert result["Verdict"] == entry["verdict"]
    sidecar = json.loads(files[1].with_name("t2_seg.json").read_text())
    assert sidecar["Verdict"] == entry["verdict"]
    assert sum(sidecar["Volumes_mm3"].values()) == pytest.approx(
        entry["structures"][0]["mm3"], abs=0.01
    )


def test_a_run_without_quality_control_has_no_verdict(files):
    _, report = run(*files)
    assert "Verdict" not in report["results"][0]


def test_scts_spelling_means_the_same(files, tmp_path):
    code, _ = run(
        *files,
        *("-qc", tmp_path / "qc", "-qc-dataset", "study", "-qc-subject", "s7"),
        *("-qc-plane", "Sagittal"),
    )
    assert code == 0
    (entry,) = read_entries(tmp_path / "qc")
    assert (entry["dataset"], entry["subject"], entry["plane"]) == ("study", "s7", "Sagittal")


def test_pictures_can_be_centred_on_another_mask(files, tmp_path):
    mask = np.zeros(make_data().shape, np.uint8)
    mask[3:6, 3:6, 2:4] = 1
    centre = write_image(tmp_path / "mask.nii.gz", mask, make_affine())
    code, _ = run(*files, "--qc", tmp_path / "qc", "--qc-seg", centre)
    assert code == 0
    (entry,) = read_entries(tmp_path / "qc")
    assert len(entry["pictures"]["axial"]["slices"]) == 4


@pytest.mark.parametrize("shape", [(3, 4, 5), (4, 4, 4, 2)])
def test_a_mask_of_another_shape_is_refused_before_the_run(files, tmp_path, shape):
    other = write_image(tmp_path / "mask.nii.gz", np.zeros(shape, np.uint8), make_affine())
    words = ["run", files[0], "-i", files[1], "--qc", tmp_path / "qc", "--qc-seg", other]
    result = invoke(cli, words)
    assert result.exit_code == 1
    assert "mask.nii.gz" in str(result.exception)
    assert "\n" not in str(result.exception)
    assert not files[1].with_name("t2_seg.nii.gz").exists()
    assert not (tmp_path / "qc" / "_json").exists()


def test_strict_ends_with_3_where_the_verdict_is_fail(files, tmp_path):
    zeros = write_image(tmp_path / "low.nii.gz", 0.2 + 0.1 * make_data())
    code, report = run(files[0], zeros, "--strict")
    assert report["results"][0]["Verdict"]["level"] == "fail"
    assert code == 3
    code, report = run(files[0], zeros, "--qc", tmp_path / "qc")
    assert (code, report["results"][0]["Verdict"]["level"]) == (0, "fail")


def test_members_are_compared_where_a_verdict_is_asked_for(files, tmp_path):
    bundle = write_bundle(tmp_path / "two", "folds")
    _, report = run(bundle, files[1], "--tta", "--strict")
    agreement = report["results"][0]["Agreement"]
    assert agreement["flips"] == {"cord": 1.0}
    assert 0 < agreement["folds"]["cord"] < 1
    _, report = run(bundle, files[1], "--tta")
    assert "Agreement" not in report["results"][0]


def test_a_result_that_is_cut_off_by_the_crop_box_is_doubtful(files, tmp_path):
    sides = ("superior", "inferior", "left", "right", "anterior", "posterior")
    crop = {"detector": "sc_crop", "padding_mm": dict.fromkeys(sides, 0)}
    cropped = write_bundle(tmp_path / "cropped", cord_crop=crop)
    faces = {"xmin": 8, "xmax": 14, "ymin": 2, "ymax": 15, "zmin": 1, "zmax": 10}
    words = [word for face, at in faces.items() for word in (f"--box-{face}", at)]
    _, report = run(cropped, files[1], *words, "--strict")
    findings = report["results"][0]["Verdict"]["findings"]
    (finding,) = [finding for finding in findings if finding["rule"] == "cut-off"]
    assert finding["level"] == "warn"
    assert "xmin" in finding["figures"]["faces"]


def test_options_without_a_folder_are_refused(files):
    result = invoke(cli, ["run", files[0], "-i", files[1], "--qc-subject", "x"])
    assert result.exit_code == 1
    assert "`qc_subject` needs a folder" in str(result.exception)
    assert not files[1].with_name("t2_seg.nii.gz").exists()


def test_a_folder_that_cannot_take_entries_is_refused_before_the_run(files, tmp_path):
    (tmp_path / "qc").write_text("a file")
    result = invoke(cli, ["run", files[0], "-i", files[1], "--qc", tmp_path / "qc"])
    assert result.exit_code == 1
    assert "is not a folder" in str(result.exception)
    assert not files[1].with_name("t2_seg.nii.gz").exists()


@pytest.mark.parametrize("broken", ["judge", "write_entry"])
def test_quality_control_that_fails_fails_no_segmentation(files, tmp_path, monkeypatch, broken):
    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError("no picture")

    monkeypatch.setattr(reviewing, broken, fail)
    code, report = run(*files, "--qc", tmp_path / "qc")
    assert code == 0
    assert files[1].with_name("t2_seg.nii.gz").is_file()
    (warning,) = [w for w in report["results"][0]["Warnings"] if w["code"] == reviewing.PROBLEM]
    assert "no picture" in warning["text"]


def test_the_page_is_made_and_marks_are_listed(files, tmp_path):
    folder = tmp_path / "qc"
    run(*files, "--qc", folder)
    result = invoke(cli, ["qc", folder])
    assert (result.exit_code, result.stdout) == (0, f"{folder / 'index.html'}\n")
    (entry,) = read_entries(folder)
    marks = {"marks": {entry["id"]: {"qc": "fail", "rank": "3"}}}
    (folder / "marks.json").write_text(json.dumps(marks))
    result = invoke(cli, ["qc", folder, "--fails"])
    assert result.stdout == f"FILES_SEG:\n- {files[1]}\n"
    assert invoke(cli, ["qc", folder, "--artifacts"]).stdout == ""


def test_a_folder_without_entries_is_one_line(tmp_path):
    result = invoke(cli, ["qc", tmp_path])
    assert result.exit_code == 1
    assert "has no entries of quality control" in str(result.exception)
    assert not list(tmp_path.iterdir())


def test_the_page_is_served_until_ctrl_c(files, tmp_path, monkeypatch):
    run(*files, "--qc", tmp_path / "qc")
    opened = []

    def open_page(url: str) -> None:
        with urllib.request.urlopen(url) as page:
            opened.append(page.read())
        raise KeyboardInterrupt

    monkeypatch.setattr("webbrowser.open", open_page)
    result = invoke(cli, ["qc", tmp_path / "qc", "--open"])
    assert result.exit_code == 0
    assert opened == [(tmp_path / "qc" / "index.html").read_bytes()]
    assert "error" not in result.stderr
