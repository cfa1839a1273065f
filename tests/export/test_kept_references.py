"""Reference cases that task folders keep: taken by exports of the same files, and by no others."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.bundles import voxels
from helpers.click_runner import invoke
from helpers.paths import MODELS, SHARED

from deepseg_lite.api.phantom_files import write_phantom
from deepseg_lite.bundles.bundle import read_bundle
from deepseg_lite.bundles.references import parse_references
from deepseg_lite.bundles.task_file import read_task
from deepseg_lite.store.receipts import as_bytes
from deepseg_lite.verification.cases import draw_phantom
from deepseg_lite.verification.receipt import make_receipt

pytestmark = pytest.mark.export
pytest.importorskip("h5py")
pytest.importorskip("onnx")

from deepseg_export.cli.group import cli  # noqa: E402
from helpers.keras_models import write_gray_matter  # noqa: E402

import deepseg_lite  # noqa: E402

KEPT = sorted(MODELS.glob("*/reference/*/references.json"))
WEIGHTS = SHARED / "weights" / "sct_gm"


@pytest.fixture
def models(tmp_path, monkeypatch):
    """Return a folder of one task, without kept cases."""
    folder = tmp_path / "models"
    shutil.copytree(
        MODELS / "gm_sct_large", folder / "gm_sct_large", ignore=shutil.ignore_patterns("r2018*")
    )
    monkeypatch.setattr("deepseg_lite.store.tasks.models_directory", lambda: folder)
    return folder


@pytest.fixture
def labels(tmp_path):
    """Write results that somebody gives as the original's, for a network that was never trained."""
    image, truth = tmp_path / "image.nii.gz", tmp_path / "truth.nii.gz"
    write_phantom(image, 3, truth, shape=(256, 256, 4))
    import nibabel as nib

    opened = nib.load(truth)
    gray = (np.asarray(opened.dataobj) == 2).astype(np.uint8)
    nib.save(nib.Nifti1Image(gray, opened.affine), tmp_path / "labels.nii.gz")
    return tmp_path / "labels.nii.gz"


def made(path: Path, seed: int = 0) -> Path:
    """Write weights alone, with nothing beside them."""
    path.parent.mkdir()
    write_gray_matter(path, seed=seed)
    path.with_suffix(".json").unlink()
    return path


def export(weights: Path, output: Path, *words: str) -> dict:
    done = invoke(cli, ["task", "gm_sct_large", "--from", weights, "-o", output, *words])
    assert done.exit_code == 0, done.output
    return json.loads((output / "manifest.json").read_text(encoding="utf-8"))


def test_exports_of_the_same_files_have_the_cases_and_others_have_not(models, labels, tmp_path):
    weights = made(tmp_path / "a" / "large_model.hdf5")
    first = tmp_path / "first"
    assert "references" not in export(weights, first)
    folder = models / "gm_sct_large" / "reference" / "r20180205"
    done = invoke(
        cli,
        [
            *("reference", first, "--image", "phantom:3", "--labels", labels, "--software", "X 1"),
            *("--versions", "numpy=1.0", "scipy=2", "--keep", folder),
        ],
    )
    assert done.exit_code == 0, done.output
    kept = json.loads((first / "manifest.json").read_text(encoding="utf-8"))["references"]
    assert kept[0]["versions"] == {"numpy": "1.0", "scipy": "2"}

    renamed = shutil.copyfile(weights, tmp_path / "renamed.hdf5")
    assert export(Path(renamed), tmp_path / "second")["references"] == kept
    bundle = read_bundle(tmp_path / "second")
    (reference,) = bundle.references
    found = voxels(bundle.path / reference.labels.path)
    np.testing.assert_array_equal(found[..., 0], voxels(labels))
    receipt = make_receipt(deepseg_lite.load(bundle.path, device="cpu"))
    assert receipt["references"][0]["labels"][0]["original"] == voxels(labels).sum()
    assert as_bytes(receipt)

    other = made(tmp_path / "b" / "large_model.hdf5", seed=1)
    assert "references" not in export(other, tmp_path / "third", "--repin")


def test_kept_labels_that_were_changed_are_refused(models, labels, tmp_path):
    weights = made(tmp_path / "a" / "large_model.hdf5")
    export(weights, tmp_path / "first")
    folder = models / "gm_sct_large" / "reference" / "r20180205"
    words = ["--image", "phantom:3", "--labels", labels, "--software", "X 1", "--keep", folder]
    assert invoke(cli, ["reference", tmp_path / "first", *words]).exit_code == 0
    (folder / "phantom-3_labels.nii.gz").write_bytes(b"something else")
    done = invoke(cli, ["task", "gm_sct_large", "--from", weights, "-o", tmp_path / "second"])
    assert (done.exit_code, done.stdout) == (1, "")
    assert "phantom-3_labels.nii.gz is not what it was" in done.stderr
    assert not (tmp_path / "second").exists()


def test_a_lone_file_has_none(tmp_path):
    weights = made(tmp_path / "a" / "large_model.hdf5")
    done = invoke(cli, ["task", "gm_sct_large", "--from", weights, "-o", tmp_path / "b.onnx"])
    assert done.exit_code == 0, done.output


def test_versions_need_a_package_and_a_number(tiny_bundle, labels):
    words = ["--image", "phantom:3", "--labels", labels, "--software", "x", "--versions", "numpy"]
    done = invoke(cli, ["reference", tiny_bundle, *words])
    assert done.exit_code == 2
    assert "'numpy' is not PACKAGE=VERSION" in done.stderr


@pytest.mark.parametrize("path", KEPT, ids=[path.parts[-4] for path in KEPT])
def test_what_is_kept_is_whole_and_its_phantoms_are_those_of_the_recipe(path):
    document = json.loads(path.read_text(encoding="utf-8"))
    task = read_task(path.parents[2])
    assert path.parent.name in [release.version for release in task.releases]
    references = parse_references(document)
    assert references
    for reference in references:
        (file,) = reference.files
        copy = path.parent / Path(file.path).name
        assert copy.stat().st_size == file.size
        labels = voxels(copy)[..., 0]
        assert labels.any()
        assert labels.shape == reference.phantom.shape
        drawn = draw_phantom(reference.phantom.seed, labels.shape)[1]
        assert reference.phantom == replace(drawn, sha256=reference.phantom.sha256)
        assert reference.versions


@pytest.mark.parametrize("path", KEPT, ids=[path.parts[-4] for path in KEPT])
def test_real_weights_give_what_the_original_gave(path, tmp_path):
    (name,) = json.loads(path.read_text(encoding="utf-8"))["files"]
    if not (WEIGHTS / name).is_file():
        pytest.skip(f"no {name} beside the repository")
    task = path.parts[-4]
    done = invoke(cli, ["task", task, "--from", WEIGHTS / name, "-o", tmp_path / "bundle"])
    assert done.exit_code == 0, done.output
    receipt = make_receipt(deepseg_lite.load(tmp_path / "bundle", device="cpu"))
    assert receipt["within"] is True
    for row in receipt["references"]:  # processors may draw some voxels of a phantom otherwise
        assert row["warnings"] or row["differing"] == 0
