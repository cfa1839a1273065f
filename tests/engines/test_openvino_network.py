"""OpenVINO, where it is installed: what ONNX Runtime gives, and what it says when it fails."""

from __future__ import annotations

import hashlib
import json
from importlib import metadata

import numpy as np
import pytest
from helpers.bundles import write_bundle
from helpers.detector import write_detector

import deepseg_lite
from deepseg_lite.api.cases import name_outputs, run_case
from deepseg_lite.bundles.bundle import read_bundle
from deepseg_lite.bundles.detector import read_detector
from deepseg_lite.engines.engine import Engine
from deepseg_lite.engines.onnxruntime_network import CPU
from deepseg_lite.engines.openvino_network import KEPT_SHAPES, OpenvinoNetwork
from deepseg_lite.engines.predictors import PatchPredictor
from deepseg_lite.errors import BundleError, ChecksumError, ProviderError

openvino = pytest.importorskip("openvino", reason="openvino (the extra openvino) is not installed")
OPENVINO, ONNX_RUNTIME = Engine("openvino"), Engine(CPU)


def _predictor(bundle, engine, threads=1):
    network = bundle.networks[0]
    return PatchPredictor(engine.open(bundle, network, threads), bundle, network)


@pytest.fixture
def bf16():
    """Skip where the CPU has no bfloat16."""
    if "BF16" not in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        pytest.skip("this CPU has no bfloat16 arithmetic")


@pytest.mark.parametrize("kind", ["threshold", "regions", "channels"])
@pytest.mark.parametrize("threads", [1, 2])
def test_it_gives_what_onnxruntime_gives_for_any_batch_and_size(tmp_path, rng, kind, threads):
    bundle = read_bundle(write_bundle(tmp_path / "b", kind))
    channels = len(bundle.inputs.channel_names)
    thin = bundle.sliding_window.patch_size[0] == 1
    ours, theirs = (_predictor(bundle, engine, threads) for engine in (OPENVINO, ONNX_RUNTIME))
    for batch, *size in [(1, 8, 8, 8), (3, 8, 8, 8), (1, 8, 8, 8), (2, 5, 9, 7), (1, 4, 6, 5)]:
        size[0] = 1 if thin else size[0]
        patches = rng.uniform(size=(batch, channels, *size)).astype(np.float32)
        found = ours(patches)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, theirs(patches), rtol=1e-5, atol=1e-6)


def test_results_and_inputs_stay_as_they_are_when_the_next_batch_comes(tiny_bundle, rng):
    predict = _predictor(read_bundle(tiny_bundle), OPENVINO)
    patches = [rng.uniform(size=(1, 1, 4, 5, 6)).astype(np.float32) for _ in range(2)]
    given = [patch.copy() for patch in patches]
    first = predict(patches[0][..., ::-1])
    before = first.copy()
    predict(patches[1])
    np.testing.assert_array_equal(first, before)
    np.testing.assert_array_equal(patches, given)


def test_few_shapes_are_kept_and_precision_and_threads_are_as_asked(tiny_bundle):
    bundle = read_bundle(tiny_bundle)
    network = OpenvinoNetwork(bundle, bundle.networks[0], "fp32", 2)
    for size in range(4, 9):
        network(np.zeros((1, 1, size, 4, 4), np.float32))
    assert len(network._requests) == KEPT_SHAPES
    for request in network._requests.values():
        compiled = request.get_compiled_model()
        assert compiled.get_property("INFERENCE_PRECISION_HINT") == openvino.Type.f32
        assert compiled.get_property("INFERENCE_NUM_THREADS") == 2
        assert compiled.get_property("NUM_STREAMS") == 1


def test_the_shipped_model_gives_the_same_labels_on_the_phantom():
    phantom = deepseg_lite.make_phantom(0)
    found = [
        deepseg_lite.load("sc_gm_t2star", device=device, threads=2)(
            phantom.image, affine=phantom.affine
        )
        for device in ("openvino", "cpu")
    ]
    assert set(np.unique(found[0])) == {0, 1, 2}
    assert np.count_nonzero(found[0] != found[1]) == 0


def test_the_sidecar_says_openvino_and_its_version(tiny_bundle, image_file, tmp_path):
    segmenter = deepseg_lite.load(tiny_bundle, device="openvino", threads=1)
    (case,) = name_outputs(segmenter, [[image_file]], tmp_path / "out")
    run_case(segmenter, case)
    device = json.loads(case.sidecars[0].read_text())["Device"]
    assert device["provider"] == "openvino"
    assert device["precision"] == "fp32"
    assert device["openvino"] == metadata.version("openvino")
    assert "onnxruntime" not in device


def test_the_networks_that_find_the_cord_answer_alike_at_any_size(tmp_path, rng):
    bundle = read_detector(write_detector(tmp_path / "detector"))
    # The classifier multiplies a mean of 307,200 numbers by 400, and so its rounding error.
    cases = [([(64, 96), (96, 64)], 1e-5), ([(320, 320)], 5e-4)]
    for network, (sizes, tolerance) in zip(bundle.networks, cases, strict=True):
        ours, theirs = (engine.open(bundle, network, 1) for engine in (OPENVINO, ONNX_RUNTIME))
        for size in sizes:
            pictures = rng.uniform(size=(1, 3, *size)).astype(np.float32)
            np.testing.assert_allclose(ours(pictures), theirs(pictures), rtol=1e-5, atol=tolerance)


@pytest.mark.usefixtures("bf16")
def test_bf16_computes_in_bf16(tiny_bundle, rng):
    """The network subtracts 0.5: in bf16 to 3 decimal digits at most, and to more in fp32."""
    segmenter = deepseg_lite.load(tiny_bundle, device="openvino", precision="bf16", threads=1)
    (predict,) = segmenter.predictors()
    patches = rng.uniform(size=(1, 1, 8, 8, 8)).astype(np.float32)
    error = np.abs(predict(patches)[:, 1:] - (patches - 0.5)).max()
    assert 1e-5 < error < 1e-2


def test_the_network_must_be_the_manifests(tiny_bundle):
    bundle = read_bundle(tiny_bundle)
    file = bundle.network_path(bundle.networks[0])
    file.write_bytes(bytes(file.stat().st_size))
    with pytest.raises(ChecksumError):
        _predictor(bundle, OPENVINO)


def test_bytes_that_are_no_network_are_refused_in_one_line(tmp_path):
    folder = write_bundle(tmp_path / "b")
    content = b"nonsense" * 30
    (folder / "threshold_3d.onnx").write_bytes(content)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["networks"][0] |= {
        "sha256": hashlib.sha256(content).hexdigest(),
        "size": len(content),
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match=r"threshold_3d\.onnx is not a readable ONNX") as caught:
        _predictor(read_bundle(folder), OPENVINO)
    assert "\n" not in str(caught.value)


def test_a_failing_run_is_told_in_one_line_and_the_next_one_works(tiny_bundle):
    predict = _predictor(read_bundle(tiny_bundle), OPENVINO)
    with pytest.raises(ProviderError, match=r"failed on input of shape \(1, 3, 2, 2, 2\)") as got:
        predict(np.zeros((1, 3, 2, 2, 2), np.float32))
    assert "\n" not in str(got.value)
    assert predict(np.zeros((1, 1, 4, 4, 4), np.float32)).shape == (1, 2, 4, 4, 4)
