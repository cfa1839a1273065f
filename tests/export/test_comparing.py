"""Forms are held to what is exact where float32 itself is not near it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from deepseg_export.architectures.layers import Layers, Maps
from deepseg_export.architectures.network import DirectNetwork
from deepseg_export.architectures.numpy_layers import NumpyLayers
from deepseg_export.architectures.onnx_file import write_onnx
from deepseg_export.architectures.weights import Weights
from deepseg_export.errors import NoFormError, VerificationError
from deepseg_export.network import comparing
from deepseg_export.network.comparing import Distance, FormAgreement
from deepseg_export.network.exact import in_float64
from deepseg_export.network.rows import making as rows_making
from deepseg_export.network.slices import making
from deepseg_export.network.slices.form import in_slices, read_canonical, written
from helpers.made_up_weights import MadeUpWeights, write_network

pytest.importorskip("onnx")
pytestmark = pytest.mark.export
LAYERS: dict[str, Callable[[Layers, Maps, Weights], Maps]] = {
    "convolution": lambda layers, x, w: layers.convolution(
        x, w.take("k", (6, 4, 3, 2, 3)), w.take("b", (6,)), stride=(1, 2, 1), padding=(1, 0, 2)
    ),
    "dilated in groups": lambda layers, x, w: layers.convolution(
        x, w.take("k", (4, 2, 3, 3, 3)), padding=2, dilation=2, groups=2
    ),
    "transposed": lambda layers, x, w: layers.transposed_convolution(
        x, w.take("k", (4, 2, 3, 3, 2)), stride=2, padding=(1, 0, 0), output_padding=(1, 0, 1)
    ),
    "transposed in groups": lambda layers, x, w: layers.transposed_convolution(
        x, w.take("k", (4, 2, 3, 3, 3)), w.take("b", (4,)), stride=2, dilation=2, groups=2
    ),
    "largest": lambda layers, x, w: layers.max_pool(x, 3, stride=2, padding=1),
    "means": lambda layers, x, w: layers.average_pool(x, 3, stride=2, padding=1),
    "means of what is there": lambda layers, x, w: layers.average_pool(
        x, 3, stride=1, padding=1, counts_padding=False
    ),
    "norm": lambda layers, x, w: layers.activation(
        layers.instance_norm(x, w.take("s", (4,)), w.take("b", (4,))), "leaky_relu", slope=0.01
    ),
    "upsampled": lambda layers, x, w: layers.upsample(x, factor=2),
}


@pytest.mark.parametrize("name", LAYERS)
def test_networks_are_computed_in_float64(name: str, tmp_path: Path) -> None:
    def compute(layers: Layers, image: Maps, weights: Weights) -> Maps:
        maps = layers.convolution(image, weights.take("first", (4, 2, 3, 3, 3)), padding=1)
        maps = LAYERS[name](layers, maps, weights)
        last = weights.take("last", (3, layers.channels(maps), 1, 1, 1))
        return layers.convolution(maps, last)

    sizes = (8, 10, 12)
    network = DirectNetwork("Small", compute, MadeUpWeights(), sizes)
    file = write_onnx(network, (2, *sizes), (3, None, None, None))
    path = tmp_path / "model.onnx"
    path.write_bytes(b"".join(file.parts()))
    canonical = read_canonical(path)
    batch = np.random.default_rng(0).standard_normal((1, 2, *sizes), dtype=np.float32)

    found = in_float64(canonical.model, canonical.array, batch)

    right = network.on(NumpyLayers(3), batch.astype(float))
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, right, rtol=0, atol=1e-9 * np.abs(right).max())


def test_nodes_that_are_not_known_are_named(tmp_path: Path) -> None:
    def compute(layers: Layers, image: Maps, weights: Weights) -> Maps:
        return layers.convolution(image, weights.take("k", (3, 2, 1, 1)))

    network = DirectNetwork("Small", compute, MadeUpWeights(), (8, 8))
    canonical = read_canonical(write_network(tmp_path / "a.onnx", network, patch=(8, 8)))
    canonical.model.graph.node[0].op_type = "Convoluted"

    with pytest.raises(VerificationError, match="Convoluted"):
        in_float64(canonical.model, canonical.array, np.zeros((1, 2, 8, 8), np.float32))


@pytest.mark.parametrize(
    ("difference", "distances", "problem"),
    [
        (1e-5, [], None),
        (1.1e-5, [], "differs by 1.1e-05"),
        (1e-3, [("noise", 1e-5, 1e-9), ("padded", 2e-3, 1e-3)], None),
        (1e-3, [("noise", 1.1e-5, 1e-6), ("padded", 1e-6, 1e-3)], "is 1.1e-05"),
        (1e-3, [("noise", 1e-6, 1e-6), ("padded", 2.1e-3, 1e-3)], "is 0.0021"),
        (1e-3, [("noise", float("nan"), 1e-6)], "is nan"),
    ],
)
def test_forms_are_no_further_from_what_is_exact_than_float32_is(
    difference: float, distances: list[tuple[str, float, float]], problem: str | None
) -> None:
    agreement = FormAgreement(1.0, difference, tuple(Distance(*each) for each in distances))

    found = agreement.problem

    assert found is None if problem is None else problem in str(found)


def lossy(axes: int, folder: Path) -> Path:
    """Write a network in which float32 is off by more than 1e-5: a norm of nearly constant maps."""

    def compute(layers: Layers, image: Maps, weights: Weights) -> Maps:
        kernel, voxel = (3,) * axes, (1,) * axes
        maps = image
        for name, channels in (("a", 2), ("b", 32)):
            maps = layers.convolution(maps, weights.take(name, (32, channels, *kernel)), padding=1)
        maps = layers.convolution(
            layers.activation(maps, "tanh"),
            weights.take("c", (4, 32, *voxel)),
            np.full(4, 1000, np.float32),
        )
        maps = layers.instance_norm(maps)
        return layers.convolution(maps, weights.take("d", (3, 4, *voxel)))

    patch = (16,) * axes
    network = DirectNetwork("Lossy", compute, MadeUpWeights(), patch)
    return write_network(folder / "model.onnx", network, patch=patch)


@pytest.mark.parametrize("axes", [2, 3])
def test_forms_of_networks_that_lose_precision_are_held_to_what_is_exact(
    axes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(making, "MOST_GROWTH", 50.0)
    make = {2: rows_making, 3: making}[axes].make_form
    path, form = lossy(axes, tmp_path), tmp_path / "form.onnx"

    agreement = make(path, form)

    assert agreement.max_rel_error > 1e-5
    assert [each.patch for each in agreement.from_exact] == ["noise", "padded"]
    assert all(1e-6 < each.form < 1e-3 for each in agreement.from_exact)
    assert agreement.entry()["from_exact"][0] == agreement.from_exact[0]._asdict()
    form.unlink()
    monkeypatch.setattr(comparing, "FACTOR", 0.01)
    with pytest.raises(NoFormError, match="from what is exact, the canonical form"):
        make(path, form)
    monkeypatch.setattr(comparing, "MOST_EXACT", 1)
    with pytest.raises(NoFormError, match="differs by"):
        make(path, form)
    assert not form.exists()


def test_forms_that_are_not_precise_enough_are_tried_in_other_ways(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(making, "MOST_GROWTH", 50.0)
    answers = iter([FormAgreement(1.0, 1.0), FormAgreement(1.0, 1e-6)])
    sizes = []

    def check(path: Path, form: Path, *_: object) -> FormAgreement:
        sizes.append(form.stat().st_size)
        return next(answers)

    monkeypatch.setattr(making, "check_form", check)
    path, form = lossy(3, tmp_path), tmp_path / "form.onnx"

    assert making.make_form(path, form).max_rel_error == 1e-6
    assert len(sizes) == 2
    assert sizes[1] == form.stat().st_size
    tiles = {ways[0].tile for _, ways in in_slices(read_canonical(path)).layers.values()}
    assert tiles == {4, 1}
    second = read_canonical(path)
    ways = {
        name: each[min(1, len(each) - 1)] for name, (_, each) in in_slices(second).layers.items()
    }
    assert {way.tile for way in ways.values()} == {2, 1}
    assert form.read_bytes() == written(second, in_slices(second, ways))
