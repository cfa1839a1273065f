"""Reference cases against the original software, run by other code than that which made them."""

from __future__ import annotations

import subprocess
import sys

import nibabel as nib
import numpy as np
import pytest
from helpers.bundles import voxels
from helpers.nnunet_original import CHECKPOINTS, DATA, nnunet_predictor, nnunet_segment
from helpers.paths import ROOT, SHARED

from deepseg_lite.api.loader import load
from deepseg_lite.bundles.bundle import read_bundle
from deepseg_lite.nifti.writing import new_image
from deepseg_lite.store.cache import models_directory
from deepseg_lite.verification.cases import open_case
from deepseg_lite.verification.receipt import make_receipt

pytest.importorskip("onnx")
from deepseg_export.exporting import export_model
from deepseg_export.families.nnunet import Options
from deepseg_export.references.request import Request
from deepseg_export.referencing import add_references

pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("ignore")]

TRAINED = CHECKPOINTS / "gm_challenge_2d" / "nnUNetTrainer__nnUNetPlansS__2d"
SCT = SHARED / "reference" / "sct_gm"
IMAGE = DATA / "sct_testing" / "mt1.nii.gz"


def differing(bundle):
    """Return how many voxels of each reference differ here."""
    receipt = make_receipt(load(bundle, device="cpu"))
    return {row["name"]: row["differing"] for row in receipt["references"]}


@pytest.mark.skipif(not TRAINED.is_dir(), reason="no ../shared/checkpoints")
def test_an_export_has_nnunet_label_its_references(tmp_path):
    pytest.importorskip("nnunetv2", reason="the original software is not installed")
    request = Request(images=["phantom:5", str(IMAGE)], license="MIT", source="sct_testing_data")
    output = export_model(
        "nnunet", TRAINED, tmp_path / "b", Options(folds=("0", "1")), reference=request
    )
    bundle = read_bundle(output)
    drawn, scanned = bundle.references
    assert drawn.software.startswith("nnunetv2 2.")
    assert set(drawn.versions) == {"deepseg_lite", "nnunetv2", "torch"}
    original = nnunet_predictor(TRAINED, ("0", "1"), mirror=False)
    for reference in (drawn, scanned):
        case = open_case(bundle, reference)
        np.testing.assert_array_equal(case.labels, nnunet_segment(original, list(case.images)))
    expected = nnunet_segment(original, [nib.load(IMAGE)])
    np.testing.assert_array_equal(voxels(output / scanned.labels.path), expected)
    for count in differing(output).values():
        assert count <= 1


def test_the_shipped_references_are_what_nnunet_gives_with_the_shipped_weights(tmp_path):
    pytest.importorskip("nnunetv2", reason="the original software is not installed")
    script = ROOT / "models" / "sc_gm_t2star" / "train" / "checkpoint.py"
    subprocess.run([sys.executable, script, tmp_path], check=True, cwd=script.parent)
    (folder,) = tmp_path.iterdir()
    original = nnunet_predictor(folder, ("all",), mirror=False)
    bundle = read_bundle(models_directory() / "sc_gm_t2star" / "bundle")
    assert bundle.references
    for reference in bundle.references:
        case = open_case(bundle, reference)
        image = new_image(np.asarray(case.images[0].dataobj), case.images[0].affine)
        np.testing.assert_array_equal(case.labels, nnunet_segment(original, [image]))


@pytest.mark.skipif(not SCT.is_dir(), reason="no ../shared/reference")
@pytest.mark.parametrize("name", ["challenge", "large"])
def test_results_of_sct_become_references_of_its_gray_matter_models(tmp_path, name):
    pytest.importorskip("h5py")
    labels = SCT / f"sct_testing-mt1_gmseg-{name}.nii.gz"
    words = {"software": "Spinal Cord Toolbox, sct_deepseg_gm", "source": "sct_testing_data"}
    given = Request(images=[str(IMAGE)], labels=[labels], license="MIT", **words)
    model = SHARED / "weights" / "sct_gm" / f"{name}_model.hdf5"
    output = export_model("keras", model, tmp_path / "b", reference=given)
    assert differing(output) == {"mt1": 0}
    more = DATA / "gm_challenge" / "sub-9709Ses1_T2starw.nii.gz"
    result = SCT / f"sub-9709Ses1_T2starw_gmseg-{name}.nii.gz"
    if name == "challenge":  # the other takes minutes
        add_references(output, Request(images=[str(more)], labels=[result], **words))
        assert differing(output) == {"mt1": 0, "sub-9709Ses1_T2starw": 0}
    (reference, *_) = read_bundle(output).references
    np.testing.assert_array_equal(voxels(output / reference.labels.path).squeeze(), voxels(labels))
