"""Lightning checkpoints of the contrast-agnostic model: read, converted, compared with torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from deepseg_export.architectures.numpy_layers import NumpyLayers
from deepseg_export.errors import CheckpointError
from deepseg_export.exporting import convert
from deepseg_export.families.monai import Options, lightning, load_lightning
from deepseg_export.families.monai.lightning import FEATURES, describe
from deepseg_export.network.verify import PRECISE, open_session, padded, run
from helpers import torch_files
from helpers.monai_models import plain_unet_state, write_lightning

from deepseg_lite.errors import OptionError

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytestmark = [pytest.mark.export, pytest.mark.filterwarnings("ignore::DeprecationWarning")]

NARROW = (3, 4, 5, 6, 7, 8)
SMALL = (1, 32, 64, 32)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_lightning(tmp_path_factory.mktemp("lightning") / "best.ckpt", FEATURES[384])


@pytest.fixture
def narrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write a checkpoint of a network that is as deep, and narrower."""
    monkeypatch.setattr(lightning, "FEATURES", {NARROW[-1]: NARROW})
    monkeypatch.setattr(lightning, "_NEWEST_OF_FEATURES", {NARROW[-1]: "6.5"})
    return write_lightning(tmp_path / "narrow.ckpt", NARROW)


def test_lightning_checkpoints(checkpoint):
    found = load_lightning(checkpoint, Options(release="v2.5"))
    assert found.input_shape == found.output_shape == (1, 64, 192, 320)
    assert found.manifest["name"] == "contrast-agnostic-v2.5"
    assert found.manifest["postprocessing"] == [
        {"step": "limit", "floor": 0.1, "ceiling": 1.0},
        {"step": "binarize", "threshold": 0.5, "inclusive": False},
    ]
    assert found.manifest["source"]["details"]["sct"] == "6.5"
    soft = load_lightning(checkpoint, Options(soft=True, sct="6.3")).manifest
    assert soft["postprocessing"] == []
    assert soft["outputs"]["files"] == [{"suffix": "seg", "kind": "soft", "labels": ["sc"]}]
    assert soft["preprocessing"][1]["mode"] == "constant"


def test_narrow_layouts_are_recognised(tmp_path):
    path = write_lightning(tmp_path / "best_model_loss.ckpt", FEATURES[320])
    manifest = load_lightning(tmp_path, Options()).manifest
    assert manifest["source"]["details"]["features"] == "32, 64, 128, 256, 320, 320"
    assert manifest["source"]["details"]["sct"] == "6.4"
    assert path.name in manifest["source"]["files"]


def test_other_checkpoints_and_versions_are_refused(checkpoint, tmp_path):
    with pytest.raises(OptionError, match=r"--sct 7\.0 did not run this model"):
        load_lightning(checkpoint, Options(sct="7.0"))
    other = {"state_dict": {"net.x": torch_files.tensor(np.zeros(1))}}
    torch_files.save(tmp_path / "x.ckpt", other)
    with pytest.raises(CheckpointError, match="not the contrast-agnostic model"):
        load_lightning(tmp_path, Options())
    torch_files.save(tmp_path / "y.ckpt", {"state_dict": {}})
    with pytest.raises(CheckpointError, match=r"holds 2 Lightning checkpoints: x\.ckpt, y\.ckpt"):
        load_lightning(tmp_path, Options())


def test_weights_must_fit(narrow, tmp_path):
    state = plain_unet_state(NARROW)
    state.pop("decoder.seg_layers.4.bias")
    tensors = {f"net.{name}": torch_files.tensor(array) for name, array in state.items()}
    torch_files.save(narrow, {"state_dict": tensors})
    with pytest.raises(CheckpointError, match=r"contrast-agnostic.*seg_layers\.4\.bias is missing"):
        load_lightning(narrow, Options())


def test_padding_and_floor_are_the_versions():
    old, new = (
        describe(padding, floor, soft=False)
        for padding, floor in (("constant", None), ("edge", 0.1))
    )
    assert old["preprocessing"][1]["mode"] == "constant"
    assert [step["step"] for step in old["postprocessing"]] == ["binarize"]
    assert new["preprocessing"][1]["mode"] == "edge"


def test_the_network_is_converted(narrow):
    graph = convert(load_lightning(narrow, Options()).networks["0"], SMALL, SMALL)
    assert list(graph.agreements) == ["numpy"]
    assert graph.agreements["numpy"].max_rel_error < 1e-4


def _original(seed: int = 0) -> Any:
    """Build the network as the toolbox did, with its own package."""
    torch = pytest.importorskip("torch")
    unets = pytest.importorskip("dynamic_network_architectures.architectures.unet")
    network = unets.PlainConvUNet(
        input_channels=1,
        n_stages=6,
        features_per_stage=NARROW,
        conv_op=torch.nn.Conv3d,
        kernel_sizes=3,
        strides=[1, 2, 2, 2, 2, [1, 2, 2]],
        n_conv_per_stage=2,
        num_classes=1,
        n_conv_per_stage_decoder=2,
        conv_bias=True,
        norm_op=torch.nn.InstanceNorm3d,
        norm_op_kwargs={"eps": 1e-5, "affine": True},
        nonlin=torch.nn.LeakyReLU,
        deep_supervision=False,
    )
    state = plain_unet_state(NARROW, seed=seed)
    network.load_state_dict({name: torch.from_numpy(array) for name, array in state.items()})
    return network.eval()


def test_the_network_is_the_toolboxs(narrow):
    original = _original()
    import torch

    rng = np.random.default_rng(8)
    noise = rng.standard_normal((2, *SMALL), dtype=np.float32)
    batch = np.concatenate([noise, padded(noise[1:])])
    with torch.inference_mode():
        given = torch.from_numpy(batch)
        result = original(given).numpy()
        exact = original.double()(given.double()).numpy()
    network = load_lightning(narrow, Options()).networks["0"]
    computed = network.on(NumpyLayers(3), batch.astype(np.float64))
    np.testing.assert_allclose(computed, exact, rtol=0, atol=1e-9 * np.abs(exact).max())
    found = run(open_session(convert(network, SMALL, SMALL).onnx), batch)
    for each in (found, result):
        np.testing.assert_allclose(each, exact, rtol=0, atol=PRECISE * np.abs(exact).max())


def test_torch_converts_and_checks_it_where_that_is_asked_for(narrow):
    original = _original()
    pytest.importorskip("onnxscript")
    checked = load_lightning(narrow, Options(check_torch=True)).networks["0"]
    agreements = convert(checked, SMALL, SMALL).agreements
    assert list(agreements) == ["numpy", "torch"]
    assert agreements["torch"].max_rel_error < 1e-4
    by_torch = load_lightning(narrow, Options(with_torch=True)).networks["0"]
    assert by_torch.state_dict().keys() == original.state_dict().keys()
    assert list(convert(by_torch, SMALL, SMALL).agreements) == ["torch"]
