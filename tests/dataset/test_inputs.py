"""Inputs: folders, patterns and lists as cases."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from deepseg_lite.dataset.choosing import Channel, Wanted
from deepseg_lite.dataset.filters import read_words
from deepseg_lite.dataset.inputs import read_input
from deepseg_lite.errors import ImageError, OptionError

ONE = [Channel("image", ("any",))]
TWO = [Channel("t2", ("t2",)), Channel("t1", ("t1",))]


def make(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    return root


def cases(word, out="nowhere", channels=ONE, words=(), told=None):
    told = [] if told is None else told
    source = read_input(str(word), Path(out), told.append)
    return source.find(channels, Wanted(read_words(words)), told.append)


def ids(*args, **options) -> list[str]:
    return [case.id for case in cases(*args, **options)]


def test_a_bids_data_set_gives_its_images_by_their_paths(tmp_path):
    root = make(tmp_path, "sub-01/anat/sub-01_T2w.nii.gz", "sub-01/anat/sub-01_T1w.nii.gz")
    found = cases(root, words=["suffix=T2w"])
    assert [(case.id, case.paths) for case in found] == [
        ("sub-01/anat/sub-01_T2w", (root / "sub-01/anat/sub-01_T2w.nii.gz",))
    ]
    assert [case.paths for case in cases(root, channels=TWO)] == [
        (root / "sub-01/anat/sub-01_T2w.nii.gz", root / "sub-01/anat/sub-01_T1w.nii.gz")
    ]


def test_names_of_any_signs_are_cases(tmp_path):
    names = ["a b/t 2.nii.gz", "ä/ü ☃.nii", "line\nbreak/x.nii.gz", "-o.nii.gz"]
    assert ids(make(tmp_path, *names)) == ["-o", "a b/t 2", "line\nbreak/x", "ä/ü ☃"]


def test_results_of_earlier_runs_are_no_images_of_a_plain_folder(tmp_path):
    root = make(tmp_path, "t2.nii.gz", "t2_seg.nii.gz", "t1.nii.gz", "out/t2_seg.nii.gz")
    (root / "t2_seg.json").write_text(json.dumps({"GeneratedBy": [{"Name": "deepseg-lite"}]}))
    (root / "t1.json").write_text(json.dumps({"GeneratedBy": [{"Name": "scanner"}]}))
    assert ids(root, out=root / "out") == ["t1", "t2"]


def test_results_beside_the_images_of_a_bids_data_set_are_no_images(tmp_path):
    root = make(tmp_path, "sub-01/anat/sub-01_T2w.nii.gz", "sub-01/anat/sub-01_T2w_seg.nii.gz")
    for name in ("sub-01_T2w", "sub-01_T2w_seg"):  # what has a name of BIDS may be made by us
        record = {"GeneratedBy": [{"Name": "deepseg-lite"}]}
        (root / "sub-01" / "anat" / f"{name}.json").write_text(json.dumps(record))
    assert ids(root) == ["sub-01/anat/sub-01_T2w"]


def test_a_pattern_is_relative_to_where_its_signs_begin(tmp_path):
    root = make(tmp_path, "a/x_T2w.nii.gz", "a/x_T1w.nii.gz", "b/c/y_T2w.nii.gz", "b/z_T2w.json")
    assert ids(root / "*" / "*_T2w*") == ["a/x_T2w"]
    assert ids(root / "**" / "*_T2w.nii.gz") == ["a/x_T2w", "b/c/y_T2w"]
    with pytest.raises(ImageError, match="matches no"):
        ids(root / "*.nope")


def test_one_image_is_a_case(tmp_path):
    assert ids(make(tmp_path, "a/x.nii") / "a" / "x.nii") == ["x"]


@pytest.mark.parametrize("name", ["nothing", "file.csv"])
def test_other_words_are_refused(tmp_path, name):
    make(tmp_path, "file.csv")
    with pytest.raises(ImageError, match="give a BIDS data set"):
        cases(tmp_path / name)


def test_a_list_has_an_image_in_a_line(tmp_path):
    root = make(tmp_path / "lists", "a/x.nii.gz", "b/x.nii.gz")
    elsewhere = make(tmp_path / "else", "sub-01/anat/sub-01_T2w.nii.gz", "z.nii")
    lines = [
        "# mine",
        "a/x.nii.gz",
        "",
        f"{root}/b/x.nii.gz",
        f"{elsewhere}/sub-01/anat/sub-01_T2w.nii.gz",
        f"{elsewhere}/z.nii",
        "a/x.nii.gz",
    ]
    (root / "list.txt").write_text("\n".join(lines), encoding="utf-8-sig")
    told = []
    found = cases(root / "list.txt", told=told)
    assert [case.id for case in found] == ["a/x", "b/x", "sub-01/anat/sub-01_T2w", "z"]
    assert found[0].paths == (root / "a/x.nii.gz",)
    assert [(notice.code, notice.figures) for notice in told] == [("listed-twice", {"lines": 1})]


def test_two_images_of_one_name_from_elsewhere_are_refused(tmp_path):
    make(tmp_path, "a/x.nii", "b/x.nii", "lists/none")
    (tmp_path / "lists/list.txt").write_text("../a/x.nii\n../b/x.nii\n")
    with pytest.raises(OptionError, match="would both be called x"):
        cases(tmp_path / "lists/list.txt")


def test_a_table_has_a_column_for_each_channel(tmp_path):
    (tmp_path / "t.tsv").write_text(
        "id\tt1\tt2\nA\ta1.nii.gz\ta2.nii.gz\nB\tb1.nii.gz\tb2.nii.gz\n"
    )
    assert [
        (case.id, [path.name for path in case.paths])
        for case in cases(tmp_path / "t.tsv", channels=TWO)
    ] == [("a2", ["a2.nii.gz", "a1.nii.gz"]), ("b2", ["b2.nii.gz", "b1.nii.gz"])]
    with pytest.raises(OptionError, match="no column image"):
        cases(tmp_path / "t.tsv")


def test_the_only_column_needs_no_name(tmp_path):
    (tmp_path / "t.tsv").write_text("scan\na.nii.gz\nb.nii.gz\n")
    assert ids(tmp_path / "t.tsv") == ["a", "b"]
    (tmp_path / "t.tsv").write_text("scan\n")
    with pytest.raises(ImageError, match="no rows"):
        ids(tmp_path / "t.tsv")
