"""SCT's gray matter: its own voxels from the published weights, on its images and on others."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from helpers.paths import SHARED
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform

pytestmark = pytest.mark.parity
pytest.importorskip("onnx")
pytest.importorskip("h5py")

from deepseg_export.exporting import export_model  # noqa: E402
from helpers.sct_gray_matter import in_a_process  # noqa: E402

import deepseg_lite  # noqa: E402

WEIGHTS, REFERENCE = SHARED / "weights" / "sct_gm", SHARED / "reference" / "sct_gm"
DATA = SHARED / "data"
CHALLENGE, MORE = DATA / "gm_challenge", DATA / "gm_challenge" / "more"
if not (WEIGHTS.is_dir() and REFERENCE.is_dir() and DATA.is_dir()):
    pytest.skip("weights, images and SCT's results are not here", allow_module_level=True)

RESULTS = sorted(path.name for path in REFERENCE.glob("*_gmseg-*.nii.gz"))
THRESHOLDS = {"edge-thr0.5": 0.5, "edge-thr0": float(np.nextafter(np.float32(1), np.float32(0)))}
"""Those that are not the default. SCT's 0 casts to whole numbers: what is exactly 1 stays."""


@pytest.fixture(scope="module")
def segmenters(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundles")
    return {
        name: deepseg_lite.load(
            export_model("keras", WEIGHTS / f"{name}_model.hdf5", folder / name), device="cpu"
        )
        for name in ("large", "challenge")
    }


def _reoriented(image, codes):
    turn = ornt_transform(io_orientation(image.affine), axcodes2ornt(codes))
    return nib.Nifti1Image.from_bytes(image.as_reoriented(turn).to_bytes())


def _image(name: str):
    """Return the image that a result of SCT belongs to."""
    if name.startswith("edge-thr"):
        return nib.load(DATA / "sct_testing" / "mt1.nii.gz")
    if name.startswith("edge-"):
        return nib.load(REFERENCE / f"{name}_input.nii.gz")
    if name.endswith("_LPS"):
        return _reoriented(nib.load(CHALLENGE / f"{name[:-4]}.nii.gz"), "LPS")
    if name.startswith("sub-"):
        return nib.load(CHALLENGE / f"{name}.nii.gz")
    folder, _, rest = name.partition("-")
    return nib.load(DATA / (folder if rest else "sct_testing") / f"{rest or name}.nii.gz")


@pytest.mark.parametrize("result", RESULTS)
def test_every_voxel_is_as_in_the_results_of_sct(segmenters, result):
    name, _, model = result.removesuffix(".nii.gz").partition("_gmseg-")
    expected = np.asarray(nib.load(REFERENCE / result).dataobj)
    found = segmenters[model](_image(name), threshold=THRESHOLDS.get(name))
    assert found.get_data_dtype() == np.uint8
    np.testing.assert_array_equal(np.asarray(found.dataobj)[..., 0], expected)


def _cut(image, low, high):
    return image.slicer[low[0] : high[0], low[1] : high[1], low[2] : high[2]]


def _others():
    """Yield more images: their names, what makes them, and the model."""
    for path in sorted(MORE.glob("*_T2starw.nii.gz")):
        yield path.name.split(".")[0], nib.load(path), "challenge"
    first, second = (nib.load(CHALLENGE / f"sub-{n}_T2starw.nii.gz") for n in ("9709Ses2", "9584"))
    for codes in ("RAS", "RPS", "LAI", "ALS", "PRI"):
        yield codes, _reoriented(_cut(first, (0, 0, 4), (256, 192, 10)), codes), "challenge"
    for codes in ("RAS", "PRI"):
        yield f"{codes} large", _reoriented(_cut(first, (0, 0, 8), (256, 192, 11)), codes), "large"
    yield "odd sizes", _cut(second, (71, 30, 3), (302, 181, 7)), "challenge"
    yield "away from the middle", _cut(first, (0, 20, 4), (256, 192, 8)), "challenge"
    sheared = first.affine.copy()
    sheared[:3, 1] += 0.01 * sheared[:3, 0]
    data = np.asarray(first.dataobj)[:, :, 6:9].astype(np.float32)
    yield "sheared, float32", nib.Nifti1Image(data, sheared), "challenge"


OTHERS = list(_others())


def test_there_are_enough_others():
    assert len(OTHERS) >= 10


@pytest.mark.parametrize(
    ("image", "model"), [case[1:] for case in OTHERS], ids=[case[0] for case in OTHERS]
)
def test_every_voxel_is_as_a_run_of_the_steps_of_sct_gives_it(segmenters, tmp_path, image, model):
    path = tmp_path / "image.nii.gz"
    nib.save(image, path)
    segment = segmenters[model]
    network = Path(segment.bundle.path) / "model.onnx"
    expected = in_a_process(path, network, 0.999, tmp_path / "expected.npy")
    found = segment(path)
    np.testing.assert_array_equal(np.asarray(found.dataobj)[..., 0], expected)
