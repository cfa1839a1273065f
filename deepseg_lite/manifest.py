"""Manifests: what a valid one is.

The form is ``manifest.schema.json`` beside this module; what a schema cannot say is checked here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from math import isfinite
from typing import Any


@cache
def manifest_schema() -> Mapping[str, Any]:
    """Return the JSON Schema of manifests."""
    text = files("deepseg_lite").joinpath("manifest.schema.json").read_text(encoding="utf-8")
    schema: Mapping[str, Any] = json.loads(text)
    return schema


@cache
def _validator() -> Any:
    """Return a validator that takes 1.0 for no integer and NaN or infinity for no number."""
    from jsonschema import Draft202012Validator
    from jsonschema.validators import extend

    def is_integer(_: Any, value: Any) -> bool:
        return type(value) is int

    def is_number(_: Any, value: Any) -> bool:
        return type(value) is int or (type(value) is float and isfinite(value))

    types = Draft202012Validator.TYPE_CHECKER.redefine_many(
        {"integer": is_integer, "number": is_number}
    )
    return extend(Draft202012Validator, type_checker=types)(manifest_schema())


def manifest_problems(manifest: Any) -> list[str]:
    """Return every reason why a JSON document is not a valid manifest; empty when it is one."""
    if isinstance(manifest, dict) and manifest.get("schema") != 1:
        found = manifest.get("schema")
        return [f"schema is {found!r}; this version reads 1. Export the model again"]
    errors = _validator().iter_errors(manifest)
    problems = [
        f"{error.json_path.removeprefix('$').removeprefix('.') or 'manifest'}: {error.message}"
        for error in sorted(errors, key=lambda error: [str(part) for part in error.absolute_path])
    ]
    return problems or _cross_check(manifest)


def _cross_check(manifest: Mapping[str, Any]) -> list[str]:
    """Check what a schema cannot say: fields that must agree with each other."""
    problems = []
    outputs, channels = manifest["outputs"], manifest["inputs"]["channel_names"]
    order = outputs["regions_class_order"]
    if outputs["activation"] == "sigmoid" and (
        order is None or len(order) != len(outputs["labels"])
    ):
        problems.append("outputs.regions_class_order: sigmoid needs one value per label")
    if outputs["activation"] == "softmax":
        if order is not None:
            problems.append("outputs.regions_class_order: must be null for softmax")
        if [label["values"] for label in outputs["labels"]] != [
            [i + 1] for i in range(len(outputs["labels"]))
        ]:
            problems.append("outputs.labels: softmax labels must have the values 1, 2, 3, ...")
    for kind, items, key in (
        ("outputs.labels", outputs["labels"], "name"),
        ("networks", manifest["networks"], "fold"),
        ("networks", manifest["networks"], "path"),
    ):
        if len({item[key] for item in items}) != len(items):
            problems.append(f"{kind}: every {key} must be there once")
    for index, step in enumerate(manifest["preprocessing"]):
        if step["step"] == "normalize" and len(step["channels"]) != len(channels):
            problems.append(
                f"preprocessing[{index}].channels: {len(step['channels'])} entries for "
                f"{len(channels)} input channels"
            )
    if sum(step["step"] == "resample" for step in manifest["preprocessing"]) > 1:
        problems.append("preprocessing: resample must be there at most once")
    patch_size = manifest["sliding_window"]["patch_size"]
    problems += [
        f"mirror_axes: axis {axis} of the patch has one voxel"
        for axis in manifest["mirror_axes"]
        if patch_size[axis] == 1
    ]
    return problems
