"""A model and its task file: what is added, what is warned about."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from deepseg_export.errors import CheckpointError
from deepseg_export.families.checkpoint import Checkpoint
from deepseg_export.tasks.merging import merged
from deepseg_export.tasks.sct_rules import files_of, forced_steps
from helpers.bundles import make_manifest

from deepseg_lite.bundles.bundle import Label
from deepseg_lite.bundles.manifest import manifest_problems
from deepseg_lite.bundles.task_file import Input, Layout, Output, Release, Stage, Task
from deepseg_lite.store.tasks import list_tasks, resolve

CORD = (Label("sc", (1,)),)
SEG = Output("seg", "mask", ("sc",))
CROP = {
    "detector": "sc_crop",
    "padding_mm": dict.fromkeys(
        ("superior", "inferior", "left", "right", "anterior", "posterior"), 10
    ),
}


def checkpoint(*labels: str, **parts: Any) -> Checkpoint:
    """Return what an archive with these labels says: 3-D, one channel, RAS, one fold."""
    manifest = make_manifest("threshold")
    del manifest["networks"], manifest["export"]
    manifest["outputs"] = {
        "activation": "softmax",
        "labels": [{"name": name, "values": [i + 1]} for i, name in enumerate(labels or ("sc",))],
        "regions_class_order": None,
        **parts.pop("outputs", {}),
    }
    manifest["inputs"] = {
        "channel_names": ["mri"],
        "orientation": "RAS",
        "axes": "zyx",
        **parts.pop("inputs", {}),
    }
    manifest["source"]["details"] = {
        "folder": "nnUNetTrainer__nnUNetPlans__3d_fullres",
        "dataset": "Dataset001_One",
        "configuration": "3d_fullres",
        "image_orientation": "LPI",
        **parts.pop("details", {}),
    }
    folds = parts.pop("folds", ("0",))
    return Checkpoint({**manifest, **parts}, dict.fromkeys(folds), (1, 8, 8, 8), (2, 8, 8, 8))


def catalogue(
    *, outputs: tuple[Output, ...] = (SEG,), inputs: tuple[Input, ...] = (), **stage: Any
) -> tuple[Task, Release]:
    inputs = inputs or (Input("image", ("t2",), (3,)),)
    facts = {"labels": CORD, "channels": tuple(item.name for item in inputs), **stage}
    release = Release("r1", "", None, outputs, (), (Stage("main", "m", "nnunet", **facts),))
    task = resolve("seg_sc_epi", list_tasks())
    return replace(task, name="tiny", inputs=inputs, releases=(release,)), release


def merge(model: Checkpoint, facts: tuple[Task, Release], **options: Any) -> dict[str, Any]:
    manifest = dict(merged(model, *facts, options).manifest)
    complete = make_manifest("threshold")
    problems = manifest_problems(
        {**manifest, "networks": complete["networks"], "export": complete["export"]}
    )
    assert problems == []
    return manifest


def test_what_agrees_is_not_mentioned(caplog):
    facts = catalogue(
        orientation="RAS",
        layout=Layout(
            "3d_fullres", "nnUNetTrainer__nnUNetPlans__3d_fullres", "Dataset001_One", ("0",)
        ),
    )
    manifest = merge(checkpoint(), facts)
    assert manifest["outputs"]["files"] == [{"suffix": "seg", "kind": "mask", "labels": ["sc"]}]
    assert (manifest["ensemble"], manifest["postprocessing"]) == ("mean_logits", [])
    assert caplog.messages == []


@pytest.mark.parametrize(
    ("model", "stage", "expected"),
    [
        (checkpoint("cord"), {}, "labels: the archive says cord=1, the catalogue expected sc=1"),
        (
            checkpoint(
                outputs={
                    "activation": "sigmoid",
                    "labels": [{"name": "sc", "values": [1, 2]}, {"name": "gm", "values": [2]}],
                    "regions_class_order": [1, 2],
                }
            ),
            {"labels": (Label("sc", (1, 2)), Label("gm", (2,))), "regions_class_order": (2, 1)},
            "regions_class_order: the archive says 1, 2, the catalogue expected 2, 1",
        ),
        (
            checkpoint(),
            {"regions_class_order": (1,)},
            "regions_class_order: the archive says none, the catalogue expected 1",
        ),
        (
            checkpoint(),
            {"layout": Layout(configuration="2d")},
            "configuration: the archive says 3d_fullres, the catalogue expected 2d",
        ),
        (
            checkpoint(),
            {"layout": Layout(folder="nnUNetTrainer_x__p__2d")},
            (
                "trained-model folder: the archive says nnUNetTrainer__nnUNetPlans__3d_fullres, "
                "the catalogue expected nnUNetTrainer_x__p__2d"
            ),
        ),
        (
            checkpoint(),
            {"layout": Layout(dataset="Dataset002_Two")},
            "data set: the archive says Dataset001_One, the catalogue expected Dataset002_Two",
        ),
        (
            checkpoint(folds=("1", "2")),
            {"layout": Layout(folds=("0", "1"))},
            "folds: the archive says 1, 2, the catalogue expected 0, 1",
        ),
        (
            checkpoint(cord_crop=CROP),
            {},
            "crop around the cord: the archive says yes, the catalogue expected no",
        ),
    ],
    ids=lambda value: value.split(":")[0] if isinstance(value, str) else "",
)
def test_disagreements_are_one_line_each_and_the_archive_wins(model, stage, expected, caplog):
    facts = catalogue(**{"outputs": (Output("seg", "labels"),), **stage})
    manifest = merge(model, facts)
    assert caplog.messages == [f"{expected}; the archive is used"]
    for part in ("labels", "regions_class_order"):
        assert manifest["outputs"][part] == model.manifest["outputs"][part]
    assert manifest.get("cord_crop") == model.manifest.get("cord_crop")


@pytest.mark.parametrize(
    ("key", "found"), [("LPI", "RAS"), (None, "nothing, which is RAS by SCT's rule")]
)
def test_another_orientation_names_the_option(key, found, caplog):
    model = checkpoint(details={"image_orientation": key})
    assert merge(model, catalogue(orientation="LAS"))["inputs"]["orientation"] == "RAS"
    (line,) = caplog.messages
    assert line == (
        f"orientation: the archive says {found}, the catalogue expected LAS; the archive is used"
        "; --orientation LAS overrules it"
    )


def test_what_the_user_chose_is_not_compared(caplog):
    facts = catalogue(orientation="LAS", layout=Layout(folds=("0", "1")))
    merge(checkpoint(), facts, orientation="RAS", folds=["0"])
    assert caplog.messages == []


def test_a_cropped_release_needs_its_paddings(caplog):
    with pytest.raises(CheckpointError, match=r"tiny r1 needs crop_metadata\.json"):
        merged(checkpoint(), *catalogue(crop=True))
    assert caplog.messages == []
    assert merge(checkpoint(cord_crop=CROP), catalogue(crop=True))["cord_crop"] == CROP


def test_contrasts_inversion_and_advice_come_from_the_inputs():
    image = Input("image", ("stir", "psir"), (3,), ("psir",), "a remark", "Do this.")
    inputs = merge(checkpoint(), catalogue(inputs=(image,)))["inputs"]
    assert inputs["contrasts"] == [["stir", "psir"]]
    assert (inputs["invert"], inputs["advice"]) == (["psir"], "Do this.")


def test_channels_keep_the_networks_order():
    inputs = (Input("t1", ("t1",), (3,)), Input("t2", ("t2", "t2star"), (3,)))
    model = checkpoint(inputs={"channel_names": ["a", "b"]})
    steps = [{**step} for step in model.manifest["preprocessing"]]
    for step in steps:
        if step["step"] == "normalize":
            step["channels"] = step["channels"] * 2
    model = replace(model, manifest={**model.manifest, "preprocessing": steps})
    manifest = merge(model, catalogue(inputs=inputs, channels=("t2", "t1")))
    assert manifest["inputs"]["contrasts"] == [["t2", "t2star"], ["t1"]]


def test_any_contrast_is_not_written():
    inputs = merge(checkpoint(), catalogue(inputs=(Input("image", ("any",), (3,)),)))["inputs"]
    assert not {"contrasts", "invert", "advice"} & inputs.keys()


def test_another_number_of_channels_has_no_contrasts(caplog):
    inputs = (Input("t1", ("t1",), (3,)), Input("t2", ("t2",), (3,)))
    assert "contrasts" not in merge(checkpoint(), catalogue(inputs=inputs))["inputs"]
    assert "number of channels: the archive says 1, the catalogue expected 2" in caplog.text


def test_the_way_folds_vote_and_forced_steps_are_the_catalogues():
    steps = ({"step": "keep_largest", "forced": True}, {"step": "fill_holes"})
    manifest = merge(checkpoint(), catalogue(ensemble="majority", postprocessing=steps))
    assert manifest["ensemble"] == "majority"
    assert manifest["postprocessing"] == [{"step": "keep_largest"}]


def test_a_forced_step_comes_with_all_that_it_says():
    spots = {"step": "remove_spots", "share": 0.01, "independent": False, "connectivity": 3}
    manifest = merge(checkpoint(), catalogue(postprocessing=({**spots, "forced": True},)))
    assert manifest["postprocessing"] == [spots]
    added = {"networks": make_manifest()["networks"], "export": make_manifest()["export"]}
    assert manifest_problems({**manifest, **added}) == []


@pytest.mark.parametrize("expected", [(), ({"step": "keep_largest", "forced": True},)])
def test_a_label_called_canal_seg_keeps_its_largest_object_once(expected):
    facts = catalogue(labels=(Label("canal_seg", (1,)),), postprocessing=expected)
    assert merge(checkpoint("canal_seg"), facts)["postprocessing"] == [{"step": "keep_largest"}]
    assert forced_steps(["canal"]) == []


def test_other_labels_give_the_names_of_sct_and_soft_files_stay(caplog):
    outputs = (SEG, Output("soft", "soft", ("sc",), option="soft-ms-lesion"))
    files = merge(checkpoint("sc", "lesion"), catalogue(outputs=outputs))["outputs"]["files"]
    assert files == [
        {"suffix": "sc_seg", "kind": "mask", "labels": ["sc"]},
        {"suffix": "lesion_seg", "kind": "mask", "labels": ["lesion"]},
        {"suffix": "soft", "kind": "soft", "labels": ["sc"]},
    ]
    assert caplog.messages[-1] == (
        "Files are named by the archive's labels: sc_seg, lesion_seg, soft"
    )
    files = merge(checkpoint("bold"), catalogue(outputs=outputs))["outputs"]["files"]
    assert files == [{"suffix": "bold_seg", "kind": "mask", "labels": ["bold"]}]


def test_fewer_levels_than_expected_are_still_one_file():
    labels = tuple(Label(f"lvl{i}", (i,)) for i in (1, 2, 3))
    facts = catalogue(labels=labels, outputs=(Output("rootlets", "labels"),))
    files = merge(checkpoint("lvl1", "lvl2"), facts)["outputs"]["files"]
    assert files == [{"suffix": "rootlets", "kind": "labels"}]


@pytest.mark.parametrize(
    ("labels", "suffixes"),
    [
        (["lvl1", "lvl2", "lvl3"], ["rootlets"]),
        (["lvl1"], ["rootlets"]),
        (["lvl2", "lvl1"], ["lvl2_seg", "lvl1_seg"]),
        (["sc"], ["seg"]),
        (["sc", "gm"], ["sc_seg", "gm_seg"]),
        (["canal_seg"], ["canal_seg_seg"]),
    ],
    ids="-".join,
)
def test_files_by_the_rule_of_sct(labels, suffixes):
    assert [file["suffix"] for file in files_of(labels)] == suffixes


def test_a_model_that_names_its_files_keeps_them_and_its_steps(caplog):
    caplog.set_level("INFO")
    outputs = {
        "values": "maps",
        "channels": 1,
        "activation": "none",
        "before_undo": [],
        "files": [{"suffix": "cordseg", "kind": "soft", "labels": ["sc"]}],
    }
    limit = {"step": "limit", "floor": 0.1, "ceiling": None}
    model = checkpoint(outputs=outputs, postprocessing=[limit, {"step": "fill_holes"}])
    steps = ({"step": "binarize", "threshold": 0.5},)
    facts = catalogue(postprocessing=steps, labels=(Label("other", (1,)),))
    manifest = merge(model, facts)
    assert manifest["outputs"] == model.manifest["outputs"]
    assert manifest["postprocessing"] == model.manifest["postprocessing"]
    (told,) = caplog.messages
    assert told.startswith("files: the archive says _cordseg (soft), the catalogue expected _seg")


def test_weights_in_another_form_are_told(caplog):
    merge(checkpoint(), catalogue(layout=Layout(weights=("pt", "onnx"))))
    (line,) = caplog.messages
    assert line.endswith("the catalogue expected .pt or .onnx; the archive is used")
