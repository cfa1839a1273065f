"""A model and its task file: the archive wins, and what only people know is added."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from deepseg_export.errors import CheckpointError
from deepseg_export.families.checkpoint import Checkpoint
from deepseg_export.families.nnunet.crop import CROP
from deepseg_export.families.nnunet.plans import ORIENTATION_KEY
from deepseg_export.tasks import sct_rules
from deepseg_lite.bundles.task_file import Output, Release, Stage, Task

logger = logging.getLogger(__name__)

_YES_NO = ("no", "yes")


def merged(
    checkpoint: Checkpoint,
    task: Task,
    release: Release,
    chosen: Collection[str] = (),
    companions: Sequence[str] = (),
) -> Checkpoint:
    """Return a model with what its task file adds; warn where the two disagree.

    Parameters
    ----------
    checkpoint : Checkpoint
        What the archive says.
    task, release : Task, Release
        What people expect of it; a release of one stage.
    chosen : collection of str
        Names of the options that the user gave: what they overrule is not compared.
    companions : sequence of str
        Names of the bundles of the release's other models.

    Raises
    ------
    CheckpointError
        If the volumes it was trained on were cropped and the archive does not say how.
    """
    (stage,) = release.stages
    given = checkpoint.manifest
    if stage.crop and "cord_crop" not in given:
        raise CheckpointError(
            f"{task.name} {release.version} needs {CROP}, which says how the image is "
            "cropped around the cord, and the archive has none; get the archive again."
        )
    for what, found, expected, remedy in _disagreements(checkpoint, release, chosen):
        logger.warning(
            "%s: the archive says %s, the catalogue expected %s; the archive is used%s",
            *(what, found, expected, remedy),
        )
    added = _inputs(task, stage, len(given["inputs"]["channel_names"]))
    manifest = {
        **given,
        "inputs": {**given["inputs"], **added},
        "ensemble": stage.ensemble,
        **(
            {} if _names_files(given) or not release.outputs else _added(given, release, companions)
        ),
    }
    return replace(checkpoint, manifest=manifest)


def _names_files(manifest: Mapping[str, Any]) -> bool:
    """Tell whether a model says itself what its files are and what comes before them."""
    return "files" in manifest["outputs"]


def _added(given: Mapping[str, Any], release: Release, companions: Sequence[str]) -> dict[str, Any]:
    """Return what SCT makes of a label map: a workflow, or files and the steps that it forces."""
    if release.workflow is not None:
        (second,) = companions
        return {"workflow": {**release.workflow, "second": second, "rules": release.rules}}
    (stage,) = release.stages
    names = [label["name"] for label in given["outputs"]["labels"]]
    steps = [_without(step, "forced") for step in stage.postprocessing if step.get("forced")]
    steps += [step for step in sct_rules.forced_steps(names) if step not in steps]
    files = _files(release.outputs, names)
    return {"outputs": {**given["outputs"], "files": files}, "postprocessing": steps}


def _disagreements(
    checkpoint: Checkpoint, release: Release, chosen: Collection[str]
) -> Iterator[tuple[str, str, str, str]]:
    """Yield what differs, how it is in the archive and in the catalogue, and a remedy."""
    (stage,) = release.stages
    manifest, layout = checkpoint.manifest, stage.layout
    details, used = manifest["source"]["details"], manifest["source"]["files"]
    channels = [str(len(names)) for names in (manifest["inputs"]["channel_names"], stage.channels)]
    compared: list[tuple[str, Sequence[str | None]]] = [
        *(_result_files if _names_files(manifest) else _labels)(manifest["outputs"], release),
        ("number of channels", channels),
        ("crop around the cord", [_YES_NO[x] for x in ("cord_crop" in manifest, stage.crop)]),
    ]
    known = (
        ("configuration", "configuration", layout.configuration),
        ("trained-model folder", "folder", layout.folder),
        ("data set", "dataset", layout.dataset),
    )
    compared += [(what, (details[key], value)) for what, key, value in known if key in details]
    if "folds" not in chosen:
        compared.append(("folds", (", ".join(checkpoint.networks), ", ".join(layout.folds))))
    for what, (found, expected) in compared:
        if expected and found != expected:
            yield what, str(found), expected, ""
    kinds = {name.rpartition(".")[2] for name in used}
    if layout.weights and not kinds & set(layout.weights):
        yield "weights", ", ".join(sorted(used)), f".{' or .'.join(layout.weights)}", ""
    inputs = manifest["inputs"]
    usual = stage.orientation
    orientation = inputs["orientation"] or inputs.get("training_orientation")
    if "orientation" not in chosen and usual and orientation != usual:
        can_choose = ORIENTATION_KEY in details
        if can_choose and details[ORIENTATION_KEY] is None:
            orientation = f"nothing, which is {orientation} by SCT's rule"
        remedy = f"; --orientation {usual} overrules it" if can_choose else ""
        yield "orientation", orientation, usual, remedy


def _labels(outputs: Mapping[str, Any], release: Release) -> list[tuple[str, list[str]]]:
    """Return what the labels of a label map are, and what people expect."""
    (stage,) = release.stages
    painted = [
        ", ".join(map(str, order or ())) or "none"
        for order in (outputs["regions_class_order"], stage.regions_class_order)
    ]
    labels = [
        ", ".join(f"{name}={'+'.join(map(str, values))}" for name, values in pairs)
        for pairs in (
            [(label["name"], label["values"]) for label in outputs["labels"]],
            [(label.name, label.values) for label in stage.labels],
        )
    ]
    return [("labels", labels), ("regions_class_order", painted)]


def _result_files(outputs: Mapping[str, Any], release: Release) -> list[tuple[str, list[str]]]:
    """Return which files a model says it gives, and what people expect."""
    files = [
        ", ".join(f"_{suffix} ({kind})" for suffix, kind in pairs)
        for pairs in (
            [(file["suffix"], file["kind"]) for file in outputs["files"]],
            [(output.suffix, output.kind) for output in release.outputs],
        )
    ]
    return [("files", files)]


def _inputs(task: Task, stage: Stage, channel_count: int) -> dict[str, Any]:
    """Return what the task file says about the images of the network's channels."""
    by_name = {item.name: item for item in task.inputs}
    inputs = [by_name[name] for name in stage.channels if name in by_name]
    advice = " ".join(item.advice for item in inputs if item.advice)
    added: dict[str, Any] = {"advice": advice} if advice else {}
    if len(inputs) == channel_count and not any("any" in item.contrasts for item in inputs):
        added["contrasts"] = [list(item.contrasts) for item in inputs]
        if inverted := [name for item in inputs for name in item.invert]:
            added["invert"] = list(dict.fromkeys(inverted))
    return added


def _files(outputs: Sequence[Output], names: Sequence[str]) -> list[dict[str, Any]]:
    """Return the files to write: the catalogue's where they fit the archive's labels, else SCT's.

    They fit when no label that they name is missing, and no label of the archive is left out.
    """
    files = [_file(output) for output in outputs]
    soft = [file for file in files if file["kind"] == "soft"]
    named = {name for file in files for name in file.get("labels", names)}
    if named == set(names):
        return files
    files = sct_rules.files_of(names) + [
        file for file in soft if set(file.get("labels", names)) <= set(names)
    ]
    logger.warning(
        "Files are named by the archive's labels: %s", ", ".join(f["suffix"] for f in files)
    )
    return files


def _file(output: Output) -> dict[str, Any]:
    labels = {"labels": list(output.labels)} if output.labels else {}
    return {"suffix": output.suffix, "kind": output.kind, **labels}


def _without(step: Mapping[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in step.items() if name != key}
