"""The catalogue as people and programs read it: what there is, and where it stands here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from deepseg_lite.bundles.bundle import Bundle, Center, Label
from deepseg_lite.bundles.task_file import Task
from deepseg_lite.store import licenses
from deepseg_lite.store.receipts import verified
from deepseg_lite.store.tasks import (
    how_to_get,
    installed_path,
    list_tasks,
    look_for_bundle,
    resolve,
)

GROUPS = ("spinal cord", "gray matter", "pathology", "other")
RETIRED = "retired"
LEGEND = {
    "shipped": "in the package.",
    "ready": "in the local cache.",
    "not here": "deepseg-lite fetch TASK gets it.",
    "not supported yet": "deepseg-lite info TASK says why.",
}
"""What `standing` says, and what that means."""


def standing(task: Task) -> str:
    """Return where a task stands on this machine, in words."""
    path = installed_path(task)
    if path is not None:
        return "shipped" if path == task.bundle_path else "ready"
    return "not here" if task.exportable else "not supported yet"


def verifications(task: Task) -> list[dict[str, str]]:
    """Return the receipts of a task's bundle that hold on this machine, see `verified`."""
    path = installed_path(task)
    return [] if path is None else verified(path)


def here_in_words(task: Task) -> str:
    """Return where a task stands on this machine, and whether its results were verified here."""
    found = verifications(task)
    return f"{standing(task)}, verified here" if found else standing(task)


def grouped(tasks: Sequence[Task]) -> dict[str, list[Task]]:
    """Return tasks by group in the gallery's order, the retired ones last."""
    groups = {
        group: [task for task in tasks if task.group == group and not task.is_retired]
        for group in GROUPS
    }
    groups[RETIRED] = [task for task in tasks if task.is_retired]
    return {group: members for group, members in groups.items() if members}


def inputs_in_words(task: Task) -> str:
    """Return the contrasts of the images of one case."""
    return " + ".join(
        "/".join(item.contrasts) if len(item.contrasts) < 3 else f"{len(item.contrasts)} contrasts"
        for item in task.inputs
    )


def license_in_words(task: Task) -> str:
    """Return the licence of the weights, or that none is stated."""
    return licenses.in_words(task.license)


def listing(tasks: Sequence[Task]) -> str:
    """Return the catalogue as a table in plain text."""
    rows = [("TASK", "HERE", "INPUT", "LICENCE", "WHAT")]
    for group, members in grouped(tasks).items():
        rows.append((group.upper(), "", "", "", ""))
        rows += [
            (f"  {t.name}", here_in_words(t), inputs_in_words(t), license_in_words(t), t.title)
            for t in members
        ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    standings = {standing(task) for task in tasks}
    legend = [f"{name}: {meaning}" for name, meaning in LEGEND.items() if name in standings]
    return "\n".join([*lines, "", " ".join(legend)])


def row(task: Task) -> dict[str, Any]:
    """Return what a program wants to know of each task in a list."""
    return {
        "name": task.name,
        "aliases": list(task.aliases),
        "title": task.title,
        "group": task.group,
        "status": task.status,
        "standing": standing(task),
        "verified": verifications(task),
        "inputs": [asdict(item) for item in task.inputs],
        "license": task.license,
        "obstacle": None if task.exportable else task.releases[0].obstacle,
        "releases": [release.version for release in task.releases],
    }


def look_up(name: str) -> tuple[Bundle | None, Task | None]:
    """Return the task and the bundle of a name or path; a task needs no bundle to be looked up."""
    task = resolve(name, list_tasks())
    if task is not None and installed_path(task) is None:
        return None, task
    return look_for_bundle(name, retired=True)


def document(task: Task) -> dict[str, Any]:
    """Return all of a task file, completed, for programs."""
    facts = asdict(task)
    del facts["directory"]
    return {**facts, "standing": standing(task), "citation": task.citation}


def describe(bundle: Bundle | None, task: Task | None) -> dict[str, Any]:
    """Return what people ask about a task and its bundle, whichever of them there is."""
    facts: dict[str, Any] = {}
    if bundle is not None:
        facts |= _describe_bundle(bundle, task)
    if task is not None:
        facts |= {
            key: value
            for key, value in _describe_task(task).items()
            if key not in facts or facts[key] is None
        }
    return facts


def _verified(bundle: Bundle) -> list[str] | str:
    """Return when, and on which engines, verify found the original's result here."""
    found = [] if bundle.lone_file else verified(bundle.path)
    return [f"{each['date']} on {each['device']} in {each['precision']}" for each in found] or "no"


def _precisions(bundle: Bundle) -> list[str]:
    """Return in which precisions the networks are there, and how far each agrees with float32."""
    made, found = bundle.manifest.get("precisions", {}), []
    for name in dict.fromkeys(file.precision for file in bundle.files):
        rows = made.get(name, {}).get("agreement", [])
        dice = [score for row in rows for score in row["labels"].values() if score is not None]
        found.append(f"{name} (Dice to fp32 >= {min(dice):.4f})" if dice else name)
    return found


def _center(center: Center) -> str:
    """Return where the cord is looked for on request."""
    places = (center.position or {}).items()
    usual = ", ".join(f"{share:g} of the image towards {letter}" for letter, share in places)
    found = f"what {center.task} finds" if center.task else ""
    return f"{'; else '.join(filter(None, (found, usual)))} ({center.source})"


def _describe_bundle(bundle: Bundle, task: Task | None) -> dict[str, Any]:
    source, parity = bundle.manifest["source"], bundle.manifest.get("parity")
    errors = [check["max_abs_error"] for check in bundle.manifest["export"]["checks"]]
    orientation, crop = bundle.inputs.orientation, bundle.cord_crop
    return {
        "name": bundle.name,
        "version": bundle.version,
        "title": task.title if task else None,
        "inputs": list(bundle.inputs.channel_names),
        "orientation": f"any; brought to {orientation}" if orientation else "used as it is stored",
        "crop": f"around the cord, found by {crop.detector}" if crop else "none",
        **({"center prior": _center(bundle.center)} if bundle.center else {}),
        "labels": _labels(bundle.outputs.labels),
        "writes": _writes(bundle),
        "patch": " x ".join(str(n or "all") for n in bundle.sliding_window.patch_size),
        "folds": [network.fold for network in bundle.networks],
        "tta": "available" if bundle.mirror_axes else "not available (trained without mirroring)",
        "precisions": _precisions(bundle),
        "size": f"{bundle.size / 1e6:.1f} MB",
        "goes with": list(bundle.companions) or "no other bundle",
        "license": source["license"] or (task.license if task else None),
        "citation": source["citation"] or (task.citation if task else None),
        "export check": f"max |error| {max(errors):.1e}" if errors else None,
        "parity": parity
        and f"{parity['differing_voxels']} of {parity['voxels']} voxels differ from "
        f"{parity['reference']} on {parity['images']} images, Dice >= {parity['min_dice']:.4f}",
        "references": [each.name for each in bundle.references] or "none",
        "verified here": _verified(bundle),
        "path": str(bundle.path),
    }


def _describe_task(task: Task) -> dict[str, Any]:
    newest = task.releases[0]
    facts: dict[str, Any] = {
        "name": task.name,
        "title": task.title,
        "description": task.description,
        "here": standing(task),
        "group": task.group,
        "status": task.status,
    }
    if task.last_sct:
        facts["last SCT with it"] = task.last_sct
        facts["superseded by"] = list(task.superseded_by)
    facts |= {
        "aliases": list(task.aliases) or "none",
        "inputs": [
            " or ".join(item.contrasts) + (f" ({item.remark})" if item.remark else "")
            for item in task.inputs
        ],
        "labels": _labels(newest.stages[-1].labels),
        "SCT's outputs": [
            f"_{output.suffix}" + (f" (with {output.option})" if output.option else "")
            for output in newest.outputs
        ],
        "SCT's options": list(newest.options) or "the common ones",
        "license": task.license,
        "citation": task.citation,
    }
    facts["releases"] = [
        {
            "version": release.version,
            "sct": release.sct,
            "changes": release.changes,
            "obstacle": release.obstacle,
            "archives": [mirrors[0] for stage in release.stages for mirrors in stage.archives],
        }
        for release in task.releases
    ]
    if installed_path(task) is None:
        facts["to get it"] = how_to_get(task)
    return facts


def _writes(bundle: Bundle) -> list[str]:
    """Return the files of a run; those with an option say which."""
    if bundle.workflow is None:
        return [f"_{file.suffix} ({file.kind})" for file in bundle.outputs.files]
    return [
        f"_{file.suffix} ({file.output}{'' if option == 'default' else f' with --{option}'})"
        for option, files in bundle.workflow.files.items()
        for file in files
    ]


def _labels(labels: Sequence[Label]) -> list[str]:
    return [f"{label.name} = {'+'.join(map(str, label.values))}" for label in labels]


def facts_in_words(facts: dict[str, Any]) -> str:
    """Return facts as lines of name and value; what is not known says so."""
    blocks: dict[str, Callable[[Any], str]] = {"releases": _releases_in_words}
    width = max(map(len, facts))
    lines = []
    for name, value in facts.items():
        text = ", ".join(map(str, value)) if isinstance(value, list) else value
        if name in blocks:
            text = blocks[name](value).replace("\n", "\n" + " " * (width + 3))
        elif value is None:
            text = licenses.in_words(None) if name == "license" else "not recorded"
        lines.append(f"{name + ':':<{width + 1}}  {text}")
    return "\n".join(lines)


def _releases_in_words(releases: Sequence[dict[str, Any]]) -> str:
    lines = []
    for release in releases:
        head = release["version"] + (f" (SCT {release['sct']})" if release["sct"] else "")
        lines.append(f"{head}: {release['changes']}")
        if release["obstacle"]:
            lines.append(f"  not here: {release['obstacle']}")
        lines += [f"  {url}" for url in release["archives"]]
    return "\n".join(lines)
