"""The form in rows gives what the canonical network gives, for 2-D networks of all kinds."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from deepseg_export import forms
from deepseg_export.errors import NoFormError
from deepseg_export.network.conversion import INPUT, OUTPUT
from deepseg_export.network.rows import making, rule
from deepseg_export.network.rows.filtering import Layer, Part, apart, in_rows
from deepseg_export.network.slices import making as slices_making
from deepseg_export.network.slices.graph import Graph
from deepseg_export.network.verify import open_session, padded
from helpers.bundles import make_data, make_manifest, write_image
from helpers.dna_networks import described, random_plan
from helpers.made_up_weights import made_up_unet, rename_values, write_network

import deepseg_lite
from deepseg_lite.bundles.bundle import read_bundle
from deepseg_lite.engines.engine import Engine
from deepseg_lite.engines.names import FORMS

onnx = pytest.importorskip("onnx")
pytestmark = pytest.mark.export
PLANS = [seed for seed in range(40) if "Conv2d" in random_plan(seed)["arch_kwargs"]["conv_op"]]
PATCH = (1, 32, 32)


def plan_of(features: int) -> dict[str, Any]:
    """Return the plan of a 2-D network of two stages."""
    plan = described(
        n_stages=2,
        features_per_stage=[features, features],
        kernel_sizes=3,
        strides=[1, 2],
        n_conv_per_stage=2,
        n_conv_per_stage_decoder=2,
    )
    kinds = {"conv_op": "Conv3d", "norm_op": "InstanceNorm3d"}
    text = json.dumps(plan)
    for kind in kinds.values():
        text = text.replace(kind, kind.replace("3d", "2d"))
    return dict(json.loads(text))


def bundle_of(folder: Path, features: int = 32) -> Path:
    """Write a bundle of a 2-D network."""
    folder.mkdir()
    network = made_up_unet(plan_of(features), heads=2)
    path = write_network(folder / "model.onnx", network, patch=PATCH[1:], channels=1, heads=2)
    manifest = make_manifest()
    facts = {
        "fold": "0",
        "path": path.name,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "size": path.stat().st_size,
    }
    window = {**manifest["sliding_window"], "patch_size": list(PATCH)}
    manifest = {**manifest, "networks": [facts], "sliding_window": window, "mirror_axes": [1]}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


@pytest.fixture
def of_any_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the form of a small network take as much as the network."""
    monkeypatch.setattr(slices_making, "MOST_GROWTH", 1.0)


def computed(layer: Layer, way: Any, arrays: dict[str, np.ndarray], maps: Sequence[np.ndarray]):
    """Return what a layer gives in some way."""
    graph = Graph()
    way(graph, layer)
    graph.nodes[-1].output[0] = OUTPUT
    ends = {part.name: value.shape for part, value in zip(layer.parts, maps, strict=True)}
    shapes = {**ends, OUTPUT: (len(maps[0]), layer.count, layer.height, layer.width)}
    values = [onnx.helper.make_tensor_value_info(name, 1, shape) for name, shape in shapes.items()]
    constants = (graph.constants | arrays).items()
    tensors = [onnx.numpy_helper.from_array(value, name) for name, value in constants]
    model = onnx.helper.make_model(
        onnx.helper.make_graph(graph.nodes, "layer", values[:-1], values[-1:], tensors),
        opset_imports=[onnx.helper.make_opsetid("", 18)],
        ir_version=8,
    )
    session = open_session(model.SerializeToString())
    return session.run(None, dict(zip(ends, maps, strict=True)))[0]


def expected(maps: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """Return the cross-correlation in float64, zero beyond the border."""
    wide = np.pad(maps.astype(float), [(0, 0), (0, 0), (1, 1), (1, 1)])
    seen = np.lib.stride_tricks.sliding_window_view(wide, (3, 3), axis=(2, 3))
    made: np.ndarray = np.einsum("nchwij,kcij->nkhw", seen, weight) + bias[:, None, None]
    return made


@pytest.mark.parametrize("way", [in_rows, apart])
@pytest.mark.parametrize("height", [4, 9, 14, 15, 24])
@pytest.mark.parametrize("channels", [(16,), (5, 3), (32, 16, 16)])
def test_layers_give_the_convolution(way: Any, height: int, channels: Sequence[int]) -> None:
    rng = np.random.default_rng(height)
    maps = [rng.standard_normal((2, each, height, 7), dtype=np.float32) for each in channels]
    weight = rng.standard_normal((16, sum(channels), 3, 3), dtype=np.float32)
    bias = rng.standard_normal(16, dtype=np.float32) * 10
    firsts = np.cumsum([0, *channels])
    parts = [Part(f"x{i}", int(firsts[i]), each) for i, each in enumerate(channels)]

    found = computed(Layer("w", "b", parts, 16, height, 7), way, {"w": weight, "b": bias}, maps)

    right = expected(np.concatenate(maps, axis=1), weight, bias)
    np.testing.assert_allclose(found, right, atol=5e-6 * np.abs(right).max())


@pytest.mark.parametrize("channels", [32, 160])
def test_errors_of_layers_are_small_and_seen(channels: int) -> None:
    weight = np.random.default_rng(1).standard_normal((32, channels, 3, 3), dtype=np.float32)
    assert 1e-8 < making.layer_error(weight, np.ones(32, np.float32)) < 3e-6


@pytest.mark.parametrize("seed", PLANS)
def test_networks_give_the_same(seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("BLOCK", "FEW", "FEW_WITHIN", "FEW_VOXELS"):
        monkeypatch.setattr(rule, name, 1)
    monkeypatch.setattr(slices_making, "LEAST_SAVED", -1.0)
    monkeypatch.setattr(slices_making, "MOST_GROWTH", 50.0)
    network = made_up_unet(random_plan(seed), seed=seed)
    path = write_network(tmp_path / "a.onnx", network, patch=network.patch)

    agreement = making.make_form(path, tmp_path / "b.onnx")

    assert agreement.max_rel_error < 1e-5


@pytest.mark.usefixtures("of_any_size")
def test_names_of_a_network_and_of_its_form_are_different(tmp_path: Path) -> None:
    path = bundle_of(tmp_path / "a") / "model.onnx"
    rename_values(path)

    agreement = making.make_form(path, path.with_name("b.onnx"))

    assert agreement.max_rel_error < 1e-5


@pytest.mark.usefixtures("of_any_size")
def test_bundles_of_2d_networks_are_optimized(tmp_path: Path) -> None:
    folder = bundle_of(tmp_path / "a")

    output = forms.optimize(folder, tmp_path / "b")

    bundle = read_bundle(output)
    (form,) = bundle.networks[0].forms
    assert form.form == "rows"
    assert form.size < bundle.networks[0].size / 2  # its weights are in the other file
    noise = np.random.default_rng(0).standard_normal((3, 1, *PATCH[1:]), dtype=np.float32)
    for batch in (noise, padded(noise), noise[:1]):
        canonical, found = (
            Engine("CPUExecutionProvider", form=name).open(bundle, bundle.networks[0], 1)(batch)
            for name in ("canonical", "auto")
        )
        np.testing.assert_allclose(found, canonical, atol=1e-5 * np.abs(canonical).max())
        assert not np.array_equal(found, canonical)
    image = write_image(tmp_path / "image.nii.gz", make_data((20, 18, 24)))
    runs = [deepseg_lite.load(output, device="cpu", form=name)(image) for name in FORMS]
    np.testing.assert_array_equal(*(np.asarray(each.dataobj) for each in runs))


@pytest.mark.usefixtures("of_any_size")
def test_layers_that_lose_too_much_stay_as_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    found = iter([1.0])
    monkeypatch.setattr(making, "layer_error", lambda *_: next(found, 0.0))
    making.make_form(bundle_of(tmp_path / "a") / "model.onnx", tmp_path / "a" / "b.onnx")
    assert "1 layers computed as before" in caplog.text
    monkeypatch.setattr(making, "layer_error", lambda *_: 1.0)
    with pytest.raises(NoFormError, match="0% of its multiplications"):
        making.make_form(tmp_path / "a" / "model.onnx", tmp_path / "a" / "c.onnx")


@pytest.mark.parametrize(
    ("features", "patch", "reason"),
    [(16, (32, 32), "multiplications"), (32, (None, None), "no fixed size")],
)
def test_what_has_no_form_is_told(
    tmp_path: Path, features: int, patch: Sequence[int | None], reason: str
) -> None:
    network = made_up_unet(plan_of(features))
    path = write_network(tmp_path / "a.onnx", network, patch=patch)  # type: ignore[arg-type]
    with pytest.raises(NoFormError, match=reason):
        making.make_form(path, tmp_path / "b.onnx")
    assert not (tmp_path / "b.onnx").exists()


def test_layers_within_blocks_need_more_channels() -> None:
    layer = Layer("w", None, [Part("x", 0, 32)], 32, 64, 64)
    assert rule.is_worth(layer, ["Reshape"])
    assert not rule.is_worth(layer, ["BatchNormalization"])
    assert rule.is_worth(Layer("w", None, [Part("x", 0, 64)], 64, 64, 64), ["Relu"])
    assert not rule.is_worth(Layer("w", None, [Part("x", 0, 64)], 64, 8, 8), ["Reshape"])


def test_graphs_stay_in_the_order_of_blocks(tmp_path: Path) -> None:
    """ONNX Runtime turns maps once on the way in and once for each row of a tile."""
    import onnxruntime

    model = _layer_model()
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    kinds = [node.op_type for node in onnx.load(tmp_path / "optimized.onnx").graph.node]
    if "ReorderInput" not in kinds:
        pytest.skip("this processor has no blocked kernels")
    assert kinds.count("ReorderInput") == 1
    assert kinds.count("ReorderOutput") == 4
    assert "Add" not in kinds


def _layer_model() -> bytes:
    rng = np.random.default_rng(0)
    graph = Graph()
    in_rows(graph, Layer("w", None, [Part(INPUT, 0, 32)], 32, 16, 16))
    graph.nodes[-1].output[0] = OUTPUT
    weight = rng.standard_normal((32, 32, 3, 3), dtype=np.float32)
    constants = (graph.constants | {"w": weight}).items()
    value = onnx.helper.make_tensor_value_info
    model = onnx.helper.make_model(
        onnx.helper.make_graph(
            graph.nodes,
            "layer",
            [value(INPUT, 1, (1, 32, 16, 16))],
            [value(OUTPUT, 1, (1, 32, 16, 16))],
            [onnx.numpy_helper.from_array(each, name) for name, each in constants],
        ),
        opset_imports=[onnx.helper.make_opsetid("", 18)],
        ir_version=8,
    )
    data: bytes = model.SerializeToString()
    return data
