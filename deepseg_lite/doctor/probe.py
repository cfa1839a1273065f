"""Probes: what is loaded or run in a process of its own, because it may end that process.

``python -m deepseg_lite.doctor.probe WHAT NAME SECONDS`` prints one JSON object.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from deepseg_lite.errors import DeepsegError
from deepseg_lite.processes import end_with_parent, run_module
from deepseg_lite.text import one_line

PATIENCE_S = 120.0
_ANSWER, _NO_END = "answer", 97


def ask(what: str, name: str = "") -> dict[str, Any]:
    """Run a probe in a process of its own.

    Parameters
    ----------
    what : {"packages", "offered", "device"}
        What is probed.
    name : str
        Modules to import, with commas between them; or the device to run a network on.

    Returns
    -------
    answer : dict
        What the probe says; ``error`` alone, in a line, where it failed or its process died.
    """
    answers: list[dict[str, Any]] = []
    ended = run_module(
        "deepseg_lite.doctor.probe",
        what,
        name,
        str(PATIENCE_S),
        environment={"DEEPSEG_LITE_LOCK": "off"},  # it is of the user's models, not of this one
        on_line=answers.append,
    )
    found = [answer[_ANSWER] for answer in answers if _ANSWER in answer]
    if found:
        answer: dict[str, Any] = found[-1]
        return answer
    return {"error": _how_it_ended(ended.code, ended.errors)}


def _how_it_ended(code: int, errors: str) -> str:
    """Return how a process without an answer ended, in a line."""
    if code == _NO_END:
        return f"the process that tried it came to no end in {PATIENCE_S:.0f} s"
    said = [line.strip() for line in errors.splitlines() if line.strip()]
    last = f": {said[-1]}" if said else ""
    if code < 0:
        with suppress(ValueError):
            return f"the process that tried it was ended by {signal.Signals(-code).name}{last}"
    return f"the process that tried it ended with code {code}{last}"


def _packages(names: str) -> dict[str, Any]:
    """Import packages, which have commas between them."""
    for name in names.split(","):
        importlib.import_module(name)
    return {}


def _offered(_: str) -> dict[str, Any]:
    """List the devices that the installed ONNX Runtime was built for."""
    from deepseg_lite.engines.onnxruntime_network import offered_devices

    return {"devices": offered_devices()}


def _device(name: str) -> dict[str, Any]:
    """Segment a small image on a device, with a model that ships with the package."""
    import numpy as np

    from deepseg_lite.api.loader import load
    from deepseg_lite.engines.engine import choose_engine, device_of
    from deepseg_lite.store.tasks import shipped_bundles

    answer: dict[str, Any] = {"device": device_of(choose_engine(name)), "ran": None}
    for path in shipped_bundles()[:1]:
        image = np.linspace(0, 1, 64 * 64, dtype=np.float32).reshape(64, 64, 1)
        segment = load(str(path), device=name, threads=1)
        segment(image, affine=np.diag([0.6, 0.6, 3, 1]))
        answer["device"] = device_of(segment.engine)  # `auto` looks at the model, too
        answer["ran"] = segment.bundle.name
    answer["telemetry"] = {
        "onnxruntime": os.environ.get("ORT_DISABLE_TELEMETRY"),
        "openvino": sys.modules.get("openvino_telemetry") is not None,
    }
    return answer


_PROBES: dict[str, Callable[[str], dict[str, Any]]] = {
    "packages": _packages,
    "offered": _offered,
    "device": _device,
}


def main() -> None:
    """Answer a probe on standard output."""
    end_with_parent()
    what, name, patience_s = sys.argv[1:]
    timer = threading.Timer(float(patience_s), os._exit, [_NO_END])
    timer.daemon = True
    timer.start()
    try:
        answer = _PROBES[what](name)
    except Exception as error:
        kind = "" if isinstance(error, DeepsegError) else f"{type(error).__name__}: "
        answer = {"error": one_line(f"{kind}{error}")}
    print(json.dumps({_ANSWER: answer}), flush=True)
    os._exit(0)  # what a library does at its end is nobody's concern here


if __name__ == "__main__":
    main()
