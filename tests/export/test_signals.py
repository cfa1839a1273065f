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
import signal, sys, time
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # of nohup, it would stay ignored
from deepseg_export import exporting
from deepseg_export.cli.group import main
from deepseg_export.families import nnunet

def wait(*_, **__):
    print("waiting", flush=True)
    time.sleep(600)

if sys.argv.pop(1) == "reading":
    nnunet.read_trained = wait
exporting.convert = wait
main()
"""


def start(model: Path, output: Path, temporary: Path, step: str) -> subprocess.Popen[str]:
    """Return an export that is reading its model, or converting, for ever."""
    temporary.mkdir(exist_ok=True)
    process = subprocess.Popen(
        [sys.executable, "-c", WAITING, step, "nnunet", str(model), "-o", str(output)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "TMPDIR": str(temporary), "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "waiting\n"
    return process


def left(*folders: Path) -> list[str]:
    return [file.name for folder in folders for file in folder.iterdir() if file.name != ".ses"]


@pytest.mark.parametrize(("name", "step"), [("SIGTERM", "converting"), ("SIGHUP", "reading")])
def test_a_signal_leaves_nothing(make_model, tmp_path, name, step):
    """Neither beside the bundle nor in TMPDIR, where the archive was unpacked."""
    model = write_zip(tmp_path / "model.zip", make_model())
    (tmp_path / "out").mkdir()
    process = start(model, tmp_path / "out" / "new" / "bundle", tmp_path / "tmp", step)
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

    def convert(*_: object, **__: object) -> None:
        seen.append(Path(os.environ["TORCHINDUCTOR_CACHE_DIR"]))
        raise KeyboardInterrupt

    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
    monkeypatch.setattr(exporting, "convert", convert)
    with pytest.raises(KeyboardInterrupt):
        export_model("nnunet", make_model(), tmp_path / "out" / "bundle")
    assert seen[0].is_relative_to(tmp_path / "out")
    assert "TORCHINDUCTOR_CACHE_DIR" not in os.environ
    assert not (tmp_path / "out").exists()


def test_what_a_kill_left_goes_with_the_next_export(make_model, tmp_path):
    """Working folders tell who has them: the next export removes those of the gone alone."""
    model = write_zip(tmp_path / "model.zip", make_model())
    out, temporary = tmp_path / "out", tmp_path / "tmp"
    out.mkdir()
    killed = start(model, out / "one", temporary, "reading")
    others = start(model, out / "two", temporary, "reading")
    killed.kill()
    killed.communicate()
    assert len(left(out)) == len(left(temporary)) == 2
    third = start(model, out / "three", temporary, "reading")
    assert len(left(out)) == len(left(temporary)) == 2  # the one that runs, and its own
    for process in (others, third):
        process.terminate()
        process.communicate()
    assert left(out, temporary) == []


@pytest.mark.parametrize("end", [KeyboardInterrupt(), SystemExit(143)], ids=["SIGINT", "SIGTERM"])
def test_an_end_within_torch_is_no_failure_of_torch(monkeypatch, end):
    """Torch turns what it is ended by into an error of its own."""
    import torch
    from deepseg_export.network.conversion import to_onnx

    def export(*_: object, **__: object) -> None:
        try:
            raise end
        except BaseException as inner:
            raise RuntimeError("Failed to export the model") from inner

    monkeypatch.setattr(torch.onnx, "export", export)
    with pytest.raises(type(end)) as caught:
        to_onnx(torch.nn.Conv3d(1, 2, 1), (1, 8, 8, 8))
    assert caught.value is end
