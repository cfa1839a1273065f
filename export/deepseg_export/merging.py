"""A model and its task file: the archive wins, and what only people know is added."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from deepseg_export import sct_rules
from deepseg_export.errors import CheckpointError
from deepseg_export.families import Checkpoint, nnunet
from deepseg_export.families.nnunet.crop import CROP
from deepseg_export.families.nnunet.plans import ORIENTATION_KEY
from deepseg_lite.task_file import Output, Release, Stage, Task

logger = logging.getLogger(__name__)

_YES_NO = ("no", "yes")


def merged(
    checkpoint: Checkpoint, task: Task, release: Release, options: nnunet.Options
) -> Checkpoint:
    """Return a model with what its task file adds; warn where the two disagree.

    Parameters
    ----------
    checkpoint : Checkpoint
        What the archive says.
    task, release : Task, Release
        What people expect of it; a release of one stage.
    options : Options
        The user's choices: what they overrule is not compared.

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
    for what, found, expected, remedy in _disagreements(checkpoint, stage, options):
        logger.warning(
            "%s: the archive says %s, the catalogue expected %s; the archive is used%s",
            *(what, found, expected, remedy),
        )
    names = [label["name"] for label in given["outputs"]["labels"]]
    steps = [_without(step, "forced") for step in stage.postprocessing if step.get("forced")]
    steps += [step for step in sct_rules.forced_steps(names) if step not in steps]
    manifest = {
        **given,
        "inputs": {
            **given["inputs"],
            **_inputs(task, stage, len(given["inputs"]["channel_names"])),
        },
        "ensemble": stage.ensemble,
        "outputs": {**given["outputs"], "files": _files(release.outputs, names)},
        "postprocessing": steps,
    }
    return replace(checkpoint, manifest=manifest)


def _disagreements(
    checkpoint: Checkpoint, stage: Stage, options: nnunet.Options
) -> Iterator[tuple[str, str, str, str]]:
    """Yield what differs, how it is in the archive and in the catalogue, and a remedy."""
    manifest, layout = checkpoint.manifest, stage.layout
    details, outputs = manifest["source"]["details"], manifest["outputs"]
    orientation = manifest["inputs"]["orientation"]
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
    channels = [str(len(names)) for names in (manifest["inputs"]["channel_names"], stage.channels)]
    compared: list[tuple[str, Sequence[str | None]]] = [
        ("labels", labels),
        ("regions_class_order", painted),
        ("number of channels", channels),
        ("configuration", (details["configuration"], layout.configuration)),
        ("trained-model folder", (details["folder"], layout.folder)),
        ("data set", (details["dataset"], layout.dataset)),
        ("crop around the cord", [_YES_NO[x] for x in ("cord_crop" in manifest, stage.crop)]),
    ]
    if options.folds is None:
        compared.append(("folds", (", ".join(checkpoint.networks), ", ".join(layout.folds))))
    for what, (found, expected) in compared:
        if expected and found != expected:
            yield what, str(found), expected, ""
    usual = stage.orientation
    if options.orientation is None and usual and orientation != usual:
        if details[ORIENTATION_KEY] is None:
            orientation = f"nothing, which is {orientation} by SCT's rule"
        yield "orientation", orientation, usual, f"; --orientation {usual} overrules it"


def _inputs(task: Task, stage: Stage, channel_count: int) -> dict[str, Any]:
    """Return what the task file says about the images of the network's channels."""
    by_name = {item.name: item for item in task.inputs}
    inputs = [by_name[name] for name in stage.channels]
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
