"""Reference cases against the original software, run by other code than that which made them."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import nibabel as nib
import numpy as np
import pytest
from helpers.bundles import voxels
from helpers.nnunet_original import CHECKPOINTS, DATA, nnunet_predictor, nnunet_segment
from helpers.paths import ROOT, SHARED, TESTS

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


@pytest.mark.skipif(not DATA.is_dir(), reason="no ../shared/data")
@pytest.mark.parametrize("name", ["ct_organ"])
def test_an_export_has_monai_label_its_references(tmp_path, name):
    pytest.importorskip("monai", reason="the original software is not installed")
    from helpers.monai_models import ZOO, write_bundle
    from helpers.monai_original import monai_segment

    image = DATA / "sct_testing" / "t1w.nii.gz"
    example = np.random.default_rng(0).random((1, 32, 32, 32), np.float32)
    folder = write_bundle(tmp_path / name, ZOO[name](), example=example)
    request = Request(images=[str(image)])
    output = export_model("monai-bundle", folder, tmp_path / "b", reference=request)
    (reference,) = read_bundle(output).references
    assert reference.software.startswith("monai 1.")
    case = open_case(read_bundle(output), reference)
    path = tmp_path / "image.nii.gz"
    nib.save(nib.Nifti1Image(np.asarray(case.images[0].dataobj), case.images[0].affine), path)
    _, expected = monai_segment(folder, [path])
    assert len(np.unique(expected)) > 1
    np.testing.assert_array_equal(
        case.labels, np.moveaxis(expected, 0, -1).reshape(case.labels.shape)
    )
    (count,) = differing(output).values()
    assert count * 10_000 <= case.labels.size


@pytest.mark.skipif(not DATA.is_dir(), reason="no ../shared/data")
def test_ivadomed_labels_what_its_own_function_gives(tmp_path):
    """In its own environment, where this package is on the path and not installed."""
    python = os.environ.get("DEEPSEG_LITE_IVADOMED_PYTHON")
    if python is None:
        pytest.skip("DEEPSEG_LITE_IVADOMED_PYTHON is not set")
    script = TESTS / "helpers" / "ivadomed_original.py"
    environment = {**os.environ, "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1", "OMP_NUM_THREADS": "1"}
    subprocess.run([python, script, "models", tmp_path / "onnx"], check=True, env=environment)
    model = tmp_path / "onnx" / "lumbar"
    image = DATA / "sct_testing" / "t2.nii.gz"
    job = {"call": "segment", "model": str(model), "images": [str(image)]}
    (tmp_path / "jobs.json").write_text(json.dumps([{**job, "output": str(tmp_path / "o.npz")}]))
    subprocess.run([python, script, "run", tmp_path / "jobs.json"], check=True, env=environment)
    code = (
        "import ivadomed_original, numpy, sys; from pathlib import Path;"  # it mends torchvision
        "from deepseg_export.families.ivadomed import Options;"
        "from deepseg_export.families.ivadomed.original import segment;"
        "model, image, out = map(Path, sys.argv[1:]);"
        "(found,) = segment(model, Options(), {}, [[image]]); numpy.save(out, found)"
    )
    found = tmp_path / "found.npy"
    places = {"PYTHONPATH": os.pathsep.join(map(str, (ROOT, ROOT / "export", script.parent)))}
    command = [python, "-c", code, model, image, found]
    subprocess.run(command, check=True, env={**environment, **places})
    expected = np.load(tmp_path / "o.npz")["maps"]
    assert len(np.unique(expected)) > 1
    np.testing.assert_array_equal(np.load(found), np.moveaxis(expected, 0, -1))
