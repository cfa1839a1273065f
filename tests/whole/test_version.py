"""What ``--version`` says."""

from __future__ import annotations

import platform
from importlib import metadata
from types import SimpleNamespace

import pytest

import deepseg_lite
from deepseg_lite.machine import describe_machine
from deepseg_lite.store.cache import home


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


@pytest.mark.parametrize("arguments", [("--version", "-v"), ("-v", "--version")], ids=" ".join)
def test_verbosely_it_has_what_a_bug_report_needs(command, arguments):
    found = describe_machine()
    done = command(*arguments)
    assert (done.code, done.err) == (0, "")
    first, *rest = done.out.splitlines()
    assert first == command("--version").out.strip()
    told = {name: text.strip() for name, _, text in (line.partition(":") for line in rest)}
    assert told["Python"].startswith(platform.python_version())
    assert (told["system"], told["processor"]) == (found.system, found.cpu)
    assert told["CPUs"] == f"{found.cores} usable"
    assert told["memory"].endswith("GiB")
    assert told["GPUs"] == (", ".join(found.gpus) or "none of NVIDIA's")
    for package in ("numpy", "scipy", "nibabel"):
        assert f"{package} {metadata.version(package)}" in told["packages"].split(", ")
    assert "cpu" in told["engines"].split(", ")
    assert told["cache"] == str(home())


def test_a_package_that_is_absent_is_named(command, monkeypatch):
    def version(name):
        if name == "huggingface_hub":
            raise metadata.PackageNotFoundError(name)
        return "1.2"

    monkeypatch.setattr(metadata, "version", version)
    assert "no huggingface_hub" in command("--version", "-v").out


def test_verbose_alone_is_wrong_usage(command):
    done = command("-v", "list")
    assert (done.code, done.out) == (2, "")
    assert "-v goes with --version" in done.err
