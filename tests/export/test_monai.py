"""MONAI bundles: what is read, what is refused, what is never run."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from deepseg_export.errors import CheckpointError, UnsupportedError
from deepseg_export.families.monai import Options, load_bundle
from deepseg_export.families.monai.config import Expression, resolve
from deepseg_export.network.conversion import to_onnx
from deepseg_export.network.verify import verify
from helpers.monai_models import (
    INVERT,
    LOAD,
    SAVE,
    SOFTMAX,
    UNET,
    ZOO,
    write_bundle,
)

torch = pytest.importorskip("torch")
pytest.importorskip("monai")
pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")
pytestmark = [pytest.mark.export, pytest.mark.filterwarnings("ignore")]

SPACING = {"_target_": "Spacingd", "keys": "image", "pixdim": [1, 1, 2]}
LINEAR = {"method": "linear", "order": 1, "padding": "border", "align_corners": False}


def parts(**changes: Any) -> dict[str, Any]:
    """Return the parts of the simplest bundle."""
    return {
        "network_def": UNET,
        "preprocessing": [*LOAD, SPACING],
        "inferer": {"_target_": "SlidingWindowInferer", "roi_size": [16, 16, 8]},
        "postprocessing": [SOFTMAX, INVERT, SAVE],
        "names": ["background", "a", "b"],
    } | changes


@pytest.fixture
def make(tmp_path: Path):
    def write(**changes: Any) -> Path:
        config = changes.pop("config", {})
        return write_bundle(tmp_path / "bundle", parts(**changes), **config)

    return write


def refusal(folder: Path) -> str:
    with pytest.raises(UnsupportedError) as caught:
        load_bundle(folder, Options())
    return str(caught.value)


@pytest.mark.parametrize("name", ZOO)
def test_zoo_shaped_bundles_export_and_compute_the_same(name, tmp_path):
    checkpoint = load_bundle(write_bundle(tmp_path / name, ZOO[name]()), Options())
    network = checkpoint.networks["0"]
    onnx = to_onnx(network, checkpoint.input_shape)
    agreement = verify(network, onnx, checkpoint.input_shape, checkpoint.output_shape)
    assert agreement.max_abs_error < 1e-3
    assert checkpoint.manifest["name"] == name
    assert checkpoint.manifest["inputs"]["channel_names"] == [
        f"channel {i}" for i in range(checkpoint.input_shape[0])
    ]
    assert json.loads(json.dumps(checkpoint.manifest)) == checkpoint.manifest


def test_labels_maps_and_masks_become_files(tmp_path):
    outputs = {
        name: load_bundle(write_bundle(tmp_path / name, make_parts()), Options()).manifest[
            "outputs"
        ]
        for name, make_parts in ZOO.items()
    }
    assert outputs["ct_organ"]["files"] == [{"suffix": "organs", "kind": "labels"}]
    assert outputs["ct_organ"]["labels"] == [
        {"name": "liver", "values": [1]},
        {"name": "spleen", "values": [2]},
    ]
    assert [file["kind"] for file in outputs["mr_regions"]["files"]] == ["mask"] * 3
    assert outputs["mr_regions"]["files"][1]["suffix"] == "trans_whole-tumor"
    assert [file["kind"] for file in outputs["dynunet"]["files"]] == ["soft"] * 2
    assert outputs["swin"]["before_undo"] == [{"step": "argmax"}]


def test_null_in_the_patch_size_is_a_whole_axis(make):
    inferer = {"_target_": "SlidingWindowInferer", "roi_size": [16, 16, -1]}
    checkpoint = load_bundle(make(inferer=inferer), Options())
    assert checkpoint.manifest["sliding_window"]["patch_size"] == [16, 16, None]
    assert checkpoint.input_shape == (1, 16, 16, None)


@pytest.mark.parametrize("nearest", [True, False])
def test_invertd_says_how_scores_come_back(make, nearest):
    folder = make(postprocessing=[SOFTMAX, INVERT | {"nearest_interp": nearest}, SAVE])
    (step,) = load_bundle(folder, Options()).manifest["preprocessing"]
    assert step["image"] == LINEAR
    assert step["scores"] == (LINEAR | {"method": "nearest", "order": 0} if nearest else LINEAR)


def test_a_bundle_may_be_yaml_and_zipped(make, tmp_path):
    yaml = pytest.importorskip("yaml")
    folder = make()
    expected = load_bundle(folder, Options()).manifest
    config = folder / "configs" / "inference.json"
    (folder / "configs" / "inference.yaml").write_text(
        yaml.safe_dump(json.loads(config.read_text()))
    )
    config.unlink()
    archive = tmp_path / "packed.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        for file in folder.rglob("*.*"):
            packed.write(file, Path("some_bundle") / file.relative_to(folder))
    found = load_bundle(archive, Options()).manifest
    assert found["name"] == "some_bundle"
    assert found["preprocessing"] == expected["preprocessing"]
    assert found["source"]["files"].keys() == {
        "configs/inference.yaml",
        "configs/metadata.json",
        "models/model.pt",
    }


def test_everything_unsupported_is_listed_at_once(make):
    folder = make(
        preprocessing=[
            *LOAD,
            {"_target_": "GaussianSmoothd", "keys": "image"},
            SPACING | {"scale_extent": True},
            {"_target_": "Orientationd", "keys": "image", "axcodes": "XYZ"},
            {"_target_": "ScaleIntensityd", "keys": "label"},
        ],
        inferer={"_target_": "SliceInferer", "roi_size": [16, 16]},
        postprocessing=[{"_target_": "FillHolesd", "keys": "pred"}, INVERT],
    )
    message = refusal(folder)
    for part in (
        "preprocessing 3, GaussianSmoothd: this transform is not supported",
        "preprocessing 4, Spacingd: scale_extent is True",
        "preprocessing 5, Orientationd: axcodes 'XYZ'",
        "preprocessing 6, ScaleIntensityd: its keys ['label'] lack 'image'",
        "inferer: SliceInferer is not supported",
        "postprocessing 1, FillHolesd",
    ):
        assert part in message


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"postprocessing": [SOFTMAX, SAVE]}, "without Invertd"),
        ({"postprocessing": [INVERT, SOFTMAX]}, "Activationsd: it must come first"),
        ({"postprocessing": [SOFTMAX, INVERT | {"transform": "@inferer"}]}, "not @preprocessing"),
        (
            {"preprocessing": [*LOAD, SPACING | {"pixdim": "$f()"}]},
            r"pixdim is the expression '$f()'",
        ),
        ({"preprocessing": [*LOAD, SPACING | {"mode": "cubic"}]}, "mode 'cubic'"),
        ({"preprocessing": [*LOAD, SPACING | {"dtype": "$np.float32"}]}, "dtype is np.float32"),
        ({"preprocessing": [*LOAD, SPACING | {"surprise": 1}]}, "surprise is not supported"),
        ({"network_def": UNET | {"spatial_dims": 2, "strides": [2, 2]}}, "2 dimensions"),
    ],
    ids=str,
)
def test_refusals(make, changes, message):
    assert message in refusal(make(**changes))


@pytest.mark.parametrize(
    "network",
    [
        {"_target_": "os.system", "command": "true"},
        {"_target_": "elsewhere.UNet", "in_channels": 1},
        UNET | {"_target_": "FlexibleUNet"},
        UNET | {"strides": "$__import__('os').system('touch RAN')"},
        UNET | {"norm": {"_target_": "os.system", "command": "touch RAN"}},
        UNET | {"norm": ["batch", {"a": "$__import__('os').system('touch RAN')"}]},
        UNET | {"norm": "%../evil.json"},
        UNET | {"_mode_": "callable", "_args_": ["touch RAN"]},
        "$__import__('os').system('touch RAN')",
    ],
    ids=str,
)
def test_nothing_of_a_configuration_is_executed(make, network, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "network: " in refusal(make(config={"network_def": network}))
    assert not list(tmp_path.rglob("RAN"))


def test_references_are_followed_and_python_is_left_alone():
    document = {
        "a": [1, {"b": "@c"}],
        "c": "$(1.5, -2)",
        "d": "$@a::1::b",
        "e": "$@a#0 + 1",
        "list": [{"_target_": "X", "_disabled_": True}, {"_target_": "Y", "_desc_": "why"}],
    }
    assert resolve(document, "@a") == [1, {"b": (1.5, -2)}]
    assert resolve(document, "@d") == (1.5, -2)
    assert resolve(document, "@e") == Expression("$@a#0 + 1")
    assert resolve(document, "@list") == [{"_target_": "Y"}]
    assert resolve(document, "$@c.to(@device)") == (1.5, -2)


@pytest.mark.parametrize("value", ["@nothing", "@a::5", "@loop"])
def test_references_that_lead_nowhere(value):
    with pytest.raises(CheckpointError, match="the configuration"):
        resolve({"a": [1], "loop": ["@loop"]}, value)


def test_weights_of_another_network_are_refused(make):
    folder = make()
    torch.save({"model": {"x": torch.zeros(1)}}, folder / "models" / "model.pt")
    with pytest.raises(CheckpointError, match="the weights are not those of its UNet"):
        load_bundle(folder, Options())


class _Evil:
    """Something whose pickle runs code."""

    def __reduce__(self) -> Any:
        return (exec, ("raise SystemExit('ran')",))


def test_what_is_beside_the_weights_is_not_executed(make):
    folder = make()
    file = folder / "models" / "model.pt"
    state = torch.load(file, weights_only=True)
    torch.save({"state_dict": state, "extra": [_Evil(), Path("x"), np.float64(1)]}, file)
    checkpoint = load_bundle(folder, Options())
    assert checkpoint.output_shape == (3, 16, 16, 8)


def test_weights_of_torchscript_are_read_and_nothing_is_run(make, monkeypatch):
    folder = make()
    network = load_bundle(folder, Options()).networks["0"]
    torch.jit.script(network).save(str(folder / "models" / "model.ts"))
    (folder / "models" / "model.pt").unlink()
    monkeypatch.delattr(torch.jit, "load")
    read = load_bundle(folder, Options()).networks["0"]
    example = torch.randn(1, 1, 16, 16, 8)
    torch.testing.assert_close(read(example), network(example), rtol=0, atol=0)


@pytest.mark.parametrize("missing", ["configs/metadata.json", "models/model.pt", "configs"])
def test_incomplete_bundles(make, missing):
    folder = make()
    path = folder / missing
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(CheckpointError):
        load_bundle(folder, Options())


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (SPACING | {"pixdim": [float("nan")] * 3}, "pixdim is nan"),
        (SPACING | {"mode": "12"}, "mode '12'"),
        (SPACING | {"padding_mode": {"a": 1}}, "Spacingd: TypeError"),
        ({"_target_": "SpatialPadd", "keys": "image", "spatial_size": [1e400, 1, 1]}, "inf"),
        ({"_target_": "Compose", "transforms": [], "lazy": True}, "lazy"),
        ({"_target_": "EnsureTyped", "keys": 5}, "EnsureTyped: TypeError"),
        (7, "7 is no transform"),
    ],
    ids=str,
)
def test_malformed_arguments_are_refused(make, step, message):
    assert message in refusal(make(preprocessing=[*LOAD, step]))


def test_suffixes_are_file_names(make):
    folder = make(
        postprocessing=[SOFTMAX, INVERT, SAVE | {"output_postfix": "../../x"}],
        names=["a b", "a-b", "a/b"],
    )
    files = load_bundle(folder, Options()).manifest["outputs"]["files"]
    assert [file["suffix"] for file in files] == ["x_a-b0", "x_a-b1", "x_a-b2"]
