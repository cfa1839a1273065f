"""Walking: which files a data set has, with an independent library as the oracle."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from deepseg_lite.dataset.names import ordered, parse, read_image
from deepseg_lite.dataset.walking import is_bids, list_files


def make_files(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    return root


def walked(root: Path, **options) -> list[str]:
    return [file.path for file in list_files(root, **{"bids": True, **options})]


BIDS = (
    "dataset_description.json",
    "participants.tsv",
    "sub-01/anat/sub-01_T1w.nii.gz",
    "sub-01/anat/sub-01_acq-ax_T2w.json",
    "sub-01/anat/sub-01_acq-ax_T2w.nii.gz",
    "sub-01/anat/sub-01_acq-sag_T2w.nii.gz",
    "sub-02/ses-a/anat/sub-02_ses-a_T2w.nii.gz",
    "sub-02/ses-b/anat/sub-02_ses-b_run-1_T2w.nii.gz",
    "sub-02/ses-b/anat/sub-02_ses-b_run-2_T2w.nii.gz",
    "sub-02/ses-b/func/sub-02_ses-b_task-rest_bold.nii.gz",
    "sub-03/anat/sub-03_T2w.nii",
    "derivatives/other/sub-01/anat/sub-01_T2w_seg.nii.gz",
    "sourcedata/sub-01/anat/sub-01_T2w.nii.gz",
)


@pytest.fixture
def dataset(tmp_path):
    root = make_files(tmp_path / "bids", *BIDS)
    (root / BIDS[0]).write_text('{"Name": "test", "BIDSVersion": "1.9.0"}')
    return root


def test_of_a_bids_data_set_the_subjects_are_walked(dataset):
    assert is_bids(dataset)
    assert walked(dataset) == list(BIDS[2:11])


@pytest.mark.parametrize(
    "query",
    [
        {"suffix": "T2w"},
        {"suffix": "T2w", "acq": "ax"},
        {"suffix": "bold"},
        {"sub": "02", "suffix": "T2w"},
        {"ses": "b"},
        {"run": "2"},
    ],
    ids=str,
)
def test_names_mean_what_an_independent_library_reads(dataset, query):
    ancpbids = pytest.importorskip("ancpbids")
    from deepseg_lite.dataset.filters import read_words

    theirs = ancpbids.BIDSLayout(str(dataset)).get(
        scope="raw", extension=[".nii.gz", ".nii"], return_type="filename", **query
    )
    wanted = read_words([f"{name}={value}" for name, value in query.items()])
    images = [image for path in walked(dataset) if (image := read_image(path))]
    ours = [image.path for image in images if wanted.takes(image)]
    assert ours
    names = [Path(path).relative_to(dataset).as_posix() for path in theirs]
    assert ours == sorted(name for name in names if not name.startswith("sourcedata/"))


def test_hidden_files_and_what_bidsignore_names_are_left_out(dataset):
    make_files(dataset, "sub-01/.git/config.nii", "sub-01/anat/.x.nii.gz", "sub-04/anat/y_T2w.nii")
    (dataset / ".bidsignore").write_text("# no\n*_acq-sag_*\n/sub-02/ses-a\n**/func/\nsub-03/**\n")
    assert walked(dataset) == [
        "sub-01/anat/sub-01_T1w.nii.gz",
        "sub-01/anat/sub-01_acq-ax_T2w.json",
        "sub-01/anat/sub-01_acq-ax_T2w.nii.gz",
        "sub-02/ses-b/anat/sub-02_ses-b_run-1_T2w.nii.gz",
        "sub-02/ses-b/anat/sub-02_ses-b_run-2_T2w.nii.gz",
        "sub-04/anat/y_T2w.nii",
    ]


def test_what_bidsignore_takes_back_is_walked(dataset):
    (dataset / ".bidsignore").write_text("*_T2w.*\n!sub-03/*/*\n")
    assert [path for path in walked(dataset) if "T2w" in path] == ["sub-03/anat/sub-03_T2w.nii"]


def test_results_inside_the_input_are_not_walked(tmp_path):
    root = make_files(tmp_path, "a/t2.nii.gz", "out/a/t2_seg.nii.gz")
    assert walked(root, bids=False, without=[root / "out"]) == ["a/t2.nii.gz"]
    (tmp_path / "link").symlink_to(root / "out")
    assert walked(root, bids=False, without=[root / "link"]) == ["a/t2.nii.gz"]
    assert not is_bids(root)


def test_links_are_followed_but_never_in_circles(tmp_path):
    root = make_files(tmp_path / "data", "sub-01/anat/sub-01_T2w.nii.gz")
    make_files(tmp_path / "store", "anat/sub-02_T2w.nii.gz")
    (root / "sub-02").symlink_to(tmp_path / "store")
    (tmp_path / "store" / "back").symlink_to(tmp_path / "store")
    (root / "sub-01" / "up").symlink_to(root)
    told = []
    assert walked(root, warn=told.append) == [
        "sub-01/anat/sub-01_T2w.nii.gz",
        "sub-02/anat/sub-02_T2w.nii.gz",
    ]
    assert [(notice.code, Path(notice.file).name) for notice in told] == [
        ("link-circle", "up"),
        ("link-circle", "back"),
    ]


def test_a_link_without_its_file_is_a_file_that_is_not_here(tmp_path):
    root = make_files(tmp_path, "sub-01/anat/sub-01_T1w.nii.gz")
    target = "../../.git/annex/objects/x/MD5E-s1--0.nii.gz"
    (root / "sub-01/anat/sub-01_T2w.nii.gz").symlink_to(target)
    assert list(list_files(root, bids=True)) == [
        ("sub-01/anat/sub-01_T1w.nii.gz", True),
        ("sub-01/anat/sub-01_T2w.nii.gz", False),
    ]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root reads all")
def test_a_folder_that_may_not_be_listed_is_told(tmp_path):
    root = make_files(tmp_path, "sub-01/anat/sub-01_T2w.nii.gz", "sub-02/anat/sub-02_T2w.nii.gz")
    (root / "sub-01/anat").chmod(0)
    told = []
    try:
        assert walked(root, warn=told.append) == ["sub-02/anat/sub-02_T2w.nii.gz"]
    finally:
        (root / "sub-01/anat").chmod(0o700)
    assert [notice.code for notice in told] == ["folder-unread"]


@pytest.mark.parametrize(
    ("name", "entities", "suffix"),
    [
        ("sub-01_T2w", {"sub": "01"}, "T2w"),
        ("sub-01_ses-b_acq-ax_run-2_T2w", dict(sub="01", ses="b", acq="ax", run="2"), "T2w"),
        ("t2", {}, ""),
        ("t2_seg", {}, ""),
        ("sub-01_T2w copy", {}, ""),
        ("sub-01_x_T2w", {}, ""),
        ("sub-Jürg_T2w", {}, ""),
        ("acq-ax_T2w", {}, ""),
    ],
)
def test_names_are_read_by_their_entities(name, entities, suffix):
    assert parse(name) == (entities, suffix)


def test_entities_are_written_in_the_order_of_bids():
    entities = {"sub": "1", "run": "2", "acq": "ax", "ses": "a", "desc": "x", "label": "SC"}
    assert ordered(entities) == "sub-1_ses-a_acq-ax_run-2_label-SC_desc-x"
    assert ordered({"sub": "1", "own": "x", "acq": "y", "space": "z"}) == (
        "sub-1_own-x_acq-y_space-z"
    )
