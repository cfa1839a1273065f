"""Exports by the name of a task: the official archives, what they say, and what people know."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from deepseg_export.exporting import export
from deepseg_export.families.checkpoint import Checkpoint
from deepseg_export.families.nnunet.crop import CROP, DETECTOR
from deepseg_export.families.table import FAMILIES, Family
from deepseg_export.packages import require_packages
from deepseg_export.reading.archive import check_zip
from deepseg_export.reading.checkpoint import file_sha256
from deepseg_export.references.kept import take_kept
from deepseg_export.references.original import References
from deepseg_export.tasks.choosing import choose_release, find_task
from deepseg_export.tasks.downloads import Progress, Received, find_local, obtain, silent
from deepseg_export.tasks.merging import merged
from deepseg_export.tasks.parts import Part, parts_of
from deepseg_export.tasks.pins import check_pins, record_pins
from deepseg_export.writing.output import staged_output
from deepseg_lite.bundles.task_file import Release, Task
from deepseg_lite.errors import OptionError
from deepseg_lite.store import cache

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Supply:
    """Supply of archives: their sources, and their use.

    ``sources`` are archives or folders on this machine. Without any, the official archives are
    downloaded; ``mirror`` is the address of a folder that is tried first. ``progress`` shows how
    far a download is.
    """

    sources: Sequence[Path] = ()
    mirror: str | None = None
    offline: bool = False
    keep_downloads: bool = False
    repin: bool = False
    progress: Progress = silent


def export_task(
    name: str,
    output: Path | None = None,
    *,
    release: str | None = None,
    supply: Supply | None = None,
    choices: Mapping[str, Any] | None = None,
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
    choices : dict, optional
        Options of the family, such as ``folds``; the rest is the task file's. None is no choice.
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
        If it has no such release, nothing to download, or is of a family without that option.
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
    supply = supply or Supply()
    bundle = task.bundle_name(release)
    output = output or cache.bundle_directory(bundle)
    parts = parts_of(task, chosen, bundle)
    # One bundle is of no use without the others: what was there stays until all of them are made.
    with ExitStack() as stack:
        staged = [  # left in the opposite order, so that the main one appears last
            stack.enter_context(
                staged_output(
                    output if part.is_main else output.parent / part.name,
                    force=force or not part.is_main,
                )
            )
            for part in reversed(parts)
        ][::-1]
        for index, (part, path) in enumerate(zip(parts, staged, strict=True)):
            repin = supply.repin and not index  # pins of all models are begun anew with the first
            _export_part(part, path, supply, choices or {}, repin=repin)
    if not supply.sources and not supply.keep_downloads:
        folder = downloads_folder(task, chosen)
        shutil.rmtree(folder, ignore_errors=True)
        with suppress(OSError):  # another release of the task is waiting there
            folder.parent.rmdir()
    return output


def _export_part(
    part: Part,
    output: Path,
    supply: Supply,
    choices: Mapping[str, Any],
    *,
    repin: bool,
) -> None:
    """Export one model of a release."""
    task, release = part.task, part.release
    family = FAMILIES[part.stage.family]
    given = _fitting(choices, family, task, release)
    options = family.options(**_known({**part.facts, **given}, family))
    require_packages(family.packages(options))
    received: list[Received] = []
    sources = _on_disk(part, supply.sources)
    if not sources:
        received = _download(part, supply)
        sources = [file.path for file in received]
    options = replace(options, urls=tuple(file.url for file in received))
    files: dict[str, str] = {}

    def adapt(checkpoint: Checkpoint) -> Checkpoint:
        files.update(part.pinned(checkpoint.manifest["source"]["files"]))
        if not supply.repin:
            check_pins(task.name, release.version, files)
        return merged(checkpoint, task, part.alone, given, part.others)

    export(
        lambda: family.load(sources, options),
        output,
        adapt=adapt,
        references=None if output.suffix == ".onnx" else _kept(part),
    )
    if CROP in files and cache.locate(DETECTOR) is None:
        logger.info("It needs what finds the cord, too: deepseg-export cord-detector")
    archives = {path.name: file_sha256(path) for path in sources if path.is_file()}
    record_pins(task.name, release.version, files, part.pinned(archives), repin=repin)


def _kept(part: Part) -> References:
    """Return what takes over the reference cases of a model that the task's folder keeps."""
    return lambda bundle, _: take_kept(bundle, part.references)


def _known(facts: Mapping[str, Any], family: Family) -> dict[str, Any]:
    """Return the facts that a family has a place for."""
    names = {field.name for field in fields(family.options)}
    return {name: value for name, value in facts.items() if name in names}


def _fitting(
    choices: Mapping[str, Any], family: Family, task: Task, release: Release
) -> dict[str, Any]:
    """Return what the user chose; refuse what the family has no place for."""
    made = {name: value for name, value in choices.items() if value not in (None, False)}
    if strange := sorted(made.keys() - _known(made, family).keys()):
        raise OptionError(
            f"{task.name} {release.version} is a model of {release.stages[0].family}, which has no "
            f"--{', --'.join(strange)}; leave that out."
        )
    return made


def downloads_folder(task: Task, release: Release) -> Path:
    """Return where the archives of a release are kept until it is exported."""
    return cache.home() / "downloads" / task.name / release.version


def find_archives(task: Task, release: Release, folder: Path) -> list[list[Path]] | None:
    """Return the official archives of each model of a release in a folder; None if some miss.

    They lie in the folder itself or in its TASK/RELEASE, for a cascade each in a STAGE below.
    """
    places = [folder / task.name / release.version, folder]
    found = []
    for stage in release.stages:
        below = stage.name if len(release.stages) > 1 else ""
        archives = find_local([place / below for place in places], stage.archives)
        if archives is None:
            return None
        found.append(archives)
    return found


def _on_disk(part: Part, sources: Sequence[Path]) -> list[Path]:
    """Return what the user gave for a model; a folder may hold the official archives."""
    if len(sources) == 1 and sources[0].is_dir():
        found = find_archives(part.task, part.release, sources[0])
        if found is not None:
            return found[part.index]
    stages = part.release.stages
    if len(stages) == 1 or not sources:
        return list(sources)
    if len(sources) != len(stages):
        raise OptionError(
            f"{part.task.name} {part.release.version} is {len(stages)} models "
            f"({', '.join(stage.name for stage in stages)}), and --from gives {len(sources)}; give "
            "one for each in this order, or a folder with a folder of archives for each."
        )
    return [sources[part.index]]


def _download(part: Part, supply: Supply) -> list[Received]:
    archives = part.stage.archives
    if not archives:
        raise OptionError(
            f"{part.task.name} {part.release.version} ships with deepseg_lite, nothing needs an "
            "export; give --from to export a model of your own in its place."
        )
    folder, mirror = downloads_folder(part.task, part.release), supply.mirror
    if len(part.release.stages) > 1:  # their archives may have the same names
        folder = folder / part.stage.name
        mirror = mirror and f"{mirror.rstrip('/')}/{part.stage.name}"
    return [
        obtain(
            folder,
            urls,
            check_zip,
            mirror=mirror,
            offline=supply.offline,
            progress=supply.progress,
        )
        for urls in archives
    ]
