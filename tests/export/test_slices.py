"""The form in slices gives what the canonical network gives, for networks of all kinds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from deepseg_export.architectures.layers import Layers, Maps
from deepseg_export.architectures.network import DirectNetwork
from deepseg_export.architectures.numpy_layers import NumpyLayers
from deepseg_export.architectures.weights import Weights
from deepseg_export.errors import NoFormError
from deepseg_export.network.comparing import check_form
from deepseg_export.network.slices import making, rule
from deepseg_export.network.slices.checking import (
    check_on_small_patch,
    layer_error,
    precise_ways,
    small_patch,
)
from deepseg_export.network.slices.form import in_slices, of_patch, read_canonical, written
from deepseg_export.network.slices.rewriting import Rewriting
from deepseg_export.network.slices.transforms import F23, F43, Depth, Transform
from deepseg_export.network.verify import open_session, padded
from helpers.dna_networks import described, random_plan
from helpers.made_up_weights import MadeUpWeights, made_up_unet, rename_values, write_network

from deepseg_lite.engines.slices import Slices

pytest.importorskip("onnx")
pytestmark = pytest.mark.export
PLANS = [seed for seed in range(40) if "Conv3d" in random_plan(seed)["arch_kwargs"]["conv_op"]]
WIDE = described(
    n_stages=2,
    features_per_stage=[32, 32],
    kernel_sizes=3,
    strides=[1, 2],
    n_conv_per_stage=1,
    n_conv_per_stage_decoder=1,
)
BESIDE: dict[str, Callable[[Layers, Maps, Weights], Maps]] = {
    "group norm": lambda layers, x, w: layers.multiply(x, layers.reduced(x, "mean", [1, 2, 3, 4])),
    "upsampled": lambda layers, x, w: layers.crop(layers.upsample(x, factor=2), (8, 8, 8)),
    "softmax": lambda layers, x, w: layers.softmax(x),
    "by channel": lambda layers, x, w: layers.multiply(x, w.take("by", (4, 1, 1, 1))),
    "by voxel": lambda layers, x, w: layers.multiply(x, w.take("by", (16, 1, 1))),
    "number": lambda layers, x, w: layers.subtract(layers.multiply(x, 2.0), 1.0),
    "overlapping pool": lambda layers, x, w: layers.max_pool(x, 3, stride=1, padding=1),
    "pool": lambda layers, x, w: layers.upsample(layers.max_pool(x, 2), like=x),
    "mean pool": lambda layers, x, w: layers.upsample(layers.average_pool(x, (4, 2, 2)), like=x),
    "groups": lambda layers, x, w: layers.convolution(
        x, w.take("k", (4, 2, 3, 3, 3)), padding=1, groups=2
    ),
    "dilated": lambda layers, x, w: layers.convolution(
        x, w.take("k", (4, 4, 3, 3, 3)), padding=2, dilation=2
    ),
    "uneven padding": lambda layers, x, w: layers.convolution(
        x, w.take("k", (4, 4, 2, 3, 2)), padding=[(1, 0), (1, 1), (0, 1)]
    ),
    "far padding": lambda layers, x, w: layers.crop(
        layers.convolution(x, w.take("k", (4, 4, 3, 3, 3)), padding=9), 8
    ),
    "statistics": lambda layers, x, w: layers.multiply(x, layers.reduced(x, "mean", [2, 3, 4])),
    "largest at each voxel": lambda layers, x, w: layers.multiply(x, layers.reduced(x, "max", [1])),
    "prelu": lambda layers, x, w: layers.prelu(x, w.take("slope", (4,))),
    "clip": lambda layers, x, w: layers.activation(x, "clip", low=-0.5, high=0.5),
    "residual of another stage": lambda layers, x, w: layers.add(
        x,
        layers.transposed_convolution(
            layers.convolution(x, w.take("k", (4, 4, 1, 2, 2)), stride=(1, 2, 2)),
            w.take("t", (4, 4, 1, 2, 2)),
            stride=(1, 2, 2),
        ),
    ),
}
"""What networks have beside convolutions and norms, known in slices or not."""


@pytest.fixture
def everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have small layers computed as large ones are, in many chunks."""
    for name in ("BLOCK", "FEW", "VOXELS_PER_WEIGHT", "CHUNK_BYTES"):
        monkeypatch.setattr(rule, name, 1)


def form_of(path: Path) -> Rewriting:
    """Write the form beside a network's file."""
    canonical = read_canonical(path)
    rewriting = in_slices(canonical)
    path.with_name("form.onnx").write_bytes(written(canonical, rewriting))
    return rewriting


def error_of(
    folder: Path,
    network: DirectNetwork,
    patch: Sequence[int],
    changed: Callable[[Path], None] = lambda _: None,
    **sizes: int,
) -> float:
    """Return the largest difference from the same network in numpy, in float64, and its share."""
    path = write_network(folder / "model.onnx", network, patch=patch, **sizes)
    changed(path)
    form_of(path)
    run = Slices(open_session(path.with_name("form.onnx")))
    rng = np.random.default_rng(1)
    noise = rng.standard_normal((2, *run.input_shape[1:]), dtype=np.float32)
    batch = np.concatenate([noise[:1], padded(noise[1:])])
    right = network.on(NumpyLayers(3), batch.astype(float))
    found = run(batch)
    assert found.shape == right.shape
    return float(np.abs(found - right).max() / np.abs(right).max())


@pytest.mark.parametrize("seed", PLANS)
@pytest.mark.usefixtures("everywhere")
def test_random_networks_give_the_same_in_slices(seed: int, tmp_path: Path) -> None:
    network = made_up_unet(random_plan(seed), seed=seed)

    assert error_of(tmp_path, network, network.patch) < 1e-5


@pytest.mark.usefixtures("everywhere")
def test_names_of_a_network_and_of_its_form_are_different(tmp_path: Path) -> None:
    network = made_up_unet(random_plan(PLANS[0]), seed=0)

    assert error_of(tmp_path, network, network.patch, rename_values) < 1e-5


@pytest.mark.parametrize("name", BESIDE)
@pytest.mark.usefixtures("everywhere")
def test_what_lies_between_convolutions_gives_the_same(name: str, tmp_path: Path) -> None:
    def compute(layers: Layers, image: Maps, weights: Weights) -> Maps:
        def convolved(maps: Maps, name: str, shape: tuple[int, ...]) -> Maps:
            return layers.convolution(maps, weights.take(name, shape), padding=1)

        maps = convolved(image, "first", (4, 2, 3, 3, 3))
        maps = BESIDE[name](layers, layers.activation(maps, "relu"), weights)
        return convolved(maps, "last", (3, 4, 3, 3, 3))

    network = DirectNetwork("Small", compute, MadeUpWeights(), (16, 16, 16))

    assert error_of(tmp_path, network, (16, 16, 16)) < 1e-5


@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "more"),
    [(3, 2, 1, 1), (4, 2, 1, 0), (2, 1, 0, 0), (5, 2, 2, 1), (7, 3, 2, 0), (3, 2, 0, 1)],
)
@pytest.mark.usefixtures("everywhere")
def test_transposed_convolutions_may_overlap_along_depth(
    kernel: int, stride: int, padding: int, more: int, tmp_path: Path
) -> None:
    size = (12,) * 3
    beyond = kernel - stride - 2 * padding + more  # of stride x 12 voxels

    def compute(layers: Layers, image: Maps, weights: Weights) -> Maps:
        maps = layers.transposed_convolution(
            image,
            weights.take("t", (2, 4, kernel, kernel, kernel)),
            weights.take("b", (4,)),
            stride=stride,
            padding=padding,
            output_padding=more,
        )
        last = weights.take("last", (3, 4, *(beyond + 1,) * 3))
        return layers.convolution(layers.activation(maps, "relu"), last, stride=stride)

    assert error_of(tmp_path, DirectNetwork("Small", compute, MadeUpWeights(), size), size) < 1e-5
    assert "ConvTranspose" not in form_of(tmp_path / "model.onnx").unknown


@pytest.mark.parametrize("factor", [2, 3, (1, 2, 3), (4, 1, 1)], ids=str)
@pytest.mark.usefixtures("everywhere")
def test_repeated_voxels_stay_in_slices(factor: int | tuple[int, ...], tmp_path: Path) -> None:
    def compute(layers: Layers, image: Maps, weights: Weights) -> Maps:
        maps = layers.convolution(image, weights.take("k", (3, 2, 3, 3, 3)), padding=1)
        return layers.crop(layers.upsample(maps, factor=factor), margins)

    size = (12,) * 3
    each = (factor,) * 3 if isinstance(factor, int) else factor
    margins = [(0, 12 * times - 12) for times in each]

    assert error_of(tmp_path, DirectNetwork("Small", compute, MadeUpWeights(), size), size) < 1e-5
    assert "Resize" not in form_of(tmp_path / "model.onnx").unknown


@pytest.mark.parametrize(
    ("change", "scales"),
    [({}, [1, 1, 2.3, 2, 2]), ({"nearest_mode": "ceil"}, [1, 1, 2, 2, 2])],
    ids=["no whole factor", "other places"],
)
@pytest.mark.usefixtures("everywhere")
def test_other_resizing_stays_in_three_dimensions(
    change: dict[str, str], scales: Sequence[float], tmp_path: Path
) -> None:
    from onnx import helper, load, numpy_helper, save

    def compute(layers: Layers, image: Maps, weights: Weights) -> Maps:
        maps = layers.convolution(image, weights.take("k", (3, 2, 3, 3, 3)), padding=1)
        return layers.crop(layers.upsample(maps, factor=2), [(0, 2)] * 3)

    network = DirectNetwork("Small", compute, MadeUpWeights(), (2, 2, 2))
    path = write_network(tmp_path / "model.onnx", network, patch=(2, 2, 2))
    model = load(path)
    (node,) = (node for node in model.graph.node if node.op_type == "Resize")
    for tensor in model.graph.initializer:
        if tensor.name == node.input[2]:
            tensor.CopyFrom(numpy_helper.from_array(np.array(scales, np.float32), tensor.name))
    kept = [item for item in node.attribute if item.name not in change]
    changed = [helper.make_attribute(*item) for item in change.items()]
    del node.attribute[:]
    node.attribute.extend([*kept, *changed])
    save(model, path)

    assert "Resize" in form_of(path).unknown
    assert check_form(path, path.with_name("form.onnx")).max_rel_error < 1e-5


@pytest.mark.parametrize("transform", [F23, F43])
def test_minimal_filtering_is_a_convolution(transform: Transform) -> None:
    rng = np.random.default_rng(0)
    kernel, seen = rng.standard_normal(3), rng.standard_normal(transform.tile + 2)

    found = transform.outer @ ((transform.kernel @ kernel) * (transform.inner @ seen))

    np.testing.assert_allclose(found, np.correlate(seen, kernel), rtol=1e-12, atol=1e-13)
    np.testing.assert_array_equal(transform.outer[:, 1], 1)  # which the bias relies on


@pytest.mark.parametrize("depth", [Depth(3, 1, 1, 1), Depth(3, 2, 1, 1), Depth(2, 3, 2, 4)])
def test_taps_are_a_convolution(depth: Depth) -> None:
    rng = np.random.default_rng(0)
    slices, kernel = rng.standard_normal(11), rng.standard_normal(depth.kernel)
    wide = np.concatenate([np.zeros(depth.before), slices, np.zeros(20)])
    starts = [place * depth.stride for place in range(4)]
    right = [wide[start :: depth.dilation][: depth.kernel] @ kernel for start in starts]

    low, high = depth.taken(0, 4, 11)
    found = depth.taps(0, 4, low, high).reshape(4, depth.kernel, -1) @ slices[low:high] @ kernel

    np.testing.assert_allclose(found, right)


def test_layers_that_lose_too_much_are_computed_otherwise(tmp_path: Path) -> None:
    path = write_network(tmp_path / "model.onnx", made_up_unet(WIDE), patch=(16, 16, 16))
    canonical = read_canonical(path)
    rewriting = in_slices(canonical)
    layer, ways = next(each for each in rewriting.layers.values() if each[1][0].tile == 4)
    weight = canonical.array(layer.weight)
    errors = [layer_error(weight, None, way) for way in ways]

    assert [way.tile for way in ways] == [4, 2, 1]
    assert max(errors[1:]) < errors[0] < 1e-5
    assert precise_ways(canonical, rewriting) == {}
    assert {way.tile for way in precise_ways(canonical, rewriting, 0.0).values()} == {1}
    between = precise_ways(canonical, rewriting, (errors[0] + errors[1]) / 2)
    assert 2 in {way.tile for way in between.values()}


def test_forms_are_compared_with_their_network(tmp_path: Path) -> None:
    path = write_network(tmp_path / "model.onnx", made_up_unet(WIDE), patch=(16, 16, 16))
    form_of(path)

    agreement = check_form(path, path.with_name("form.onnx"))

    assert 0 < agreement.max_rel_error < 1e-5


def test_forms_of_large_patches_are_compared_on_smaller_ones(tmp_path: Path) -> None:
    path = write_network(tmp_path / "model.onnx", made_up_unet(WIDE), patch=(32, 128, 128))
    canonical = read_canonical(path)
    rewriting = in_slices(canonical)

    patch = small_patch(canonical)
    agreement = check_on_small_patch(canonical, rewriting)

    assert patch == (32, 64, 64)
    assert agreement is not None
    assert 0 < agreement.max_rel_error < 1e-5
    assert list(tmp_path.iterdir()) == [path]
    small = in_slices(of_patch(canonical, patch), share=Fraction(1, 4))
    chunks = {name: maps.bounds for name, maps in rewriting.maps.items()}
    assert {name: maps.bounds for name, maps in small.maps.items()} == chunks
    assert max(map(len, chunks.values())) > 2


def test_few_channels_are_made_of_chunks_of_many(tmp_path: Path) -> None:
    def compute(layers: Layers, image: Maps, weights: Weights) -> Maps:
        maps = layers.convolution(image, weights.take("k", (32, 2, 3, 3, 3)), padding=1)
        return layers.convolution(maps, weights.take("last", (3, 32, 1, 1, 1)))

    network = DirectNetwork("Small", compute, MadeUpWeights(), (32, 64, 64))
    path = write_network(tmp_path / "model.onnx", network, patch=(32, 64, 64))

    rewriting = form_of(path)

    large, small = (maps.shape for maps in list(rewriting.maps.values())[-2:])
    assert (large.channels, small.channels) == (32, 3)
    assert rule.chunk_of(small) == 32
    bounds = list(rewriting.maps.values())[-1].bounds
    assert bounds == [(0, 16), (16, 32)]
    assert 16 * large.per_slice * 4 <= rule.MOST_TAKEN


def test_forms_of_small_patches_are_compared_whole(tmp_path: Path) -> None:
    path = write_network(tmp_path / "model.onnx", made_up_unet(WIDE), patch=(32, 48, 64))
    canonical = read_canonical(path)

    assert small_patch(canonical) == (32, 48, 64)
    assert check_on_small_patch(canonical, in_slices(canonical)) is None


def test_networks_for_patches_of_any_size_have_no_form(tmp_path: Path) -> None:
    network = made_up_unet(described())
    path = write_network(tmp_path / "model.onnx", network, patch=(None, 16, 16))

    with pytest.raises(NoFormError, match="no fixed size"):
        form_of(path)


def test_networks_of_any_size_have_the_form_of_their_patches(
    tmp_path: Path, everywhere: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    import onnx

    monkeypatch.setattr(making, "MOST_GROWTH", 50.0)
    path = write_network(tmp_path / "model.onnx", made_up_unet(WIDE), patch=(16, 16, 16))
    model = onnx.load(path)
    for value in (model.graph.input[0], model.graph.output[0]):
        for index, axis in enumerate(value.type.tensor_type.shape.dim[2:]):
            axis.dim_param = f"size {index}"
    model.graph.input[0].name = model.graph.node[0].input[0] = "given"
    onnx.save(model, path)

    with pytest.raises(NoFormError, match="no fixed size"):
        making.make_form(path, tmp_path / "form.onnx")
    agreement = making.make_form(path, tmp_path / "form.onnx", (16, 16, 16))

    assert 0 < agreement.max_rel_error < 1e-5
