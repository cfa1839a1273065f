"""Manifests: what a valid one is.

The form is ``manifest.schema.json`` beside this module; what a schema cannot say is checked here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from deepseg_lite.bundles.schemas import read_schema, schema_problems

_OTHERS = (
    ("cord_crop", "detector"),
    ("prior", "bundle"),
    ("workflow", "second"),
    ("center", "task"),
)
"""Where a manifest names another bundle."""


def manifest_schema() -> Mapping[str, Any]:
    """Return the JSON Schema of manifests."""
    return read_schema("manifest")


def manifest_problems(manifest: Any) -> list[str]:
    """Return every reason why a JSON document is not a valid manifest; empty when it is one."""
    return form_problems("manifest", manifest) or list(_cross_check(manifest))


def form_problems(form: str, manifest: Any) -> list[str]:
    """Return why a document does not fit the schema of a kind of manifest, or of its version."""
    if isinstance(manifest, dict) and manifest.get("schema") != 1:
        found = manifest.get("schema")
        return [f"schema is {found!r}; this version reads 1. Export the model again"]
    return schema_problems(form, manifest)


def _cross_check(manifest: Mapping[str, Any]) -> Iterator[str]:
    """Check what a schema cannot say: lists of one length, and names that stand elsewhere."""
    outputs, channels = manifest["outputs"], manifest["inputs"]["channel_names"]
    labels, order = outputs["labels"], outputs["regions_class_order"]
    if order is not None and len(order) != len(labels):
        yield "outputs.regions_class_order: sigmoid needs one value per label"
    decided = "values" not in outputs and outputs["activation"] == "softmax"
    if decided and [label["values"] for label in labels] != [[i + 1] for i in range(len(labels))]:
        yield "outputs.labels: softmax labels must have the values 1, 2, 3, ..."
    yield from _check_unique("outputs.labels", labels, "name")
    yield from _check_unique("networks", manifest["networks"], "fold")
    paths = [file for network in manifest["networks"] for file in _files(network)]
    yield from _check_unique("networks", paths, "path")
    yield from _check_files(outputs)
    yield from _check_references(manifest.get("references", ()), channels)
    workflow = manifest.get("workflow", {"files": {}})
    for option, files in workflow["files"].items():
        yield from _check_unique(f"workflow.files.{option}", files, "suffix")
    yield from _check_names("prior.channels", manifest.get("prior", {}).get("channels"), channels)
    for place, name in _companions(manifest):
        if name == manifest["name"]:
            yield f"{place}: a bundle cannot be its own"
    contrasts = manifest["inputs"].get("contrasts")
    yield from _check_count("inputs.contrasts", contrasts, channels)
    known = [contrast for channel in contrasts or () for contrast in channel]
    yield from _check_names("inputs.invert", manifest["inputs"].get("invert"), known)
    for index, step in enumerate(manifest["preprocessing"]):
        if step["step"] == "crop_around_prior" and index:
            yield f"preprocessing[{index}]: crop_around_prior must be the first step"
        if step["step"] == "normalize":
            yield from _check_count(f"preprocessing[{index}].channels", step["channels"], channels)
    for axis in manifest["mirror_axes"]:
        if manifest["sliding_window"]["patch_size"][axis] == 1:
            yield f"mirror_axes: axis {axis} of the patch has one voxel"


def _files(network: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [network, *network.get("variants", ()), *network.get("forms", ())]


def _companions(manifest: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for part, key in _OTHERS:
        if key in manifest.get(part, ()):
            yield f"{part}.{key}", manifest[part][key]


def _check_files(outputs: Mapping[str, Any]) -> Iterator[str]:
    known = [label["name"] for label in outputs["labels"]]
    files = outputs.get("files", ())
    yield from _check_unique("outputs.files", files, "suffix")
    for index, file in enumerate(files):
        yield from _check_names(f"outputs.files[{index}].labels", file.get("labels"), known)
        if file["kind"] == "soft" and len(file.get("labels", known)) != 1:
            yield f"outputs.files[{index}]: a soft file has one label"


def _check_references(
    references: Sequence[Mapping[str, Any]], channels: Sequence[str]
) -> Iterator[str]:
    yield from _check_unique("references", references, "name")
    files = [file for each in references for file in (*each.get("images", ()), each["labels"])]
    if len({file["path"].casefold() for file in files}) != len(files):
        yield "references: every path must be there once"
    for index, each in enumerate(references):
        yield from _check_count(f"references[{index}].images", each.get("images"), channels)
        if "phantom" in each and len(channels) != 1:
            yield f"references[{index}].phantom: it is one image, for {len(channels)} channels"


def _check_unique(place: str, items: Sequence[Mapping[str, Any]], key: str) -> Iterator[str]:
    if len({item[key] for item in items}) != len(items):
        yield f"{place}: every {key} must be there once"


def _check_names(place: str, names: Sequence[str] | None, known: Sequence[str]) -> Iterator[str]:
    if unknown := [name for name in names or () if name not in known]:
        yield f"{place}: {', '.join(unknown)} is none of {', '.join(known) or 'nothing'}"


def _check_count(place: str, items: Sequence[Any] | None, channels: Sequence[str]) -> Iterator[str]:
    if items is not None and len(items) != len(channels):
        yield f"{place}: {len(items)} entries for {len(channels)} input channels"
