"""Folders of quality control: entries, the page, marks, and both programs in one folder."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from campaigns.entries import problems
from helpers.entries import add
from helpers.png import decoded
from helpers.views import cord

from deepseg_lite.bundles.review import Review
from deepseg_lite.errors import OptionError, OutputError
from deepseg_lite.qc.entry import KINDS
from deepseg_lite.qc.findings import Verdict
from deepseg_lite.qc.marks import list_files, read_marks
from deepseg_lite.qc.report import MARKER, build_page, read_entries

SCT_KEYS = [
    *("path", "cmdline", "command", "sctVersion", "dataset", "subject", "contrast", "inputFile"),
    *("plane", "backgroundImage", "overlayImage", "date", "rank", "qc"),
]


def datasets_of(folder: Path) -> list[dict]:
    """Return the entries as a page gets them."""
    text = (folder / "js" / "datasets.js").read_text(encoding="utf-8")
    assert re.match(r"window\.SCT_QC_UUID = '[0-9a-f-]{36}';\n", text)
    return json.loads(text.split("window.SCT_QC_DATASETS = ")[1].rstrip().rstrip(";"))


def test_an_entry_has_the_layout_and_the_keys_of_sct(tmp_path):
    path = add(tmp_path)
    assert path.parent == tmp_path / "_json"
    assert re.fullmatch(r"qc_\d{4}_\d\d_\d\d_\d{6}\.\d{6}_[0-9a-f]{8}\.json", path.name)
    entry = json.loads(path.read_text())
    assert list(entry)[: len(SCT_KEYS)] == SCT_KEYS
    assert (entry["dataset"], entry["subject"], entry["contrast"]) == ("ds", "sub-01", "anat")
    assert (entry["path"], entry["inputFile"]) == ("/data/ds/sub-01/anat", "t2.nii.gz")
    assert (entry["plane"], entry["rank"], entry["qc"]) == ("Axial", "", "")
    assert entry["backgroundImage"].startswith("ds/sub-01/anat/sct_deepseg/")
    for key in ("backgroundImage", "overlayImage"):
        assert decoded((tmp_path / entry[key]).read_bytes()).size
    assert entry["structures"][0]["mm3"] == 3.0 * cord((6, 40, 40)).sum()
    for plane, picture in entry["pictures"].items():
        for layer in ("background_img", "overlay_img", "filled_img", "outline_img"):
            file = tmp_path / picture["folder"] / f"{picture['beginning']}{layer}.png"
            shape = decoded(file.read_bytes()).shape
            assert list(shape[::-1]) == picture["size"], (plane, layer)


def test_dataset_subject_plane_and_kind_can_be_chosen(tmp_path):
    review = Review(kind="lesion", plane="sagittal")
    path = add(tmp_path, dataset="../x", subject="a/b", review=review)
    entry = json.loads(path.read_text())
    assert (entry["dataset"], entry["subject"]) == ("../x", "a/b")
    assert (entry["kind"], entry["plane"]) == ("FILES_LESION", "Sagittal")
    inner = Path(entry["backgroundImage"])
    assert not inner.is_absolute()
    assert ".." not in inner.parts
    assert len(inner.parts) == 6
    assert (tmp_path / inner).is_file()


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_has_its_key_in_files_of_corrections(tmp_path, kind):
    entry = json.loads(add(tmp_path, review=Review(kind=kind)).read_text())
    assert entry["kind"] == KINDS[kind][0]


def test_an_empty_result_has_an_entry_that_says_so(tmp_path):
    add(tmp_path, labels=np.zeros((6, 40, 40), np.uint8))
    (entry,) = read_entries(tmp_path)
    assert entry["verdict"]["level"] == "fail"
    assert entry["verdict"]["findings"][0]["rule"] == "empty"
    assert entry["structures"] == [{"name": "sc", "value": None, "mm3": 0.0, "color": None}]


def test_a_folder_that_cannot_be_written_to_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        add(tmp_path / "file")


def test_the_page_has_all_entries_in_one_order(tmp_path):
    for subject in ("sub-02", "sub-01", "sub-03"):
        add(tmp_path, subject=subject)
    page = build_page(tmp_path)
    assert page == tmp_path / "index.html"
    assert page.stat().st_size < 100_000
    assert [entry["subject"] for entry in datasets_of(tmp_path)] == ["sub-01", "sub-02", "sub-03"]
    first = (tmp_path / "js" / "datasets.js").read_bytes()
    build_page(tmp_path)
    assert (tmp_path / "js" / "datasets.js").read_bytes() == first  # the number is kept, too


def test_measures_of_all_entries_are_one_table(tmp_path):
    for subject in ("sub-02", "sub-01"):
        add(tmp_path, subject=subject)
    build_page(tmp_path)
    rows = [line.split("\t") for line in (tmp_path / "measures.tsv").read_text().splitlines()]
    assert rows[0][:5] == ["Filename", "Task", "Structure", "Slice (I->S)", "MEAN(area)"]
    assert [row[:4] for row in rows[1:4]] == [
        ["t2.nii.gz", "tiny", "sc", str(number)] for number in (5, 4, 3)
    ]
    assert len(rows) == 1 + 2 * 6
    assert {float(row[4]) for row in rows[1:]} == {float(cord()[0].sum())}


def test_text_of_an_entry_cannot_end_the_script(tmp_path):
    add(tmp_path, subject="</script><script>alert(1)</script>")
    build_page(tmp_path)
    text = (tmp_path / "js" / "datasets.js").read_text()
    assert "</script>" not in text
    assert datasets_of(tmp_path)[0]["subject"] == "</script><script>alert(1)</script>"


def test_entries_and_the_page_of_sct_are_left_alone(tmp_path):
    entry = {key: "" for key in SCT_KEYS}
    entry |= {"path": "/home/me", "inputFile": "a.nii", "backgroundImage": "d/bg.png"}
    (tmp_path / "_json").mkdir()
    theirs = tmp_path / "_json" / "qc_2026_01_01_120000.000000.json"
    theirs.write_text(json.dumps(entry))
    (tmp_path / "index.html").write_text("<html>SCT</html>")
    (tmp_path / "js").mkdir()
    number = "6f1ed002-ab5b-4ab0-9e2e-0a1b2c3d4e5f"
    (tmp_path / "js" / "datasets.js").write_text(f'window.SCT_QC_UUID = "{number}"; x = [];')
    add(tmp_path)
    page = build_page(tmp_path)
    assert page.name == "deepseg-lite.html"
    assert MARKER in page.read_text(encoding="utf-8")
    assert (tmp_path / "index.html").read_text() == "<html>SCT</html>"
    assert f"'{number}'" in (tmp_path / "js" / "datasets.js").read_text()
    found = datasets_of(tmp_path)
    assert {"2026_01_01_120000.000000"} < {each["id"] for each in found}
    assert json.loads(theirs.read_text()) == entry


@pytest.mark.parametrize("text", ["", "{", "[]", '{"path": 3}', "[" * 100_000, "\x00", '"a"'])
def test_what_is_no_entry_is_left_out_and_told(tmp_path, text, caplog):
    add(tmp_path)
    (tmp_path / "_json" / "qc_broken.json").write_text(text)
    assert len(read_entries(tmp_path)) == 1
    assert "qc_broken.json is left out" in caplog.text


def test_a_folder_without_entries_is_one_line(tmp_path):
    for folder in (tmp_path, tmp_path / "missing"):
        with pytest.raises(OptionError, match="has no entries"):
            build_page(folder)


def test_folders_are_merged_once(tmp_path):
    here, there = tmp_path / "a", tmp_path / "b"
    add(here, subject="sub-01")
    add(there, subject="sub-02")
    for _ in range(2):
        build_page(here, [there])
        found = datasets_of(here)
        assert [entry["subject"] for entry in found] == ["sub-01", "sub-02"]
        assert all((here / entry["overlayImage"]).is_file() for entry in found)


def test_pictures_outside_the_folder_are_not_copied(tmp_path):
    here, there = tmp_path / "a", tmp_path / "b"
    add(here)
    path = add(there)
    entry = json.loads(path.read_text()) | {"backgroundImage": "../../secret/bg.png"}
    path.write_text(json.dumps(entry))
    build_page(here, [there])
    assert len(datasets_of(here)) == 1


def test_no_entry_is_lost_when_processes_write_at_once(tmp_path):
    wrong, _ = problems(4, 8, tmp_path)
    assert wrong == []


def test_marks_become_lists_of_files_by_kind(tmp_path):
    ids = {}
    for name, kind in (("b.nii.gz", "seg"), ("a.nii.gz", "seg"), ("l: x.nii.gz", "lesion")):
        path = add(tmp_path, f"/data/ds/sub-01/anat/{name}", review=Review(kind=kind))
        ids[name] = json.loads(path.read_text())["id"]
    marks = {ids["b.nii.gz"]: "fail", ids["a.nii.gz"]: "artifact", ids["l: x.nii.gz"]: "fail"}
    file = tmp_path / "marks.json"
    file.write_text(json.dumps({"marks": {key: {"qc": mark} for key, mark in marks.items()}}))
    entries, found = read_entries(tmp_path), read_marks(file)
    assert list_files(entries, found) == (
        'FILES_LESION:\n- "/data/ds/sub-01/anat/l: x.nii.gz"\n'
        "FILES_SEG:\n- /data/ds/sub-01/anat/b.nii.gz\n"
    )
    both = list_files(entries, found, ("fail", "artifact"))
    assert "- /data/ds/sub-01/anat/a.nii.gz\n- /data/ds/sub-01/anat/b.nii.gz\n" in both
    assert list_files(entries, {}) == ""


@pytest.mark.parametrize("text", ["", "[]", '{"marks": 3}', '{"marks": {"a": {"qc": "bad"}}}'])
def test_what_holds_no_marks_is_refused(tmp_path, text):
    file = tmp_path / "marks.json"
    with pytest.raises(OptionError, match="cannot be read"):
        read_marks(file)
    file.write_text(text)
    with pytest.raises(OptionError, match="holds no marks"):
        read_marks(file)


def test_a_verdict_is_its_worst_finding():
    assert Verdict(()).level == "pass"
