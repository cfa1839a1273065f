"""Manifests: what a valid one is.

The form is ``manifest.schema.json`` beside this module; what a schema cannot say is checked here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from deepseg_lite.bundles.schemas import read_schema, schema_problems


def manifest_schema() -> Mapping[str, Any]:
    """Return the JSON Schema of manifests."""
    return read_schema("manifest")


def manifest_problems(manifest: Any) -> list[str]:
    """Return every reason why a JSON document is not a valid manifest; empty when it is one."""
    return form_problems("manifest", manifest) or _cross_check(manifest)


def form_problems(form: str, manifest: Any) -> list[str]:
    """Return why a document does not fit the schema of a kind of manifest, or of its version."""
    if isinstance(manifest, dict) and manifest.get("schema") != 1:
        found = manifest.get("schema")
        return [f"schema is {found!r}; this version reads 1. Export the model again"]
    return schema_problems(form, manifest)


def _cross_check(manifest: Mapping[str, Any]) -> list[str]:
    """Check what a schema cannot say: fields that must agree with each other."""
    problems = []
    outputs, channels = manifest["outputs"], manifest["inputs"]["channel_names"]
    order = outputs["regions_class_order"]
    values = outputs.get("values")
    if values is None:
        if outputs["activation"] not in ("softmax", "sigmoid"):
            problems.append(f"outputs.activation: {outputs['activation']} needs values")
        problems += [
            f"outputs.{key}: goes with values"
            for key in ("channels", "before_undo")
            if key in outputs
        ]
    else:
        if "channels" not in outputs:
            problems.append("outputs.channels: values needs it")
        if order is not None:
            problems.append("outputs.regions_class_order: must be null with values")
    if (
        values is None
        and outputs["activation"] == "sigmoid"
        and (order is None or len(order) != len(outputs["labels"]))
    ):
        problems.append("outputs.regions_class_order: sigmoid needs one value per label")
    if values is None and outputs["activation"] == "softmax":
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
    window = manifest["sliding_window"]
    unwanted = "overlap" if window["placement"] in ("stride", "clamped_stride") else "stride"
    if unwanted in window:
        problems.append(f"sliding_window.{unwanted}: does not go with {window['placement']}")
    wants_prior = any(step["step"] == "crop_to_prior" for step in manifest["preprocessing"])
    if wants_prior != ("prior" in manifest):
        problems.append("prior: goes with the step crop_to_prior")
    if unknown := [n for n in manifest.get("prior", {}).get("channels", ()) if n not in channels]:
        problems.append(f"prior.channels: {', '.join(unknown)} is none of the input channels")
    problems += _check_files(outputs)
    problems += _check_workflow(manifest.get("workflow"), channels)
    contrasts = manifest["inputs"].get("contrasts")
    if contrasts is not None and len(contrasts) != len(channels):
        problems.append(
            f"inputs.contrasts: {len(contrasts)} entries for {len(channels)} input channels"
        )
    known = {contrast for channel in contrasts or () for contrast in channel}
    if unknown := [name for name in manifest["inputs"].get("invert", ()) if name not in known]:
        problems.append(f"inputs.invert: {', '.join(unknown)} is none of the contrasts")
    for index, step in enumerate(manifest["preprocessing"]):
        if step["step"] == "normalize" and len(step["channels"]) != len(channels):
            problems.append(
                f"preprocessing[{index}].channels: {len(step['channels'])} entries for "
                f"{len(channels)} input channels"
            )
    if sum(step["step"] == "resample" for step in manifest["preprocessing"]) > 1:
        problems.append("preprocessing: resample must be there at most once")
    patch_size = window["patch_size"]
    problems += [
        f"mirror_axes: axis {axis} of the patch has one voxel"
        for axis in manifest["mirror_axes"]
        if patch_size[axis] == 1
    ]
    return problems


def _check_workflow(workflow: Mapping[str, Any] | None, channels: Sequence[str]) -> list[str]:
    problems = []
    if workflow is None:
        return []
    if len(channels) != 1:
        problems.append(f"workflow: needs one input channel, not {len(channels)}")
    for option, files in workflow["files"].items():
        if len({file["suffix"] for file in files}) != len(files):
            problems.append(f"workflow.files.{option}: every suffix must be there once")
    return problems


def _check_files(outputs: Mapping[str, Any]) -> list[str]:
    problems = []
    files, known = outputs.get("files"), [label["name"] for label in outputs["labels"]]
    if files is None:
        return []
    if "values" not in outputs and all(file["kind"] == "soft" for file in files):
        problems.append("outputs.files: one that is not soft is needed")
    if len({file["suffix"] for file in files}) != len(files):
        problems.append("outputs.files: every suffix must be there once")
    for index, file in enumerate(files):
        if unknown := [name for name in file.get("labels", ()) if name not in known]:
            problems.append(f"outputs.files[{index}]: no label {', '.join(unknown)}")
        if file["kind"] == "soft" and len(file.get("labels", known)) != 1:
            problems.append(f"outputs.files[{index}]: a soft file has one label")
        if file["kind"] == "labels" and "labels" in file:
            problems.append(f"outputs.files[{index}]: a label map has all labels")
    return problems
