"""The exporter against nnU-Net itself, and on real checkpoints."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from deepseg_export.exporting import export_model
from deepseg_export.families.nnunet import Options, load
from helpers.paths import SHARED

from deepseg_lite.bundles.bundle import read_bundle
from deepseg_lite.bundles.files import read_network

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("dynamic_network_architectures")
pytestmark = pytest.mark.export

CHECKPOINTS = SHARED / "checkpoints"
REAL = {
    "gm_challenge_2d": ("all", "0", "1"),
    "gm_challenge_3d": ("all",),
}


def real_model(name: str) -> Path:
    folders = list((CHECKPOINTS / name).glob("*__*__*"))
    if not folders:
        pytest.skip(f"no real checkpoint {name} beside the repository")
    return folders[0]


@pytest.fixture(scope="module")
def importable_torchvision() -> Any:
    """Define operators without which a torchvision for another torch cannot be imported.

    nnU-Net looks for the classes of legacy plans by importing whatever is near them, torchvision
    included; nothing of it is called.
    """
    library = torch.library.Library("torchvision", "FRAGMENT")
    for name in ("nms", "qnms"):
        if not hasattr(torch.ops.torchvision, name):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    return library


@pytest.fixture(scope="module")
def nnunet(importable_torchvision: Any) -> Any:
    """Return nnU-Net's plans manager and network builder, imported without their noise."""
    with warnings.catch_warnings(), pytest.MonkeyPatch.context() as patch:
        warnings.simplefilter("ignore")
        for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
            patch.setenv(name, "/nonexistent")
        plans = pytest.importorskip(
            "nnunetv2.utilities.plans_handling.plans_handler", exc_type=ImportError
        )
        networks = pytest.importorskip("nnunetv2.utilities.get_network_from_plans")
    return plans.PlansManager, networks.get_network_from_plans


def reference_network(nnunet: Any, model: Path, configuration: str, fold: str) -> Any:
    """Build a network as nnU-Net's predictor does; return it with its plans and labels."""
    plans_manager, get_network = nnunet
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        plans = plans_manager(str(model / "plans.json"))
        settings = plans.get_configuration(configuration)
        dataset = json.loads((model / "dataset.json").read_text())
        labels = plans.get_label_manager(dataset)
        network = get_network(
            settings.network_arch_class_name,
            settings.network_arch_init_kwargs,
            settings.network_arch_init_kwargs_req_import,
            len(dataset["channel_names"]),
            labels.num_segmentation_heads,
            allow_init=False,
            deep_supervision=False,
        )
        file = model / f"fold_{fold}" / "checkpoint_final.pth"
        weights = torch.load(file, weights_only=False, map_location="cpu")["network_weights"]
    network.load_state_dict(weights)
    return network.eval(), settings, labels


@pytest.mark.parametrize("legacy", [False, True], ids=["current", "legacy"])
@pytest.mark.parametrize("network", ["PlainConvUNet", "ResidualEncoderUNet"])
@pytest.mark.parametrize("configuration", ["2d", "3d_fullres"])
def test_network_is_nnunets(make_model, nnunet, configuration, network, legacy):
    model = make_model(configuration=configuration, network=network, legacy=legacy, heads=2)
    ours = load(model, Options(with_torch=True))
    theirs, settings, _ = reference_network(nnunet, model, configuration, "0")
    assert ours.input_shape[1:] == tuple(settings.patch_size)
    batch = torch.from_numpy(
        np.random.default_rng(0).normal(size=(2, *ours.input_shape)).astype(np.float32)
    )
    with torch.inference_mode():
        assert torch.equal(ours.networks["0"](batch), theirs(batch))


@pytest.mark.parametrize(
    ("heads", "dataset"),
    [
        (3, {"labels": {"background": 0, "a": 1, "b": 2}}),
        (3, {"labels": {"b": "2", "background": "0", "a": "1"}}),
        (2, {"labels": {"background": 0, "a": 1, "ignore": 2}}),
        (2, {"labels": {"background": 0, "a": [1]}}),
        (
            3,
            {
                "labels": {"background": 0, "all": [1, 2, 3], "core": [2, 3], "c": 3, "ignore": 4},
                "regions_class_order": [1, 2, 3],
            },
        ),
        (
            2,
            {
                "labels": {"background": 0, "x": 2, "all": [1, 2]},
                "regions_class_order": [2, 1],
            },
        ),
    ],
)
def test_labels_are_nnunets(make_model, nnunet, heads, dataset):
    model = make_model(heads=heads, dataset=dataset)
    ours = load(model, Options())
    outputs = ours.manifest["outputs"]
    _, _, labels = reference_network(nnunet, model, "2d", "0")
    assert ours.output_shape[0] == labels.num_segmentation_heads
    assert (outputs["activation"] == "sigmoid") == labels.has_regions
    values = [label["values"] for label in outputs["labels"]]
    if labels.has_regions:
        regions = [r if isinstance(r, tuple) else (r,) for r in labels.foreground_regions]
        assert [tuple(value) for value in values] == regions
        assert outputs["regions_class_order"] == labels.regions_class_order
    else:
        assert values == [[value] for value in labels.foreground_labels]


@pytest.mark.parametrize("name", REAL)
def test_real_checkpoints_load_with_the_narrow_allow_list(name):
    model = real_model(name)
    checkpoint = load(model.parent, Options(folds=list(REAL[name])))
    assert tuple(checkpoint.networks) == REAL[name]
    assert checkpoint.manifest["inputs"]["orientation"] == "LAS"
    assert checkpoint.manifest["inputs"]["axes"] == "zyx"


def test_real_checkpoint_defaults_to_its_numbered_folds():
    assert tuple(load(real_model("gm_challenge_2d"), Options()).networks) == ("0", "1")


@pytest.mark.parametrize(
    ("name", "configuration"), [("gm_challenge_2d", "2d"), ("gm_challenge_3d", "3d_fullres")]
)
def test_real_checkpoint_exports_nnunets_network(nnunet, tmp_path, name, configuration):
    import onnxruntime

    model = real_model(name)
    bundle = read_bundle(export_model("nnunet", model, tmp_path / "bundle", Options(folds=["all"])))
    theirs, settings, labels = reference_network(nnunet, model, configuration, "all")
    assert bundle.outputs.channel_count == labels.num_segmentation_heads
    assert list(bundle.sliding_window.patch_size)[-len(settings.patch_size) :] == (
        settings.patch_size
    )
    batch = np.random.default_rng(3).normal(size=(1, 1, *settings.patch_size)).astype(np.float32)
    data = read_network(bundle, bundle.networks[0])
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    found = session.run(None, {"image": batch})[0]
    with torch.inference_mode():
        expected = theirs(torch.from_numpy(batch)).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-3 * np.abs(expected).max())
    check = bundle.manifest["export"]["checks"][0]
    assert check["max_rel_error"] < 1e-4
