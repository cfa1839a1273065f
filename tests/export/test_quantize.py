"""Variants of a bundle in other precisions: what they compute, what is recorded and refused."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result
from deepseg_export.cli.group import cli
from deepseg_export.errors import QuantizationError
from deepseg_export.quantize.agreement import Gate, check_gate, compare
from deepseg_export.quantize.half import to_half, to_half_weights
from deepseg_export.quantize.int8 import to_int8
from deepseg_export.quantize.ranges import ObservedNetwork, Ranges
from helpers.bundles import make_bundle, make_manifest, write_image
from helpers.click_runner import invoke
from helpers.paths import DATA

import deepseg_lite
from deepseg_lite.bundles.bundle import read_bundle
from deepseg_lite.errors import OptionError

onnx = pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")
pytestmark = pytest.mark.export

SCALES = np.float32([1, 1000, 0.001, 0])
"""Of four channels; the last one has weights of zero and a bias."""
LEVEL = 0.3


def network(threshold: float = 0.5, *, opset: int = 18) -> bytes:
    """Return a network that smooths an image in four channels and compares with a threshold.

    Channels differ by `SCALES` after the second convolution and are brought to one scale after it,
    as by a normalisation.
    """
    box = np.full((4, 1, 3, 3, 3), 1 / 27, np.float32) * SCALES.reshape(4, 1, 1, 1, 1)
    back = np.divide(1, SCALES, out=np.ones(4, np.float32), where=SCALES > 0)
    data = {
        "copy": np.ones((4, 1, 1, 1, 1), np.float32),
        "box": box,
        "level": np.float32([0, 0, 0, LEVEL]),
        "back": back.reshape(1, 4, 1, 1, 1),
        "mean": np.float32([[1 / 3, 1 / 3, 1 / 3, 0], [0, 0, 0, 1]]).reshape(2, 4, 1, 1, 1),
        "head": np.float32([[-1, 0], [1, 0]]).reshape(2, 2, 1, 1, 1),
        "shift": np.float32([threshold, -threshold]),
    }
    node = onnx.helper.make_node
    nodes = [
        node("Conv", ["image", "copy"], ["copies"]),
        node("Conv", ["copies", "box", "level"], ["smooth"], group=4, pads=[1] * 6),
        node("Mul", ["smooth", "back"], ["even"]),
        node("LeakyRelu", ["even"], ["active"], alpha=0.01),
        node("Conv", ["active", "mean"], ["means"]),
        node("Conv", ["means", "head", "shift"], ["logits"]),
    ]
    tensor = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        nodes,
        "smoothing",
        [tensor("image", onnx.TensorProto.FLOAT, ["N", 1, *"XYZ"])],
        [tensor("logits", onnx.TensorProto.FLOAT, ["N", 2, *"XYZ"])],
        [onnx.numpy_helper.from_array(values, name) for name, values in data.items()],
    )
    model = onnx.helper.make_model(
        graph, opset_imports=[onnx.helper.make_opsetid("", opset)], ir_version=8
    )
    return model.SerializeToString()


def scores(onnx_file: bytes, batch: np.ndarray) -> np.ndarray:
    options = ort.SessionOptions()
    # As the runtime opens them, or x86 processors without VNNI overflow.
    options.add_session_config_entry("session.x64quantprecision", "1")
    session = ort.InferenceSession(onnx_file, options, providers=["CPUExecutionProvider"])
    return session.run(None, {"image": batch})[0]


def seen(onnx_file: bytes, *batches: np.ndarray) -> Ranges:
    ranges = Ranges()
    observed = ObservedNetwork(onnx_file, ranges, 1)
    for batch in batches:
        np.testing.assert_allclose(observed(batch), scores(onnx_file, batch), atol=1e-6)
    return ranges


def ball(radius: float = 8, *, peak: float = 1) -> np.ndarray:
    """Return an image that falls from its middle to 0 at a distance."""
    places = np.mgrid[:20, :18, :16] - np.float32([10, 9, 8]).reshape(3, 1, 1, 1)
    return (peak * np.maximum(0, 1 - np.sqrt((places**2).sum(0)) / radius)).astype(np.float32)


@pytest.fixture
def images(tmp_path: Path) -> list[Path]:
    (tmp_path / "images").mkdir()
    return [
        write_image(tmp_path / "images" / f"{radius}.nii.gz", ball(radius)) for radius in (7, 8, 9)
    ]


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return write(tmp_path / "bundle", network(), network(0.45))


def write(folder: Path, *contents: bytes) -> Path:
    """Write a bundle with one fold for each network."""
    folder.mkdir()
    manifest = make_manifest()
    manifest["networks"], manifest["mirror_axes"] = [], []
    for fold, content in enumerate(contents):
        (folder / f"fold_{fold}.onnx").write_bytes(content)
        digest = hashlib.sha256(content).hexdigest()
        manifest["networks"].append(
            {"fold": str(fold), "path": f"fold_{fold}.onnx", "sha256": digest, "size": len(content)}
        )
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def quantize(*arguments: Any) -> Result:
    return invoke(cli, ["quantize", *arguments])


def labels(path: Path, image: Path, precision: str) -> np.ndarray:
    segment = deepseg_lite.load(path, device="cpu", precision=precision, threads=1)
    return np.asarray(segment(image).dataobj)


def test_ranges_are_those_of_each_channel_and_constant_patches_do_not_count():
    batch = ball()[None, None]
    ranges = seen(network(), batch, np.full_like(batch, 7))
    assert ranges.patches == 1
    assert set(ranges.lowest) == {"copies", "smooth", "active", "means"}
    np.testing.assert_array_equal(ranges.highest["copies"], np.ones(4))
    smoothed = scores(network(0), batch)[0, 1].max()
    np.testing.assert_allclose(ranges.highest["smooth"], [*smoothed * SCALES[:3], LEVEL], rtol=1e-5)
    np.testing.assert_allclose(ranges.lowest["smooth"], [0, 0, 0, LEVEL], rtol=1e-5)


@pytest.mark.parametrize("opset", [13, 18])
def test_int8_rounds_no_channel_away(opset):
    """Scores stay within the steps of two roundings, though channels differ by a million."""
    batch = ball()[None, None]
    made = to_int8(network(opset=opset), seen(network(), batch))
    error = np.abs(scores(made, batch) - scores(network(), batch)).max()
    assert 1e-4 < error < 2 / 255


def test_int8_leaves_the_first_and_the_last_convolution_in_float32():
    model = onnx.load_from_string(to_int8(network(), seen(network(), ball()[None, None])))
    kinds = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    made_by = {name: node for node in model.graph.node for name in node.output}
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    first, *middle, last = convolutions
    assert first.input[0] == "image"
    assert last.output[0] == "logits"
    assert kinds[first.input[1]] == kinds[last.input[1]] == onnx.TensorProto.FLOAT
    assert len(middle) == 2
    for node in middle:
        weights, given = made_by[node.input[1]], made_by[node.input[0]]
        assert weights.op_type == given.op_type == "DequantizeLinear"
        assert kinds[weights.input[0]] == onnx.TensorProto.INT8
        assert kinds[given.input[2]] == onnx.TensorProto.UINT8
    assert "box" not in kinds


def joining() -> bytes:
    """Return the same network with what it smooths joined with what it smoothed."""
    model = onnx.load_from_string(network())
    nodes, node = model.graph.node, onnx.helper.make_node
    means = next(each for each in nodes if each.output[0] == "means")
    means.input[:] = ["joined", "both"]
    mean = onnx.numpy_helper.to_array(
        next(each for each in model.graph.initializer if each.name == "mean")
    )
    both = np.concatenate([mean / 2, mean / 2], axis=1)
    model.graph.initializer.append(onnx.numpy_helper.from_array(both, "both"))
    nodes.insert(list(nodes).index(means), node("Concat", ["active", "copies"], ["joined"], axis=1))
    return model.SerializeToString()


def test_what_is_joined_for_a_convolution_is_rounded_before():
    """Bytes are joined in place of floats: a quarter of the memory, the same values."""
    batch = ball()[None, None]
    made = to_int8(joining(), seen(joining(), batch))
    model = onnx.load_from_string(made)
    (join,) = (node for node in model.graph.node if node.op_type == "Concat")
    made_by = {name: node for node in model.graph.node for name in node.output}
    givers = [made_by[name] for name in join.input]
    assert [node.op_type for node in givers] == ["QuantizeLinear"] * 2
    assert len({tuple(node.input[1:]) for node in givers}) == 1
    error = np.abs(scores(made, batch) - scores(joining(), batch)).max()
    assert 1e-4 < error < 3 / 255


def test_int8_is_the_same_file_every_time():
    ranges = seen(network(), ball()[None, None])
    assert to_int8(network(), ranges) == to_int8(network(), ranges)


def test_int8_of_a_network_without_inner_convolutions_is_refused():
    with pytest.raises(QuantizationError, match="nothing to compute in int8"):
        to_int8((DATA / "threshold_3d.onnx").read_bytes(), Ranges())


def test_half_weights_take_half_the_space_and_are_computed_in_float32():
    weights = np.random.default_rng(1).standard_normal((32, 1, 3, 3, 3)).astype(np.float32)
    model = onnx.load_from_string(network())
    (copy,) = (tensor for tensor in model.graph.initializer if tensor.name == "copy")
    copy.CopyFrom(
        onnx.numpy_helper.from_array(np.float32(2.0) * weights[:4, :, :1, :1, :1], "copy")
    )
    model.graph.initializer.append(onnx.numpy_helper.from_array(weights, "many"))
    model.graph.initializer.append(onnx.numpy_helper.from_array(weights * 1e6, "beyond"))
    model.graph.node.append(
        onnx.helper.make_node("Conv", ["image", "many"], ["side"], pads=[1] * 6)
    )
    model.graph.node.append(
        onnx.helper.make_node("Conv", ["image", "beyond"], ["far"], pads=[1] * 6)
    )
    made = onnx.load_from_string(to_half_weights(model.SerializeToString()))
    kinds = {tensor.name: tensor.data_type for tensor in made.graph.initializer}
    assert kinds["many/half"] == onnx.TensorProto.FLOAT16
    assert kinds["beyond"] == kinds["copy"] == onnx.TensorProto.FLOAT
    assert "many" not in kinds
    (cast,) = (node for node in made.graph.node if node.op_type == "Cast")
    assert (cast.output[0], cast.attribute[0].i) == ("many", onnx.TensorProto.FLOAT)


def test_half_computes_convolutions_in_float16_and_takes_float32():
    batch = ball()[None, None]
    made = to_half(network())
    error = np.abs(scores(made, batch) - scores(network(), batch)).max()
    assert 1e-6 < error < 5e-3
    graph = onnx.shape_inference.infer_shapes(onnx.load_from_string(made)).graph
    kinds = {value.name: value.type.tensor_type.elem_type for value in graph.value_info}
    computed = [node for node in graph.node if node.op_type == "Conv"]
    assert len(computed) == 4
    assert {kinds[node.output[0]] for node in computed} == {onnx.TensorProto.FLOAT16}
    assert graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    assert graph.output[0].type.tensor_type.elem_type == onnx.TensorProto.FLOAT


def test_agreement_is_the_lowest_dice_of_all_cases():
    outputs = make_bundle("regions").outputs
    reference = np.zeros((4, 4, 4), np.uint8)
    reference[0], reference[1] = 1, 2
    changed = reference.copy()
    changed[1, 0] = 1
    only_cord = (reference > 0).astype(np.uint8)
    found = compare([reference, changed], [reference, reference], outputs)
    assert found == {
        "cases": 2,
        "voxels": 128,
        "differing_voxels": 4,
        "foreground": 1,
        "labels": {"cord": 1, "gray/matter": 24 / 28},
    }
    absent = compare([only_cord], [only_cord], outputs)["labels"]
    assert absent == {"cord": 1, "gray/matter": None}
    assert compare([only_cord], [reference], outputs)["labels"]["gray/matter"] == 0
    maps = np.float32([reference > 0, reference > 1]) * 0.8
    assert compare([maps], [maps], outputs)["differing_voxels"] == 0
    assert compare([maps * 0.5], [maps], outputs)["differing_voxels"] == 32


@pytest.mark.parametrize(
    ("least", "refused"),
    [
        ({}, "gray/matter 0.9750 on held-out images by engine (at least 0.98 is needed)"),
        ({"gray/matter": 0.97}, None),
        ({"gray/matter": 0.97, "foreground": 0.996}, "foreground 0.9950 on"),
        ({"gray/matter": 0.97, "cord": 0.996}, "cord 0.9950 on"),
    ],
)
def test_a_gate_names_what_is_too_low(least, refused):
    gate = Gate(least).describe(make_bundle("regions").outputs)
    figures = {"foreground": 0.995, "labels": {"cord": 0.995, "gray/matter": 0.975}}
    agreement = [{"images": "held_out", "provider": "engine", **figures}]
    if refused is None:
        check_gate("int8", gate, agreement)
        return
    with pytest.raises(QuantizationError) as caught:
        check_gate("int8", gate, agreement)
    assert refused in str(caught.value)
    assert "nothing was written" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_label_that_no_image_shows_is_not_judged():
    gate = Gate().describe(make_bundle("regions").outputs)
    figures = {"foreground": 1.0, "labels": {"cord": 1.0, "gray/matter": None}}
    check_gate("int8", gate, [{"images": "held_out", "provider": "engine", **figures}])


def test_variants_are_added_run_and_recorded(bundle, images, tmp_path):
    before, output = contents(bundle), tmp_path / "made"
    done = quantize(
        *(bundle, "--calibrate", *images[:2], "--held-out", images[2]),
        *("--fp16", "--fp16-weights", "--gate", "cord=0.97", "--gate", "foreground=0.97"),
        *("-o", output),
    )
    assert done.exit_code == 0, done.stderr
    assert done.stdout == f"{output}\n"
    assert contents(bundle) == before
    made = read_bundle(output)
    for network_file in made.networks:
        assert [v.precision for v in network_file.variants] == ["int8", "fp16", "fp16-weights"]
    assert made.networks[1].variants[0].path == "fold_1.int8.onnx"
    records = made.manifest["precisions"]
    assert records["int8"]["patches"] > 10
    assert records["fp16"]["gate"] == {"foreground": 0.97, "labels": {"cord": 0.97}}
    for record in records.values():
        rows = {each["images"]: each for each in record["agreement"]}
        assert rows["calibration"]["cases"] == 2
        assert rows["held_out"]["voxels"] == ball().size
        assert 0.97 <= rows["held_out"]["labels"]["cord"] <= 1
        assert rows["held_out"]["provider"]
    exact = labels(output, images[2], "fp32")
    np.testing.assert_array_equal(exact, labels(bundle, images[2], "fp32"))
    rounded = labels(output, images[2], "int8")
    on_cpu = next(each for each in records["int8"]["agreement"] if each["images"] == "held_out")
    assert np.count_nonzero(rounded != exact) == on_cpu["differing_voxels"]
    card = (output / "README.md").read_text()
    assert "| int8 | held-out | 1 |" in card


def test_a_variant_below_its_gate_is_not_written(bundle, tmp_path):
    """Calibrated on an image a hundred times fainter than the one it is compared on."""
    faint = write_image(tmp_path / "faint.nii.gz", ball(peak=0.01))
    bright = write_image(tmp_path / "bright.nii.gz", ball())
    before = contents(bundle)
    done = quantize(bundle, "--calibrate", faint, "--held-out", bright, "--force")
    assert done.exit_code == 1
    assert "error: int8 does not agree with fp32, so nothing was written. Dice of" in done.stderr
    assert "lowest Dice cord 0.0000" in done.stderr
    assert "0.0000 on held-out images by CPUExecutionProvider" in done.stderr
    assert "; and 1 more. Calibrate" in done.stderr
    assert contents(bundle) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        *("bright.nii.gz", "bundle", "faint.nii.gz")
    ]


def test_without_a_gate_nothing_is_compared_and_the_manifest_says_so(bundle, tmp_path):
    faint = write_image(tmp_path / "faint.nii.gz", ball(peak=0.01))
    done = quantize(bundle, "--calibrate", faint, "--no-gate", "--force")
    assert done.exit_code == 0, done.stderr
    record = read_bundle(bundle).manifest["precisions"]["int8"]
    assert (record["gate"], record["agreement"]) == (None, [])
    assert "Written without comparing: int8." in (bundle / "README.md").read_text()


def test_a_variant_replaces_the_one_that_was_there(bundle, images):
    for image in images[:2]:
        done = quantize(bundle, "--calibrate", image, "--fp16-weights", "--no-gate", "--force")
        assert done.exit_code == 0, done.stderr
    for network_file in read_bundle(bundle).networks:
        assert [v.precision for v in network_file.variants] == ["int8", "fp16-weights"]


def test_a_bundle_of_one_precision_alone_has_no_other_files(bundle, images, tmp_path):
    output = tmp_path / "small"
    done = quantize(bundle, "--fp16-weights", "--only", "--held-out", images[0], "-o", output)
    assert done.exit_code == 0, done.stderr
    assert sorted(contents(output)) == [
        *("README.md", "fold_0.fp16-weights.onnx", "fold_1.fp16-weights.onnx", "manifest.json")
    ]
    found = labels(output, images[0], "fp16-weights")
    np.testing.assert_array_equal(found, labels(bundle, images[0], "fp32"))
    with pytest.raises(OptionError, match=r"no networks in fp32; .* \(fp16-weights\)"):
        deepseg_lite.load(output, device="cpu")
    again = quantize(output, "--calibrate", images[0], "--force")
    assert again.exit_code == 1
    assert "has no networks in fp32 to start from" in again.stderr


def test_what_cannot_be_asked_for_is_said_and_nothing_changes(bundle, images, tmp_path):
    empty = write_image(tmp_path / "empty.nii.gz", np.full((9, 9, 9), 3, np.float32))
    before = contents(bundle)
    for arguments, message in [
        (["--force"], "nothing to make was named"),
        (["--fp16", "--force"], "there is no image to compare on"),
        (["--calibrate", images[0]], "exists; give another -o, or --force"),
        (["--calibrate", images[0], "--gate", "gm=1", "--force"], "a gate for gm was given"),
        (["--calibrate", images[0], "--fp16", "--only", "--force"], "--only is for one precision"),
        (["--calibrate", empty, "--no-gate", "--force"], "show one value throughout"),
        (["--calibrate", tmp_path / "nowhere.nii", "--force"], "nowhere.nii"),
    ]:
        done = quantize(bundle, *arguments)
        assert done.exit_code == 1, arguments
        assert message in done.stderr
        assert "Traceback" not in done.stderr
        assert contents(bundle) == before


@pytest.mark.parametrize("gate", ["cord", "=0.9", "cord=high", "cord=1.5", "cord=nan"])
def test_a_gate_of_another_form_is_wrong_usage(gate):
    done = quantize("bundle", "--calibrate", "a", "--gate", gate)
    assert done.exit_code == 2
    assert "NAME=DICE" in done.stderr
    assert quantize("bundle", "--gate", "a=1", "--no-gate").exit_code == 2


def test_openvino_computes_int8_with_its_own_kernels(tmp_path, images):
    """Of the four convolutions the two in the middle run in 8 bits, and labels agree."""
    openvino = pytest.importorskip("openvino", reason="openvino is not installed")
    folder = write(tmp_path / "one", network())
    done = quantize(folder, "--calibrate", *images, "--gate", "foreground=0.97", "--force")
    assert done.exit_code == 0, done.stderr
    rows = read_bundle(folder).manifest["precisions"]["int8"]["agreement"]
    assert {row["provider"] for row in rows} == {"CPUExecutionProvider", "openvino"}
    core = openvino.Core()
    model = core.read_model(folder / "fold_0.int8.onnx")
    model.reshape([1, 1, 16, 16, 16])
    compiled = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    kinds = [
        node.get_rt_info()["runtimePrecision"].astype(str)
        for node in compiled.get_runtime_model().get_ops()
        if node.get_rt_info()["layerType"].astype(str) == "Convolution"
    ]
    assert sorted(kinds).count("u8") == 2, kinds


def test_help_loads_nothing_heavy():
    heavy = ("torch", "onnx", "numpy", "onnxruntime", "nibabel", "jsonschema")
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({heavy}))\n"
        "from deepseg_export.cli.group import cli; cli(['quantize', '-h'], standalone_mode=False)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for option in ("--calibrate", "--held-out", "--only", "--gate", "--no-gate"):
        assert option in done.stdout
