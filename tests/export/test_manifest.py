"""What nnU-Net's own files become in the manifest; nothing is converted here."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from deepseg_export.architectures.numpy_layers import NumpyLayers
from deepseg_export.errors import CheckpointError, UnsupportedError
from deepseg_export.exporting import check
from deepseg_export.families.nnunet import Options, load
from deepseg_export.families.nnunet.fingerprint import read_training_spacing
from helpers.paths import SHARED

from deepseg_lite.errors import OptionError

torch = pytest.importorskip("torch")
pytest.importorskip("dynamic_network_architectures")
pytestmark = pytest.mark.export


def manifest_of(model: Any, **options: Any) -> Any:
    checkpoint = load(model, Options(**options))
    check(checkpoint, lone_file=False)
    return checkpoint.manifest


def step(manifest: Any, name: str) -> Any:
    found = [item for item in manifest["preprocessing"] if item["step"] == name]
    return found[0] if found else None


@pytest.mark.parametrize("legacy", [False, True], ids=["current", "legacy"])
@pytest.mark.parametrize("network", ["PlainConvUNet", "ResidualEncoderUNet"])
@pytest.mark.parametrize("configuration", ["2d", "3d_fullres", "3d_lowres"])
def test_networks_of_every_kind_load_with_all_their_weights(
    make_model, configuration, network, legacy
):
    model = make_model(configuration=configuration, network=network, legacy=legacy)
    checkpoint = load(model, Options())
    check(checkpoint, lone_file=True)
    patch = (16, 16) if configuration == "2d" else (8, 16, 16)
    assert checkpoint.input_shape == (1, *patch)
    patch_size = checkpoint.manifest["sliding_window"]["patch_size"]
    assert patch_size == [1] * (3 - len(patch)) + list(patch)
    layers = NumpyLayers(len(patch))
    image = np.random.default_rng(0).standard_normal((1, 1, *patch), np.float32)
    network = load(model, Options(with_torch=True)).networks["0"]
    with torch.inference_mode():
        expected = network(torch.from_numpy(image)).numpy()
    np.testing.assert_allclose(
        checkpoint.networks["0"].on(layers, image), expected, rtol=0, atol=1e-5
    )
    saved = torch.load(model / "fold_0" / "checkpoint_final.pth", weights_only=False)
    state = network.state_dict()
    assert all(torch.equal(state[key], value) for key, value in saved["network_weights"].items())
    assert tuple(network(torch.zeros(1, 1, *patch)).shape) == (1, 2, *patch)


def test_residual_decoder_network(make_model):
    model = make_model(network="ResidualUNet")
    assert load(model, Options()).networks["0"].name == "ResidualUNet"
    checkpoint = load(model, Options(with_torch=True))
    assert type(checkpoint.networks["0"]).__name__ == "ResidualUNet"


def test_moved_network_class_is_found_by_its_name(make_model):
    from helpers.nnunet_models import architecture

    moved = architecture("ResidualEncoderUNet", 2)
    moved["network_class_name"] = (
        "dynamic_network_architectures.architectures.residual_unet.ResidualEncoderUNet"
    )
    model = make_model(network="ResidualEncoderUNet", settings={"architecture": moved})
    assert load(model, Options()).networks["0"].name == "ResidualEncoderUNet"
    by_torch = load(model, Options(with_torch=True)).networks["0"]
    assert type(by_torch).__name__ == "ResidualEncoderUNet"


@pytest.mark.parametrize(
    ("configuration", "margins"), [("2d", [None, 12.0, 12.0]), ("3d_fullres", [12.0] * 3)]
)
def test_a_model_can_look_around_what_another_one_finds(make_model, configuration, margins):
    model = make_model(configuration=configuration)
    manifest = manifest_of(model, prior="other", prior_margin=12.0)
    assert manifest["preprocessing"][0] == {"step": "crop_around_prior", "margin_mm": margins}
    first_channel = manifest["inputs"]["channel_names"][0]
    assert manifest["prior"] == {"bundle": "other", "channels": [first_channel]}
    assert "prior" not in manifest_of(model)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prior": "other"}, "belong together"),
        ({"prior_margin": 12.0}, "belong together"),
        ({"prior": "other", "prior_margin": -1.0}, "not a length from 0 to 1000 mm"),
        ({"prior": "other", "prior_margin": float("nan")}, "not a length"),
    ],
)
def test_half_of_what_is_needed_to_look_around_is_refused(make_model, options, message):
    with pytest.raises(OptionError, match=message):
        load(make_model(), Options(**options))


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod."])
def test_wrapper_prefixes_of_weights_are_removed(make_model, prefix):
    assert load(make_model(prefix=prefix), Options()).networks


def test_facts_of_the_checkpoint_are_recorded(make_model):
    import hashlib

    model = make_model()
    manifest = manifest_of(
        model, license="MIT", citation="Someone", urls=["https://example.org"], release="r7"
    )
    assert manifest["name"] == "Dataset042_Tiny"
    assert manifest["version"] == "r7"
    source = manifest["source"]
    assert source["details"] == {
        "folder": "nnUNetTrainer_of_somebody__nnUNetPlans__2d",
        "dataset": "Dataset042_Tiny",
        "plans": "nnUNetPlans",
        "trainer": "nnUNetTrainer_of_somebody",
        "configuration": "2d",
        "checkpoint": "checkpoint_final.pth",
        "image_orientation": "RPI",
    }
    assert (source["license"], source["citation"], source["urls"], source["release"]) == (
        "MIT",
        "Someone",
        ["https://example.org"],
        "r7",
    )
    assert source["files"] == {
        name: hashlib.sha256((model / name).read_bytes()).hexdigest()
        for name in ("plans.json", "dataset.json", "fold_0/checkpoint_final.pth")
    }


@pytest.mark.parametrize(
    ("dataset_name", "name"),
    [("Dataset1_a b/c", "Dataset1_a-b-c"), ("__", "model"), ("Données", "Donn-es")],
)
def test_name_is_made_of_the_data_set(make_model, dataset_name, name):
    model = make_model(plans={"dataset_name": dataset_name})
    assert manifest_of(model)["name"] == name


def test_name_falls_back_to_the_folder(make_model):
    model = make_model(without=("dataset_name",), name="t__p__2d")
    assert manifest_of(model)["name"] == "t__p__2d"


@pytest.mark.parametrize("name", ["a/b", "", "../x", "-x"])
def test_bad_name_is_refused(make_model, name):
    with pytest.raises(OptionError, match="--name"):
        load(make_model(), Options(name=name))


def test_channels_are_ordered_by_their_number(make_model):
    names = {"10": "k", "2": "c", "1": "b", "0": "a"} | {str(i): f"n{i}" for i in range(3, 10)}
    model = make_model(channels=11, dataset={"channel_names": names})
    manifest = manifest_of(model)
    assert manifest["inputs"]["channel_names"] == [
        "a",
        "b",
        "c",
        *(f"n{i}" for i in range(3, 10)),
        "k",
    ]
    assert len(step(manifest, "normalize")["channels"]) == 11


def test_channels_under_their_older_name(make_model):
    model = make_model(without=("channel_names",), dataset={"modality": {"0": "MRI"}})
    assert manifest_of(model)["inputs"]["channel_names"] == ["MRI"]


@pytest.mark.parametrize(
    ("letters", "name", "codes"),
    [
        ("RPI", "Dataset1_X", "LAS"),
        ("LPI", "Dataset1_X", "RAS"),
        ("AIL", "Dataset1_X", "PSR"),
        ("LAS", "Dataset1_X", "RPI"),
        (None, "Dataset1_X", "RAS"),
        (None, "Dataset1_RegionBasedLesionSeg", "PSR"),
    ],
)
def test_orientation_is_turned_into_nibabels(make_model, letters, name, codes):
    model = make_model(
        dataset={"image_orientation": letters},
        plans={"dataset_name": name},
        without=() if letters else ("image_orientation",),
    )
    assert manifest_of(model)["inputs"]["orientation"] == codes


@pytest.mark.parametrize(("given", "codes"), [("ras", "RAS"), ("PIR", "PIR"), ("file", None)])
def test_orientation_given_by_the_user_wins(make_model, given, codes):
    assert manifest_of(make_model(), orientation=given)["inputs"]["orientation"] == codes


def with_fingerprint(model: Any, content: str) -> Any:
    (model / "dataset_fingerprint.json").write_text(content)
    return model


def test_voxel_sizes_of_the_training_are_those_of_the_fingerprint(make_model, tmp_path):
    model = make_model(plans={"transpose_forward": [2, 0, 1], "transpose_backward": [1, 2, 0]})
    spacings = [[3.0, 0.5, 0.7], [5.0, 0.4, 0.7], [3.3, 0.6, 0.8]]
    with_fingerprint(model, json.dumps({"spacings": spacings, "shapes_after_crop": [[9, 9, 9]]}))
    expected = [[0.7, 0.8], [3.0, 5.0], [0.4, 0.6]]
    assert manifest_of(model)["inputs"]["training_spacing"] == expected
    archive = Path(shutil.make_archive(str(tmp_path / "model"), "zip", model.parent))
    zipped = manifest_of(archive)
    assert zipped["inputs"]["training_spacing"] == expected
    assert "dataset_fingerprint.json" in zipped["source"]["files"]


@pytest.mark.parametrize(
    "content", ["no JSON", "[]", "{}", '{"spacings": []}', '{"spacings": [[1, 1, 0]]}']
)
def test_a_fingerprint_that_says_nothing_is_left_out(make_model, content, caplog):
    manifest = manifest_of(with_fingerprint(make_model(), content))
    assert "training_spacing" not in manifest["inputs"]
    assert "dataset_fingerprint.json is left out" in caplog.text


GENUINE = sorted((SHARED / "checkpoints" / "genuine").glob("*/*/dataset_fingerprint.json"))


@pytest.mark.skipif(not GENUINE, reason="needs ../shared/checkpoints/genuine")
def test_fingerprints_that_nnunet_wrote_have_the_median_of_its_plans():
    for path in GENUINE:
        plans = json.loads((path.parent / "plans.json").read_text())
        found = read_training_spacing(path.parent, plans)
        median = plans["original_median_spacing_after_transp"]
        assert all(low <= size <= high for (low, high), size in zip(found, median, strict=True))


@pytest.mark.parametrize("given", ["RLS", "RA", "XYZ", ""])
def test_bad_orientation_is_refused(make_model, given):
    with pytest.raises(OptionError, match="--orientation"):
        load(make_model(), Options(orientation=given))


@pytest.mark.parametrize(
    ("order", "axes"), [([0, 1, 2], "zyx"), ([1, 0, 2], "yzx"), ([2, 0, 1], "xzy")]
)
def test_axes_follow_transpose_forward(make_model, order, axes):
    assert manifest_of(make_model(plans={"transpose_forward": order}))["inputs"]["axes"] == axes


def test_normalization_schemes(make_model):
    schemes = [
        "ZScoreNormalization",
        "ZScoreNormalization",
        "CTNormalization",
        "RescaleTo01Normalization",
        "RGBTo01Normalization",
        "NoNormalization",
    ]
    properties = {"percentile_00_5": -900.0, "percentile_99_5": 300.0, "mean": 10.0, "std": 50.0}
    expected = [
        {"scheme": "zscore", "nonzero_only": False},
        {"scheme": "zscore", "nonzero_only": True},
        {"scheme": "clip_zscore", "lower": -900.0, "upper": 300.0, "mean": 10.0, "std": 50.0},
        {"scheme": "rescale"},
        {"scheme": "divide", "by": 255},
        {"scheme": "none"},
    ]
    for key in ("per_channel", "by_modality"):
        model = make_model(
            channels=6,
            settings={
                "normalization_schemes": schemes,
                "use_mask_for_norm": [False, True, False, False, False, False],
            },
            plans={f"foreground_intensity_properties_{key}": {"2": properties}},
            name=f"t__{key}__2d",
        )
        assert step(manifest_of(model), "normalize")["channels"] == expected


AUTO_3_0 = {"order": 3, "separate_axis": "auto", "separate_order": 0}
AUTO_1_0 = {"order": 1, "separate_axis": "auto", "separate_order": 0}


@pytest.mark.parametrize(
    ("name", "kwargs", "expected"),
    [
        ("resample_data_or_seg_to_shape", {"order": 2, "force_separate_z": None}, (2, "auto", 0)),
        ("resample_data_or_seg_to_shape", {"order_z": 1}, (3, "never", 1)),
        ("resample_data_or_seg_to_shape", {"force_separate_z": True}, (3, "always", 0)),
        ("resample_data_or_seg_to_shape", {"separate_z_anisotropy_threshold": 3}, (3, "never", 0)),
        ("resample_torch_fornnunet", {"num_threads": 2, "device": "cpu"}, (1, "auto", 0)),
        (
            "resample_torch_fornnunet",
            {"force_separate_z": False, "memefficient_seg_resampling": False},
            (1, "never", 0),
        ),
        ("resample_torch_fornnunet", {"aniso_axis_mode": "linear"}, (1, "auto", 1)),
    ],
)
def test_resampling_functions(make_model, name, kwargs, expected):
    model = make_model(
        configuration="3d_fullres",
        settings={"resampling_fn_data": name, "resampling_fn_data_kwargs": kwargs},
    )
    resample = step(manifest_of(model), "resample")
    assert tuple(resample["image"][k] for k in ("order", "separate_axis", "separate_order")) == (
        expected
    )
    assert resample["scores"] == AUTO_1_0
    assert resample["spacing"] == [3.0, 0.5, 0.6]


def test_two_dimensional_networks_keep_the_slice_spacing(make_model):
    manifest = manifest_of(make_model())
    assert step(manifest, "resample")["spacing"] == [None, 0.5, 0.6]
    assert manifest["mirror_axes"] == [1, 2]


def test_plans_from_before_resampling_was_part_of_them(make_model):
    names = [f"resampling_fn_{kind}" for kind in ("data", "seg", "probabilities")]
    model = make_model(legacy=True, without=(*names, *(f"{name}_kwargs" for name in names)))
    resample = step(manifest_of(model), "resample")
    assert (resample["image"], resample["scores"]) == (AUTO_3_0, AUTO_1_0)


def test_models_that_never_resample(make_model):
    no_op = {
        f"resampling_fn_{kind}{suffix}": value
        for kind in ("data", "probabilities")
        for suffix, value in (("", "no_resampling_hack"), ("_kwargs", {}))
    }
    assert step(manifest_of(make_model(settings=no_op)), "resample") is None


@pytest.mark.parametrize(
    ("axes", "expected"), [((0, 1, 2), [0, 1, 2]), ((1,), [1]), ((), []), (None, [])]
)
def test_mirroring_axes(make_model, axes, expected):
    model = make_model(
        configuration="3d_fullres", content={"inference_allowed_mirroring_axes": axes}
    )
    assert manifest_of(model)["mirror_axes"] == expected


def test_mirroring_of_older_checkpoints(make_model):
    assert (
        manifest_of(make_model(without=("inference_allowed_mirroring_axes",)))["mirror_axes"] == []
    )


def test_plain_labels_are_ordered_by_value_also_as_strings(make_model):
    labels = {"WM": "2", "background": "0", "GM": "1", "lesion": [3]}
    manifest = manifest_of(make_model(heads=4, dataset={"labels": labels}))
    assert manifest["outputs"] == {
        "activation": "softmax",
        "labels": [
            {"name": "GM", "values": [1]},
            {"name": "WM", "values": [2]},
            {"name": "lesion", "values": [3]},
        ],
        "regions_class_order": None,
    }


def test_ignore_label_has_no_output(make_model):
    labels = {"background": 0, "sc": 1, "ignore": 2}
    manifest = manifest_of(make_model(dataset={"labels": labels}))
    assert [label["name"] for label in manifest["outputs"]["labels"]] == ["sc"]


def test_regions_keep_the_files_order(make_model):
    labels = {"background": 0, "whole": [2, 1], "core": 2, "ignore": 3}
    model = make_model(dataset={"labels": labels, "regions_class_order": [1, 2]})
    assert manifest_of(model)["outputs"] == {
        "activation": "sigmoid",
        "labels": [{"name": "whole", "values": [2, 1]}, {"name": "core", "values": [2]}],
        "regions_class_order": [1, 2],
    }


def test_configuration_may_inherit(make_model):
    model = make_model(configuration="2d")
    import json

    plans = json.loads((model / "plans.json").read_text())
    plans["configurations"] |= {
        "2d": plans["configurations"]["2d"] | {"inherits_from": "parent"},
        "parent": {"spacing": [9, 9], "inherits_from": "grandparent"},
        "grandparent": {"patch_size": [32, 32]},
    }
    del plans["configurations"]["2d"]["patch_size"]
    (model / "plans.json").write_text(json.dumps(plans))
    manifest = manifest_of(model)
    assert manifest["sliding_window"]["patch_size"] == [1, 32, 32]
    assert step(manifest, "resample")["spacing"] == [None, 0.5, 0.6]


def test_configuration_is_read_from_the_folder_when_the_checkpoint_does_not_say(make_model):
    model = make_model(without=("init_args",))
    assert manifest_of(model)["source"]["details"]["configuration"] == "2d"
    nameless = make_model(without=("init_args",), name="model")
    with pytest.raises(CheckpointError, match="configuration"):
        load(nameless, Options())


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"settings": {"previous_stage": "3d_lowres"}}, "cascade"),
        ({"settings": {"preprocessor_name": "MyPreprocessor"}}, "MyPreprocessor"),
        ({"plans": {"label_manager": "MyLabels"}}, "MyLabels"),
        ({"settings": {"normalization_schemes": ["MyNorm"]}}, "MyNorm"),
        ({"settings": {"normalization_schemes": []}}, "0 schemes"),
        ({"settings": {"normalization_schemes": ["CTNormalization"]}}, "intensity properties"),
        ({"settings": {"resampling_fn_data": "mine"}}, "resampling_fn_data 'mine'"),
        ({"settings": {"resampling_fn_data": "no_resampling_hack"}}, "one of image and prob"),
        ({"settings": {"resampling_fn_data_kwargs": {"is_seg": True}}}, "is_seg=True"),
        ({"settings": {"resampling_fn_data_kwargs": {"magic": 1}}}, "magic=1"),
        ({"settings": {"resampling_fn_data_kwargs": {"force_separate_z": 7}}}, "force_separate_z"),
        (
            {"settings": {"resampling_fn_data_kwargs": {"separate_z_anisotropy_threshold": 2}}},
            "separate_z_anisotropy_threshold=2",
        ),
        (
            {
                "settings": {
                    "resampling_fn_data": "resample_torch_fornnunet",
                    "resampling_fn_data_kwargs": {"mode": "bicubic"},
                }
            },
            "bicubic",
        ),
        ({"plans": {"transpose_forward": [0, 1, 1]}}, "transpose_forward"),
        ({"dataset": {"image_orientation": "RAL"}}, "RAL"),
        ({"dataset": {"labels": {"background": 0, "a": 1, "b": 3}}}, "a=1, b=3"),
        ({"dataset": {"labels": {"background": 0, "a": 1, "b": 1}}}, "without gaps"),
        ({"dataset": {"labels": {"background": 1, "a": 0}}}, "background"),
        ({"dataset": {"labels": {"background": 0}}}, "not none"),
        ({"dataset": {"labels": {"background": 0, "a": [1, 2], "b": 2}}}, "regions_class_order"),
        ({"dataset": {"channel_names": {"1": "a"}}}, "numbered"),
        ({"without": ("spacing",)}, "'spacing' is missing"),
        ({"without": ("labels",)}, "'labels' is missing"),
        ({"without": ("configurations",)}, "'configurations' is missing"),
        ({"settings": {"patch_size": [8]}}, "patch size"),
        ({"settings": {"inherits_from": "2d"}}, "circle"),
        ({"settings": {"inherits_from": "gone"}}, "'gone' is not in the plans"),
        ({"content": {"inference_allowed_mirroring_axes": (2,)}}, "mirroring"),
        ({"legacy": True, "settings": {"UNet_class_name": "MyNet"}}, "MyNet"),
    ],
)
def test_what_is_not_supported_is_refused(make_model, choices, message):
    with pytest.raises(UnsupportedError, match=message):
        manifest_of(make_model(**choices))


def test_everything_unsupported_is_listed_at_once(make_model):
    model = make_model(
        settings={
            "previous_stage": "3d_lowres",
            "normalization_schemes": ["MyNorm"],
            "resampling_fn_probabilities": "mine",
            "architecture": {
                "network_class_name": "os.system",
                "arch_kwargs": {},
                "_kw_requires_import": [],
            },
        },
        plans={"label_manager": "MyLabels"},
        dataset={"labels": {"background": 0, "a": 5}},
    )
    with pytest.raises(UnsupportedError) as refusal:
        load(model, Options())
    for part in ("cascade", "MyNorm", "'mine'", "os.system", "MyLabels", "a=5"):
        assert part in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_cascade_is_known_by_its_name(make_model):
    with pytest.raises(UnsupportedError, match="cascade"):
        load(make_model(configuration="3d_cascade_fullres"), Options())


@pytest.mark.parametrize("path", ["os.system", "torch.nn.modules.module.torch", "builtins.eval"])
def test_plans_cannot_name_arbitrary_code(make_model, path):
    from helpers.nnunet_models import architecture

    described = architecture("PlainConvUNet", 2)
    described["arch_kwargs"]["nonlin"] = path
    model = make_model(settings={"architecture": described})
    for with_torch in (False, True):
        with pytest.raises(UnsupportedError, match=path):
            load(model, Options(with_torch=with_torch))


def test_folds_that_differ_are_refused(make_model):
    model = make_model(folds=("0", "1"))
    file = model / "fold_1" / "checkpoint_final.pth"
    content = torch.load(file, weights_only=False)
    torch.save(content | {"inference_allowed_mirroring_axes": (0,)}, file)
    with pytest.raises(UnsupportedError, match=r"mirror_axes.*--folds"):
        load(model, Options())
    assert manifest_of(model, folds=["1"])["mirror_axes"] == [1]


def test_weights_of_another_network_are_refused(make_model):
    model = make_model(heads=3)
    for with_torch in (False, True):
        with pytest.raises(CheckpointError, match=r"Fold 0 .* 2 outputs"):
            load(model, Options(with_torch=with_torch))


def test_weights_that_are_not_finite_are_refused(make_model):
    model = make_model()
    file = model / "fold_0" / "checkpoint_final.pth"
    content = torch.load(file, weights_only=False)
    content["network_weights"]["decoder.seg_layers.0.bias"][0] = float("nan")
    torch.save(content, file)
    with pytest.raises(CheckpointError, match="not finite"):
        load(model, Options())
