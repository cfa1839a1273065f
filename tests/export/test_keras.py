"""Keras models: from HDF5 to bundles, without TensorFlow; what is not understood is refused."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.paths import SHARED

pytestmark = pytest.mark.export
h5py = pytest.importorskip("h5py")
onnx = pytest.importorskip("onnx")

from deepseg_export.errors import CheckpointError, UnsupportedError  # noqa: E402
from deepseg_export.exporting import export_model  # noqa: E402
from deepseg_export.families import keras  # noqa: E402
from helpers import keras_models as made  # noqa: E402

from deepseg_lite.bundles.bundle import read_bundle  # noqa: E402
from deepseg_lite.engines.onnxruntime_network import import_onnxruntime  # noqa: E402

WEIGHTS, REFERENCE = SHARED / "weights" / "sct_gm", SHARED / "reference" / "sct_gm"


def _run(bundle: Path, image: np.ndarray) -> np.ndarray:
    session = import_onnxruntime().InferenceSession(bundle / "model.onnx")
    return session.run(None, {"image": image})[0]


def _load(path: Path) -> keras.Checkpoint:
    return keras.load(path, keras.Options())


@pytest.mark.parametrize("config", [made.unet_2d(), made.unet_3d()], ids=["2d", "3d"])
def test_a_whole_model_computes_what_torch_computes(tmp_path, config, rng):
    torch = pytest.importorskip("torch")
    arrays = made.arrays_of(config, rng)
    path = made.write_model(tmp_path / "m.h5", config, arrays)
    bundle = export_model("keras", path, tmp_path / "bundle")
    axes = 2 if "conv2d_1" in arrays else 3
    size = [16, 16] if axes == 2 else [8, 8, 8]
    image = rng.standard_normal((2, 1, *size), dtype=np.float32)
    F = torch.nn.functional
    conv, pool = (F.conv2d, F.max_pool2d) if axes == 2 else (F.conv3d, F.max_pool3d)

    def convolved(x, name, rate=1):
        kernel, bias = (torch.from_numpy(one) for one in arrays[name])
        weight = kernel.permute(axes + 1, axes, *range(axes))
        return conv(x, weight, bias, padding=(kernel.shape[0] - 1) // 2 * rate, dilation=rate)

    gamma, beta, mean, variance = map(torch.from_numpy, arrays["batch_normalization_1"])
    x = convolved(torch.from_numpy(image), f"conv{axes}d_1", 2 if axes == 2 else 1)
    skip = F.batch_norm(x, mean, variance, gamma, beta, eps=1e-3).relu()
    low = convolved(pool(skip, 2), f"conv{axes}d_2")
    if axes == 2:
        kernel, bias = map(torch.from_numpy, arrays["conv2d_transpose_1"])
        up = F.conv_transpose2d(low.relu(), kernel.permute(3, 2, 0, 1), bias, stride=2)
    else:
        up = F.interpolate(low, scale_factor=2, mode="nearest")
    expected = convolved(torch.cat([up, skip], 1), f"conv{axes}d_3").sigmoid().numpy()
    np.testing.assert_allclose(_run(bundle, image), expected, atol=2e-6)
    details = read_bundle(bundle).manifest
    assert details["source"]["family"] == "keras"
    (check,) = details["export"]["checks"]
    assert check["on"] == "phantom"


def test_weights_alone_are_known_by_their_layers(tmp_path):
    path = made.write_gray_matter(tmp_path / "any name.hdf5")
    bundle = read_bundle(export_model("keras", path, tmp_path / "bundle"))
    manifest = bundle.manifest
    assert [step["step"] for step in bundle.preprocessing] == [
        "resize",
        "field_of_view",
        "normalize",
    ]
    assert set(manifest["source"]["files"]) == {"any name.hdf5", "any name.json"}
    assert manifest["source"]["license"] is None
    again = export_model("keras", path, tmp_path / "again")
    assert (again / "manifest.json").read_bytes() == (bundle.path / "manifest.json").read_bytes()


def test_a_folder_with_several_files_needs_a_choice(tmp_path):
    for name in ("large_model", "challenge_model"):
        made.write_gray_matter(tmp_path / f"{name}.hdf5")
    with pytest.raises(CheckpointError, match="give the one file that is meant"):
        _load(tmp_path)
    options = keras.Options(files=("large_model.hdf5",))
    assert keras.load(tmp_path, options).manifest["name"] == "large_model"


def test_the_json_must_agree_with_the_weights(tmp_path):
    path = made.write_gray_matter(tmp_path / "m.hdf5")
    path.with_suffix(".json").write_text('{"filters": 64}')
    with pytest.raises(CheckpointError, match="2 filters and the JSON beside it says 64"):
        _load(path)


def _changed(config, name, **options):
    for each in config["config"]["layers"]:
        if each["name"] == name:
            each["config"].update(options)
    return config


def test_everything_that_is_not_understood_is_told_at_once(tmp_path):
    config = made.unet_2d()
    _changed(config, "conv2d_1", strides=[2, 2], activation="selu")
    _changed(config, "conv2d_2", a_new_option=1)
    _changed(config, "max_pooling2d_1", padding="same")
    config["config"]["layers"][4]["class_name"] = "GaussianNoise"
    with pytest.raises(UnsupportedError) as refused:
        _load(made.write_model(tmp_path / "m.h5", config))
    for part in (
        "conv2d_1: strides [2, 2]",
        "conv2d_1: activation selu",
        "conv2d_2: its option a_new_option",
        "max_pooling2d_1: padding same",
        "dropout_1: layers of class GaussianNoise",
    ):
        assert part in str(refused.value)


@pytest.mark.parametrize(
    ("name", "function", "fits"),
    [
        ("temperature", ["4wEAAA==", None, [1.0]], True),
        ("temperature", ["4wEAAA==", None, [2.0]], False),
        ("temperature", ["4wEAAA==", None, None], False),
        ("lambda_1", ["4wEAAA==", None, [1.0]], False),
        ("temperature", "x / 1.0", False),
    ],
)
def test_a_lambda_is_a_division_by_one_or_refused(tmp_path, name, function, fits):
    config = made.unet_2d()
    layers = config["config"]["layers"]
    options = {"function": function, "function_type": "lambda", "arguments": {}}
    layers.insert(-1, made.layer("Lambda", name, ["conv2d_3"], **options))
    layers[-1]["inbound_nodes"] = [[[name, 0, 0, {}]]]
    arrays = made.arrays_of(made.unet_2d(), np.random.default_rng(0))
    path = made.write_model(tmp_path / "m.h5", config, arrays)
    if fits:
        assert _load(path).output_shape == (1, 16, 16)
        return
    with pytest.raises(UnsupportedError, match="code of its own"):
        _load(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a.pop("conv2d_2"), "conv2d_2/0 is missing"),
        (lambda a: a.update(extra=[np.zeros(2), np.zeros(2)]), "no layer has: extra/0; extra/1"),
        (lambda a: a.update(conv2d_2=a["conv2d_1"]), "conv2d_2/0 has shape"),
        (lambda a: a["conv2d_1"][0].fill(np.nan), "not finite"),
    ],
    ids=["missing", "left over", "shape", "nan"],
)
def test_weights_and_layers_must_fit_each_other(tmp_path, rng, change, message):
    arrays = made.arrays_of(made.unet_2d(), rng)
    change(arrays)
    with pytest.raises(CheckpointError, match=message):
        _load(made.write_model(tmp_path / "m.h5", made.unet_2d(), arrays))


def _external_link(file, folder):
    del file["model_weights/conv2d_1/conv2d_1/kernel:0"]
    file["model_weights/conv2d_1/conv2d_1/kernel:0"] = h5py.ExternalLink("other.h5", "/a")


def _soft_link(file, folder):
    del file["model_weights/conv2d_1"]
    file["model_weights/conv2d_1"] = h5py.SoftLink("/optimizer_weights")


def _virtual(file, folder):
    group = file["model_weights/conv2d_1/conv2d_1"]
    del group["bias:0"]
    layout = h5py.VirtualLayout(shape=(3,), dtype="f4")
    layout[:] = h5py.VirtualSource("other.h5", "a", shape=(3,))
    group.create_virtual_dataset("bias:0", layout)


def _external_file(file, folder):
    group = file["model_weights/conv2d_1/conv2d_1"]
    del group["bias:0"]
    group.create_dataset("bias:0", (3,), "f4", external=[(os.fspath(folder / "x"), 0, 12)])


def _huge(file, folder):
    group = file["model_weights/conv2d_1/conv2d_1"]
    del group["bias:0"]
    group.create_dataset("bias:0", (2**40,), "f4", chunks=(1024,), compression="gzip")


def _packed(file, folder):
    group = file["model_weights/conv2d_1/conv2d_1"]
    del group["bias:0"]
    group.create_dataset("bias:0", (3,), "f4", compression="lzf", chunks=(3,))


def _objects(file, folder):
    group = file["model_weights/conv2d_1/conv2d_1"]
    del group["bias:0"]
    group.create_dataset("bias:0", (3,), h5py.string_dtype())


def _upwards(file, folder):
    file["model_weights/conv2d_1"].attrs["weight_names"] = [b"../conv2d_2/kernel:0"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_external_link, "link to somewhere else"),
        (_soft_link, "link to somewhere else"),
        (_virtual, "in another file"),
        (_external_file, "in another file"),
        (_huge, "more than the"),
        (_packed, "a filter that is not read"),
        (_objects, "no array of real numbers"),
        (_upwards, "is no name"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_hostile_files_are_refused_in_a_line(tmp_path, change, message):
    path = made.write_model(tmp_path / "m.h5", made.unet_2d())
    with h5py.File(path, "r+") as file:
        change(file, tmp_path)
    with pytest.raises(CheckpointError, match=message) as refused:
        _load(path)
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 300 + len(str(path))


def test_files_that_are_no_hdf5_are_refused(tmp_path):
    path = tmp_path / "m.h5"
    path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(500))
    with pytest.raises(CheckpointError, match="cannot be read"):
        _load(path)
    with h5py.File(path, "w") as file:
        file["a"] = np.zeros(3)
    with pytest.raises(CheckpointError, match="no file of Keras 2"):
        _load(path)


def test_changed_bytes_never_end_in_anything_but_a_line(tmp_path):
    """Each file is read in a process of its own, so that few are tried."""
    whole = made.write_model(tmp_path / "whole.h5", made.unet_2d()).read_bytes()
    rng, path = np.random.default_rng(7), tmp_path / "m.h5"
    for _ in range(12):
        data = bytearray(whole)
        for place in rng.integers(0, len(data), 40):
            data[place] = rng.integers(256)
        path.write_bytes(data[: rng.integers(len(data) // 2, len(data) + 1)])
        assert "\n" not in _what_is_wrong(path)


def _what_is_wrong(path: Path) -> str:
    try:
        keras.read_hdf5(path)
    except CheckpointError as error:
        return str(error)
    return ""


def _release(bundle: Path, path: Path) -> Path:
    """Write a bundle's network as SCT's release has it.

    That was made by keras2onnx for opset 11 (SCT's ``dev/deepseg_onnx_conversion``): file version
    6, channels last, ``input_1`` and ``predictions``, borders by ``auto_pad`` where nothing is
    dilated, and the pooled values repeated and reshaped as Keras' layers do it.
    """
    model = onnx.load(bundle / "model.onnx")
    graph, node = model.graph, onnx.helper.make_node
    by_result = {name: each for each in graph.node for name in each.output}
    (spread,) = (each for each in graph.node if each.op_type == "Expand")
    numbers = {
        "repeats": np.array([1, 200 * 200, 1]),
        "grid": np.array([-1, 200, 200, _channels(graph, spread.input[0], by_result)]),
    }
    nodes = [node("Transpose", ["input_1"], ["image"], perm=[0, 3, 1, 2])]
    for each in graph.node:
        options = {a.name: list(a.ints) for a in each.attribute}
        if each.op_type == "Conv" and set(options["dilations"]) == {1}:
            del each.attribute[[a.name for a in each.attribute].index("pads")]
            each.attribute.append(onnx.helper.make_attribute("auto_pad", "SAME_UPPER"))
        if each == spread:
            nodes += [
                node("Squeeze", [spread.input[0]], ["pooled"], axes=[2, 3]),
                node("Unsqueeze", ["pooled"], ["one"], axes=[1]),
                node("Tile", ["one", "repeats"], ["repeated"]),
                node("Reshape", ["repeated", "grid"], ["reshaped"]),
                node("Transpose", ["reshaped"], [spread.output[0]], perm=[0, 3, 1, 2]),
            ]
        elif each.output[0] not in _only_for(spread.input[1], by_result):
            nodes.append(each)
    nodes.append(node("Transpose", ["logits"], ["predictions"], perm=[0, 2, 3, 1]))
    del graph.node[:], graph.input[:], graph.output[:], graph.value_info[:]
    graph.node.extend(nodes)
    graph.initializer.extend(
        onnx.numpy_helper.from_array(values, name) for name, values in numbers.items()
    )
    for ports, name in ((graph.input, "input_1"), (graph.output, "predictions")):
        ports.append(onnx.helper.make_tensor_value_info(name, 1, ["N", 200, 200, 1]))
    model.ir_version = 6
    del model.opset_import[:]
    model.opset_import.append(onnx.helper.make_opsetid("", 11))
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)
    return path


def _only_for(name: str, by_result: dict[str, Any]) -> set[str]:
    """Return a shape and all shapes that it is made of."""
    found = {name}
    for given in by_result[name].input if name in by_result else ():
        if by_result.get(given) is not None and by_result[given].op_type in ("Shape", "Concat"):
            found |= _only_for(given, by_result)
    return found


def _channels(graph: Any, name: str, by_result: dict[str, Any]) -> int:
    """Return how many channels come out of the last convolution before a value."""
    shapes = {each.name: each.dims for each in graph.initializer}
    node = by_result[name]
    while node.op_type != "Conv":
        node = by_result[node.input[0]]
    return int(shapes[node.input[1]][0])


def test_an_onnx_release_with_channels_last_is_taken(tmp_path, rng):
    source = made.write_gray_matter(tmp_path / "m.hdf5")
    first = export_model("keras", source, tmp_path / "first")
    release = _release(first, tmp_path / "large_model.onnx")
    second = export_model("keras", release, tmp_path / "second")
    image = rng.standard_normal((2, 1, 200, 200), dtype=np.float32)
    np.testing.assert_array_equal(_run(first, image), _run(second, image))
    assert read_bundle(second).preprocessing == read_bundle(first).preprocessing


@pytest.mark.parametrize("name", ["large", "challenge"])
def test_the_published_weights_give_what_the_original_gave(tmp_path, name):
    path = WEIGHTS / f"{name}_model.hdf5"
    if not path.is_file():
        pytest.skip("the published weights are not here")
    bundle = export_model("keras", path, tmp_path / "bundle")
    with np.load(REFERENCE / f"gm_{name}_io.npz") as real:
        image, expected = real["input_1"], real["predictions"]
    found = _run(bundle, np.moveaxis(image, 3, 1))
    expected = np.moveaxis(expected, 3, 1)
    assert np.abs(found - expected).max() < 5e-4
    np.testing.assert_array_equal(found > 0.999, expected > 0.999)
    check = json.loads((bundle / "manifest.json").read_text())["export"]["checks"][0]
    assert check["foreground"] > 100
    assert check["differing"] == 0
