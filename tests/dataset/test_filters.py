"""Filters: which names are wanted."""

from __future__ import annotations

import json

import pytest

from deepseg_lite.dataset.filters import Filter, read_filter_file, read_labels, read_words, read_yml
from deepseg_lite.dataset.names import read_image
from deepseg_lite.errors import OptionError

NAMES = (
    "sub-01/anat/sub-01_acq-ax_run-01_T2w.nii.gz",
    "sub-01/anat/sub-01_T2w.nii.gz",
    "sub-02/ses-02/anat/sub-02_ses-02_T1w.nii.gz",
    "sub-02/ses-03/func/sub-02_ses-03_task-rest_bold.nii.gz",
    "other/t2.nii.gz",
)
IMAGES = [read_image(name) for name in NAMES]


def taken(wanted: Filter) -> list[int]:
    return [index for index, image in enumerate(IMAGES) if wanted.takes(image)]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], [0, 1, 2, 3, 4]),
        (["suffix=T2w"], [0, 1]),
        (["suffix=T2w", "acq=ax"], [0]),
        (["suffix=T2w", "acq="], [1]),
        (["acquisition=*"], [0]),
        (["suffix=T1w,bold"], [2, 3]),
        (["datatype=func"], [3]),
        (["run=1"], [0]),
        (["ses=ses-03"], [3]),
        (["sub=2"], []),
        (["sub=02"], [2, 3]),
        (["sub=none"], []),
    ],
    ids=str,
)
def test_words_are_what_a_name_must_have(words, expected):
    assert taken(read_words(words)) == expected


@pytest.mark.parametrize(("words", "told"), [(["T2w"], "suffix=T2w"), (["suf=T2w"], "suf")])
def test_a_word_that_is_no_filter_is_refused(words, told):
    with pytest.raises(OptionError, match=told):
        read_words(words)


@pytest.mark.parametrize("labels", [["01"], ["sub-01"], ["01", "sub-07"]])
def test_participants_are_named_with_or_without_sub(labels):
    assert taken(read_labels("sub", labels)) == [0, 1]
    assert taken(read_labels("sub", [])) == [0, 1, 2, 3, 4]


def test_a_filter_file_has_queries_of_entities(tmp_path):
    file = tmp_path / "filter.json"
    file.write_text(
        json.dumps(
            {
                "t2w": {"datatype": "anat", "suffix": "T2w", "acquisition": None},
                "t1w": {"suffix": "T1w", "session": ["02", None]},
                "all": {"subject": "*", "run": 1},
            }
        )
    )
    found = read_filter_file(file)
    assert {name: taken(wanted) for name, wanted in found.items()} == {
        "t2w": [1],
        "t1w": [2],
        "all": [0],
    }


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{", '{"a": 1}', '{"a": {"x": 1}}', '{"a": {"run": {}}}', '{"a": {"run": 1.5}}'],
)
def test_what_is_no_filter_file_is_refused(tmp_path, text):
    (tmp_path / "filter.json").write_text(text)
    with pytest.raises(OptionError, match=r"filter\.json"):
        read_filter_file(tmp_path / "filter.json")


def listed(tmp_path, text: str) -> list[int]:
    (tmp_path / "list.yml").write_text(text, encoding="utf-8")
    listing = read_yml(tmp_path / "list.yml")
    return [index for index, image in enumerate(IMAGES) if listing.names(image)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("- sub-01\n", [0, 1]),
        ("# why\ncsa_t2:\n  - sub-01  # moved\n  - 'sub-02'\n", [0, 1, 2, 3]),
        ("FILES_SEG:\n- /data/x/sub-01/anat/sub-01_T2w.nii.gz\n", [1]),
        ("FILES_SEG:\n- sub-01_T2w\nFILES_GMSEG: []\n", [1]),
        ("- sub-02/ses-03\n", [3]),
        ("- ses-02\n", [2]),
        ("a: [sub-02, other]\n", [2, 3, 4]),
        ("- sub-0\n- T2w\n", []),
        ("", []),
    ],
)
def test_lists_name_subjects_sessions_and_images(tmp_path, text, expected):
    assert listed(tmp_path, text) == expected


@pytest.mark.parametrize("text", ["sub-01\n", "a: b\n", "- &x y\n  z\n", "{a: [b]}\n"])
def test_other_yaml_is_refused_with_its_line(tmp_path, text):
    with pytest.raises(OptionError, match="line"):
        listed(tmp_path, text)


@pytest.mark.parametrize(
    "text", ["- sub-01\n", "a:\n  - sub-02/ses-03\nb: [x, 'y']\nc:\n- z # no\n"]
)
def test_lists_are_read_as_an_independent_library_reads_them(tmp_path, text):
    yaml = pytest.importorskip("yaml")
    document = yaml.safe_load(text)
    lists = document.values() if isinstance(document, dict) else [document]
    (tmp_path / "list.yml").write_text(text)
    assert read_yml(tmp_path / "list.yml").entries == {entry for part in lists for entry in part}


def test_a_file_that_is_not_there_is_refused(tmp_path):
    for read in (read_yml, read_filter_file):
        with pytest.raises(OptionError, match="cannot be read"):
            read(tmp_path / "none")
