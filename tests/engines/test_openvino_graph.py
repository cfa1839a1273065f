"""What is done to OpenVINO's model before it is compiled: less to copy, the same numbers."""

from __future__ import annotations

import numpy as np
import pytest

from deepseg_lite.api.loader import load
from deepseg_lite.engines.openvino_graph import make_norms_plain, split_joined_inputs

ov = pytest.importorskip("openvino", reason="openvino (the extra openvino) is not installed")
SHAPE = (1, 3, 6, 7, 8)


def _model(rng, *, shared=False, channels=3, stride=1):
    """Return a network that joins its image with two maps made of it, and folds all three."""
    ops = ov.opset13

    def fold(given, size_in, size_out, step=1):
        weights = rng.normal(size=(size_out, size_in, 3, 3, 3)).astype(np.float32)
        return ops.convolution(given, ops.constant(weights), [step] * 3, [1] * 3, [1] * 3, [1] * 3)

    image = ops.parameter([-1, channels, -1, -1, -1], np.float32)
    maps = [fold(image, 3, size) for size in (2, 5)]
    joined = ops.concat([image, *maps], axis=1)
    results = [fold(joined, 10, 4, stride)]
    if shared:
        results.append(ops.relu(joined))
    return ov.Model(results, [image])


def _kinds(model):
    return [node.get_type_name() for node in model.get_ops()]


def _run(model, image):
    compiled = ov.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return compiled([image])[0].copy()


@pytest.mark.parametrize("stride", [1, 2])
def test_each_part_is_folded_by_itself(rng, stride):
    image = rng.normal(size=SHAPE).astype(np.float32)
    model = _model(rng, stride=stride)
    before = _run(model, image)
    split_joined_inputs(ov, model)
    assert "Concat" not in _kinds(model)
    assert _kinds(model).count("Convolution") == 2 + 3
    np.testing.assert_allclose(_run(model, image), before, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("options", [{"shared": True}, {"channels": -1}], ids=["shared", "open"])
def test_what_others_need_or_is_of_any_size_stays(rng, options):
    model = _model(rng, **options)
    split_joined_inputs(ov, model)
    assert _kinds(model).count("Concat") == 1
    assert _kinds(model).count("Convolution") == 3


@pytest.fixture
def shipped():
    """Return the file and the shape of a patch of the model that ships, a 2-D U-Net."""
    bundle = load("sc_gm_t2star", device="openvino", open_networks=False).bundle
    patch = [size for size in bundle.sliding_window.patch_size if size != 1]
    return bundle.network_path(bundle.networks[0]), (1, 1, *patch)


def test_norms_of_an_exported_network_are_one_operation_each(rng, shipped):
    path, shape = shipped
    model = ov.Core().read_model(path)
    image = rng.normal(size=shape).astype(np.float32)
    exact, small = (_kinds(model).count(kind) for kind in ("Sqrt", "MVN"))
    assert exact > 5
    before = _run(model, image)
    make_norms_plain(ov, model)
    assert _kinds(model).count("MVN") == exact + small
    assert not {"Sqrt", "ReduceMean"} & set(_kinds(model))
    np.testing.assert_allclose(_run(model, image), before, atol=1e-4 * np.abs(before).max())


def test_other_means_and_deviations_stay(rng):
    ops = ov.opset13
    image = ops.parameter([-1, 3, -1, -1], np.float32)
    mean = ops.reduce_mean(image, [2, 3], True)
    centred = ops.subtract(image, mean)
    deviation = ops.sqrt(ops.reduce_mean(ops.multiply(centred, centred), [2, 3], True))
    model = ov.Model([ops.divide(centred, deviation)], [image])
    make_norms_plain(ov, model)
    assert "MVN" not in _kinds(model)
    assert _kinds(model).count("Sqrt") == 1
