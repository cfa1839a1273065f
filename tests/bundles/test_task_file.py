"""Task files: what is valid, what they become, and that every problem is named."""

from __future__ import annotations

import copy
import sys
from typing import Any

import pytest
from helpers.paths import MODELS
from helpers.tasks import TASK, add_task
from jsonschema import Draft202012Validator

from deepseg_lite.bundles.schemas import read_schema
from deepseg_lite.bundles.task_file import CropTo, Layout, read_task, task_problems
from deepseg_lite.errors import BundleError, OptionError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

SINGLE, CASCADE = "seg_ms_lesion", "seg_tumor_edema_cavity_t1_t2"
STAGE = "releases.0.stages.1"
SPOTS = {"step": "remove_spots", "share": 0.01, "independent": False, "connectivity": 3}


def _document(name: str) -> dict[str, Any]:
    return tomllib.loads((MODELS / name / "task.toml").read_text(encoding="utf-8"))


def _place(document: Any, path: str) -> tuple[Any, Any]:
    *parents, last = [int(key) if key.isdigit() else key for key in path.split(".")]
    for key in parents:
        document = document[key]
    return document, last


def _changed(name: str, path: str, value: Any) -> dict[str, Any]:
    document = copy.deepcopy(_document(name))
    parent, last = _place(document, path)
    parent[last] = value
    return document


def _tables(document: Any, path: tuple[str, ...] = ()) -> list[str]:
    """Return the path of every table below a document."""
    items = document.items() if isinstance(document, dict) else enumerate(document)
    found = []
    for key, value in items:
        if isinstance(value, dict | list):
            here = (*path, str(key))
            found += [".".join(here)] * isinstance(value, dict) + _tables(value, here)
    return found


def test_the_schema_is_a_valid_schema():
    Draft202012Validator.check_schema(read_schema("task"))


def test_a_task_says_what_its_file_says(tmp_path):
    task = read_task(add_task(tmp_path, "lesion"))
    assert (task.name, task.aliases, task.title) == ("lesion", ("lesion_t2-w",), "A title")
    assert (task.group, task.license) == ("other", "MIT")
    assert [each.title for each in task.citations] == ["Nobody", "Nowhere"]
    assert task.citation == "Nobody; Nowhere"
    assert task.bundle_path == tmp_path / "lesion" / "bundle"
    newest, oldest = task.releases
    assert (newest.version, newest.sct, newest.changes) == ("r2", "since 7.0", "Another network.")
    assert oldest.sct is None
    (stage,) = newest.stages
    assert (stage.model, stage.family, stage.channels) == ("model_two", "nnunet", ("t2",))
    assert stage.archives == (("https://example.org/two.zip", "https://example.com/two.zip"),)
    assert (stage.layout, stage.ensemble, stage.crop) == (Layout(), "mean_logits", False)


def test_unknown_licences_are_none(tmp_path):
    task = read_task(add_task(tmp_path, "lesion", TASK.replace('"MIT"', '"unknown"')))
    assert task.license is None


def test_releases_are_found_by_version(tmp_path):
    task = read_task(add_task(tmp_path, "lesion"))
    assert task.release() is task.releases[0]
    assert task.release("r1") is task.releases[1]
    with pytest.raises(OptionError, match=r"lesion has no release r3; it has r2, r1\."):
        task.release("r3")


def test_a_release_says_otherwise_than_what_is_shared():
    task = read_task(MODELS / "seg_sc_contrast_agnostic")
    current, last_monai = task.release("v3.0"), task.release("v2.5")
    assert current.stages[0].family == "nnunet"
    assert current.stages[0].postprocessing == ({"step": "keep_largest", "forced": True},)
    assert last_monai.stages[0].family == "monai"
    assert last_monai.stages[0].postprocessing == ({"step": "binarize", "threshold": 0.5},)
    assert last_monai.outputs == current.outputs
    assert last_monai.stages[0].orientation == "RPI"


def test_a_cascade_is_stages():
    (release,) = read_task(MODELS / CASCADE).releases
    cord, tumor = release.stages
    assert (cord.name, cord.channels, cord.crop_to) == ("cord", ("t2",), None)
    assert (tumor.channels, tumor.family) == (("t2", "t1"), "ivadomed")
    assert tumor.crop_to == CropTo("cord", (1.2, 1.2, 1.0))
    assert [output.suffix for output in release.outputs] == [
        "seg-tumor", "seg-edema", "seg-cavity", "seg-whole-tumor",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "version", "obstacle"),
    [
        ("seg_sc_contrast_agnostic", "v4.0", None),
        ("seg_sc_contrast_agnostic", "v3.0", None),
        ("seg_sc_contrast_agnostic", "v2.5", None),
        ("mice_sc", "r20200622", None),
        ("seg_ms_lesion_mp2rage", "r20230210", None),
        ("seg_ms_lesion_mp2rage", "r20211223", None),
        ("tumor_t2", "r20201215", None),
        ("totalspineseg", "r20260730", None),
        ("totalspineseg", "r20251124", None),
        ("totalspineseg", "r20241115", "found levels in another way"),
        ("seg_sc_ms_lesion_stir_psir", "r20240125", None),
    ],
)
def test_a_release_knows_what_keeps_it_from_running(name, version, obstacle):
    found = read_task(MODELS / name).release(version).obstacle
    assert obstacle in found if obstacle else found is None


def test_a_workflow_is_two_models_and_rules():
    task = read_task(MODELS / "totalspineseg")
    newest, older, oldest = task.releases
    assert [stage.name for stage in newest.stages] == ["step1", "step2"]
    assert newest.main == 0
    assert newest.stages[1].option == "label-vert"
    assert newest.workflow == older.workflow
    assert (newest.rules["vet_l5_s1"], older.rules["vet_l5_s1"]) == ("size", "last")
    assert oldest.rules is None
    assert read_task(MODELS / CASCADE).releases[0].main == 1


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda d: d["releases"][0].pop("rules"), "releases[0].rules: its workflow needs them"),
        (
            lambda d: d["releases"][1]["stages"][0].update(option="label-vert"),
            "releases[1]: one stage must run without an option",
        ),
        (lambda d: d["releases"][0]["rules"].pop("vet_c2_c3"), "'vet_c2_c3' is a required"),
        (lambda d: d["shared"]["workflow"].update(name="another"), "shared.workflow.name: "),
    ],
    ids=["no rules", "no stage by default", "a rule is missing", "unknown workflow"],
)
def test_a_workflow_that_cannot_run_is_a_problem(change, problem):
    document = _document("totalspineseg")
    assert task_problems(document) == []
    change(document)
    assert any(problem in found for found in task_problems(document)), task_problems(document)


def test_inputs_may_come_with_advice():
    for name, words in (
        ("seg_ms_lesion_mp2rage", ("seg_sc_contrast_agnostic", "30 x 30 x 5 voxels", "cut")),
        ("seg_sc_epi", ("average", "split")),
    ):
        (item,) = read_task(MODELS / name).inputs
        assert all(word in item.advice for word in words)
    (item,) = read_task(MODELS / "seg_ms_lesion").inputs
    assert item.advice is None


def test_every_problem_of_a_task_file_is_listed(tmp_path):
    folder = add_task(
        tmp_path, "bad", 'name = "another"\naliases = "x"\ntitle = 3\nsurprise = 1\nreleases = []\n'
    )
    with pytest.raises(BundleError) as caught:
        read_task(folder)
    for part in (
        "'description' is a required property",
        "'citations' is a required property",
        "'surprise' was unexpected",
        "title: 3 is not of type 'string'",
        "aliases: 'x' is not of type 'array'",
        "releases: []",
        "name: must be 'bad'",
    ):
        assert part in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("citation", "where"),
    [
        ({"title": "T", "doi": "https://doi.org/10.1000/x"}, "citations[0].doi"),
        ({"title": "T", "doi": "10.1000/x y"}, "citations[0].doi"),
        ({"title": "T", "arxiv": "arXiv:2001.00001"}, "citations[0].arxiv"),
        ({"title": "T", "authors": ["Doe, Jo, Junior"]}, "citations[0].authors[0]"),
        ({"title": "T", "authors": ["Doe, Jo and Roe, Al"]}, "citations[0].authors[0]"),
        ({"title": "T", "pages": "3--4"}, "citations[0].pages"),
        ({"title": "T", "year": "2020"}, "citations[0].year"),
        ({"year": 2020}, "citations[0]"),
        ({"journal": "J", "booktitle": "P"}, "citations[0]"),
        ("Doe et al., T (2020)", "citations[0]"),
    ],
    ids=repr,
)
def test_a_citation_is_facts_of_the_right_kinds(citation, where):
    document = {**_document(SINGLE), "citations": [citation]}
    assert [problem.split(": ")[0] for problem in task_problems(document)] == [where]


@pytest.mark.parametrize("text", ["name = ", "\ufffe = [", "name = 1\nname = 2"], ids=repr)
def test_a_task_file_that_is_not_toml_is_refused(tmp_path, text):
    with pytest.raises(BundleError, match=r"task\.toml cannot be read"):
        read_task(add_task(tmp_path, "bad", text))


def test_a_missing_task_file_is_refused(tmp_path):
    with pytest.raises(BundleError, match=r"task\.toml cannot be read"):
        read_task(tmp_path)


@pytest.mark.parametrize("name", [SINGLE, CASCADE])
def test_unknown_keys_are_refused_everywhere(name):
    for path in ["", *_tables(_document(name))]:
        document = _changed(name, f"{path}.surprise".lstrip("."), 1)
        assert any("surprise" in problem for problem in task_problems(document)), path


@pytest.mark.parametrize(
    ("name", "path", "value", "problem"),
    [
        (SINGLE, "name", "With Space", "name: "),
        (SINGLE, "aliases.0", "Upper", "aliases[0]: "),
        (SINGLE, "aliases", ["a", "a"], "aliases: "),
        (SINGLE, "title", "two\nlines", "title: "),
        (SINGLE, "title", "", "title: "),
        (SINGLE, "group", "retired", "group: "),
        (SINGLE, "status", "gone", "status: "),
        (SINGLE, "status", "retired", "a retired task needs last_sct"),
        (SINGLE, "inputs", [], "inputs: "),
        (SINGLE, "inputs.0.contrasts", ["t9"], "inputs[0].contrasts[0]: "),
        (SINGLE, "inputs.0.dimensions", [3.0], "inputs[0].dimensions[0]: "),
        (SINGLE, "inputs.0.invert", ["bold"], "inputs[0].invert: bold is none"),
        (SINGLE, "shared.version", "1", "shared.version: "),
        (SINGLE, "shared.family", "caffe", "shared.family: "),
        (SINGLE, "shared.orientation", "LAX", "shared.orientation: "),
        (SINGLE, "shared.orientation", "LRS", "shared.orientation: "),
        (SINGLE, "shared.labels.0.values", [1.0], "shared.labels[0].values[0]: "),
        (SINGLE, "shared.labels.0.values", [True], "shared.labels[0].values[0]: "),
        (SINGLE, "shared.labels.0.values", [0], "shared.labels[0].values[0]: "),
        (SINGLE, "shared.regions_class_order", [1, 2], "needs one value per label"),
        (SINGLE, "shared.outputs.0.labels", ["cord"], "output lesion_seg: no label cord"),
        (SINGLE, "releases", [], "releases: "),
        (SINGLE, "releases.1.version", "r20260703", "releases: every one must be there once"),
        (SINGLE, "releases.0.crop", 1, "releases[0].crop: "),
        (SINGLE, "releases.0.archives.0.0", "ftp://x/y.zip", "releases[0].archives[0][0]: "),
        (SINGLE, "releases.0.archives.0.0", "https://x/y z.zip", "releases[0].archives[0][0]: "),
        (SINGLE, "releases.0.manifest_sha256", "A" * 64, "releases[0].manifest_sha256: "),
        (SINGLE, "shared.manifest_sha256", "a" * 64, "shared.manifest_sha256: "),
        (CASCADE, "releases.0.manifest_sha256", "a" * 64, "each stage has its own"),
        (CASCADE, f"{STAGE}.manifest_sha256", "a" * 63, f"{STAGE}.manifest_sha256: "),
        (SINGLE, "releases.0.layout.folds", ["5"], "releases[0].layout.folds[0]: "),
        (SINGLE, "releases.0.ensemble", "median", "releases[0].ensemble: "),
        (SINGLE, "releases.0.options", ["-thr"], "releases[0].options[0]: "),
        (CASCADE, f"{STAGE}.channels", ["flair"], "stage tumor: channels has flair"),
        (CASCADE, "releases.0.stages.0.channels", ["tumor"], "stage cord: channels has tumor"),
        (CASCADE, f"{STAGE}.crop_to.stage", "tumor", "crop_to must name an earlier stage"),
        (CASCADE, f"{STAGE}.crop_to.factors", [1.0, 1.0], f"{STAGE}.crop_to.factors: "),
        (CASCADE, f"{STAGE}.name", "cord", "stage cord: its name is taken"),
        (CASCADE, f"{STAGE}.outputs", [], STAGE),
        (CASCADE, f"{STAGE}.postprocessing.0", {"step": "binarize"}, "threshold"),
        (CASCADE, f"{STAGE}.postprocessing.0.threshold", float("nan"), "threshold: "),
        (CASCADE, f"{STAGE}.postprocessing.1.unit", "cm", "unit: "),
        (CASCADE, f"{STAGE}.postprocessing.2.threshold", 0.5, "postprocessing[2]"),
        (CASCADE, f"{STAGE}.postprocessing.2.share", 0.5, "postprocessing[2]"),
        (CASCADE, f"{STAGE}.postprocessing.0", {"step": "remove_spots"}, "'share' is a required"),
        (CASCADE, f"{STAGE}.postprocessing.0", {**SPOTS, "share": 0}, "postprocessing[0].share: "),
        (CASCADE, f"{STAGE}.postprocessing.0", {**SPOTS, "unit": "vox"}, "postprocessing[0]"),
    ],
)  # fmt: skip
def test_a_wrong_value_is_named_with_its_place(name, path, value, problem):
    problems = task_problems(_changed(name, path, value))
    where = problem.replace("releases.0.stages.1", "releases[0].stages[1]")
    assert any(where in found for found in problems), problems


def test_usual_areas_are_ranges_and_say_whose_they_are():
    document = _document("sc_gm_t2star")
    assert task_problems(document) == []
    document["qc"]["structures"]["sc"]["mm2"] = [118.0, 56.1]
    assert task_problems(document) == ["qc.structures.sc.mm2: 118.0 to 56.1 is no range"]
    document = _document("sc_gm_t2star")
    del document["qc"]["ranges"]
    assert task_problems(document) == ["qc.ranges: missing; it says whose the ranges are"]


def test_spots_may_be_removed():
    assert task_problems(_changed(CASCADE, f"{STAGE}.postprocessing.0", SPOTS)) == []


@pytest.mark.parametrize(("name", "path"), [(SINGLE, "releases.0"), (CASCADE, STAGE)])
def test_a_published_bundle_may_be_pinned(name, path):
    """Fault 11."""
    assert task_problems(_changed(name, f"{path}.manifest_sha256", "a" * 64)) == []


@pytest.mark.parametrize("key", ["model", "family", "labels", "outputs"])
def test_what_a_release_needs_is_there_or_shared(key):
    document = _document(SINGLE)
    for part in (document["shared"], *document["releases"]):
        part.pop(key, None)
    problems = task_problems(document)
    assert any(problem.startswith("releases[0]") and key in problem for problem in problems)


@pytest.mark.parametrize("name", [SINGLE, CASCADE])
@pytest.mark.parametrize("value", [None, -1.5, "x\n", [], {}], ids=repr)
def test_whatever_replaces_a_key_is_a_list_of_problems(name, value):
    for path in ["", *_tables(_document(name))]:
        table, last = _place(_document(name), f"{path}.name".lstrip("."))
        for key in [last, *table]:
            problems = task_problems(_changed(name, f"{path}.{key}".lstrip("."), value))
            assert all(isinstance(problem, str) for problem in problems)


@pytest.mark.parametrize("document", [None, [], "x", 1], ids=repr)
def test_what_is_no_table_is_refused(document):
    assert task_problems(document)
