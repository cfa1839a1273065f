"""Tasks: what a user asks for by name. One directory each under ``models/``."""

from __future__ import annotations

import difflib
import os
from collections.abc import Sequence
from pathlib import Path

from deepseg_lite.bundles.bundle import Bundle, read_bundle
from deepseg_lite.bundles.files import MANIFEST_NAME
from deepseg_lite.bundles.task_file import TASK_FILE, Task, read_names, read_task
from deepseg_lite.errors import BundleError, BundleNotFoundError, OptionError
from deepseg_lite.store.cache import is_name, locate, models_directory
from deepseg_lite.store.lock import check_lock


def list_tasks(directory: Path | None = None) -> list[Task]:
    """Return every task of a models folder (default: the one that ships), sorted by name."""
    return [read_task(folder) for folder in _folders(directory)]


def shipped_bundles(directory: Path | None = None) -> list[Path]:
    """Return the bundles that ship with the package."""
    paths = [task.bundle_path for task in list_tasks(directory)]
    return [path for path in paths if (path / MANIFEST_NAME).is_file()]


def find_task(name: str, directory: Path | None = None) -> Task | None:
    """Return the task of a name or alias in any spelling; None when there is none.

    Of the other tasks of the folder only the names are read: to check them all takes a tenth of a
    second.
    """
    folded = _folded(name)
    for folder in _folders(directory) if is_name(name) else ():
        if folded in map(_folded, read_names(folder)):
            return read_task(folder)
    return None


def task_names(directory: Path | None = None) -> list[str]:
    """Return the names and aliases of all tasks, whatever else their files say."""
    return [name for folder in _folders(directory) for name in read_names(folder)]


def _folders(directory: Path | None) -> list[Path]:
    root = models_directory() if directory is None else directory
    return [file.parent for file in sorted(root.glob(f"*/{TASK_FILE}"))]


def _folded(name: str) -> str:
    """Fold what does not tell names apart: case, and hyphens against underscores."""
    return name.casefold().replace("-", "_")


def resolve(name: str, tasks: Sequence[Task]) -> Task | None:
    """Return the task of a name or alias in any spelling; None when there is none."""
    folded = _folded(name)
    for task in tasks:
        if folded in map(_folded, (task.name, *task.aliases)):
            return task
    return None


def closest_names(name: str, tasks: Sequence[Task]) -> list[str]:
    """Return the names and aliases that are most like a name nobody has."""
    names = {_folded(n): n for task in tasks for n in (*reversed(task.aliases), task.name)}
    return [names[n] for n in difflib.get_close_matches(_folded(name), names, n=3, cutoff=0.4)]


def installed_path(task: Task, release: str | None = None) -> Path | None:
    """Return where the task's bundle is on this machine: shipped, or in the local cache.

    Without a release it is the one under the task's own name, else the newest that is here.
    """
    found = []
    if (task.bundle_path / MANIFEST_NAME).is_file():
        found.append(task.bundle_path)
    versions = [None, *(item.version for item in task.releases)]
    found += [path for version in versions if (path := locate(task.bundle_name(version)))]
    if release is not None:
        found = [path for path in found if read_bundle(path).version == release]
    return found[0] if found else None


def bundle_of(name: str, release: str | None = None) -> tuple[str, Path | None]:
    """Return the name of a task's bundle, by name or alias, and where it is if it ships.

    Raises
    ------
    OptionError
        If there is no such release, or a release was given of what is no task.
    """
    task = find_task(name)
    if task is None:
        if release is not None:
            raise OptionError(f"{name} is no task, so it has no releases; leave `release` out.")
        return name, None
    if release is not None:
        task.release(release)
    ships = installed_path(task, release) == task.bundle_path
    return task.bundle_name(release), task.bundle_path if ships else None


def find_bundle(
    name: str,
    directory: Path | None = None,
    *,
    release: str | None = None,
    retired: bool = False,
) -> tuple[Bundle, Task | None]:
    """Return the bundle of a task's name or alias, or of a path, to run it.

    Raises
    ------
    BundleNotFoundError, OptionError, BundleError
        As `look_for_bundle`.
    ChecksumError
        If it is not the bundle of the lock in force.
    """
    bundle, task = look_for_bundle(name, directory, release=release, retired=retired)
    check_lock(bundle)
    return bundle, task


def look_for_bundle(
    name: str,
    directory: Path | None = None,
    *,
    release: str | None = None,
    retired: bool = False,
) -> tuple[Bundle, Task | None]:
    """Return the bundle of a task's name or alias, or of a path, whatever a lock says.

    Names come first: a folder of the same name must be given as ``./name``.

    Parameters
    ----------
    name : str
        A task's name or alias, the name of a bundle in the local cache, or a bundle's path.
    directory : path, optional
        A models folder; default the one that ships.
    release : str, optional
        Release of the task's model; default as `installed_path`.
    retired : bool
        Whether a retired task is what the caller wants.

    Raises
    ------
    BundleNotFoundError
        If it is neither; the closest task names are shown. Or if the task's bundle is not on this
        machine; the message ends with the command that gets it.
    OptionError
        If the task is retired and was not asked for as such, or has no such release.
    BundleError
        If the bundle is invalid.
    """
    task = find_task(name, directory)
    if task is not None:
        if task.is_retired and not retired:
            raise OptionError(
                f"{task.name} ({task.title}) is retired: SCT {task.last_sct} was the last with it. "
                f"Use {' and '.join(task.superseded_by)} instead, or ask for it with `retired` "
                "(in Python retired=True)."
            )
        if release is not None:
            task.release(release)
        path = installed_path(task, release)
        if path is None:
            wanted = task.name if release is None else f"{task.name} {release}"
            raise BundleNotFoundError(
                f"no bundle of {wanted} is on this machine; to get it: {how_to_get(task, release)}"
            )
        return read_bundle(path), task
    path = locate(name) or Path(name)
    if os.path.exists(path):  # unlike Path.exists, never raises
        bundle = read_bundle(path)
        if release not in (None, bundle.version):
            raise OptionError(f"{path} is release {bundle.version}, not {release}.")
        return bundle, None
    tasks = list_tasks(directory)
    close = closest_names(name, tasks)
    names = close or [task.name for task in tasks]
    raise BundleNotFoundError(
        f"{name} is neither a task nor the path of a bundle "
        f"({'closest' if close else 'known'}: {', '.join(names)}); "
        "see deepseg-lite list, or make a bundle with deepseg-export."
    )


def find_beside(name: str, bundle: Bundle) -> Bundle:
    """Return the bundle of that name that another one needs, to run it.

    Raises
    ------
    BundleNotFoundError, BundleError
        As `look_for_beside`.
    ChecksumError
        If it is not the bundle of the lock in force.
    """
    found = look_for_beside(name, bundle)
    check_lock(found)
    return found


def look_for_beside(name: str, bundle: Bundle) -> Bundle:
    """Return the bundle of that name that another one needs: beside it, or in the local cache.

    Raises
    ------
    BundleNotFoundError
        If it is in neither place.
    BundleError
        If it is invalid, or needs another one itself.
    """
    for path in (bundle.path.parent / name, locate(name)):
        if path is not None and (path / MANIFEST_NAME).is_file():
            found = read_bundle(path)
            if found.companions:
                raise BundleError(
                    f"{found.name}, which {bundle.name} needs, needs other bundles itself, which "
                    f"none may. Get {bundle.name} again."
                )
            return found
    raise BundleNotFoundError(
        f"{bundle.name} needs the bundle {name}, which is another step of it; get it with "
        f"deepseg-lite fetch {bundle.name}, or put its folder beside {bundle.path}."
    )


def how_to_get(task: Task, version: str | None = None) -> str:
    """Return the command that gets a task's bundle to this machine, or why there is none yet."""
    release = task.release(version) if version else task.exportable or task.releases[0]
    if release.obstacle:
        return f"not yet: {release.obstacle}"
    return f"deepseg-lite fetch {task.name}" + (f" --release {version}" if version else "")
