"""Official releases of models: the checkpoints that their owners publish, by the bundle's name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from deepseg_lite.bundles.task_file import Release, Task
from deepseg_lite.errors import OptionError
from deepseg_lite.store import licenses
from deepseg_lite.store.tasks import list_tasks


@dataclass(frozen=True)
class Official:
    """An official release, and how ``deepseg-export`` makes bundles of it.

    Attributes
    ----------
    name, version : str
        Whose release it is.
    bundle : str
        Name of the bundle; those of its other steps are called ``BUNDLE.STEP``.
    words : tuple of str
        Command of ``deepseg-export``, without the output.
    urls : tuple of str
        First addresses of the files.
    license : str or None
        Licence of the weights; None where none is stated.
    packages : tuple of str
        Packages that the conversion needs.
    is_cropped : bool
        Whether the catalogue expects a model of images cropped around the cord.
    obstacle : str or None
        What keeps it from being converted.
    """

    name: str
    version: str
    bundle: str
    words: tuple[str, ...]
    urls: tuple[str, ...]
    license: str | None = None
    packages: tuple[str, ...] = ("onnx", "h5py")
    is_cropped: bool = False
    obstacle: str | None = None

    @property
    def title(self) -> str:
        """Return name and version."""
        return f"{self.name} {self.version}"


_SC_CROP_URL = "https://github.com/ivadomed/sc-crop/releases/download/v0.0.11"
SC_CROP = Official(
    name="sc_crop",
    version="v0.0.11",
    bundle="sc_crop",
    words=("cord-detector",),
    urls=(f"{_SC_CROP_URL}/det_model.onnx", f"{_SC_CROP_URL}/cls_model.onnx"),
    packages=(),
)
"""What finds the cord for models of cropped images: ONNX files, which nothing needs to convert."""


def find_official(bundle: str) -> Official | None:
    """Return the release that a bundle, or that of one of its steps, is made of; None without."""
    if bundle == SC_CROP.bundle:
        return SC_CROP
    for task in list_tasks():
        for version in (None, *(release.version for release in task.releases)):
            release = task.release(version) if version else task.exportable or task.releases[0]
            name = task.bundle_name(version)
            names = [name, *(f"{name}.{stage.name}" for stage in release.stages)]
            if bundle in names and release.stages[0].archives:
                return _of_task(task, release, version)
    return None


def _of_task(task: Task, release: Release, version: str | None) -> Official:
    return Official(
        name=task.name,
        version=release.version,
        bundle=task.bundle_name(version),
        words=("task", task.name, *(("--release", version) if version else ())),
        urls=tuple(mirrors[0] for stage in release.stages for mirrors in stage.archives),
        license=task.license,
        is_cropped=any(stage.crop for stage in release.stages),
        obstacle=release.obstacle,
    )


def show_licenses(
    officials: Sequence[Official],
    *,
    yes: bool,
    show: Callable[[str], None],
    confirm: Callable[[str], bool] | None,
) -> None:
    """Show the licences of what is about to be downloaded, and have the user agree where needed.

    Parameters
    ----------
    officials : sequence of Official
        What is about to be downloaded.
    yes : bool
        Whether the user has agreed.
    show : callable
        Given a line for each.
    confirm : callable, optional
        Asks the user a question, and returns the answer.

    Raises
    ------
    OptionError
        If a licence does not leave all uses free, or none is stated, and the user does not agree.
    """
    for each in officials:
        first, *others = each.urls
        more = f" and {len(others)} more" if others else ""
        show(f"{each.title}: licence {licenses.in_words(each.license)}, {first}{more}")
    for each in officials if not yes else ():
        if not licenses.needs_consent(each.license):
            continue
        what = f"is {each.license}" if each.license else "is not stated"
        if confirm is None:
            raise OptionError(
                f"the licence of {each.title} {what}, so you must agree before anything is "
                "downloaded: see its model card and release, then give `yes`."
            )
        if not confirm(f"The licence of {each.title} {what}. Download it all the same?"):
            raise OptionError(f"{each.title} was not downloaded, as you did not agree.")
