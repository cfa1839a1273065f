"""The BIDS validator on what batches write; it skips where ``bids-validator-deno`` is not here."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from helpers.bundles import write_bundle
from helpers.datasets import make_dataset

import deepseg_lite

VALIDATOR = shutil.which("bids-validator-deno")
HOW: dict[str, Any] = {
    "device": "cpu",
    "threads": 1,
    "jobs": "here",
    "filter": "datatype=anat,func,dwi",
}
NAMES = (
    "sub-01/ses-a/anat/sub-01_ses-a_acq-ax_run-1_T2w",
    "sub-01/ses-a/anat/sub-01_ses-a_acq-ax_run-2_T2w",
    "sub-02/anat/sub-02_T1w",
    "sub-02/anat/sub-02_T2starw",
    "sub-02/anat/sub-02_part-mag_T2w",
    "sub-02/anat/sub-02_inv-1_MP2RAGE",
    "sub-02/func/sub-02_task-rest_dir-AP_bold",
    "sub-02/dwi/sub-02_dir-AP_dwi",
)

pytestmark = pytest.mark.skipif(VALIDATOR is None, reason="bids-validator-deno is not installed")


def problems(root: Path) -> list[str]:
    """Return the errors that the validator has for a data set."""
    assert VALIDATOR is not None
    done = subprocess.run(
        [VALIDATOR, str(root), "--format", "json"], capture_output=True, text=True, check=False
    )
    found = json.loads(done.stdout)["issues"]["issues"]
    return [f"{each['code']} {each['location']}" for each in found if each["severity"] == "error"]


@pytest.fixture
def dataset(tmp_path):
    return make_dataset(tmp_path / "data", *NAMES)


def test_derivatives_are_valid(dataset, tmp_path, tiny_bundle):
    regions = write_bundle(tmp_path / "regions", "regions")
    out = tmp_path / "results"
    for bundle, soft in ((tiny_bundle, False), (regions, False), (regions, True)):
        reports = list(deepseg_lite.batch(dataset, out, bundle, soft=soft, **HOW))
        assert [report["status"] for report in reports] == ["done"] * len(NAMES)
    kinds = {path.name.split("_")[-1] for path in out.rglob("sub-*.nii.gz")}
    assert kinds == {"mask.nii.gz", "probseg.nii.gz", "dseg.nii.gz"}
    assert problems(out) == []


def test_a_name_that_is_not_valid_is_seen(dataset, tmp_path, tiny_bundle):
    out = tmp_path / "results"
    list(deepseg_lite.batch(dataset, out, tiny_bundle, **HOW))
    mask = next(out.rglob("*_mask.nii.gz"))
    shutil.copy(mask, mask.with_name("sub-01_ses-a_nothing-x_wrong.nii.gz"))
    assert problems(out)


def test_results_inside_a_data_set_leave_it_as_valid_as_it_was(dataset, tiny_bundle):
    before = problems(dataset)
    out = dataset / "derivatives" / "labels"
    list(deepseg_lite.batch(dataset, out, tiny_bundle, **HOW, layout="neuropoly"))
    assert len(list(out.rglob("*_seg.nii.gz"))) == len(NAMES)
    assert problems(dataset) == before
