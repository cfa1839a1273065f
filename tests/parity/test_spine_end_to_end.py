"""``deepseg-lite run totalspineseg`` against totalspineseg 20260807's own inference.

The networks of both are the same nnU-Net models (``spine_networks.py``), the images real ones with
a spine painted into them. The bar is no voxel that differs, with half-precision sums as nnU-Net has
them and with our own float32. The original leaves what its networks paint on their own grids; that
is brought to ours by its own transform.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import NamedTuple

import nibabel as nib
import numpy as np
import pytest
from helpers.nnunet_original import DATA
from helpers.spine import make_spine
from scipy.spatial.transform import Rotation

pytest.importorskip("nnunetv2", reason="the original software is not installed")
pytest.importorskip("totalspineseg", reason="the original software is not installed")
pytest.importorskip("onnxscript", reason="the exporter is not installed")

from deepseg_export.tasks.export import Supply, export_task
from helpers.spine_networks import painted, write_model_folder, write_models
from helpers.spine_original import original_outputs, to_grid_of

from deepseg_lite.workflows.spine.outputs import OUTPUTS

pytestmark = [
    pytest.mark.parity,
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.skipif(not DATA.is_dir(), reason="no images: ../shared/data is not there"),
]

NAMES = list(OUTPUTS)
LABELS = [name for name in NAMES if OUTPUTS[name].kind in ("labels", "points")]
RAW = [name for name in NAMES if OUTPUTS[name].kind == "classes"]
SOFT = [name for name in NAMES if OUTPUTS[name].kind == "soft"]
SOFT_BAR = 1e-3  # half a unit in the last place of a half-precision logit near 1


class Case(NamedTuple):
    """A real image, the spine that is painted into it, and how it is stored.

    Turned, the 1 mm grid of the workflow lies half a voxel beside the image's, and on the way back
    every voxel is half-way between others.
    """

    image: str
    spine: tuple[int, int]
    dtype: type = np.int16
    volumes: int = 1
    turned: bool = False


CASES = {
    "t2": Case("sct_testing/t2.nii.gz", (2, 5)),
    "t2_lumbar": Case("sct_tutorial/t2_lumbar.nii.gz", (20, 25)),
    "t2_lumbar_float": Case("sct_tutorial/t2_lumbar.nii.gz", (19, 25), np.float32),
    "oblique": Case("sct_testing/t2.nii.gz", (2, 5), turned=True),
    "series": Case("sct_testing/t2_fake_lesion.nii.gz", (2, 7), np.int16, 2),
}
EMPTY = Case("sct_tutorial/t2_lumbar.nii.gz", (10, 14))  # no disc that is a landmark


class Made(NamedTuple):
    """An image, the original's data folder, our bundle, and what the original gives."""

    image: Path
    data: Path
    bundle: Path


def write_case(folder: Path, case: Case, *, random: bool = False) -> Made:
    """Write an image, models and bundles."""
    made = painted(nib.load(DATA / case.image), make_spine(*case.spine), case.dtype)
    if case.turned:
        turn = np.eye(4)
        turn[:3, :3] = Rotation.from_euler("xyz", (4, -3, 6), degrees=True).as_matrix()
        made = nib.Nifti1Image(np.asarray(made.dataobj), turn @ made.affine)
    if case.volumes > 1:
        data = np.asarray(made.dataobj)
        noise = np.random.default_rng(0).integers(0, 2, (*data.shape, case.volumes))
        made = nib.Nifti1Image((data[..., None] + noise).astype(case.dtype), made.affine)
    folder.mkdir(parents=True)
    nib.save(made, folder / "t2.nii.gz")
    data_folder = folder / "data"
    if random:
        models = [write_model_folder(data_folder, step) for step in (1, 2)]
    else:
        models = write_models(data_folder, made)
    supply = Supply(models, repin=True)
    bundle = export_task("totalspineseg", folder / "bundles" / "totalspineseg", supply=supply)
    return Made(folder / "t2.nii.gz", data_folder, bundle)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Write every case once."""
    import torch

    root, threads = tmp_path_factory.mktemp("spines"), torch.get_num_threads()
    torch.set_num_threads(1)
    yield cache(lambda name: write_case(root / name, CASES[name]))
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def original(made, tmp_path_factory):
    """Run the original on a case, once with each choice of grid."""

    @cache
    def run(name: str, iso: bool) -> tuple[dict[str, nib.Nifti1Image], Path]:
        case, output = made(name), tmp_path_factory.mktemp("original")
        return original_outputs(case.image, output, case.data, NAMES, iso=iso), output

    return run


def run_ours(command, case: Made, *words: object) -> dict[str, nib.Nifti1Image]:
    """Return our files by their suffixes."""
    outcome = command("run", case.bundle, "-i", case.image, "--json", "--overwrite", *words)
    assert outcome.code == 0, outcome.err
    (report,) = json.loads(outcome.out)["results"]
    return {
        Path(path).name.removeprefix("t2_").removesuffix(".nii.gz"): nib.load(path)
        for path in report["outputs"]
    }


def differing(ours: nib.Nifti1Image, theirs: np.ndarray) -> int:
    """Return how many voxels of two label maps differ."""
    found = np.asarray(ours.dataobj)
    assert (found.dtype, found.shape) == (theirs.dtype, theirs.shape)
    return int(np.count_nonzero(found != theirs))


@pytest.mark.parametrize("sums", ["float16", "float32"])
@pytest.mark.parametrize(
    "iso", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["input grid", "1 mm grid"]
)
@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.slow if "lumbar" in name else ()) for name in CASES],
)
def test_every_output_is_the_originals(name, iso, sums, made, original, command, record_property):
    case = made(name)
    theirs, folder = original(name, iso)
    assert set(theirs) == set(NAMES), "the original lacks an output"
    words = ["--outputs", ",".join(NAMES), "--accumulator", sums, *["--iso"] * iso]
    ours = run_ours(command, case, *words)
    counts = {}
    for output in LABELS:
        assert len(np.unique(theirs[output].dataobj)) > 2
        np.testing.assert_allclose(ours[output].affine, theirs[output].affine, atol=1e-3)
        counts[output] = differing(ours[output], np.asarray(theirs[output].dataobj))
    grid = folder / "input" / "t2_0000.nii.gz" if iso else case.image
    for output in RAW:
        counts[output] = differing(ours[output], to_grid_of(grid, theirs[output]))
    soft = {}
    for output in SOFT:
        found, expected = (np.asarray(each[output].dataobj) for each in (ours, theirs))
        assert found.dtype == expected.dtype == np.float32
        np.testing.assert_array_equal(found > 0, expected > 0)
        soft[output] = float(np.abs(found - expected).max())
    record_property("differing", {**counts, **soft})
    assert counts == dict.fromkeys(counts, 0)
    assert max(soft.values()) <= SOFT_BAR


@pytest.mark.parametrize("name", ["t2", pytest.param("t2_lumbar", marks=pytest.mark.slow)])
def test_the_files_of_sct(name, made, original, command):
    theirs, _ = original(name, False)
    ours = run_ours(command, made(name))
    assert list(ours) == ["totalspineseg_discs", "totalspineseg_all"]
    assert differing(ours["totalspineseg_discs"], np.asarray(theirs["step1_levels"].dataobj)) == 0
    assert differing(ours["totalspineseg_all"], np.asarray(theirs["step1_output"].dataobj)) == 0
    ours = run_ours(command, made(name), "-label-vert", 1)
    assert differing(ours["totalspineseg_discs"], np.asarray(theirs["step1_levels"].dataobj)) == 0
    assert differing(ours["totalspineseg_all"], np.asarray(theirs["step2_output"].dataobj)) == 0


@pytest.mark.parametrize("random", [False, True], ids=["no landmark", "random networks"])
def test_where_the_original_finds_no_spine_there_is_one_line(random, tmp_path, command):
    case = write_case(tmp_path / "case", EMPTY, random=random)
    with pytest.raises(ValueError, match="step 1 failed"):
        original_outputs(case.image, tmp_path / "out", case.data, ["step1_levels", "step1_output"])
    outcome = command("run", case.bundle, "-i", case.image)
    assert (outcome.code, outcome.out) == (1, "")
    assert outcome.err.startswith(f"error: {case.image}: no ")
    assert outcome.err.count("\n") == 1
    assert [file.name for file in case.image.parent.glob("t2*")] == ["t2.nii.gz"]
