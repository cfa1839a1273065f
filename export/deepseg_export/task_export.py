"""Exports by the name of a task: the official archives, what they say, and what people know."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from deepseg_export.archive import check_zip
from deepseg_export.checkpoint import file_sha256
from deepseg_export.downloads import Received, find_local, obtain
from deepseg_export.errors import UnsupportedError
from deepseg_export.exporting import export_nnunet, require_packages
from deepseg_export.families import Checkpoint, nnunet
from deepseg_export.families.nnunet.crop import CROP, DETECTOR
from deepseg_export.merging import merged
from deepseg_export.output import check_free
from deepseg_export.pins import check_pins, record_pins
from deepseg_lite import store
from deepseg_lite.errors import BundleNotFoundError, OptionError
from deepseg_lite.task_file import Release, Task
from deepseg_lite.tasks import closest_names, list_tasks, resolve

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Supply:
    """Where archives come from, and what becomes of them.

    ``sources`` are archives or folders on this machine. Without any, the official archives are
    downloaded; ``mirror`` is the address of a folder that is tried first.
    """

    sources: Sequence[Path] = ()
    mirror: str | None = None
    offline: bool = False
    keep_downloads: bool = False
    repin: bool = False


def export_task(
    name: str,
    output: Path | None = None,
    *,
    release: str | None = None,
    supply: Supply | None = None,
    options: nnunet.Options | None = None,
    force: bool = False,
) -> Path:
    """Export an official release of a task.

    Parameters
    ----------
    name : str
        A task's name or alias; retired ones, too.
    output : Path, optional
        Bundle directory; by default that of the local cache, where ``deepseg-lite run`` finds it.
    release : str, optional
        Its version; by default the newest that this version of the software exports and runs.
    supply : Supply, optional
        Where the archives come from; by default the network.
    options : Options, optional
        Folds, checkpoint, orientation and trust; the rest is the task file's.
    force : bool
        Replace the bundle that is there.

    Returns
    -------
    output : Path
        The bundle. Its files are pinned, and what was downloaded is gone.

    Raises
    ------
    BundleNotFoundError
        If there is no such task.
    OptionError
        If it has no such release, or nothing to download.
    UnsupportedError
        If something keeps the release from running, or the runtime cannot do what the model needs.
    ExportError
        If the archives are damaged or hostile, or not what they were at the first export.
    NetworkError
        If a download failed.
    OutputError
        If something cannot be written, or is in the way.
    """
    task = find_task(name)
    chosen = choose_release(task, release)
    supply, options = supply or Supply(), options or nnunet.Options()
    bundle = task.bundle_name(release)
    output = output or store.bundle_directory(bundle)
    check_free(output, force=force)
    require_packages()
    folder = downloads_folder(task, chosen)
    received: list[Received] = []
    sources = _on_disk(task, chosen, supply.sources)
    if not sources:
        received = _download(task, chosen, folder, supply)
        sources = [file.path for file in received]
    options = replace(
        options,
        name=bundle,
        release=chosen.version,
        license=task.license,
        citation=task.citation,
        urls=tuple(file.url for file in received),
    )
    files: dict[str, str] = {}

    def adapt(checkpoint: Checkpoint) -> Checkpoint:
        files.update(checkpoint.manifest["source"]["files"])
        if not supply.repin:
            check_pins(task.name, chosen.version, files)
        return merged(checkpoint, task, chosen, options)

    export_nnunet(sources, output, options, adapt=adapt, force=force)
    if CROP in files and store.locate(DETECTOR) is None:
        logger.info("It needs what finds the cord, too: deepseg-export cord-detector")
    archives = {path.name: file_sha256(path) for path in sources if path.is_file()}
    record_pins(task.name, chosen.version, files, archives, repin=supply.repin)
    if received and not supply.keep_downloads:
        shutil.rmtree(folder, ignore_errors=True)
        with suppress(OSError):  # another release of the task is waiting there
            folder.parent.rmdir()
    return output


def find_task(name: str) -> Task:
    """Return a task by its name or alias.

    Raises
    ------
    BundleNotFoundError
        If there is none; the closest names are shown.
    """
    tasks = list_tasks()
    task = resolve(name, tasks)
    if task is None:
        close = closest_names(name, tasks)
        names = close or [task.name for task in tasks]
        raise BundleNotFoundError(
            f"{name} is not a task ({'closest' if close else 'known'}: {', '.join(names)}); see "
            "deepseg-lite list. For a model of your own: deepseg-export nnunet MODEL -o DIR."
        )
    return task


def choose_release(task: Task, version: str | None) -> Release:
    """Return the release of a version, or the newest that can be exported.

    Raises
    ------
    UnsupportedError
        If something keeps it, or all of them, from being exported and run.
    OptionError
        If there is no such version.
    """
    release = task.release(version) if version else task.exportable or task.releases[0]
    if release.obstacle:
        raise UnsupportedError(
            f"{task.name} {release.version} cannot be exported: {release.obstacle}."
        )
    return release


def downloads_folder(task: Task, release: Release) -> Path:
    """Return where the archives of a release are kept until it is exported."""
    return store.home() / "downloads" / task.name / release.version


def find_archives(task: Task, release: Release, folder: Path) -> list[Path] | None:
    """Return the official archives of a release in a folder, or in its TASK/RELEASE below."""
    folders = [folder / task.name / release.version, folder]
    return find_local(folders, release.stages[0].archives)


def _on_disk(task: Task, release: Release, sources: Sequence[Path]) -> list[Path]:
    """Return what the user gave; a folder may hold the official archives."""
    if len(sources) == 1 and sources[0].is_dir():
        return find_archives(task, release, sources[0]) or list(sources)
    return list(sources)


def _download(task: Task, release: Release, folder: Path, supply: Supply) -> list[Received]:
    archives = release.stages[0].archives
    if not archives:
        raise OptionError(
            f"{task.name} {release.version} ships with deepseg_lite, nothing needs an export; give "
            "--from to export a model of your own in its place."
        )
    return [
        obtain(folder, urls, check_zip, mirror=supply.mirror, offline=supply.offline)
        for urls in archives
    ]
