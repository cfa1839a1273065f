"""Exports from the command line where no framework can be imported, and what needs one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from deepseg_export.cli.group import cli
from helpers.click_runner import invoke
from helpers.ivadomed_models import make_onnx, make_settings, make_unet, write_model
from helpers.monai_models import write_lightning

from deepseg_lite.bundles.bundle import read_bundle

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytestmark = pytest.mark.export

PROGRAM = """
import sys
for name in ("torch", "onnxscript", "dynamic_network_architectures", "monai", "einops", "ivadomed"):
    sys.modules[name] = None  # importing it fails
from deepseg_export.cli.group import cli
from deepseg_export.families.monai import lightning
lightning.FEATURES = {8: (3, 4, 5, 6, 7, 8)}
lightning._NEWEST_OF_FEATURES = {8: "6.5"}
lightning.PATCH_SIZE = (32, 32, 32)
cli(sys.argv[1:], standalone_mode=False)
"""


def export(*words: Any) -> dict[str, Any]:
    """Run the command in a process without frameworks and return the manifest."""
    command = [sys.executable, "-c", PROGRAM, *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return dict(read_bundle(Path(done.stdout.strip())).manifest)


def test_a_pickled_network_of_ivadomed(tmp_path):
    model = write_model(tmp_path / "m", make_settings(classes=2), make_unet(classes=2))
    record = export("ivadomed", model, "-o", tmp_path / "out")["export"]
    (check,) = record["checks"]
    assert check["against"] == "numpy"
    assert check["max_rel_error"] < 1e-5
    assert set(record["versions"]) == {"deepseg_lite", "onnx", "onnxruntime"}


def test_a_network_that_is_onnx(tmp_path):
    model = write_model(tmp_path / "m", make_settings(), onnx=make_onnx())
    record = export("ivadomed", model, "-o", tmp_path / "out")["export"]
    assert record["checks"] == [
        {"fold": "0", "against": "onnx", "max_abs_error": 0.0, "max_rel_error": 0.0}
    ]


def test_a_lightning_checkpoint(tmp_path):
    model = write_lightning(tmp_path / "best.ckpt", (3, 4, 5, 6, 7, 8))
    manifest = export("monai-ckpt", model, "-o", tmp_path / "out", "--sct", "6.2")
    assert manifest["source"]["details"]["sct"] == "6.2"
    assert [check["against"] for check in manifest["export"]["checks"]] == ["numpy"]


@pytest.mark.parametrize("option", ["--with", "--check"])
def test_torch_is_refused_where_it_never_converts(tmp_path, option):
    model = write_model(tmp_path / "m", make_settings(), make_unet())
    done = invoke(cli, ["ivadomed", model, "-o", tmp_path / "out", option, "torch"])
    assert done.exit_code == 1
    assert "PyTorch never converts models of this family; leave --with torch" in done.stderr
    assert not (tmp_path / "out").exists()


def test_bundles_of_monai_need_torch_and_say_so_in_a_line(tmp_path, monkeypatch):
    for name in ("torch", "monai"):
        monkeypatch.setitem(sys.modules, name, None)
    done = invoke(cli, ["monai-bundle", tmp_path, "-o", tmp_path / "out"])
    assert done.exit_code == 1
    (line,) = done.stderr.strip().splitlines()
    assert "torch" in line
    assert "monai" in line
    assert line.endswith('pip install "deepseg-lite[export]"')
