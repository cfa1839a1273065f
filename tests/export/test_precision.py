"""What an export may not lose: sums over large maps, most of which are one value."""

from __future__ import annotations

import copy
import logging
from typing import Any

import numpy as np
import pytest
from deepseg_export.network import verify as verifying
from deepseg_export.network.conversion import clean, to_onnx
from deepseg_export.network.exact_norm import SMALL, with_exact_norms, with_plain_norms
from deepseg_export.network.verify import padded, verify

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")
pytestmark = pytest.mark.export

LARGE, TINY = (64, 64, 32), (16, 16, 8)


def network(norm: Any, dimension: int = 3) -> Any:
    """Return a convolution and a normalisation of 8 channels with weights of their own."""
    conv = (torch.nn.Conv2d, torch.nn.Conv3d)[dimension - 2]
    with torch.random.fork_rng():
        torch.manual_seed(3)
        layers = torch.nn.Sequential(conv(1, 8, 3, padding=1), norm)
        for parameter in norm.parameters():
            torch.nn.init.normal_(parameter)
    return layers.eval()


def deep_network() -> Any:
    """Return three blocks of a convolution, a normalisation and a rectifier, as in a U-Net."""
    layers: list[Any] = []
    with torch.random.fork_rng():
        torch.manual_seed(3)
        for channels in (1, 8, 8):
            conv = torch.nn.Conv3d(channels, 8, 3, padding=1)
            layers += [conv, torch.nn.InstanceNorm3d(8), torch.nn.LeakyReLU(0.01)]
    return torch.nn.Sequential(*layers).eval()


def scores(model: bytes, batch: np.ndarray) -> np.ndarray:
    session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
    result: np.ndarray = session.run(None, {"image": batch})[0]
    return result


def losses(layers: Any, model: bytes, batch: np.ndarray) -> tuple[float, float]:
    """Return how far ONNX Runtime and torch are from double precision, of the largest value."""
    given = torch.from_numpy(batch)
    with torch.inference_mode():
        exact = copy.deepcopy(layers).double()(given.double()).numpy()
        found = layers(given).numpy()
    scale = np.abs(exact).max()
    return tuple(float(np.abs(x - exact).max() / scale) for x in (scores(model, batch), found))


def small_image(*shape: int) -> np.ndarray:
    """Return noise in zeros, (2, 1, *shape), the second brighter than the first."""
    noise = np.random.default_rng(5).standard_normal((2, 1, *shape), dtype=np.float32)
    return padded(noise * np.float32([1, 20]).reshape(2, *[1] * (len(shape) + 1)))


NORMS = {
    "instance": (lambda: torch.nn.InstanceNorm3d(8, affine=True), LARGE, LARGE),
    "instance without weights": (lambda: torch.nn.InstanceNorm3d(8), LARGE, LARGE),
    "instance 2-D": (lambda: torch.nn.InstanceNorm2d(8, affine=True), (256, 384), (256, 384)),
    "instance of any size": (
        lambda: torch.nn.InstanceNorm3d(8, affine=True),
        (None,) * 3,
        (57, 63, 31),
    ),
    "group": (lambda: torch.nn.GroupNorm(2, 8), LARGE, LARGE),
    "group of odd size": (lambda: torch.nn.GroupNorm(2, 8), (57, 63, 31), (57, 63, 31)),
    "group of any size": (lambda: torch.nn.GroupNorm(2, 8), (None,) * 3, (57, 63, 31)),
}


@pytest.mark.parametrize("name", NORMS)
def test_norms_are_as_precise_as_torch(name):
    norm, size, shape = NORMS[name]
    layers = network(norm(), len(shape))
    model = to_onnx(layers, (1, *size))
    exported, original = losses(layers, model, small_image(*shape))
    assert exported < 3 * max(original, 1e-7)


def test_the_plain_operation_loses_what_the_export_keeps(monkeypatch, caplog):
    """The loss that made 1 voxel in 9,000 of a transformer differ; a check must see it."""
    layers = deep_network()
    shapes = (1, *LARGE), (8, *LARGE)
    kept = to_onnx(layers, shapes[0])
    assert verify(layers, kept, *shapes).max_rel_error < verifying.PRECISE
    assert "less precise" not in caplog.text
    monkeypatch.setattr("deepseg_export.network.conversion.with_exact_norms", lambda model: model)
    plain = to_onnx(layers, shapes[0])
    with caplog.at_level(logging.WARNING):
        assert verify(layers, plain, *shapes).max_rel_error > verifying.PRECISE
    assert "less precise" in caplog.text


def test_small_maps_keep_the_single_operation():
    layers = network(torch.nn.InstanceNorm3d(8, affine=True))
    assert np.prod(TINY) <= SMALL
    model = onnx.load_from_string(to_onnx(layers, (1, *TINY)))
    assert [node.op_type for node in model.graph.node] == ["Conv", "InstanceNormalization"]


@pytest.mark.parametrize("name", NORMS)
def test_the_single_operation_comes_back(name, monkeypatch):
    norm, size, _ = NORMS[name]
    layers = network(norm(), len(size))
    exact = onnx.load_from_string(to_onnx(layers, (1, *size)))
    monkeypatch.setattr("deepseg_export.network.conversion.with_exact_norms", lambda model: model)
    never = onnx.load_from_string(to_onnx(layers, (1, *size)))
    kinds = [[n.op_type for n in model.graph.node] for model in (with_plain_norms(exact), never)]
    assert kinds[0] == kinds[1]
    batch = small_image(*(side or 32 for side in size))
    found, expected = (
        scores(model.SerializeToString(), batch) for model in (with_plain_norms(exact), never)
    )
    np.testing.assert_array_equal(found, expected)


def test_nothing_of_the_rewriting_is_left_in_the_file():
    layers = network(torch.nn.InstanceNorm3d(8, affine=True))
    model = onnx.load_from_string(to_onnx(layers, (1, *LARGE)))
    assert [(one.domain, one.version) for one in model.opset_import] == [("", 18)]
    assert not model.functions
    assert {node.domain for node in model.graph.node} == {""}
    assert "InstanceNormalization" not in {node.op_type for node in model.graph.node}
    clean(model)
    again = with_exact_norms(model)
    assert again.SerializeToString(deterministic=True) == model.SerializeToString(
        deterministic=True
    )


def test_small_images_are_padded_with_zeros():
    batch = padded(np.ones((1, 2, 9, 7), np.float32))
    np.testing.assert_array_equal(batch[0, 1].sum(1), [0, 0, 0, 3, 3, 3, 0, 0, 0])
    np.testing.assert_array_equal(batch[0, 0].sum(0), [0, 0, 3, 3, 3, 0, 0])
