"""What importing the package loads, in fresh interpreters."""

from __future__ import annotations

import subprocess
import sys

import pytest

NEVER = (
    "torch", "monai", "nnunetv2", "ivadomed", "onnx", "onnxscript", "skimage", "SimpleITK",
    "pandas", "cv2", "deepseg_export",
)  # fmt: skip
HEAVY = ("onnxruntime", "openvino", "nibabel", "numpy", "scipy", "jsonschema", "huggingface_hub")

EVERYTHING = """
import importlib, pkgutil, deepseg_lite
for module in pkgutil.walk_packages(deepseg_lite.__path__, "deepseg_lite."):
    if module.name.endswith(".__main__"):
        continue
    try:
        importlib.import_module(module.name)
    except ModuleNotFoundError as missing:  # of an extra that is not installed
        assert module.name == "deepseg_lite.dataset.dask_cluster", module.name
        assert missing.name in ("dask", "distributed"), missing
for name in deepseg_lite.__all__:
    getattr(deepseg_lite, name)
"""
SEGMENTING = """
import numpy as np, deepseg_lite
segment = deepseg_lite.load("sc_gm_t2star", device="cpu", threads=1)
image = np.random.default_rng(0).uniform(1, 9, (64, 64, 1))
assert segment(image, affine=np.diag([0.6, 0.6, 3, 1])).shape == image.shape
"""
NAMES = "import deepseg_lite, deepseg_lite.cli.group; deepseg_lite.__version__"
HELP = """
import sys, deepseg_lite.cli.group
sys.argv = ["deepseg-lite", {arguments}]
try:
    deepseg_lite.cli.group.main()
except SystemExit as ended:
    assert not ended.code, ended.code
"""


def _loaded(code: str) -> set[str]:
    """Return the modules and packages that code adds to what a bare interpreter has loaded.

    Some environments load packages at every start; those are not the code's doing.
    """
    script = f"import sys\nbefore = set(sys.modules)\n{code}\n"
    script += "print('LOADED', *sorted(set(sys.modules) - before))"
    done = subprocess.run(
        [sys.executable, "-I", "-c", script], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    names = done.stdout.splitlines()[-1].split()
    assert names[0] == "LOADED"
    return {name.partition(".")[0] for name in names[1:]} | {*names[1:]}


def test_what_was_loaded_is_seen():
    assert "wave" in _loaded("import wave")


@pytest.mark.parametrize("code", [EVERYTHING, SEGMENTING], ids=["importing", "segmenting"])
def test_the_runtime_never_loads_a_training_framework(code):
    loaded = _loaded(code)
    assert {"deepseg_lite", "numpy", "nibabel"} <= loaded
    assert sorted(loaded.intersection(NEVER)) == []


@pytest.mark.parametrize(
    "code",
    [
        NAMES,
        HELP.format(arguments="'-h'"),
        HELP.format(arguments="'run', '-h'"),
        HELP.format(arguments="'--version'"),
    ],
    ids=["import", "help", "run-help", "version"],
)
def test_importing_the_package_and_help_load_nothing_heavy(code):
    loaded = _loaded(code)
    assert "deepseg_lite" in loaded
    assert sorted(loaded.intersection(HEAVY + NEVER)) == []


def test_a_model_of_one_network_does_not_load_what_the_spine_needs():
    loaded = _loaded(SEGMENTING)
    assert "deepseg_lite.inference.pipeline" in loaded
    assert sorted(loaded.intersection({"deepseg_lite.workflows.spine", "scipy.interpolate"})) == []


def test_scipy_is_loaded_with_the_first_image_while_networks_are_opened():
    loaded = _loaded("import deepseg_lite; deepseg_lite.load('sc_gm_t2star', device='cpu')")
    assert "onnxruntime" in loaded
    assert "scipy.ndimage" not in loaded
