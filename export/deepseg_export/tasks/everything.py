"""Every task of the catalogue, exported one after the other."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from deepseg_export.errors import CheckpointError
from deepseg_export.families.table import FAMILIES
from deepseg_export.tasks.downloads import file_name
from deepseg_export.tasks.export import Supply, export_task, find_archives
from deepseg_lite.bundles.bundle import read_bundle
from deepseg_lite.bundles.files import MANIFEST_NAME
from deepseg_lite.bundles.task_file import Release, Task
from deepseg_lite.store import cache
from deepseg_lite.store.tasks import list_tasks

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outcome:
    """Outcome of one task: the bundle, or why there is none.

    ``path`` is ``direct`` where the networks became ONNX without PyTorch, ``torch`` where it
    converted them, and empty where there is nothing to convert. Of a failure it is the one that
    was to be taken.
    """

    task: str
    release: str
    result: str
    failed: bool = False
    path: str = ""


def export_all(
    output: Path | None = None,
    *,
    supply: Supply | None = None,
    choices: Mapping[str, Any] | None = None,
    force: bool = False,
) -> list[Outcome]:
    """Export every task of the catalogue, one after the other, whatever happens to the others.

    Parameters
    ----------
    output : Path, optional
        Folder of the bundles; by default the local cache.
    supply : Supply, optional
        Where archives come from; a source is a folder with the official archives.
    choices : dict, optional
        Options of every family, such as ``with_torch``.
    force : bool
        Replace bundles that are there; otherwise they stay as they are.

    Returns
    -------
    outcomes : list of Outcome
        One per task, by name. Obstacles and bundles that are there are no failures.
    """
    supply = supply or Supply()
    outcomes = []
    for task in list_tasks():
        release = task.exportable or task.releases[0]
        path = _path(release, with_torch=bool(choices and choices.get("with_torch")))
        try:
            result = _export_one(task, release, output, supply, choices or {}, force=force)
            failed, path = False, path and _recorded_path(_place(task, output))
        except Exception as error:  # one broken model must not keep the others from being exported
            logger.debug("", exc_info=error)
            first = (str(error).splitlines() or [type(error).__name__])[0]
            logger.warning("%s failed: %s", task.name, first)
            result, failed = f"failed: {first}", True
        outcomes.append(Outcome(task.name, release.version, result, failed, path))
    return outcomes


def _path(release: Release, *, with_torch: bool) -> str:
    """Return how the networks of a release are to become ONNX."""
    if release.obstacle or not release.stages[0].archives:
        return ""
    families = [FAMILIES[stage.family] for stage in release.stages]
    is_direct = all(family.is_direct for family in families) and not with_torch
    return "direct" if is_direct else "torch"


def _recorded_path(bundle: Path) -> str:
    """Return how the networks of a bundle became ONNX, by what they were checked against."""
    checks = read_bundle(bundle).manifest["export"]["checks"]
    against = {check.get("against", "torch") for check in checks}  # older bundles: torch alone
    return "torch" if against == {"torch"} else "direct"


def _place(task: Task, output: Path | None) -> Path:
    """Return where the bundle of a task is, or comes to be."""
    name = task.bundle_name()
    return cache.bundle_directory(name) if output is None else output / name


def _export_one(
    task: Task,
    release: Release,
    output: Path | None,
    supply: Supply,
    choices: Mapping[str, Any],
    *,
    force: bool,
) -> str:
    if release.obstacle:
        return release.obstacle
    archives = release.stages[0].archives
    if not archives:
        return "in the wheel"
    path = _place(task, output)
    if (path / MANIFEST_NAME).is_file() and not force:
        return f"there already: {path}"
    if supply.sources:
        having = (place for place in supply.sources if find_archives(task, release, place))
        folder = next(having, None)
        if folder is None:
            names = ", ".join(map(file_name, archives))
            raise CheckpointError(f"{names} not in {', '.join(map(str, supply.sources))}.")
        supply = replace(supply, sources=(folder,))
    logger.info("%s %s", task.name, release.version)
    return str(export_task(task.name, path, supply=supply, choices=choices, force=force))
