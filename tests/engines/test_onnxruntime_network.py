"""ONNX Runtime: networks opened and checked, devices, packages and threads."""

from __future__ import annotations

import gc
import hashlib
import json
import os
import sys
import weakref
from dataclasses import replace
from importlib import metadata
from types import SimpleNamespace

import numpy as np
import onnxruntime
import pytest
from helpers.bundles import write_bundle

from deepseg_lite import machine
from deepseg_lite.bundles.bundle import Bundle, read_bundle
from deepseg_lite.engines import onnxruntime_network
from deepseg_lite.engines.cuda_buffers import DeviceBuffers
from deepseg_lite.engines.onnxruntime_network import (
    CPU,
    CUDA,
    PROVIDERS,
    OnnxNetwork,
    choose_provider,
)
from deepseg_lite.engines.predictors import PatchPredictor
from deepseg_lite.errors import BundleError, ChecksumError, ProviderError
from deepseg_lite.store.cache import models_directory


def _open(bundle: Bundle) -> PatchPredictor:
    network = bundle.networks[0]
    return PatchPredictor(OnnxNetwork(bundle, network, CPU, 1), bundle, network)


def _sealed(folder, content: bytes):
    """Replace a bundle's network by other bytes, with the right hash in the manifest."""
    manifest = (folder / "manifest.json").read_text()
    bundle = read_bundle(folder)
    network = bundle.networks[0]
    manifest = manifest.replace(network.sha256, hashlib.sha256(content).hexdigest())
    manifest = manifest.replace(f'"size": {network.size}', f'"size": {len(content)}')
    (folder / "manifest.json").write_text(manifest)
    bundle.network_path(network).write_bytes(content)
    return read_bundle(folder)


def test_a_3d_network_gets_patches_as_they_are(tiny_bundle, rng):
    patches = rng.uniform(size=(3, 1, 4, 5, 6)).astype(np.float32)
    found = _open(read_bundle(tiny_bundle))(patches)
    assert found.dtype == np.float32
    np.testing.assert_allclose(
        found, np.concatenate([0.5 - patches, patches - 0.5], axis=1), atol=1e-6
    )


def test_a_2d_network_gets_patches_without_their_thin_axis(tmp_path, rng):
    patches = rng.uniform(size=(3, 1, 1, 5, 6)).astype(np.float32)
    found = _open(read_bundle(write_bundle(tmp_path / "b", "regions")))(patches)
    assert found.shape == (3, 2, 1, 5, 6)
    np.testing.assert_allclose(found, patches - [[[[[0.25]]], [[[0.75]]]]], atol=1e-6)


def test_patches_need_not_be_contiguous(tiny_bundle, rng):
    patches = rng.uniform(size=(1, 1, 4, 5, 6)).astype(np.float32)
    predict = _open(read_bundle(tiny_bundle))
    np.testing.assert_array_equal(predict(patches[..., ::-1]), predict(patches)[..., ::-1])


def test_the_network_must_be_the_manifests(tiny_bundle):
    bundle = read_bundle(tiny_bundle)
    file = tiny_bundle / "threshold_3d.onnx"
    file.write_bytes(bytes(len(file.read_bytes())))
    with pytest.raises(ChecksumError):
        _open(bundle)


def test_wrong_input_channels_are_refused(tiny_bundle):
    other = write_bundle(tiny_bundle.parent / "other", "channels") / "two_channels_3d.onnx"
    with pytest.raises(BundleError, match="has 2 input and 2 output channels, the manifest says 1"):
        _open(_sealed(tiny_bundle, other.read_bytes()))


def test_wrong_output_channels_are_refused(tmp_path):
    labels = [{"name": "a", "values": [1]}, {"name": "b", "values": [2]}]
    outputs = {"activation": "softmax", "labels": labels, "regions_class_order": None}
    folder = write_bundle(tmp_path / "b", outputs=outputs)
    with pytest.raises(BundleError, match="2 output channels, the manifest says 1 and 3"):
        _open(read_bundle(folder))


def test_a_2d_network_needs_a_2d_patch(tmp_path):
    window = {
        "patch_size": [8, 8, 8],
        "overlap": 0.5,
        "placement": "spread",
        "importance_map": "constant",
    }
    folder = write_bundle(tmp_path / "b", "regions", sliding_window=window)
    with pytest.raises(BundleError, match="2-D network"):
        _open(read_bundle(folder))


@pytest.mark.parametrize("rank", [2, 3, 6])
def test_networks_of_another_rank_are_refused(tiny_bundle, monkeypatch, rank):
    port = SimpleNamespace(name="x", shape=["N", 1, "X", "Y", "Z", "T"][:rank])
    opened = SimpleNamespace(
        get_inputs=lambda: [port], get_outputs=lambda: [port], get_providers=lambda: [CPU]
    )
    monkeypatch.setattr(onnxruntime, "InferenceSession", lambda *_, **__: opened)
    with pytest.raises(BundleError, match=f"arrays of {rank} axes; 4 for a 2-D or 5"):
        _open(read_bundle(tiny_bundle))


@pytest.mark.parametrize("content", [b"", b"nonsense" * 30, bytes(500)], ids=["", "text", "zeros"])
def test_bytes_that_are_no_network_are_refused_in_one_line(tiny_bundle, content):
    bundle = _sealed(tiny_bundle, content or b"\n")
    with pytest.raises(BundleError, match=r"threshold_3d\.onnx is not a readable ONNX") as caught:
        _open(bundle)
    assert "\n" not in str(caught.value)


def test_a_failing_run_is_told_in_one_line(tiny_bundle):
    with pytest.raises(ProviderError, match=r"failed on input of shape \(1, 3, 2, 2, 2\)") as got:
        _open(read_bundle(tiny_bundle))(np.zeros((1, 3, 2, 2, 2), np.float32))
    assert "\n" not in str(got.value)


def test_too_little_memory_is_no_fault_of_the_model(tiny_bundle, monkeypatch):
    """Fault 28: ``bad_alloc`` advised to export again."""

    def fail(*_, **__):
        raise RuntimeError("[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : std::bad_alloc")

    network = _open(read_bundle(tiny_bundle))
    monkeypatch.setattr(onnxruntime.InferenceSession, "run", fail)
    with pytest.raises(ProviderError, match=r"too little memory: give `max_ram`, fewer `threads`"):
        network(np.zeros((1, 1, 8, 8, 8), np.float32))
    monkeypatch.setattr(onnxruntime, "InferenceSession", fail)
    with pytest.raises(
        ProviderError, match=r"cannot open .*bad_alloc\. There is too little memory"
    ):
        _open(read_bundle(tiny_bundle))


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        (ImportError("libgomp.so.1: cannot open shared object file"), "missing (libgomp.so.1)"),
        (ImportError("x.so: failed to map segment from shared object"), "too little memory"),
        (MemoryError(), "too little memory"),
        (ImportError("No module named 'onnxruntime'"), 'run pip install "deepseg-lite[cpu]"'),
    ],
    ids=["library", "segment", "memory", "absent"],
)
def test_why_onnx_runtime_cannot_be_imported(monkeypatch, error, advice):
    """Fault 28: too little memory said to run pip install."""

    class Finder:
        @staticmethod
        def find_spec(name, *_):
            if name == "onnxruntime":
                raise error

    monkeypatch.delitem(sys.modules, "onnxruntime")
    monkeypatch.setattr(sys, "meta_path", [Finder, *sys.meta_path])
    with pytest.raises(ProviderError) as caught:
        onnxruntime_network.import_onnxruntime()
    assert advice in str(caught.value)


def test_cpu_is_always_there():
    assert choose_provider("cpu") == CPU


@pytest.mark.usefixtures("without_cuda")
@pytest.mark.parametrize("device", sorted(set(PROVIDERS) - {"cpu", "cuda"}))
def test_providers_that_this_build_lacks_are_refused_with_those_it_has(device):
    with pytest.raises(ProviderError, match=rf"{PROVIDERS[device]} was asked for.* offers cpu;"):
        choose_provider(device)


@pytest.mark.parametrize("device", sorted(set(PROVIDERS) - {"cpu", "cuda"}))
def test_providers_are_found_by_name_and_fall_back_for_single_operators(
    monkeypatch, tiny_bundle, device
):
    bundle = read_bundle(tiny_bundle)
    name, asked = PROVIDERS[device], []
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [name, CPU])
    real = onnxruntime.InferenceSession

    def start(file, options, providers, **_):
        asked.extend(providers)
        return real(file, providers=[CPU])

    monkeypatch.setattr(onnxruntime, "InferenceSession", start)
    assert choose_provider(device) == name
    with pytest.raises(ProviderError, match=f"could not start {name}; use `device=cpu`"):
        OnnxNetwork(bundle, bundle.networks[0], name, 1)
    assert asked == [name, CPU]


@pytest.fixture
def without_cuda(monkeypatch):
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CPU])


@pytest.fixture
def broken_cuda(monkeypatch):
    """Pretend that the GPU package is there, but its libraries do not load."""
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CUDA, CPU])
    monkeypatch.setattr(onnxruntime, "preload_dlls", lambda: None, raising=False)

    def fail(name, *mode):
        raise OSError(f"{name}: cannot open shared object file\nsecond line")

    monkeypatch.setattr(onnxruntime_network.ctypes, "CDLL", fail)


@pytest.mark.usefixtures("without_cuda")
def test_cuda_without_the_gpu_package_names_it():
    assert choose_provider("auto") == CPU
    with pytest.raises(ProviderError, match=r'CPU build; .*"deepseg-lite\[gpu\]".*`device=cpu`'):
        choose_provider("cuda")


@pytest.mark.usefixtures("broken_cuda")
def test_cuda_with_broken_libraries_says_which_and_what_brings_them():
    with pytest.raises(ProviderError, match=r"libcuda.*onnxruntime-gpu\[cuda,cudnn\]") as caught:
        choose_provider("cuda")
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("broken_cuda")
def test_auto_falls_back_to_the_cpu_and_says_so(caplog):
    assert choose_provider("auto") == CPU
    assert "CUDA is not usable" in caplog.text


@pytest.mark.parametrize("device", ["auto", "cuda"])
def test_cuda_is_taken_where_its_libraries_load(monkeypatch, device):
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CUDA, CPU])
    monkeypatch.setattr(onnxruntime, "preload_dlls", lambda: None, raising=False)
    monkeypatch.setattr(onnxruntime_network.ctypes, "CDLL", lambda *_: None)
    assert choose_provider(device) == CUDA


def test_a_session_that_did_not_get_the_device_is_refused(monkeypatch, tiny_bundle):
    """ONNX Runtime falls back silently; we do not."""
    bundle = read_bundle(tiny_bundle)
    real = onnxruntime.InferenceSession
    monkeypatch.setattr(
        onnxruntime, "InferenceSession", lambda file, *_, **__: real(file, providers=[CPU])
    )
    with pytest.raises(ProviderError, match="CUDA was asked for"):
        OnnxNetwork(bundle, bundle.networks[0], CUDA, 1)


def test_a_device_that_fails_while_opening_is_an_error_not_a_fallback(
    monkeypatch, tiny_bundle, capsys
):
    """ONNX Runtime would print that it goes on without it, on standard output."""
    bundle = read_bundle(tiny_bundle)
    real = onnxruntime.InferenceSession
    monkeypatch.setattr(
        onnxruntime,
        "InferenceSession",
        lambda file, options, providers, **rest: real(file, options, ["NoSuchProvider"], **rest),
    )
    with pytest.raises(ProviderError, match=r"cannot open .*threshold_3d\.onnx: .*NoSuchProvider"):
        OnnxNetwork(bundle, bundle.networks[0], CUDA, 1)
    assert capsys.readouterr().out == ""


@pytest.fixture
def cuda_on_cpu(monkeypatch):
    """Let sessions say that they run on CUDA, and keep device buffers in ordinary memory."""
    asked = {}
    real = onnxruntime.InferenceSession

    def start(file, options, providers, **rest):
        opened = real(file, options, providers=[CPU], **rest)
        if providers != [CPU]:
            asked["providers"] = providers
            monkeypatch.setattr(opened, "get_providers", lambda: [CUDA, CPU])
        return opened

    def buffers(ort, opened, device, *, pads):
        asked["device"], asked["pads"] = device, pads
        return DeviceBuffers(ort, opened, "cpu", pads=pads)

    monkeypatch.setattr(onnxruntime, "InferenceSession", start)
    monkeypatch.setattr(onnxruntime_network, "DeviceBuffers", buffers)
    return asked


@pytest.mark.parametrize(("precision", "tf32"), [("fp32", "0"), ("fp16", "1")])
def test_cuda_is_asked_for_with_its_options(cuda_on_cpu, tiny_bundle, precision, tf32):
    bundle = read_bundle(tiny_bundle)
    OnnxNetwork(bundle, replace(bundle.networks[0], precision=precision), CUDA, 1)
    (name, options), rest = cuda_on_cpu["providers"]
    assert (name, rest) == (CUDA, CPU)
    assert options["use_tf32"] == tf32
    assert options["cudnn_conv_algo_search"] == "HEURISTIC"
    assert cuda_on_cpu["device"] == "cuda"


def test_on_cuda_a_predictor_gives_what_it_gives_on_the_cpu(cuda_on_cpu, tiny_bundle, rng):
    bundle = read_bundle(tiny_bundle)
    network = bundle.networks[0]
    on_cuda = PatchPredictor(OnnxNetwork(bundle, network, CUDA, 1), bundle, network)
    for count in (3, 2, 3):
        patches = rng.uniform(size=(count, 1, 4, 5, 6)).astype(np.float32)
        np.testing.assert_array_equal(on_cuda(patches), _open(bundle)(patches))
    assert cuda_on_cpu["pads"] is True


def test_patches_that_a_network_sees_together_are_not_joined_by_padding(cuda_on_cpu, tiny_bundle):
    manifest = json.loads((tiny_bundle / "manifest.json").read_text())
    manifest["sliding_window"]["batch_size"] = 4
    (tiny_bundle / "manifest.json").write_text(json.dumps(manifest))
    bundle = read_bundle(tiny_bundle)
    OnnxNetwork(bundle, bundle.networks[0], CUDA, 1)
    assert cuda_on_cpu["pads"] is False


def test_a_run_that_fails_on_the_device_is_told_in_one_line(cuda_on_cpu, tiny_bundle):
    bundle = read_bundle(tiny_bundle)
    network = OnnxNetwork(bundle, bundle.networks[0], CUDA, 1)
    with pytest.raises(ProviderError, match=r"failed on input of shape \(1, 3, 2, 2, 2\)") as got:
        network(np.zeros((1, 3, 2, 2, 2), np.float32))
    assert "\n" not in str(got.value)


@pytest.mark.gpu
def test_a_network_gives_the_same_on_the_device(rng):
    try:
        provider = choose_provider("cuda")
    except ProviderError as error:
        pytest.skip(str(error))
    bundle = read_bundle(models_directory() / "sc_gm_t2star" / "bundle")
    network = bundle.networks[0]
    patches = rng.normal(size=(2, 1, *bundle.sliding_window.patch_size)).astype(np.float32)
    on_cuda = PatchPredictor(OnnxNetwork(bundle, network, provider, 1), bundle, network)
    np.testing.assert_allclose(on_cuda(patches), _open(bundle)(patches), atol=2e-3)


@pytest.mark.parametrize("provider", [CPU, CUDA])
def test_a_network_is_gone_as_soon_as_nobody_holds_it(cuda_on_cpu, tiny_bundle, rng, provider):
    """Folds are opened one after another; two at a time would be twice the memory."""
    bundle = read_bundle(tiny_bundle)
    network = OnnxNetwork(bundle, bundle.networks[0], provider, 1)
    network(rng.uniform(size=(1, 1, 4, 5, 6)).astype(np.float32))
    held = weakref.ref(network)
    gc.disable()
    try:
        del network
        assert held() is None
    finally:
        gc.enable()


def test_a_session_does_not_keep_the_bytes_of_its_file(tiny_bundle):
    bundle = read_bundle(tiny_bundle)
    opened = OnnxNetwork(bundle, bundle.networks[0], CPU, 1)._session
    assert not [held for held in vars(opened).values() if isinstance(held, bytes)]


def test_both_packages_at_once_are_refused(monkeypatch):
    monkeypatch.setattr(metadata, "version", lambda name: "1.0")
    with pytest.raises(ProviderError, match="onnxruntime and onnxruntime-gpu are both installed"):
        choose_provider("cpu")


def test_no_package_at_all_names_the_extras(monkeypatch):
    def absent(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", absent)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert onnxruntime_network.installed_packages() == []
    with pytest.raises(ProviderError, match=r'"deepseg-lite\[cpu\]", or "deepseg-lite\[gpu\]"'):
        choose_provider("cpu")


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="no affinity masks here")
def test_threads_follow_the_affinity_mask(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 3, 5})
    monkeypatch.setattr(machine, "cgroup_cpus", lambda: [64])
    assert machine.available_threads() == 3


@pytest.mark.parametrize(("quotas", "threads"), [([2], 2), ([64, 3], 3), ([0], 1)], ids=str)
def test_threads_follow_the_cgroup(monkeypatch, quotas, threads):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(16)), raising=False)
    monkeypatch.setattr(machine, "cgroup_cpus", lambda: quotas)
    assert machine.available_threads() == threads


def test_threads_without_affinity_masks_are_the_cpus(monkeypatch):
    monkeypatch.setattr(machine, "os", SimpleNamespace(cpu_count=lambda: 6))
    monkeypatch.setattr(machine, "cgroup_cpus", lambda: [64])
    assert machine.available_threads() == 6


@pytest.mark.parametrize(
    ("files", "limit"),
    [
        ({"cpu.max": "200000 100000\n"}, 2),
        ({"cpu.max": "150000 100000\n"}, 2),
        ({"cpu.max": "50000 100000\n"}, 1),
        ({"cpu.max": "max 100000\n"}, None),
        ({"cpu.max": "garbage"}, None),
        ({"cpu/cpu.cfs_quota_us": "300000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 3),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        ({}, None),
    ],
    ids=["v2", "v2-up", "v2-half", "v2-max", "v2-garbage", "v1", "v1-none", "absent"],
)
def test_cgroup_quotas_are_rounded_up(tmp_path, files, limit):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    found = machine.cgroup_cpus(tmp_path)
    assert list(found) == [limit] if limit else min(found) > 1000


def test_a_network_without_an_input_is_refused(tiny_bundle, monkeypatch):
    """Fault 25: found by the corpus of bad inputs."""
    opened = SimpleNamespace(
        get_inputs=list, get_outputs=lambda: [None], get_providers=lambda: [CPU]
    )
    monkeypatch.setattr(onnxruntime, "InferenceSession", lambda *_, **__: opened)
    with pytest.raises(ProviderError, match="has no input or no output"):
        _open(read_bundle(tiny_bundle))
