"""Fault 22 for exports: signals leave nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.nnunet_models import write_zip

pytest.importorskip("torch")
pytest.importorskip("onnxscript")
pytest.importorskip("dynamic_network_architectures")
pytestmark = pytest.mark.export

WAITING = """
import sys, time
from deepseg_export import exporting
from deepseg_export.cli.group import main

def convert(*_):
    print("converting", flush=True)
    time.sleep(600)

exporting.convert = convert
sys.argv = ["deepseg-export", *sys.argv[1:]]
main()
"""


def start(model: Path, output: Path, temporary: Path) -> subprocess.Popen[str]:
    """Return an export that has read its model and converts for ever."""
    temporary.mkdir(exist_ok=True)
    process = subprocess.Popen(
        [sys.executable, "-c", WAITING, "nnunet", str(model), "-o", str(output)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "TMPDIR": str(temporary), "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "converting\n"
    return process


def left(*folders: Path) -> list[str]:
    return [file.name for folder in folders for file in folder.iterdir() if file.name != ".ses"]


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_a_signal_leaves_nothing(make_model, tmp_path, name):
    """Neither beside the bundle nor in TMPDIR, where the archive was unpacked."""
    model = write_zip(tmp_path / "model.zip", make_model())
    (tmp_path / "out").mkdir()
    process = start(model, tmp_path / "out" / "new" / "bundle", tmp_path / "tmp")
    assert left(tmp_path / "out", tmp_path / "tmp")
    number = getattr(signal, name)
    process.send_signal(number)
    process.communicate()
    assert process.returncode == 128 + number
    assert left(tmp_path / "out", tmp_path / "tmp") == []


def test_torch_keeps_its_caches_with_the_export(make_model, tmp_path, monkeypatch):
    from deepseg_export import exporting
    from deepseg_export.exporting import export_model

    seen = []

    def convert(*_: object) -> None:
        seen.append(Path(os.environ["TORCHINDUCTOR_CACHE_DIR"]))
        raise KeyboardInterrupt

    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
    monkeypatch.setattr(exporting, "convert", convert)
    with pytest.raises(KeyboardInterrupt):
        export_model("nnunet", make_model(), tmp_path / "out" / "bundle")
    assert seen[0].is_relative_to(tmp_path / "out")
    assert "TORCHINDUCTOR_CACHE_DIR" not in os.environ
    assert not (tmp_path / "out").exists()
