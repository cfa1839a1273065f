"""What is done to OpenVINO's model before it is compiled: less to copy, the same numbers."""

from __future__ import annotations

import numpy as np
import pytest

from deepseg_lite.openvino_graph import split_joined_inputs

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
