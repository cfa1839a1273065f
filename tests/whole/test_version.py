"""What ``--version`` says."""

from __future__ import annotations

from importlib import metadata
from types import SimpleNamespace

import pytest

import deepseg_lite


@pytest.mark.parametrize(
    ("installed", "named"),
    [
        (["numpy", "onnxruntime"], "onnxruntime 1.2"),
        (["openvino", "onnxruntime-gpu"], "onnxruntime-gpu 1.2, openvino 1.2"),
        (["onnxruntime-directml", "openvino-telemetry"], "onnxruntime-directml 1.2"),
        (["onnxruntime", "onnxruntime", "onnxruntime-gpu"], "onnxruntime 1.2, onnxruntime-gpu 1.2"),
        (["numpy", None], "nothing to run networks"),
    ],
    ids=["cpu", "gpu-openvino", "directml", "both", "none"],
)
def test_it_names_what_runs_networks(command, monkeypatch, installed, named):
    found = [SimpleNamespace(name=name) for name in installed]
    monkeypatch.setattr(metadata, "distributions", lambda: found)
    monkeypatch.setattr(
        metadata, "version", lambda name: "0.3" if name == "deepseg-lite" else "1.2"
    )
    done = command("--version")
    assert done == (0, f"deepseg-lite 0.3 ({named})\n", "")


def test_it_names_what_is_here(command):
    done = command("--version")
    here = f"deepseg-lite {deepseg_lite.__version__} (onnxruntime"
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith(here)
