"""Files as people name them: one by one, by folder, by pattern, or as a list with commas."""

from __future__ import annotations

import glob
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from deepseg_lite.cli import suggestions
from deepseg_lite.errors import ImageError, reason
from deepseg_lite.nifti.names import is_image_name, is_nifti_name
from deepseg_lite.text import shown

_RECORD_BYTES = 1 << 20
"""Longer files are no records of runs."""


class FilePath(click.ParamType):  # type: ignore[type-arg] # of click 8.1 it is not generic
    """Path of a file or a folder; ``~`` is the home folder, also where the shell left it alone."""

    name = "path"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """Return the path that a word names."""
        if isinstance(value, Path):
            return value
        if not value:
            self.fail("the name of a file or a folder is needed, and it is empty.", param, ctx)
        try:
            return expanded(value)
        except ImageError as error:
            self.fail(str(error), param, ctx)

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> Any:
        """Return how a word may go on."""
        return suggestions.files(ctx, param, incomplete)


class ModelName(FilePath):
    """Name of a task or the path of a bundle; an image in its place is named as one."""

    name = "text"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the name or path as a text."""
        if is_nifti_name(value):
            self.fail(
                f"{shown(value)} is an image, and a task or a bundle is needed here; "
                f"deepseg-lite run TASK -i {shown(value)} segments it.",
                param,
                ctx,
            )
        return str(super().convert(value, param, ctx)) if value.startswith("~") else value

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> Any:
        """Return how a word may go on."""
        return suggestions.models(ctx, param, incomplete)


def expanded(word: str) -> Path:
    """Return the path that a word names, with the home folder for ``~``.

    Raises
    ------
    ImageError
        If there is no such home folder.
    """
    if not word.startswith("~") or os.path.exists(word):
        return Path(word)
    try:
        return Path(word).expanduser()
    except RuntimeError:
        raise ImageError(f"{word} names a home folder that is not known; give its path.") from None


@dataclass(frozen=True)
class Found:
    """Images that one word names; ``remark`` says which, where it is not the name of an image."""

    images: tuple[Path, ...]
    remark: str | None = None


def find_images(word: str) -> Found:
    """Return the images that a word names.

    Parameters
    ----------
    word : str
        An image; a folder, of which all NIfTI images are taken, sorted by name; a pattern such as
        ``sub-*/anat/*.nii.gz``; or several of these with commas between them, where no file has
        that name. Of folders and patterns, results of earlier runs are left out.

    Raises
    ------
    ImageError
        If a folder or a pattern has no images.
    """
    path = expanded(word)
    if os.path.isdir(path):
        return _chosen(word, _listed(path), "folder")
    if not os.path.exists(path) and glob.has_magic(word):
        return _chosen(word, map(Path, glob.glob(str(path), recursive=True)), "pattern")
    parts = [part for part in word.split(",") if part]
    if len(parts) > 1 and not os.path.exists(path):
        found = [find_images(part) for part in parts]
        images = tuple(image for one in found for image in one.images)
        remarks = [one.remark for one in found if one.remark]
        return Found(images, "; ".join([f"{shown(word)}: {_count(images)}", *remarks]))
    return Found((path,))


def _listed(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError as error:
        raise ImageError(
            f"{shown(folder)} cannot be listed ({reason(error)}); give images one by one."
        ) from error


def _chosen(word: str, paths: Iterable[Path], kind: str) -> Found:
    """Return the images among files, without results of earlier runs."""
    from deepseg_lite.nifti.contents import holds_dicom, what_a_folder_is

    files = sorted(p for p in paths if is_image_name(p.name) and not p.name.startswith("."))
    results = {folder: _results_in(folder) for folder in {file.parent for file in files}}
    images = tuple(file for file in files if file.name not in results[file.parent])
    left_out = len(files) - len(images)
    but = f", without {left_out} results of earlier runs" if left_out else ""
    if not images and kind == "pattern":
        raise ImageError(
            f"{shown(word)} is no image, and as a pattern it matches none{but}; give images."
        )
    if not images and holds_dicom(expanded(word)):
        raise ImageError(f"{shown(word)} {what_a_folder_is(expanded(word))}.")
    if not images:
        raise ImageError(
            f"{shown(word)} is a folder with no .nii or .nii.gz images{but}; give images, or a "
            f"pattern such as '{shown(word)}/*/*.nii.gz'."
        )
    return Found(images, f"{shown(word)}: {_count(images)}{but}")


def _count(images: tuple[Path, ...]) -> str:
    return f"{len(images)} image{'s' if len(images) > 1 else ''}"


def _results_in(folder: Path) -> set[str]:
    """Return the names of the files in a folder that records of runs tell of."""
    names: set[str] = set()
    for file in _listed(folder):
        if file.suffix == ".json":
            names.update(_results_of(file))
    return names


def _results_of(file: Path) -> Iterable[str]:
    try:
        if file.stat().st_size > _RECORD_BYTES:
            return ()
        record = json.loads(file.read_bytes())
        made = [maker["Name"] for maker in record["GeneratedBy"]]
        names = record["SHA256"]
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return ()
    return names if "deepseg-lite" in made and isinstance(names, Mapping) else ()
