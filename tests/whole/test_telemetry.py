"""Engines tell nobody what they run, unless the user asked them to."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

SESSION_NOTE = ".ses"  # what ONNX Runtime's telemetry leaves in the folder for temporary files


def run(code: str, folder: os.PathLike[str], **variables: str) -> str:
    environment = {k: v for k, v in os.environ.items() if k not in ("ORT_DISABLE_TELEMETRY", "CI")}
    environment |= {"TMPDIR": str(folder), **variables}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True
    )
    return done.stdout.strip()


IMPORTING = (
    "import os; from deepseg_lite.engines import onnxruntime_network as engine; "
    "engine.import_onnxruntime()"
)


def test_onnx_runtime_is_told_before_it_is_imported(tmp_path):
    assert run(f"{IMPORTING}; print(os.environ['ORT_DISABLE_TELEMETRY'])", tmp_path) == "1"
    assert not (tmp_path / SESSION_NOTE).exists()


def test_who_wants_onnx_runtime_to_tell_is_heard(tmp_path):
    code = f"{IMPORTING}; print(os.environ['ORT_DISABLE_TELEMETRY'])"
    assert run(code, tmp_path, ORT_DISABLE_TELEMETRY="0") == "0"


@pytest.mark.parametrize(("chosen", "told"), [({}, "1"), ({"ORT_DISABLE_TELEMETRY": "0"}, "0")])
def test_onnx_runtime_that_a_host_program_imported_is_told(tmp_path, chosen, told):
    """Fault 14: the variable is read at import, and that was before."""
    code = (
        "import onnxruntime; calls = []; "
        "onnxruntime.disable_telemetry_events = lambda: calls.append(1); "
        f"{IMPORTING}; print(len(calls))"
    )
    assert run(code, tmp_path, **chosen) == told


def test_the_switch_of_onnx_runtime_is_there(tmp_path):
    assert (
        run("import onnxruntime; onnxruntime.disable_telemetry_events(); print(1)", tmp_path) == "1"
    )


def test_openvino_does_without_its_telemetry(tmp_path):
    pytest.importorskip("openvino")
    code = "import sys; from deepseg_lite.engines.openvino_network import import_openvino\n"
    code += "import_openvino().Core()\n"
    code += (
        "print([m for m in sys.modules if m.startswith('openvino_telemetry') and sys.modules[m]])"
    )
    assert run(code, tmp_path, HOME=str(tmp_path)) == "[]"
    assert not (tmp_path / "intel").exists()
