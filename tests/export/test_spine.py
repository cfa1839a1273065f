"""TotalSpineSeg: release-shaped archives of two networks, exported by the task's name and run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from helpers.click_runner import invoke
from helpers.nnunet_models import write_zip
from helpers.spine import make_spine

pytest.importorskip("torch")
pytest.importorskip("onnxscript")
pytest.importorskip("dynamic_network_architectures")

from deepseg_export.cli.group import cli
from deepseg_export.errors import UnsupportedError
from deepseg_export.tasks.export import Supply, export_task
from helpers.spine_networks import DATASETS, painted, write_model_folder, write_models

from deepseg_lite.bundles.bundle import read_bundle
from deepseg_lite.store.cache import bundle_directory
from deepseg_lite.store.tasks import list_tasks, resolve

pytestmark = pytest.mark.export

FINAL, BEST = "checkpoint_final.pth", "checkpoint_best.pth"
TASK = "totalspineseg"
# What each release is known to hold; of the newest, nobody knows the trainer's name.
TRAINERS = {"r20260730": "nnUNetTrainerOfTomorrow", "r20251124": "nnUNetTrainerDAExtGPU"}


@pytest.fixture
def image(tmp_path) -> Path:
    """Write a noisy image with a neck painted into it."""
    spine = make_spine(2, 8)
    noise = np.random.default_rng(0).uniform(1, 100, np.add(spine.step1.shape, 6))
    made = painted(nib.Nifti1Image(noise, spine.affine), spine)
    nib.save(made, tmp_path / "t2.nii.gz")
    return tmp_path / "t2.nii.gz"


@pytest.fixture
def archives(tmp_path, image):
    """Give a function that writes both archives of a release into a folder per step."""

    def write(version: str, *, checkpoint: str = BEST, extra: str | None = None) -> Path:
        work = tmp_path / "work"
        name = f"{TRAINERS[version]}__nnUNetPlans__3d_fullres"
        for step, model in enumerate(write_models(work, nib.load(image)), 1):
            model = model.rename(model.with_name(name))
            fold = model / "fold_0"
            (fold / FINAL).rename(fold / checkpoint)
            if extra:
                other = write_model_folder(work / "other", step, name=name)
                shutil.copy(other / "fold_0" / FINAL, fold / extra)
                shutil.copytree(fold, model / "fold_1")
            folder = tmp_path / "archives" / f"step{step}"
            folder.mkdir(parents=True)
            write_zip(folder / f"{DATASETS[step - 1]}_{version}.zip", model.parent)
        shutil.rmtree(work)
        return tmp_path / "archives"

    return write


def voxels(path: Path) -> Any:
    return np.asarray(nib.load(path).dataobj)


@pytest.mark.parametrize("version", TRAINERS)
def test_both_releases_export_and_run(version, archives, image, command):
    folder = archives(version)
    arguments = ["task", "spine", "--release", version, "--from", str(folder)]
    result = invoke(cli, arguments)
    assert result.exit_code == 0, result.output
    name = f"{TASK}-{version}"
    main, second = (read_bundle(bundle_directory(n)) for n in (name, f"{name}.step2"))
    release = resolve(TASK, list_tasks()).release(version)
    assert main.companions == (second.name,)
    assert main.workflow.rules == release.rules
    assert second.workflow is None
    assert [b.inputs.orientation for b in (main, second)] == ["RAS", "RAS"]
    card = (main.path / "README.md").read_text()
    assert "File `_totalspineseg_all` with `--label-vert`: step2_output" in card
    normalize = second.preprocessing[1]
    assert [channel["scheme"] for channel in normalize["channels"]] == ["zscore", "none"]
    assert main.manifest["source"]["details"]["trainer"] is not None
    outcome = command("run", "spine", "--release", version, "-i", image, "--label-vert", "--json")
    assert outcome.code == 0, outcome.err
    (report,) = json.loads(outcome.out)["results"]
    discs, everything = (voxels(Path(path)) for path in report["outputs"])
    assert {3, 4, 5, 6, 7, 8} <= set(np.unique(discs))
    assert {1, 2, 13, 14, 15, 16, 63, 64, 65, 66, 67, 71} <= set(np.unique(everything))
    assert report["Companions"][0]["networks"] == {"0": second.networks[0].sha256}


def test_the_best_checkpoint_of_fold_0_comes_first(archives):
    folder = archives("r20251124", extra=FINAL)
    path = export_task(TASK, release="r20251124", supply=Supply([folder]))
    bundle = read_bundle(path)
    assert [network.fold for network in bundle.networks] == ["0"]
    assert bundle.manifest["source"]["details"]["checkpoint"] == BEST
    assert f"fold_0/{BEST}" in bundle.manifest["source"]["files"]


def test_the_final_checkpoint_does_where_there_is_no_best(archives, caplog):
    path = export_task(TASK, supply=Supply([archives("r20260730", checkpoint=FINAL)]))
    assert path.name == TASK
    assert read_bundle(path).manifest["source"]["details"]["checkpoint"] == FINAL
    assert f"Fold 0 has no {BEST}; using {FINAL}" in caplog.text


def test_an_export_that_fails_leaves_neither_bundle(archives):
    folder = archives("r20251124")
    (step2,) = (folder / "step2").iterdir()
    step2.write_bytes(b"junk")
    with pytest.raises(Exception, match="not a readable zip"):
        export_task(TASK, release="r20251124", supply=Supply([folder]))
    assert not bundle_directory(f"{TASK}-r20251124").exists()
    assert not bundle_directory(f"{TASK}-r20251124.step2").exists()


def test_a_repeated_export_that_fails_keeps_both_bundles(archives):
    folder = archives("r20251124")
    name = f"{TASK}-r20251124"
    export_task(TASK, release="r20251124", supply=Supply([folder]))
    files = [bundle_directory(each) / "manifest.json" for each in (name, f"{name}.step2")]
    before = [file.stat() for file in files]
    (step1,) = (folder / "step1").iterdir()
    step1.write_bytes(b"junk")  # the main bundle is made last
    with pytest.raises(Exception, match="not a readable zip"):
        export_task(TASK, release="r20251124", supply=Supply([folder]), force=True)
    assert [file.stat() for file in files] == before
    assert sorted(each.name for each in files[0].parents[1].iterdir()) == [name, f"{name}.step2"]


def test_the_first_release_says_why_it_cannot_be_exported():
    with pytest.raises(UnsupportedError, match="levels in another way"):
        export_task(TASK, release="r20241115")
