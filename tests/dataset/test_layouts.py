"""Layouts: names of results for every kind of file, and for every task that there is."""

from __future__ import annotations

import re

import pytest

from deepseg_lite.api.model import ResultFile
from deepseg_lite.dataset.layouts import place
from deepseg_lite.errors import OptionError
from deepseg_lite.store.tasks import find_task

CORD = ResultFile("seg", "mask", ("sc",))
LESION = ResultFile("lesion_seg", "mask", ("Lesion",))
SOFT = ResultFile("sc_softseg", "soft", ("sc",))
ROOTLETS = ResultFile("rootlets", "labels", names={2: "C2"})
DISCS = ResultFile("discs/all", "points", names={3: "C2-C3"})
NAMES = {"sc": "SC", "Lesion": "lesion", "rootlets": "rootlets"}
CASE = "sub-01/ses-a/anat/sub-01_ses-a_acq-ax_run-1_T2w"


@pytest.mark.parametrize(
    ("layout", "file", "expected"),
    [
        ("bids", CORD, "sub-01_ses-a_acq-ax_run-1_label-SC_desc-T2w_mask"),
        ("bids", LESION, "sub-01_ses-a_acq-ax_run-1_label-lesion_desc-T2w_mask"),
        ("bids", SOFT, "sub-01_ses-a_acq-ax_run-1_label-SC_desc-T2w_probseg"),
        ("bids", ROOTLETS, "sub-01_ses-a_acq-ax_run-1_desc-rootletsT2w_dseg"),
        ("bids", DISCS, "sub-01_ses-a_acq-ax_run-1_desc-discsallT2w_dseg"),
        ("neuropoly", CORD, "sub-01_ses-a_acq-ax_run-1_T2w_label-SC_seg"),
        ("neuropoly", SOFT, "sub-01_ses-a_acq-ax_run-1_T2w_label-SC_softseg"),
        ("neuropoly", ROOTLETS, "sub-01_ses-a_acq-ax_run-1_T2w_label-rootlets_dseg"),
        ("neuropoly", DISCS, "sub-01_ses-a_acq-ax_run-1_T2w_label-discsall_dlabel"),
        ("sct", CORD, "sub-01_ses-a_acq-ax_run-1_T2w_seg"),
        ("sct", DISCS, "sub-01_ses-a_acq-ax_run-1_T2w_discs-all"),
    ],
)
def test_results_are_named_as_the_layout_has_it(layout, file, expected):
    assert place(layout, CASE, file, NAMES) == f"sub-01/ses-a/anat/{expected}.nii.gz"


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        ("x/sub-01_T2w", "sub-01/anat/sub-01_label-SC_desc-T2w_mask.nii.gz"),
        ("sub-01_task-rest_bold", "sub-01/func/sub-01_task-rest_label-SC_desc-bold_mask.nii.gz"),
        (
            "sub-1/anat/sub-1_acq-a_inv-1_MP2RAGE",
            "sub-1/anat/sub-1_acq-a_label-SC_desc-inv1MP2RAGE_mask.nii.gz",
        ),
        (
            "sub-1/fmap/sub-1_flip-2_desc-x_TB1map",
            "sub-1/anat/sub-1_label-SC_desc-flip2xTB1map_mask.nii.gz",
        ),
        ("sub-1/dwi/sub-1_desc-mean_dwi", "sub-1/dwi/sub-1_label-SC_desc-meandwi_mask.nii.gz"),
    ],
)
def test_folders_of_bids_are_those_of_the_name(case, expected):
    assert place("bids", case, CORD, NAMES) == expected


def test_a_name_that_is_none_of_bids_cannot_become_one():
    with pytest.raises(OptionError, match="layout=sct"):
        place("bids", "a/t2", CORD, NAMES)
    assert place("neuropoly", "a/t2", CORD, NAMES) == "a/t2_label-SC_seg.nii.gz"
    assert place("sct", "t2", CORD, NAMES) == "t2_seg.nii.gz"


@pytest.mark.parametrize(
    ("task", "file", "end"),
    [
        ("spinalcord", ResultFile("seg", "mask", ("sc",)), "label-SC_seg"),
        ("graymatter", ResultFile("gm_seg", "mask", ("gm",)), "label-GM_seg"),
        ("sc_canal_t2", ResultFile("canal_seg", "mask", ("canal",)), "label-canal_seg"),
        ("lesion_ms", ResultFile("lesion_seg", "mask", ("lesion",)), "label-lesion_seg"),
        ("rootlets", ResultFile("rootlets", "labels"), "label-rootlets_dseg"),
        ("spine", ResultFile("totalspineseg_discs", "points"), "label-discs_dlabel"),
        ("spine", ResultFile("totalspineseg_all", "labels"), "label-spine_dseg"),
        ("spine", ResultFile("step1_cord", "soft", ("spinal_cord",)), "label-SC_softseg"),
    ],
)
def test_structures_are_called_as_tasks_say(task, file, end):
    found = find_task(task)
    assert found is not None, task
    name = place("neuropoly", "a", file, found.structures)
    assert name == f"a_{end}.nii.gz"
    assert re.fullmatch(r"[A-Za-z0-9._-]+", name)
