"""What is shown of a result: its own voxels, or those of a mask by hand."""

from __future__ import annotations

from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest

from deepseg_lite.qc.reviewing import _shown


@pytest.mark.parametrize("value", [-1, 1, 65537])
def test_a_mask_by_hand_in_floating_point_keeps_its_numbers(tmp_path, value):
    mask = np.zeros((2, 3, 4), np.float32)
    mask[1, 1, 1] = value
    nib.save(nib.Nifti1Image(mask, np.eye(4)), tmp_path / "manual.nii.gz")
    result = nib.Nifti1Image(np.zeros(mask.shape, np.uint8), np.eye(4))
    shown = _shown(result, SimpleNamespace(kind="hard"), tmp_path / "manual.nii.gz")
    assert shown.dtype.kind == "i"
    assert shown.tolist() == mask.tolist()
