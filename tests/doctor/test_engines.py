"""Engines that are broken, absent or tell of what they run."""

from __future__ import annotations

import pytest
from helpers.paths import ROOT

from deepseg_lite.doctor import engines
from deepseg_lite.doctor.finding import NOTE, OK, PROBLEM

RAN = {"device": "cpu", "ran": "a_model", "telemetry": {"onnxruntime": "1", "openvino": False}}


def by_name(findings):
    return {each.name: each for each in findings}


def test_the_devices_of_this_machine_are_tried():
    pytest.importorskip("onnxruntime")
    found = by_name(engines.check_devices())
    assert found["cpu"].level == OK
    assert found["cpu"].text.startswith("usable; it ran ")
    assert found["without options"].level == OK
    assert found["telemetry"].text == "off"
    assert {"cuda", "openvino"} <= set(found)


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (
            "raise ImportError('libgomp.so.1: cannot open shared object file: No such file')",
            "a library of the system is missing (libgomp.so.1)",
        ),
        ("import os; os.kill(os.getpid(), 4)", "was ended by SIGILL"),
    ],
    ids=["library", "illegal-instruction"],
)
def test_an_engine_that_cannot_be_loaded_is_a_problem(tmp_path, monkeypatch, code, said):
    pytest.importorskip("onnxruntime")
    (tmp_path / "onnxruntime").mkdir()
    (tmp_path / "onnxruntime" / "__init__.py").write_text(code)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{ROOT}")
    monkeypatch.setattr(engines, "DEVICES", ("auto", "cpu"))
    found = by_name(engines.check_devices())
    assert found["cpu"].level == PROBLEM
    assert said in found["cpu"].text
    assert "pip install --force-reinstall onnxruntime" in found["cpu"].cure


@pytest.fixture
def answers(monkeypatch):
    """Replace what the probes answer; devices that are not named cannot be used."""
    told = {}
    monkeypatch.setattr(
        engines, "ask", lambda what, name="": told.get(name or what, {"error": f"no {name}."})
    )
    return told


def test_a_machine_without_any_engine_has_a_problem(answers, monkeypatch):
    monkeypatch.setattr(engines, "find_spec", lambda name: None)
    found = by_name(engines.check_devices())
    assert found["without options"].level == PROBLEM
    assert 'pip install "deepseg-lite[cpu]"' in found["without options"].cure
    assert found["cpu"].level == found["openvino"].level == OK
    assert found["cpu"].text == "not usable: no cpu."


def test_a_gpu_that_is_not_used_is_a_note(answers, monkeypatch):
    answers |= {"auto": RAN, "cpu": RAN}
    monkeypatch.setattr(engines, "find_spec", lambda name: None)
    assert by_name(engines.check_devices())["cuda"].level == OK
    machine = type("Machine", (), {"gpus": ("H100 (80GB)",)})
    monkeypatch.setattr(engines, "describe_machine", machine)
    assert by_name(engines.check_devices())["cuda"].level == NOTE


def test_other_devices_are_tried_where_onnx_runtime_has_them(answers, monkeypatch):
    answers |= {"offered": {"devices": ["cpu", "directml"]}, "auto": RAN, "directml": RAN}
    monkeypatch.setattr(engines, "find_spec", lambda name: None)
    found = by_name(engines.check_devices())
    assert found["directml"].text == "usable; it ran a_model"
    assert found["others"].text.startswith("tensorrt, coreml, rocm: not in this build")


def test_telemetry_is_told(answers, monkeypatch):
    monkeypatch.setattr(engines, "find_spec", lambda name: None)
    answers |= {"auto": RAN, "cpu": {**RAN, "telemetry": {"onnxruntime": "1", "openvino": True}}}
    assert by_name(engines.check_devices())["telemetry"].level == PROBLEM
    monkeypatch.setenv("ORT_DISABLE_TELEMETRY", "0")
    found = by_name(engines.check_devices())["telemetry"]
    assert (found.level, found.cure) == (NOTE, "Unset ORT_DISABLE_TELEMETRY; it is off then.")
