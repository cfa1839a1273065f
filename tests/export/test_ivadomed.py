"""ivadomed's model folders, and what becomes of the JSON."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import pytest
from deepseg_export.errors import CheckpointError, UnsupportedError
from deepseg_export.families.ivadomed import Options, load
from helpers.ivadomed_models import make_onnx, make_settings, write_model

from deepseg_lite.errors import OptionError

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

pytestmark = [pytest.mark.export, pytest.mark.filterwarnings("ignore::DeprecationWarning")]


def manifest_of(folder: Path, settings: dict[str, Any], **choices: Any) -> Any:
    made = {"classes": len(settings["loader_parameters"]["target_suffix"])}
    made |= {"axes": 2 if settings["default_model"].get("is_2d", True) else 3, **choices}
    options = Options(prior="first" if "object_detection_params" in settings else None)
    return load(write_model(folder, settings, onnx=make_onnx(**made)), options).manifest


def test_a_slice_model_becomes_a_manifest(tmp_path):
    steps = {"binarize_prediction": {"thr": -1}, "remove_small": {"unit": "vox", "thr": 3}}
    settings = make_settings(postprocessing=steps)
    manifest = manifest_of(tmp_path / "t2star_sc", settings)
    assert manifest["name"] == "t2star_sc"
    assert manifest["inputs"] == {
        "channel_names": ["T2star"],
        "orientation": "RAS",
        "axes": "zxy",
        "spacing": "reoriented",
    }
    assert manifest["preprocessing"] == [
        {"step": "drop_constant_slices"},
        {"step": "zoom", "spacing": [None, 0.75, 0.5]},
        {"step": "center_crop", "size": [None, 32, 32]},
    ]
    assert manifest["sliding_window"] == {
        "patch_size": [1, 32, 32],
        "placement": "stride",
        "stride": [1, 32, 32],
        "importance_map": "constant",
        "patch_normalization": "instance",
    }
    assert manifest["outputs"] == {
        "activation": "none",
        "values": "maps",
        "channels": 1,
        "before_undo": [],
        "labels": [{"name": "seg-manual", "values": [1]}],
        "regions_class_order": None,
        "files": [{"suffix": "seg-manual", "kind": "soft", "labels": ["seg-manual"]}],
    }
    assert manifest["postprocessing"] == [
        {"step": "limit", "floor": 0.01, "ceiling": None},
        {"step": "remove_small", "minimum": [3], "unit": "vox"},
    ]
    assert manifest["mirror_axes"] == []


@pytest.mark.parametrize(
    ("slice_axis", "volume", "axes"),
    [
        *(("axial", False, "zxy"), ("sagittal", False, "xzy"), ("coronal", False, "yzx")),
        *(("axial", True, "xyz"), ("sagittal", True, "zyx"), ("coronal", True, "zxy")),
    ],
)
def test_height_width_and_depth_follow_the_slice_axis(tmp_path, slice_axis, volume, axes):
    settings = make_settings(volume=volume)
    settings["loader_parameters"]["slice_axis"] = slice_axis
    assert manifest_of(tmp_path / "m", settings)["inputs"]["axes"] == axes


def test_a_volume_model_of_a_cascade_becomes_a_manifest(tmp_path):
    settings = make_settings(
        volume=True,
        object_detection_params={"object_detection_path": "/x", "safety_factor": [1.2, 1, 1]},
        transformation={"Resample": {"hspace": 1, "wspace": 1, "dspace": 2}},
        UNet3D={"applied": True, "length_3D": [64, 32, 16], "stride_3D": [32, 16, 8]},
    )
    manifest = manifest_of(tmp_path / "t2_tumor", settings)
    assert manifest["preprocessing"] == [
        {"step": "zoom", "spacing": [1, 1, 2]},
        {"step": "crop_to_prior", "safety_factor": [1.2, 1, 1]},
    ]
    assert manifest["prior"] == {"bundle": "first", "channels": ["T2star"]}
    window = manifest["sliding_window"]
    assert (window["patch_size"], window["stride"]) == ([64, 32, 16], [32, 16, 8])
    assert window["patch_normalization"] is None


def test_the_model_that_runs_first_is_named_where_there_is_one_and_only_there(tmp_path):
    crops = {"object_detection_params": {"object_detection_path": "/x"}}
    for changes, options, message in (
        (crops, Options(), "name the bundle of that one with --prior"),
        ({}, Options(prior="first"), "leave --prior out"),
    ):
        settings = make_settings(volume=True, **changes)
        model = write_model(tmp_path / "m", settings, onnx=make_onnx(axes=3))
        with pytest.raises(OptionError, match=message):
            load(model, options)


def test_a_slice_without_crop_is_one_patch_of_any_size(tmp_path):
    settings = make_settings(transformation={"Resample": {"hspace": 0.1, "wspace": 0.1}})
    window = manifest_of(tmp_path / "exvivo", settings)["sliding_window"]
    assert window["patch_size"] == window["stride"] == [1, None, None]


def test_a_crop_that_is_resampled_later_says_nothing_about_patches(tmp_path):
    settings = make_settings()
    steps = settings["transformation"]
    settings["transformation"] = {name: steps[name] for name in ("CenterCrop", "Resample")}
    manifest = manifest_of(tmp_path / "m", settings)
    assert [step["step"] for step in manifest["preprocessing"][1:]] == ["center_crop", "zoom"]
    assert manifest["sliding_window"]["patch_size"] == [1, None, None]


def test_patches_within_slices_are_clamped(tmp_path):
    settings = make_settings(
        default_model={"is_2d": True, "length_2D": [16, 20], "stride_2D": [8, 10]}
    )
    window = manifest_of(tmp_path / "m", settings)["sliding_window"]
    assert window["placement"] == "clamped_stride"
    assert (window["patch_size"], window["stride"]) == ([1, 16, 20], [1, 8, 10])


def test_postprocessing_keeps_its_order_and_thresholds(tmp_path, caplog):
    settings = make_settings(
        classes=2,
        postprocessing={
            "remove_noise": {"thr": -1},
            "keep_largest": {},
            "binarize_prediction": {"thr": 0.4},
            "uncertainty": {"thr": -1, "suffix": "_unc-vox.nii.gz"},
            "fill_holes": {},
            "remove_small": {"unit": "mm3", "thr": [3, 4]},
        },
    )
    manifest = manifest_of(tmp_path / "m", settings)
    assert manifest["postprocessing"] == [
        {"step": "limit", "floor": 0.01, "ceiling": None},
        {"step": "keep_largest"},
        {"step": "binarize", "threshold": 0.4, "inclusive": True},
        {"step": "fill_holes"},
        {"step": "remove_small", "minimum": [3, 4], "unit": "mm3"},
    ]
    assert [file["kind"] for file in manifest["outputs"]["files"]] == ["mask", "mask"]
    assert "uncertainty" in caplog.text
    assert "uncertainty" in manifest["source"]["details"]["notes"]


def test_a_random_transformation_is_left_out_and_said_so(tmp_path, caplog):
    settings = make_settings()
    settings["transformation"]["RandomAffine"] = {"degrees": 5}
    settings["transformation"]["ElasticTransform"] = {"dataset_type": ["training"]}
    manifest = manifest_of(tmp_path / "findcord_tumor", settings)
    assert len(manifest["preprocessing"]) == 3
    assert "RandomAffine" in manifest["source"]["details"]["notes"]
    assert "RandomAffine" in caplog.text
    assert "Elastic" not in caplog.text


def test_training_only_transformations_do_not_run(tmp_path):
    settings = make_settings()
    settings["transformation"]["Resample"]["dataset_type"] = ["training", "validation"]
    manifest = manifest_of(tmp_path / "m", settings)
    assert [step["step"] for step in manifest["preprocessing"]] == [
        "drop_constant_slices",
        "center_crop",
    ]


def test_what_is_no_object_never_replaces_one(tmp_path):
    settings = make_settings(postprocessing=False)
    settings["loader_parameters"]["slice_filter_params"] = {"filter_empty_input": False}
    manifest = manifest_of(tmp_path / "m", settings)
    assert len(manifest["postprocessing"]) == 1
    assert manifest["preprocessing"][0]["step"] == "zoom"


def test_channels_are_named_by_their_contrasts(tmp_path):
    settings = make_settings()
    contrasts = settings["loader_parameters"]["contrast_params"]
    contrasts["training_validation"] = ["T1w", "T2w"]
    assert manifest_of(tmp_path / "m", settings)["inputs"]["channel_names"] == ["image"]
    settings["loader_parameters"]["multichannel"] = True
    with pytest.raises(CheckpointError, match="2 channels"):
        manifest_of(tmp_path / "m", settings)


def _change(*path: str, value: Any) -> Any:
    def change(settings: dict[str, Any]) -> None:
        for name in path[:-1]:
            settings = settings.setdefault(name, {})
        settings[path[-1]] = value

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_change("loader_parameters", "slice_axis", value="oblique"), "slice_axis"),
        (_change("loader_parameters", "target_suffix", value=[]), "target_suffix"),
        (_change("loader_parameters", "target_suffix", value=[["_a", "_b"]]), "target_suffix"),
        (_change("transformation", "ROICrop", value={"size": [8, 8]}), "ROICrop"),
        (_change("transformation", "Resample", "hspace", value=0), "Resample"),
        (_change("transformation", "Resample", "hspace", value="fine"), "understood"),
        (_change("transformation", "CenterCrop", "size", value=[32]), "CenterCrop"),
        (_change("transformation", "CenterCrop", value={}), "lacks 'size'"),
        (_change("transformation", "Resample", "applied_to", value=["im"]), "applied to im"),
        (_change("postprocessing", "sharpen", value={}), "sharpen"),
        (_change("postprocessing", "remove_small", value={"thr": 3, "unit": "cm"}), "remove_small"),
        (_change("training_parameters", "batch_size", value="many"), "understood"),
        (_change("Modified3DUNet", value=[]), "understood"),
        (_change("FiLMedUnet", value={"applied": True}), "FiLMedUnet"),
        (_change("object_detection_params", "object_detection_path", value="/x"), "2-D network"),
    ],
)
def test_what_the_runtime_cannot_do_is_refused(tmp_path, change, message):
    settings = make_settings()
    change(settings)
    folder = write_model(tmp_path / "m", settings, onnx=make_onnx())
    with pytest.raises(UnsupportedError, match=message):
        load(folder, Options())


@pytest.mark.parametrize(
    ("length", "stride", "message"),
    [
        ([32, 32, 20], [32, 32, 16], "multiple of 16"),
        ([16, 16, 16], [12, 16, 16], "do not fit"),
        ([48, 32, 16], [32, 32, 16], "do not fit"),
        ([32, 32], [32, 32], "3 whole numbers"),
    ],
)
def test_patches_that_cannot_fit_are_refused(tmp_path, length, stride, message):
    settings = make_settings(
        volume=True, UNet3D={"applied": True, "length_3D": length, "stride_3D": stride}
    )
    with pytest.raises(UnsupportedError, match=message):
        manifest_of(tmp_path / "m", settings)


def test_a_volume_model_without_patches_is_refused(tmp_path):
    settings = make_settings(volume=True, UNet3D={"applied": True})
    with pytest.raises(UnsupportedError, match="without length_3D"):
        manifest_of(tmp_path / "m", settings)


# ---------------------------------------------------------------- folders


def test_a_zip_with_a_wrapper_is_searched(tmp_path):
    folder = write_model(tmp_path / "model", make_settings(), onnx=make_onnx())
    with zipfile.ZipFile(tmp_path / "r2020.zip", "w") as archive:
        for file in folder.iterdir():
            archive.write(file, f"repository-r2020/{file.name}")
        archive.writestr("repository-r2020/dataset_description.json", "{}")
        archive.writestr("__MACOSX/._model.json", "x")
    options = Options(name="mine", release="r2020", license="MIT", urls=["https://example.org"])
    manifest = load(tmp_path / "r2020.zip", options).manifest
    assert (manifest["name"], manifest["version"]) == ("mine", "r2020")
    assert manifest["source"]["license"] == "MIT"
    assert sorted(manifest["source"]["files"]) == ["model.json", "model.onnx"]


def test_one_model_is_needed(tmp_path):
    with pytest.raises(CheckpointError, match="no ivadomed model"):
        load(tmp_path, Options())
    for name in ("a", "b"):
        write_model(tmp_path / name, make_settings(), onnx=make_onnx())
    with pytest.raises(CheckpointError, match="2 models: a, b"):
        load(tmp_path, Options())
    assert load(tmp_path / "b", Options()).manifest["name"] == "b"


def test_an_ensemble_has_a_network_of_every_model(tmp_path):
    settings = make_settings(postprocessing={"binarize_prediction": {"thr": 0.5}})
    kinds = ("Sigmoid", "HardSigmoid", "Softsign")
    graphs = [make_onnx(onnx.helper.make_node(kind, ["features"], ["result"])) for kind in kinds]
    seeds = [
        write_model(tmp_path / f"seed{index}" / "model", settings, onnx=graph)
        for index, graph in enumerate(graphs)
    ]
    options = Options(name="seeds", is_ensemble=True)
    checkpoint = load(seeds, options)
    assert list(checkpoint.networks) == ["0", "1", "2"]
    for kind, network in zip(kinds, checkpoint.networks.values(), strict=True):
        nodes = onnx.load_from_string(network.onnx).graph.node
        assert kind in [node.op_type for node in nodes]
    manifest = checkpoint.manifest
    assert (manifest["name"], manifest["ensemble"]) == ("seeds", "mean_output")
    # A mean of masks is none.
    assert [file["kind"] for file in manifest["outputs"]["files"]] == ["soft"]
    assert "binarize" in [step["step"] for step in manifest["postprocessing"]]
    assert manifest["source"]["details"]["model"] == "model"
    assert set(manifest["source"]["files"]) == {
        f"{fold}/model.{kind}" for fold in "012" for kind in ("json", "onnx")
    }
    # The way they lie side by side where they are installed.
    assert load(tmp_path, options).manifest == manifest
    alone = load(seeds[0], options)
    assert list(alone.networks) == ["0"]
    assert alone.manifest["outputs"]["files"][0]["kind"] == "mask"


def test_models_that_differ_in_more_than_weights_are_no_ensemble(tmp_path):
    other = {"binarize_prediction": {"thr": 0.4}}
    seeds = [
        write_model(tmp_path / name, make_settings(postprocessing=steps), onnx=make_onnx())
        for name, steps in (("one", {}), ("two", {}), ("three", other))
    ]
    with pytest.raises(
        UnsupportedError,
        match="one and three are no models of one ensemble: they differ in outputs, postproc",
    ):
        load(seeds, Options(is_ensemble=True))


@pytest.mark.parametrize("text", ["", "[1]", "{", '{"loader_parameters": 1}'])
def test_a_damaged_json_is_refused(tmp_path, text):
    folder = write_model(tmp_path / "m", make_settings(), onnx=make_onnx())
    (folder / "m.json").write_text(text)
    with pytest.raises((CheckpointError, UnsupportedError), match=r"m\.json|target_suffix"):
        load(folder, Options())


def test_a_strange_name_is_refused(tmp_path):
    with pytest.raises(OptionError, match="is not a name"):
        load(tmp_path, Options(name="a/b"))
