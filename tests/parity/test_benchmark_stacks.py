"""The benchmark's own chain on a small model: make, export, segment with both stacks, compare."""

from __future__ import annotations

import importlib
import sys

import pytest
from helpers.paths import BENCHMARKS

pytest.importorskip("nnunetv2", reason="the original software is not installed")

pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("ignore")]

FOLDS = ["0", "1"]


@pytest.fixture
def measure(monkeypatch):
    """Run a Python process, as the benchmark does."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    module = importlib.import_module("stack")
    return lambda *arguments: module.measure(sys.executable, arguments, 1)


def test_stacks_agree_on_a_model_that_is_made_for_them(measure, tmp_path):
    model = tmp_path / "nnUNetTrainer__nnUNetPlans__3d_fullres"
    bundle, image = tmp_path / "bundle", tmp_path / "neck.nii.gz"
    sizes = ("--shape", "72", "72", "40", "--spacing", "0.8")
    measure(BENCHMARKS / "cases" / "make_image.py", image, *sizes)
    counts = ("--classes", "3", "--folds", str(len(FOLDS)))
    measure(BENCHMARKS / "cases" / "make_models.py", "scaling", model, *counts)
    measure("-m", "deepseg_export", "nnunet", model, "-o", bundle)
    runs = {
        "nnunetv2": ("--model", model, "--folds", *FOLDS),
        "deepseg_lite": ("--model", bundle),
    }
    printed = {
        stack: measure(
            *(BENCHMARKS / "stacks" / stack / "run.py", tmp_path / stack, image, image, *arguments),
            *("--threads", "1"),
        ).json()
        for stack, arguments in runs.items()
    }
    assert printed["nnunetv2"]["patches"] == printed["deepseg_lite"]["patches"]
    assert all(len(stack["cases_ended_at"]) == 2 for stack in printed.values())
    folders = [tmp_path / stack for stack in runs]
    found = measure(BENCHMARKS / "agreement.py", *folders, "null").json()
    assert found["differing"] <= 1e-4 * found["voxels"]
    assert set(found["dice"]) == {"1", "2"}  # a network that finds nothing proves nothing
    assert min(found["dice"].values()) > 0.99
