"""Manifests: what is valid, and that every problem of what is not is named."""

from __future__ import annotations

import copy
import json
from functools import reduce
from pathlib import Path
from typing import Any

import pytest
from helpers.bundles import KINDS, make_manifest
from helpers.paths import MODELS
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from deepseg_lite.bundles.manifest import manifest_problems, manifest_schema
from deepseg_lite.bundles.schemas import in_words, parse_json

MANIFESTS = sorted(MODELS.glob("*/bundle/manifest.json"))
RESAMPLE = {
    "step": "resample",
    "spacing": [None, 0.5, 0.5],
    "image": {"order": 3, "separate_axis": "auto", "separate_order": 0},
    "scores": {"order": 1, "separate_axis": "auto", "separate_order": 0},
}
SIGMOID = make_manifest("regions")["outputs"]


def _value(document: Any, path: tuple[Any, ...]) -> Any:
    return reduce(lambda place, key: place[key], path, document)


def _changed(path: str, value: Any, kind: str = "threshold") -> dict[str, Any]:
    """Return a valid manifest with one value replaced; a path is keys and indices with dots."""
    manifest = copy.deepcopy(make_manifest(kind))
    *parents, last = [int(key) if key.isdigit() else key for key in path.split(".")]
    _value(manifest, tuple(parents))[last] = value
    return manifest


def _places(document: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the path of everything in a JSON document."""
    items: Any = ()
    if isinstance(document, dict):
        items = document.items()
    elif isinstance(document, list):
        items = enumerate(document)
    return [path, *(place for key, value in items for place in _places(value, (*path, key)))]


def test_the_schema_is_a_valid_schema():
    Draft202012Validator.check_schema(manifest_schema())


@pytest.mark.parametrize("file", MANIFESTS, ids=lambda file: file.parents[1].name)
def test_every_manifest_in_the_repository_is_valid(file: Path):
    assert manifest_problems(json.loads(file.read_text(encoding="utf-8"))) == []


def test_there_is_a_manifest_in_the_repository():
    assert MANIFESTS


@pytest.mark.parametrize("kind", KINDS)
def test_the_manifests_of_the_tests_are_valid(kind):
    assert manifest_problems(make_manifest(kind)) == []


SPOTS = {"step": "remove_spots", "share": 0.01, "independent": False, "connectivity": 3}
VALID = {
    "no-orientation": ("inputs.orientation", None),
    "resample": ("preprocessing", [RESAMPLE]),
    "no-preprocessing": ("preprocessing", []),
    "largest": ("postprocessing", [{"step": "keep_largest"}]),
    "spots": ("postprocessing", [SPOTS]),
    "no-mirroring": ("mirror_axes", []),
    "no-overlap": ("sliding_window.overlap", 0),
    "parity": (
        "parity",
        {
            "reference": "nnunetv2 2.8.1",
            "images": 6,
            "voxels": 10,
            "differing_voxels": 0,
            "min_dice": 1.0,
        },
    ),
    "unlicensed": ("source.license", None),
}


@pytest.mark.parametrize(("path", "value"), VALID.values(), ids=VALID)
def test_what_the_format_allows_is_valid(path, value):
    assert manifest_problems(_changed(path, value)) == []


@pytest.mark.parametrize("key", sorted(make_manifest()))
def test_every_key_is_required(key):
    manifest = make_manifest()
    del manifest[key]
    (problem,) = manifest_problems(manifest)
    assert ("schema is None" if key == "schema" else f"'{key}' is a required") in problem


FREE = {(), ("source", "files"), ("export", "versions")}
OBJECTS = [
    ".".join(map(str, path))
    for path in _places(make_manifest())
    if path not in FREE and isinstance(_value(make_manifest(), path), dict)
]


@pytest.mark.parametrize("path", OBJECTS)
def test_unknown_keys_are_refused_everywhere(path):
    problems = manifest_problems(_changed(f"{path}.surprise", 1))
    assert any("surprise" in problem for problem in problems)


def test_an_unknown_key_at_the_top_is_refused():
    (problem,) = manifest_problems(_changed("surprise", 1))
    assert "'surprise' was unexpected" in problem


INVALID = {
    "schema-newer": ("schema", 2, "schema is 2; this version reads 1"),
    "schema-text": ("schema", "1", "schema is '1'; this version reads 1"),
    "schema-true": ("schema", True, "schema"),
    "name-path": ("name", "../model", "name: "),
    "name-newline": ("name", "model\n", "name: "),
    "version-empty": ("version", "", "version: "),
    "no-channels": ("inputs.channel_names", [], "inputs.channel_names: "),
    "channel-empty": ("inputs.channel_names", [""], "inputs.channel_names[0]: "),
    "orientation-two-axes": ("inputs.orientation", "LLA", "inputs.orientation: "),
    "orientation-short": ("inputs.orientation", "LA", "inputs.orientation: "),
    "orientation-case": ("inputs.orientation", "las", "inputs.orientation: "),
    "orientation-newline": ("inputs.orientation", "LAS\n", "inputs.orientation: "),
    "axes-repeated": ("inputs.axes", "xxy", "inputs.axes: "),
    "step-unknown": ("preprocessing", [{"step": "eval"}], "preprocessing[0].step: 'eval'"),
    "spots-of-nothing": ("postprocessing", [{**SPOTS, "share": 0}], "postprocessing[0].share: "),
    "spots-of-all": ("postprocessing", [{**SPOTS, "share": 1.1}], "postprocessing[0].share: "),
    "spots-joined": ("postprocessing", [{**SPOTS, "connectivity": 4}], "].connectivity: "),
    "step-missing": ("preprocessing", [{}], "preprocessing[0]: 'step' is a required"),
    "scheme-unknown": (
        "preprocessing.1.channels.0.scheme",
        "histogram",
        "preprocessing[1].channels[0].scheme: 'histogram'",
    ),
    "scheme-keyword": (
        "preprocessing.1.channels.0",
        {"scheme": "zscore"},
        "'nonzero_only' is a required",
    ),
    "channel-count": (
        "preprocessing.1.channels",
        [{"scheme": "none"}] * 2,
        "preprocessing[1].channels: 2 entries for 1 input channels",
    ),
    "resample-twice": (
        "preprocessing",
        [RESAMPLE, RESAMPLE],
        "preprocessing: resample must be there at most once",
    ),
    "spacing-zero": (
        "preprocessing",
        [{**RESAMPLE, "spacing": [0, 1, 1]}],
        "preprocessing[0].spacing[0]: ",
    ),
    "spacing-nan": (
        "preprocessing",
        [{**RESAMPLE, "spacing": [float("nan"), 1, 1]}],
        "preprocessing[0].spacing[0]: ",
    ),
    "spacing-two": ("preprocessing", [{**RESAMPLE, "spacing": [1, 1]}], "preprocessing[0].spacing"),
    "spline-order": (
        "preprocessing",
        [{**RESAMPLE, "image": {**RESAMPLE["image"], "order": 6}}],
        "preprocessing[0].image.order: ",
    ),
    "patch-2-axes": ("sliding_window.patch_size", [8, 8], "sliding_window.patch_size: "),
    "patch-zero": ("sliding_window.patch_size", [0, 8, 8], "sliding_window.patch_size[0]: "),
    "patch-float": ("sliding_window.patch_size", [8.0, 8, 8], "sliding_window.patch_size[0]: "),
    "patch-bool": ("sliding_window.patch_size", [True, 8, 8], "sliding_window.patch_size[0]: "),
    "overlap-one": ("sliding_window.overlap", 1, "sliding_window.overlap: "),
    "overlap-nan": ("sliding_window.overlap", float("nan"), "sliding_window.overlap: "),
    "overlap-infinite": ("sliding_window.overlap", float("-inf"), "sliding_window.overlap: "),
    "placement": ("sliding_window.placement", "grid", "sliding_window.placement: 'grid'"),
    "importance": ("sliding_window.importance_map", "x", "sliding_window.importance_map: 'x'"),
    "no-networks": ("networks", [], "networks: "),
    "hash-short": ("networks.0.sha256", "ab", "networks[0].sha256: "),
    "hash-upper": ("networks.0.sha256", "A" * 64, "networks[0].sha256: "),
    "size-zero": ("networks.0.size", 0, "networks[0].size: "),
    "ensemble": ("ensemble", "vote", "ensemble: "),
    "mirror-axis": ("mirror_axes", [3], "mirror_axes[0]: "),
    "mirror-twice": ("mirror_axes", [1, 1], "mirror_axes: "),
    "mirror-float": ("mirror_axes", [1.0], "mirror_axes[0]: "),
    "activation": ("outputs.activation", "tanh", "outputs.activation: 'tanh'"),
    "activation-alone": (
        "outputs.activation",
        "relu",
        "outputs.activation: an activation other than softmax",
    ),
    "channels-alone": ("outputs.channels", 2, "outputs: channels goes with values"),
    "values-alone": ("outputs.values", "maps", "outputs: values needs channels"),
    "stride-of-spread": (
        "sliding_window.stride",
        [1, 1, 1],
        "sliding_window: stride goes with the placements",
    ),
    "interval-of-one": ("sliding_window.placement", "interval", "sliding_window.overlap: "),
    "no-stride": (
        "sliding_window.placement",
        "stride",
        "sliding_window: a placement by stride needs stride",
    ),
    "no-sigma": ("sliding_window.importance_map", "gaussian", "'sigma_scale' is a required"),
    "no-labels": ("outputs.labels", [], "outputs.labels: "),
    "label-value": ("outputs.labels.0.values", [65536], "outputs.labels[0].values[0]: "),
    "label-order": (
        "outputs.labels.0.values",
        [2],
        "outputs.labels: softmax labels must have the values 1, 2, 3",
    ),
    "softmax-regions": (
        "outputs.regions_class_order",
        [1],
        "outputs.regions_class_order: must be null for softmax",
    ),
    "sigmoid-no-order": (
        "outputs",
        {**SIGMOID, "regions_class_order": None},
        "outputs.regions_class_order: sigmoid needs one value per label",
    ),
    "sigmoid-order-short": (
        "outputs",
        {**SIGMOID, "regions_class_order": [1]},
        "outputs.regions_class_order: sigmoid needs one value per label",
    ),
    "label-twice": (
        "outputs.labels",
        [{"name": "cord", "values": [1]}, {"name": "cord", "values": [2]}],
        "outputs.labels: every name must be there once",
    ),
    "family": ("source.family", "tensorflow", "source.family: 'tensorflow'"),
    "source-hash": ("source.files", {"plans.json": "x"}, "source.files['plans.json']: "),
    "error-negative": ("export.checks.0.max_abs_error", -1, "export.checks[0].max_abs_error: "),
}


@pytest.mark.parametrize(("path", "value", "message"), INVALID.values(), ids=INVALID)
def test_what_the_format_forbids_is_refused(path, value, message):
    problems = manifest_problems(_changed(path, value))
    assert any(message in problem for problem in problems), problems


@pytest.mark.parametrize("key", ["fold", "path"])
def test_networks_differ_in_fold_and_file(key):
    manifest = make_manifest("folds")
    manifest["networks"][1][key] = manifest["networks"][0][key]
    assert manifest_problems(manifest) == [f"networks: every {key} must be there once"]


def test_a_2d_patch_cannot_be_mirrored_along_its_thin_axis():
    manifest = _changed("mirror_axes", [0, 2], "regions")
    assert manifest_problems(manifest) == ["mirror_axes: axis 0 of the patch has one voxel"]


@pytest.mark.parametrize(
    "name",
    [
        "../x.onnx",
        "/x.onnx",
        "a/b.onnx",
        "a\\b.onnx",
        "C:x.onnx",
        "..onnx",
        ".onnx",
        ".hidden.onnx",
        "x.onnx/",
        "x.onnx\n",
        "x.pt",
        "",
        "x\0.onnx",
    ],
    ids=repr,
)
def test_files_outside_the_bundle_are_refused(name):
    (problem,) = manifest_problems(_changed("networks.0.path", name))
    assert problem.startswith("networks[0].path: ")


def test_all_problems_are_listed_at_once():
    manifest = _changed("sliding_window.overlap", 2)
    manifest["mirror_axes"] = [7]
    manifest["surprise"] = 1
    del manifest["version"]
    problems = "; ".join(manifest_problems(manifest))
    for part in ("sliding_window.overlap", "mirror_axes[0]", "'surprise'", "'version'"):
        assert part in problems


def test_all_contradictions_are_listed_at_once():
    manifest = _changed("outputs.labels.0.values", [4])
    manifest["preprocessing"][1]["channels"] *= 3
    manifest["sliding_window"]["patch_size"] = [1, 8, 8]
    assert len(manifest_problems(manifest)) == 3


RULES = [path for path in INVALID if path in {
    "activation-alone", "channels-alone", "values-alone", "softmax-regions", "sigmoid-no-order",
    "stride-of-spread", "no-stride", "resample-twice",
}]  # fmt: skip


@pytest.mark.parametrize("name", RULES)
def test_any_reader_of_json_schemas_finds_what_contradicts(name):
    """The rules stand in the schema, in words that we show, not in our code."""
    path, value, _ = INVALID[name]
    assert list(Draft202012Validator(manifest_schema()).iter_errors(_changed(path, value)))


LIMITS = {
    "many-steps": ("preprocessing", [{"step": "multiply", "by": 1.0}] * 10_000, "10000 items"),
    "many-mixed-items": ("mirror_axes", [[i] if i % 2 else {} for i in range(50_000)], "50000"),
    "long-text": ("version", "1" * 50_000_000, "50000000 characters"),
    "deep": ("preprocessing", json.loads("[" * 900 + "]" * 900), "nested more than 32 deep"),
    "huge-number": ("sliding_window.overlap", 1e300, "beyond 1e+15"),
    "huge-patch": ("sliding_window.patch_size", [10**9, 1, 1], "patch_size[0]: "),
    "tiny-spacing": ("preprocessing", [{**RESAMPLE, "spacing": [1e-9] * 3}], "spacing[0]: "),
    "nul": ("name", "a\0b", "name: "),
    "surrogate": ("source.license", "\ud800", "source.license: "),
    "control-characters": ("outputs.labels.0.name", "\x1b[2Jcord", "outputs.labels[0].name: "),
}


@pytest.mark.parametrize(("path", "value", "message"), LIMITS.values(), ids=LIMITS)
def test_what_no_model_needs_is_refused_by_its_size(path, value, message):
    """Fault 18: bounds, in messages that stay short."""
    problems = manifest_problems(_changed(path, value))
    assert any(message in problem for problem in problems), problems
    assert max(map(len, problems)) < 200
    assert all(problem.isprintable() for problem in problems)


SEEN = {"step": "field_of_view", "shape": [None, 8, 8], "mode": "symmetric", "value": 0.0}


@pytest.mark.parametrize(
    ("center", "step", "message"),
    [
        ({"task": "sc", "position": {"A": 0.6}, "source": "x"}, SEEN, None),
        ({"source": "x"}, SEEN, "a task or a position is needed"),
        ({"task": "sc"}, SEEN, "'source' is a required property"),
        ({"task": "../sc", "source": "x"}, SEEN, "does not match"),
        ({"position": {}, "source": "x"}, SEEN, "center.position: {}"),
        ({"position": {"A": 1.2}, "source": "x"}, SEEN, "1.2 is greater than"),
        ({"position": {"P": 0.4}, "source": "x"}, SEEN, "'P' was unexpected"),
        ({"task": "sc", "source": "x"}, RESAMPLE, "center needs the step field_of_view"),
    ],
)
def test_a_manifest_says_where_the_cord_is_to_be_looked_for(center, step, message):
    manifest = make_manifest()
    manifest["preprocessing"] = [step]
    problems = manifest_problems({**manifest, "center": center})
    assert [message in problem for problem in problems] == [True] * (message is not None), problems


def test_a_crop_around_a_prior_comes_first_and_with_a_prior():
    manifest, step = make_manifest(), {"step": "crop_around_prior", "margin_mm": [None, 12, 12]}
    prior = {"bundle": "other", "channels": ["t2"]}
    steps = list(manifest["preprocessing"])
    assert manifest_problems({**manifest, "preprocessing": [step, *steps], "prior": prior}) == []
    (alone,) = manifest_problems({**manifest, "preprocessing": [step, *steps]})
    assert "need prior" in alone
    late = {"step": "normalize", "channels": [{"scheme": "none"}]}
    (problem,) = manifest_problems({**manifest, "preprocessing": [late, step], "prior": prior})
    assert problem == "preprocessing[1]: crop_around_prior must be the first step"


@pytest.mark.parametrize("part", ["cord_crop", "prior", "center"])
def test_a_bundle_is_not_its_own_companion(part):
    """Fault 18."""
    manifest = make_manifest()
    if part == "prior":
        manifest["preprocessing"].append({"step": "crop_to_prior", "safety_factor": [1, 1, 1]})
        manifest["prior"] = {"bundle": manifest["name"], "channels": ["t2"]}
    elif part == "center":
        manifest["preprocessing"] = [SEEN]
        manifest["center"] = {"task": manifest["name"], "source": "x"}
    else:
        faces = ("superior", "inferior", "left", "right", "anterior", "posterior")
        padding = dict.fromkeys(faces, 1)
        manifest["cord_crop"] = {"detector": manifest["name"], "padding_mm": padding}
    (problem,) = manifest_problems(manifest)
    assert "cannot be its own" in problem


def test_a_key_that_is_there_twice_is_refused():
    """Fault 18: readers differ in which of the two they take."""
    with pytest.raises(ValueError, match="'name' is there twice"):
        parse_json('{"name": 1, "name": 2}')


def test_many_problems_are_counted():
    """Fault 18: a message is one line that can be read."""
    assert in_words(["a" * 100, "b" * 50, "c" * 50]) == "a" * 100 + "; " + "b" * 50 + "; and 1 more"
    assert in_words(["a", "b"]) == "a; b"


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-3, 10)
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
)
JSON = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(JSON)
def test_any_document_that_is_no_manifest_gives_problems(document):
    problems = manifest_problems(document)
    assert problems
    assert all(problems)


@settings(max_examples=300)
@given(st.sampled_from(sorted(KINDS)), st.data(), JSON)
def test_any_change_of_a_manifest_is_valid_or_gives_problems(kind, data, value):
    """Whatever is put wherever, validation ends, and never by an exception."""
    manifest = copy.deepcopy(make_manifest(kind))
    path = data.draw(st.sampled_from(_places(manifest)[1:]))
    place = _value(manifest, path[:-1])
    if isinstance(place, dict) and data.draw(st.booleans()):
        place[data.draw(st.text(max_size=8))] = value
    else:
        place[path[-1]] = value
    assert all(manifest_problems(manifest))
