"""The prior of SCT's gray-matter models: its values from public images, and what it brings."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
from helpers.paths import SHARED
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform

pytestmark = pytest.mark.parity
pytest.importorskip("onnx")
pytest.importorskip("h5py")

from deepseg_export.exporting import export_model  # noqa: E402
from deepseg_export.families.keras.surroundings import GRAY_MATTER  # noqa: E402

import deepseg_lite  # noqa: E402

WEIGHTS, DATA = SHARED / "weights" / "sct_gm", SHARED / "data"
CHALLENGE = DATA / "gm_challenge"
if not (WEIGHTS.is_dir() and CHALLENGE.is_dir()):
    pytest.skip("weights and images are not here", allow_module_level=True)

PEOPLE = [
    [CHALLENGE / f"sub-{session}_T2starw_seg-manual.nii.gz" for session in sessions]
    for sessions in (("10062Ses1", "10062Ses2"), ("9418",), ("9584",), ("9709Ses1", "9709Ses2"))
]
PEOPLE.append([DATA / "sct_testing" / "t2s_uncropped_gmseg_manual.nii.gz"])
CUT = 40
"""Rows of sub-9709Ses2 cut off in front: the cord is 27 mm away from the middle then."""


def _place(path) -> np.ndarray:
    """Return how far towards L and A the middle of a mask lies in its image."""
    image = nib.load(path)
    turn = ornt_transform(io_orientation(image.affine), axcodes2ornt("LAS"))
    mask = np.asarray(image.as_reoriented(turn).dataobj) > 0
    voxels = np.argwhere(mask)
    return ((voxels.min(axis=0) + voxels.max(axis=0) + 1) / 2 / mask.shape)[:2]


def test_the_position_is_the_mean_of_five_people():
    places = np.array([np.mean([_place(path) for path in person], axis=0) for person in PEOPLE])
    position = GRAY_MATTER["center"]["position"]
    np.testing.assert_allclose([position["L"], position["A"]], places.mean(axis=0), atol=0.005)
    low, high = (f(places, axis=0).round(2).tolist() for f in (np.min, np.max))
    said = f"{low[0]} to {high[0]} towards L, {low[1]} to {high[1]} towards A"
    assert said in GRAY_MATTER["center"]["source"]


@pytest.fixture(scope="module")
def segment(tmp_path_factory):
    path = tmp_path_factory.mktemp("bundles") / "challenge"
    return deepseg_lite.load(
        export_model("keras", WEIGHTS / "challenge_model.hdf5", path), device="cpu"
    )


@pytest.mark.parametrize("codes", ["LAS", "PSR"])
def test_what_is_lost_away_from_the_middle_is_found(segment, codes):
    image, mask = (
        nib.load(CHALLENGE / f"sub-9709Ses2_T2starw{end}.nii.gz").slicer[:, :-CUT]
        for end in ("", "_gmseg-manual")
    )
    turn = ornt_transform(io_orientation(image.affine), axcodes2ornt(codes))
    image, mask = (
        nib.Nifti1Image.from_bytes(each.as_reoriented(turn).to_bytes()) for each in (image, mask)
    )
    manual = np.asarray(mask.dataobj) > 0

    def dice(**options) -> float:
        found = np.asarray(segment(image, reorient=True, **options).dataobj)[..., 0] > 0
        return float(2 * (found & manual).sum() / (found.sum() + manual.sum()))

    assert dice() < 0.2
    assert dice(center_prior=True) > 0.92
