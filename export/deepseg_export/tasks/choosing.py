"""Which task, and which of its releases, is meant."""

from __future__ import annotations

from deepseg_export.errors import UnsupportedError
from deepseg_lite.bundles.task_file import Release, Task
from deepseg_lite.errors import BundleNotFoundError
from deepseg_lite.store.tasks import closest_names, list_tasks, resolve


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
