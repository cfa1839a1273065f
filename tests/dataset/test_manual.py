"""Masks by hand: where they are looked for, and which result they go before."""

from __future__ import annotations

import pytest

from deepseg_lite.api.model import ResultFile
from deepseg_lite.dataset.manual import list_manual, manual_of

CASE = "sub-01/anat/sub-01_T2w"
STRUCTURES = {"sc": "SC", "lesion_seg": "lesion", "gm": "GM"}


def test_masks_are_listed_by_their_names_and_the_first_folder_goes_before(tmp_path):
    for folder in ("labels", "out"):
        place = tmp_path / folder / "sub-01" / "anat"
        place.mkdir(parents=True)
        for name in ("a-manual.nii.gz", "a.nii.gz", "a-manual.json"):
            (place / name).touch()
    (tmp_path / "out" / "b-manual.nii").touch()
    found = list_manual([tmp_path / "labels", tmp_path / "out", tmp_path / "missing"])
    assert found == {
        "sub-01/anat/a-manual": str(tmp_path / "labels" / "sub-01" / "anat" / "a-manual.nii.gz"),
        "b-manual": str(tmp_path / "out" / "b-manual.nii"),
    }


@pytest.mark.parametrize(
    ("file", "name"),
    [
        (ResultFile("seg", structures=("sc",)), "seg"),
        (ResultFile("sc_seg", structures=("sc",)), "seg"),  # manual_correction.py
        (ResultFile("sc_seg", structures=("sc",)), "sc_seg"),  # sct_deepseg
        (ResultFile("sc_seg", structures=("sc",)), "label-SC_seg"),  # neuropoly
        (ResultFile("lesion_seg", structures=("lesion",)), "lesion"),
        (ResultFile("seg", structures=("gm",)), "gmseg"),
    ],
)
def test_a_mask_goes_before_the_result_whose_name_it_has(file, name):
    masks = {f"{CASE}_{name}-manual": "here"}
    assert manual_of(CASE, file, STRUCTURES, masks) == "here"
    assert manual_of("sub-02/anat/sub-02_T2w", file, STRUCTURES, masks) is None


def test_a_mask_of_one_structure_does_not_go_before_another():
    masks = {f"{CASE}_seg-manual": "cord"}
    lesion = ResultFile("lesion_seg", structures=("lesion_seg",))
    assert manual_of(CASE, lesion, STRUCTURES, masks) is None
