"""The model that ships does its job: on the phantom, in any orientation, and on a real image."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
from helpers.bundles import voxels
from helpers.paths import SHARED
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform

import deepseg_lite
from deepseg_lite.verification.receipt import make_receipt

REAL = SHARED / "data"
MIN_CORD_DICE, MIN_GRAY_DICE = 0.95, 0.85


def dice(first: np.ndarray, second: np.ndarray) -> float:
    return float(2 * (first & second).sum() / (first.sum() + second.sum()))


@pytest.fixture(scope="module")
def segment():
    return deepseg_lite.load("sc_gm_t2star", device="cpu")


@pytest.mark.parametrize(
    ("seed", "shape"), [(0, (256, 256, 12)), (1, (240, 240, 8))], ids=["default", "another"]
)
def test_cord_and_gray_matter_of_the_phantom_are_found(segment, seed, shape):
    phantom = deepseg_lite.make_phantom(seed, shape=shape)
    labels = segment(phantom.image, affine=phantom.affine)
    assert dice(labels > 0, phantom.labels > 0) >= MIN_CORD_DICE
    assert dice(labels == 2, phantom.labels == 2) >= MIN_GRAY_DICE


def test_probabilities_agree_with_the_labels(segment):
    phantom = deepseg_lite.make_phantom(0, shape=(128, 128, 2))
    labels = segment(phantom.image, affine=phantom.affine)
    cord, gray = segment(phantom.image, affine=phantom.affine, soft=True)
    assert labels.any()
    np.testing.assert_array_equal(np.where(gray > 0.5, 2, cord > 0.5), labels)


@pytest.mark.parametrize("orientation", ["RPI", "SAL", "PIR", "IRA"])
def test_reorienting_the_file_gives_the_same_voxels(segment, orientation):
    phantom = deepseg_lite.make_phantom(2, shape=(128, 132, 3))
    image = nib.Nifti1Image(phantom.image, phantom.affine)
    labels = np.asarray(segment(image).dataobj)
    turn = ornt_transform(io_orientation(phantom.affine), axcodes2ornt(orientation))
    turned = image.as_reoriented(turn)
    assert "".join(nib.aff2axcodes(turned.affine)) == orientation
    found = segment(turned)
    back = found.as_reoriented(
        ornt_transform(axcodes2ornt(orientation), io_orientation(image.affine))
    )
    assert labels.any()
    np.testing.assert_array_equal(np.asarray(back.dataobj), labels)


@pytest.mark.skipif(not REAL.is_dir(), reason="the real images (../shared) are not here")
def test_cord_and_gray_matter_of_a_real_image_are_found(segment):
    stem = f"{REAL}/gm_challenge/sub-9709Ses2_T2starw"
    labels = np.asarray(segment(f"{stem}.nii.gz").dataobj)
    assert dice(labels > 0, voxels(f"{stem}_seg-manual.nii.gz") > 0) >= MIN_CORD_DICE
    assert dice(labels == 2, voxels(f"{stem}_gmseg-manual.nii.gz") > 0) >= MIN_GRAY_DICE


@pytest.mark.skipif(not REAL.is_dir(), reason="the real images (../shared) are not here")
@pytest.mark.parametrize(
    ("image", "mask", "minimum"),
    [
        ("sct_testing/mt1", "sct_testing/mt1_seg", 0.9),
        ("fmri/sub-leipzigR01_mean_bold", "fmri/sub-leipzigR01_spinalcord_mask", 0.85),
    ],
    ids=["mt", "epi"],
)
def test_no_slice_of_another_contrast_is_without_cord(segment, image, mask, minimum):
    cord = np.asarray(segment(REAL / f"{image}.nii.gz").dataobj) > 0
    manual = voxels(REAL / f"{mask}.nii.gz") > 0
    assert dice(cord, manual) >= minimum
    assert cord.any(axis=(0, 1))[manual.any(axis=(0, 1))].all()


def test_it_gives_what_nnunet_gave_for_its_references(segment):
    receipt = make_receipt(segment)
    assert receipt["within"] is True
    for row in receipt["references"]:
        assert row["software"].startswith("nnunetv2 ")
        assert row["warnings"] == []
        assert min(label["original"] for label in row["labels"]) >= 150
