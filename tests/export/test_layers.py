"""Layers in numpy and in ONNX Runtime give the same, and what their definitions say."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from deepseg_export.architectures.layers import Layers
from deepseg_export.architectures.network import DirectNetwork
from deepseg_export.architectures.numpy_layers import NumpyLayers
from deepseg_export.architectures.weights import Weights
from deepseg_export.errors import CheckpointError

pytest.importorskip("onnx")
pytestmark = pytest.mark.export
Function = Callable[[Any, Any, Any], Any]

FOUR = {"scale": (4,), "bias": (4,), "mean": (4,), "variance": (4,)}
LAYERS: dict[str, tuple[Function, dict[str, tuple[int, ...]]]] = {
    "convolution": (
        lambda layers, x, w: layers.convolution(
            x, w("kernel"), w("bias"), stride=2, padding=1, dilation=2, groups=2
        ),
        {"kernel": (6, 2, 3), "bias": (6,)},
    ),
    "uneven padding": (
        lambda layers, x, w: layers.convolution(
            x, w("kernel"), padding=[(1, 0), (0, 2), (1, 1)][: layers.axes]
        ),
        {"kernel": (6, 4, 2)},
    ),
    "transposed": (
        lambda layers, x, w: layers.transposed_convolution(
            x, w("kernel"), w("bias"), stride=2, padding=1, output_padding=1, groups=2
        ),
        {"kernel": (4, 3, 3), "bias": (6,)},
    ),
    "instance norm": (
        lambda layers, x, w: layers.instance_norm(x, w("scale"), w("bias"), epsilon=1e-3),
        {"scale": (4,), "bias": (4,)},
    ),
    "plain norm": (lambda layers, x, w: layers.instance_norm(x), {}),
    "batch norm": (
        lambda layers, x, w: layers.batch_norm(
            x, w("mean"), np.abs(w("variance")), w("scale"), w("bias")
        ),
        FOUR,
    ),
    "prelu": (lambda layers, x, w: layers.prelu(x, w("scale")), {"scale": (4,)}),
    "softmax": (lambda layers, x, w: layers.softmax(x), {}),
    "max pool": (lambda layers, x, w: layers.max_pool(x, 3, stride=2, padding=1), {}),
    "average pool": (lambda layers, x, w: layers.average_pool(x, 3, stride=2, padding=1), {}),
    "average without padding": (
        lambda layers, x, w: layers.average_pool(x, 3, stride=2, padding=1, counts_padding=False),
        {},
    ),
    "global average": (
        lambda layers, x, w: layers.expand(layers.reduced(x, "mean", range(2, 2 + layers.axes)), x),
        {},
    ),
    "sum to one": (
        lambda layers, x, w: layers.divide(
            x, layers.without_zeros(layers.reduced(layers.activation(x, "relu"), "sum", [1]))
        ),
        {},
    ),
    "channels": (
        lambda layers, x, w: layers.take_channels(
            layers.concatenate([x, layers.add(x, 1), layers.subtract(x, layers.multiply(x, 2))]),
            *(3, 10),
        ),
        {},
    ),
    "pad and crop": (
        lambda layers, x, w: layers.crop(
            layers.pad(x, 2, mode="reflect"), [(1, 2), 0, 1][: layers.axes]
        ),
        {},
    ),
    "nearest": (lambda layers, x, w: layers.upsample(x, factor=3), {}),
    "linear": (lambda layers, x, w: layers.upsample(x, factor=2, mode="linear"), {}),
    "corners": (
        lambda layers, x, w: layers.upsample(
            layers.max_pool(x, 2), like=x, mode="linear", align_corners=True
        ),
        {},
    ),
    "nearest like": (lambda layers, x, w: layers.upsample(layers.max_pool(x, 2), like=x), {}),
}
ACTIVATIONS: dict[str, dict[str, float]] = {
    "clip": {"low": -0.5, "high": 1},
    "elu": {"alpha": 0.7},
    "erf": {},
    "exp": {},
    "hard_sigmoid": {"alpha": 0.2, "beta": 0.5},
    "leaky_relu": {"slope": 0.01},
    "mish": {},
    "relu": {},
    "selu": {},
    "sigmoid": {},
    "softplus": {},
    "softsign": {},
    "tanh": {},
}


def agrees(function: Function, shapes: dict[str, tuple[int, ...]], axes: int) -> None:
    from deepseg_export.architectures.checking import check_direct
    from deepseg_export.architectures.onnx_file import write_onnx

    rng = np.random.default_rng(axes)
    spatial = (13, 9, 7)[:axes]
    arrays = {
        name: rng.standard_normal(
            (*shape, *[shape[-1]] * (axes - 1)) if len(shape) == 3 else shape, np.float32
        )
        for name, shape in shapes.items()
    }

    def compute(layers: Layers, image: Any, weights: Weights) -> Any:
        return function(layers, image, weights.take)

    network = DirectNetwork("layer", compute, Weights(arrays, "a file"), spatial)
    image = rng.standard_normal((2, 4, *spatial), np.float32)
    given = (4, *spatial)
    result = network.on(NumpyLayers(axes), image)
    file = write_onnx(network, given, result.shape[1:])
    assert network.on(NumpyLayers(axes), image).dtype == np.float32
    if result.shape[2:] == spatial:
        assert check_direct(network, file, given, result.shape[1:]).max_rel_error < 2e-6
    assert b"".join(write_onnx(network, given, result.shape[1:]).parts()) == b"".join(file.parts())
    for variant in (file, file.with_free_axes()):
        found = _in_onnxruntime(b"".join(variant.parts()), image)
        assert found.shape == result.shape
        np.testing.assert_allclose(found, result, rtol=0, atol=2e-6 * np.abs(result).max())


def _in_onnxruntime(onnx: bytes, image: Any) -> Any:
    from deepseg_export.network.verify import open_session, run

    return run(open_session(onnx), image)


@pytest.mark.parametrize("axes", [2, 3])
@pytest.mark.parametrize("name", LAYERS)
def test_numpy_and_onnxruntime_agree_on_a_layer(name: str, axes: int) -> None:
    agrees(*LAYERS[name], axes)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_numpy_and_onnxruntime_agree_on_an_activation(name: str) -> None:
    agrees(lambda layers, x, w: layers.activation(x, name, **ACTIVATIONS[name]), {}, 3)


def test_weights_are_used_all_and_have_the_shapes_that_layers_need() -> None:
    one = np.ones((4, 1, 3, 3))
    weights = Weights({"a": one, "b": one, "count": np.array(3)}, "w.pth", unused=["count"])
    with pytest.raises(CheckpointError, match=r"a has shape \(4, 1, 3, 3\), 4 x 2 x any x any"):
        weights.take("a", (4, 2, None, None))
    assert weights.take("a", (4, 1, 3, 3)) is weights.take("a")
    with pytest.raises(CheckpointError, match=r"w.pth: .* no layer has: b"):
        weights.check_all_used()
    with pytest.raises(CheckpointError, match=r"c is missing"):
        weights.take("c")
    with pytest.raises(CheckpointError, match=r"not finite: a"):
        Weights({"a": one * np.inf}, "w.pth")
    with pytest.raises(CheckpointError, match=r"no real numbers: a; b"):
        Weights({"a": one * 1j, "b": "text"}, "w.pth")
