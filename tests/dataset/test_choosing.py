"""Choosing: rules for what is doubtful, and images of several channels."""

from __future__ import annotations

import pytest

from deepseg_lite.dataset.choosing import (
    Channel,
    Wanted,
    cases_of,
    images_of,
    tell_lone_sidecars,
)
from deepseg_lite.dataset.filters import Listing, read_words
from deepseg_lite.dataset.walking import File

T2, T1, ANY = Channel("t2", ("t2",)), Channel("t1", ("t1",)), Channel("image", ("any",))


def files(*names: str) -> list[File]:
    return [File(name, True) for name in names]


def anat(*names: str) -> list[File]:
    return files(*(f"sub-{name[:2]}/anat/sub-{name}.nii.gz" for name in names))


def chosen(listed, channels=(ANY,), wanted=None, bids=True, told=None):
    notices = [] if told is None else told
    images = images_of(listed, notices.append)
    found = cases_of(images, channels, wanted or Wanted(), bids=bids, warn=notices.append)
    return [tuple(image.path.rpartition("sub-")[2] for image in case) for case in found]


def codes(told) -> dict[str, int]:
    return {notice.code: notice.figures["files"] for notice in told}


def test_runs_echoes_and_sessions_are_cases_of_their_own():
    names = ["01_run-1_T2w", "01_run-2_T2w", "02_echo-1_T2w", "02_ses-a_T2w"]
    assert [case[0] for case in chosen(anat(*names), [T2])] == [f"{n}.nii.gz" for n in names]


def test_contrasts_of_the_task_decide_where_no_filter_does():
    listed = [*anat("01_T1w", "01_T2w", "01_T2starw"), *files("sub-01/func/sub-01_task-x_bold.nii")]
    assert chosen(listed, [T2]) == [("01_T2w.nii.gz",)]
    assert chosen(listed, [Channel("image", ("t2star", "t1"))]) == [
        ("01_T1w.nii.gz",),
        ("01_T2starw.nii.gz",),
    ]
    assert len(chosen(listed)) == 3
    assert chosen(listed, [T2], Wanted(read_words(["suffix=T1w"]))) == [("01_T1w.nii.gz",)]
    assert chosen(listed, [T2], Wanted(read_words(["datatype=func"]))) == [("01_task-x_bold.nii",)]
    assert chosen(listed, [T2], Wanted(channels={"t2": read_words(["suffix=bold"])})) == [
        ("01_task-x_bold.nii",)
    ]


def test_inversions_are_told_apart():
    listed = anat("01_inv-1_MP2RAGE", "01_inv-2_MP2RAGE", "01_UNIT1")
    assert chosen(listed, [Channel("image", ("mp2rage-inv2", "mp2rage-unit1"))]) == [
        ("01_inv-2_MP2RAGE.nii.gz",),
        ("01_UNIT1.nii.gz",),
    ]


def test_of_a_plain_folder_everything_is_taken():
    assert len(chosen(files("a/t2.nii.gz", "b/c/x.nii"), [T2], bids=False)) == 2


def test_twins_are_one_case():
    told = []
    listed = files("sub-01/anat/sub-01_T2w.nii", "sub-01/anat/sub-01_T2w.nii.gz")
    assert chosen(listed, [T2], told=told) == [("01_T2w.nii.gz",)]
    assert chosen(listed[::-1], [T2]) == [("01_T2w.nii.gz",)]
    assert codes(told) == {"twins": 1}


def test_names_that_differ_in_case_alone_are_one_case():
    told = []
    assert chosen(anat("01_acq-ax_T2w", "01_acq-AX_T2w"), [T2], told=told) == [
        ("01_acq-ax_T2w.nii.gz",)
    ]
    assert codes(told) == {"names-alike": 1}


def test_images_that_are_not_here_are_cases_and_told():
    told = []
    listed = [File("sub-01/anat/sub-01_T2w.nii.gz", False), *anat("02_T2w")]
    assert len(chosen(listed, [T2], told=told)) == 2
    assert codes(told) == {"not-here": 1}
    assert "sub-01_T2w.nii.gz" in told[0].text


def test_phases_are_left_out_unless_asked_for():
    told = []
    listed = anat("01_part-mag_T2starw", "01_part-phase_T2starw", "02_part-real_T2starw")
    assert chosen(listed, told=told) == [("01_part-mag_T2starw.nii.gz",)]
    assert codes(told) == {"part": 2}
    asked = Wanted(read_words(["part=phase"]))
    assert chosen(listed, wanted=asked) == [("01_part-phase_T2starw.nii.gz",)]


def test_json_without_an_image_is_told():
    listed = [
        *anat("01_T1w", "01_run-1_T2w", "01_run-2_T2w"),
        *files(
            "sub-01/anat/sub-01_T1w.json",
            "sub-01/anat/sub-01_T2w.json",  # of both runs
            "sub-02/anat/sub-02_T2w.json",
            "sub-01/sub-01_T1w.json",
            "sub-01/sub-01_scans.json",
        ),
    ]
    told = []
    tell_lone_sidecars(listed, images_of(listed), told.append)
    assert codes(told) == {"no-image": 1}
    assert "sub-02_T2w.json" in told[0].text


def test_lists_leave_out_and_choose():
    listed = anat("01_T2w", "02_T2w", "03_T2w")
    only = Listing(frozenset({"sub-01", "sub-02_T2w.nii.gz"}))
    assert chosen(listed, [T2], Wanted(only=only)) == [("01_T2w.nii.gz",), ("02_T2w.nii.gz",)]
    assert chosen(listed, [T2], Wanted(never=only)) == [("03_T2w.nii.gz",)]


@pytest.mark.parametrize(
    ("names", "expected", "doubts"),
    [
        (["01_T1w", "01_T2w"], [("01_T2w", "01_T1w")], {}),
        (["01_ce-gad_T1w", "01_T2w"], [("01_T2w", "01_ce-gad_T1w")], {}),
        (
            ["01_run-1_T1w", "01_run-1_T2w", "01_run-2_T1w", "01_run-2_T2w"],
            [("01_run-1_T2w", "01_run-1_T1w"), ("01_run-2_T2w", "01_run-2_T1w")],
            {},
        ),
        (
            ["01_T1w", "01_acq-ax_T1w", "01_acq-ax_T2w"],
            [("01_acq-ax_T2w", "01_acq-ax_T1w")],
            {},
        ),
        (["01_T2w", "02_T1w", "02_T2w"], [("02_T2w", "02_T1w")], {"unpaired": 1}),
        (["01_ses-a_T1w", "01_ses-b_T2w"], [], {"unpaired": 1}),
        (["01_acq-a_T1w", "01_acq-b_T1w", "01_T2w"], [], {"pairs-unclear": 1}),
        (["01_T1w"], [], {}),
    ],
    ids=str,
)
def test_images_of_several_channels_are_paired_by_entities(names, expected, doubts):
    told = []
    found = chosen(anat(*names), [T2, T1], told=told)
    assert found == [tuple(f"{name}.nii.gz" for name in case) for case in expected]
    assert codes(told) == doubts
