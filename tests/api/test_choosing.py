"""Which engine a model gets where two may run it: what was measured, or what its bundle has."""

from __future__ import annotations

from dataclasses import replace

import pytest
from helpers.bundles import make_bundle

import deepseg_lite
from deepseg_lite.api import calibration, choosing
from deepseg_lite.api.calibration import Measurement, record, setup_of
from deepseg_lite.api.choosing import engine_for
from deepseg_lite.api.record import describe_run
from deepseg_lite.engines import engine, onnxruntime_network, openvino_network
from deepseg_lite.engines.engine import OPENVINO, Engine
from deepseg_lite.engines.onnxruntime_network import CPU
from deepseg_lite.inference.settings import make_settings

BUNDLE = make_bundle()
PLAIN = BUNDLE.networks[0]
FORM = replace(PLAIN, path="slices.onnx", sha256="f" * 64, form="slices", devices=("cpu",))
WITH_FORM = replace(PLAIN, forms=(FORM,))


@pytest.fixture(autouse=True)
def _both_are_here(monkeypatch):
    """Pretend that both are installed, two processors, and no CUDA."""
    monkeypatch.setattr(openvino_network, "is_installed", lambda: True)
    monkeypatch.setattr(openvino_network, "check_precision", lambda precision: None)
    monkeypatch.setattr(onnxruntime_network, "installed_packages", lambda: ["onnxruntime 1"])
    monkeypatch.setattr(onnxruntime_network, "choose_provider", lambda device: CPU)
    monkeypatch.setattr(choosing, "available_threads", lambda: 2)


def chosen(network=PLAIN, device="auto", precision="fp32", form="auto", threads=2):
    return engine_for(BUNDLE, network, device, precision, form, threads)


def measure(network, openvino, onnxruntime, *, threads=2, precision="fp32", voxels=512):
    for name, seconds in ((OPENVINO, openvino), (CPU, onnxruntime)):
        setup = setup_of(Engine(name, precision), threads, network)
        record(setup, Measurement(seconds, voxels))


@pytest.mark.parametrize(
    ("network", "form", "provider", "words"),
    [
        (PLAIN, "auto", OPENVINO, "have no form for cpu"),
        (WITH_FORM, "auto", CPU, "have a form for cpu"),
        (WITH_FORM, "canonical", OPENVINO, "have no form for cpu"),
    ],
    ids=["no form", "form", "form not wanted"],
)
def test_unmeasured_networks_go_where_their_form_is_for(network, form, provider, words, caplog):
    caplog.set_level("INFO", "deepseg_lite")
    found = chosen(network, form=form)
    assert (found.provider, found.form) == (provider, form)
    assert words in found.why
    assert found.why in caplog.text


@pytest.mark.parametrize(
    ("openvino", "onnxruntime", "provider"), [(0.2, 0.1, CPU), (0.1, 0.2, OPENVINO)]
)
@pytest.mark.parametrize("network", [PLAIN, WITH_FORM], ids=["no form", "form"])
def test_the_faster_one_here_is_taken(network, openvino, onnxruntime, provider):
    measure(network, openvino, onnxruntime)
    found = chosen(network)
    assert found.provider == provider
    assert found.why == f"a patch measured here: openvino {openvino} s, cpu {onnxruntime} s"


def test_both_have_to_be_measured_with_the_same_patch():
    record(setup_of(Engine(CPU), 2, PLAIN), Measurement(0.1, 512))
    assert "not measured here" in chosen().why
    record(setup_of(Engine(OPENVINO), 2, PLAIN), Measurement(0.2, 1024))
    assert "not measured here" in chosen().why
    record(setup_of(Engine(OPENVINO), 2, PLAIN), Measurement(0.2, 512))
    assert chosen().provider == CPU


def test_the_nearest_number_of_threads_counts():
    measure(PLAIN, 0.2, 0.1, threads=1)
    assert chosen(threads=2).provider == CPU
    measure(PLAIN, 0.1, 0.2, threads=2)
    assert chosen(threads=2).provider == OPENVINO
    assert chosen(threads=1).provider == CPU


def test_a_measurement_of_another_form_or_machine_says_nothing(monkeypatch):
    measure(PLAIN, 0.1, 0.2)
    assert "not measured here" in chosen(WITH_FORM).why
    monkeypatch.setattr(calibration, "machine", lambda: "another")
    assert "not measured here" in chosen().why


def test_where_there_is_no_choice_nothing_is_said(monkeypatch):
    measure(PLAIN, 0.1, 0.2)
    assert chosen(device="cpu") == Engine(CPU)
    assert chosen(device="cpu").why == ""
    assert chosen(precision="bf16") == Engine(OPENVINO, "bf16")
    monkeypatch.setattr(engine, "_fastest", lambda offering: "cuda")
    monkeypatch.setattr(onnxruntime_network, "choose_provider", lambda device: "CUDA")
    assert chosen() == Engine("CUDA")


def test_the_record_says_why(tiny_bundle):
    network = deepseg_lite.load(tiny_bundle, device="cpu", threads=1).networks[0]
    measure(network, 0.2, 0.1, threads=1)
    model = deepseg_lite.load(tiny_bundle, threads=1)
    device = describe_run(model, [], make_settings(), {}, [])["Device"]
    assert device["provider"] == CPU
    assert device["chosen"] == "a patch measured here: openvino 0.2 s, cpu 0.1 s"
    model = deepseg_lite.load(tiny_bundle, device="cpu", threads=1)
    assert "chosen" not in describe_run(model, [], make_settings(), {}, [])["Device"]
