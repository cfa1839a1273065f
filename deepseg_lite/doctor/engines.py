"""Engines: which devices run a network here, why others do not, and whether any tells of it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

from deepseg_lite.doctor.finding import Finding, note, ok, problem
from deepseg_lite.doctor.probe import ask
from deepseg_lite.engines.names import DEVICES
from deepseg_lite.machine import describe_machine

_AUTO, _CUDA = "auto", "cuda"
_LIBRARIES = {"cpu": "onnxruntime", "openvino": "openvino"}
"""Devices that a run without options takes where their library is installed, and that library."""
_TELEMETRY = "ORT_DISABLE_TELEMETRY"


def check_devices() -> Iterator[Finding]:
    """Segment a small image on every device that may be usable, each in a process of its own."""
    offered = ask("offered").get("devices", [])
    tried = [device for device in DEVICES[1:] if device in {*_LIBRARIES, _CUDA, *offered}]
    answers = {device: ask("device", device) for device in (_AUTO, *tried)}
    yield _default(answers.pop(_AUTO))
    for device, answer in answers.items():
        yield _of_device(device, answer)
    if others := [device for device in DEVICES[1:] if device not in tried]:
        yield ok("others", f"{', '.join(others)}: not in this build of ONNX Runtime")
    yield from _telemetry([answer["telemetry"] for answer in answers.values() if _ran(answer)])


def _ran(answer: dict[str, Any]) -> bool:
    return "error" not in answer


def _default(answer: dict[str, Any]) -> Finding:
    """Return whether a run without options has a device."""
    if _ran(answer):
        return ok("without options", f"runs take {answer['device']}")
    return problem(
        "without options",
        f"no device is usable: {answer['error']}",
        'Run pip install "deepseg-lite[cpu]", or "deepseg-lite[gpu]" for CUDA.',
    )


def _of_device(device: str, answer: dict[str, Any]) -> Finding:
    """Return whether a device is usable, and whether it should be."""
    if _ran(answer):
        model = f"it ran {answer['ran']}" if answer["ran"] else "there is no model to run"
        return ok(device, f"usable; {model}")
    why, library = f"not usable: {answer['error']}", _LIBRARIES.get(device)
    if library and find_spec(library):
        return problem(
            device,
            why,
            f"Run pip install --force-reinstall {library}, or pip uninstall -y {library} and use "
            "another device.",
        )
    if device == _CUDA and describe_machine().gpus:
        return note(
            device,
            why,
            "To use the GPU, run pip uninstall -y onnxruntime, then pip install "
            '"deepseg-lite[gpu]".',
        )
    return ok(device, why)


def _telemetry(told: list[dict[str, Any]]) -> Iterator[Finding]:
    """Yield whether a library that has just run something may report it to its makers."""
    if os.environ.get(_TELEMETRY) == "0":
        yield note(
            "telemetry",
            f"{_TELEMETRY} is 0, so ONNX Runtime may report which models it opens",
            f"Unset {_TELEMETRY}; it is off then.",
        )
    elif any(each["onnxruntime"] == "0" or each["openvino"] for each in told):
        yield problem(
            "telemetry",
            "a library was loaded that reports what it runs",
            "Run pip uninstall -y openvino-telemetry, and set ORT_DISABLE_TELEMETRY=1.",
        )
    elif told:
        yield ok("telemetry", "off")
