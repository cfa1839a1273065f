"""Which engine a device's name stands for, whatever is installed."""

from __future__ import annotations

import importlib.util
import sys
from types import SimpleNamespace

import pytest

import deepseg_lite
from deepseg_lite.cli import run
from deepseg_lite.engines import engine, onnxruntime_network, openvino_network
from deepseg_lite.engines.engine import DEVICES, Engine, choose_engine, cpu_engine
from deepseg_lite.engines.onnxruntime_network import CPU, CUDA
from deepseg_lite.errors import OptionError, ProviderError


@pytest.fixture
def machine(monkeypatch):
    """Pretend what is installed: OpenVINO and its CPU's precisions, ONNX Runtime, CUDA."""

    def pretend(*, openvino=(), onnxruntime=True, cuda=False):
        core = SimpleNamespace(get_property=lambda device, name: openvino)
        fake = SimpleNamespace(__version__="0", Core=lambda: core)
        monkeypatch.setitem(sys.modules, "openvino", fake if openvino else None)
        monkeypatch.setattr(openvino_network, "is_installed", lambda: bool(openvino))
        packages = ["onnxruntime 1"] if onnxruntime else []
        monkeypatch.setattr(onnxruntime_network, "installed_packages", lambda: packages)
        if not onnxruntime:
            monkeypatch.setitem(sys.modules, "onnxruntime", None)
        else:
            import onnxruntime as ort

            offered = [CUDA, CPU] if cuda else [CPU]
            monkeypatch.setattr(ort, "get_available_providers", lambda: offered)
            monkeypatch.setattr(ort, "preload_dlls", lambda: None, raising=False)
            monkeypatch.setattr(onnxruntime_network.ctypes, "CDLL", lambda *_: None)

    return pretend


@pytest.mark.parametrize(
    ("installed", "provider"),
    [
        ({}, CPU),
        ({"cuda": True}, CUDA),
        ({"openvino": ("FP32",)}, "openvino"),
        ({"openvino": ("FP32",), "cuda": True}, CUDA),
        ({"openvino": ("FP32",), "onnxruntime": False}, "openvino"),
    ],
    ids=["cpu", "cuda", "openvino", "cuda-and-openvino", "openvino-alone"],
)
def test_auto_takes_the_fastest_that_is_exact_and_says_which(machine, caplog, installed, provider):
    machine(**installed)
    caplog.set_level("INFO", "deepseg_lite")
    assert choose_engine("auto") == Engine(provider, "fp32")
    assert f"Networks run on {provider}, in fp32." in caplog.text


def test_cpu_is_onnxruntime_where_both_are(machine):
    machine(openvino=("FP32",))
    assert choose_engine("cpu") == cpu_engine() == Engine(CPU)
    machine(openvino=("FP32",), onnxruntime=False)
    assert cpu_engine() == Engine("openvino")


def test_without_openvino_the_extra_is_named(machine):
    machine()
    with pytest.raises(ProviderError, match=r'"deepseg-lite\[openvino\]".*`device=cpu`') as caught:
        choose_engine("openvino")
    assert "\n" not in str(caught.value)


def test_without_any_engine_the_extras_are_named(machine):
    machine(onnxruntime=False)
    with pytest.raises(ProviderError, match=r'"deepseg-lite\[cpu\]"'):
        choose_engine("auto")


def test_whether_openvino_is_there_is_found_without_importing_it(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name == "openvino" or None)
    monkeypatch.setitem(sys.modules, "openvino", None)
    assert openvino_network.is_installed()


@pytest.mark.parametrize("device", ["openvino", "auto"])
def test_bf16_runs_where_the_cpu_has_it(machine, device):
    machine(openvino=("FP32", "BF16"))
    assert choose_engine(device, "bf16") == Engine("openvino", "bf16")
    machine(openvino=("FP32",))
    with pytest.raises(ProviderError, match="this CPU has no bfloat16 arithmetic"):
        choose_engine(device, "bf16")


@pytest.mark.parametrize(
    ("device", "precision", "others"),
    [
        ("cpu", "bf16", "openvino"),
        ("cuda", "int8", "openvino or cpu"),
        ("cpu", "fp16", "cuda or tensorrt or"),
        ("openvino", "fp16", "cuda or tensorrt or"),
    ],
)
def test_a_precision_is_refused_by_devices_without_it(machine, device, precision, others):
    machine(openvino=("FP32", "BF16"))
    with pytest.raises(
        OptionError, match=rf"precision {precision} .* `device={device}` .* use `device={others}"
    ) as caught:
        choose_engine(device, precision)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("installed", "precision", "provider"),
    [
        ({}, "int8", CPU),
        ({"cuda": True}, "int8", CPU),
        ({"openvino": ("FP32",), "cuda": True}, "int8", "openvino"),
        ({"openvino": ("FP32", "BF16"), "cuda": True}, "bf16", "openvino"),
        ({"openvino": ("FP32",), "cuda": True}, "fp16", CUDA),
        ({"openvino": ("FP32",)}, "fp16-weights", "openvino"),
    ],
)
def test_auto_takes_the_fastest_that_has_the_precision(machine, installed, precision, provider):
    machine(**installed)
    assert choose_engine("auto", precision) == Engine(provider, precision)


@pytest.mark.parametrize(
    ("precision", "missing"), [("bf16", "OpenVINO"), ("fp16", "fp16 is for GPUs")]
)
def test_auto_says_what_is_missing_for_a_precision(machine, precision, missing):
    machine()
    with pytest.raises(ProviderError, match=missing) as caught:
        choose_engine("auto", precision)
    assert "\n" not in str(caught.value)


def test_unknown_names_are_refused():
    with pytest.raises(OptionError, match="device is 'tpu'; it must be one of auto, cpu, cuda"):
        choose_engine("tpu")
    with pytest.raises(OptionError, match="precision is 'int4'; it must be one of fp32, bf16"):
        deepseg_lite.load("sc_gm_t2star", device="cpu", precision="int4")


def test_the_command_offers_every_device_and_precision():
    options = {option.name: option for option in run.run.params}
    assert sorted(options["device"].type.choices) == sorted(DEVICES)
    assert tuple(options["precision"].type.choices) == engine.PRECISIONS
