"""Corrections by hand: masks marked ``-manual``, which go before results in quality control.

As the Spinal Cord Toolbox has it, they lie in ``derivatives/labels``, in the folder of the image
there, and are called as the result with ``-manual`` at the end. Source: neuropoly's
``manual-correction``, and the scripts of spine-generic.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from deepseg_lite.api.model import ResultFile
from deepseg_lite.dataset.layouts import Layout, place, structure_of
from deepseg_lite.nifti.names import is_image_name, stem

LABELS = "derivatives/labels"
MARK = "-manual"
ENDINGS: Mapping[str, str] = {
    "SC": "seg",
    "GM": "gmseg",
    "lesion": "lesion",
    "discs": "label-disc",
    "rootlets": "label-rootlets_dseg",
}
"""What ``manual_correction.py`` adds to the name of the image, by the structure."""


def list_manual(folders: Iterable[Path]) -> dict[str, str]:
    """Return the masks that are marked so in some folders, by their names without extension.

    Parameters
    ----------
    folders : iterable of Path
        Searched with all that is below; one that is not there has none. The first goes before the
        others.

    Returns
    -------
    masks : dict
        Absolute paths, by paths that are relative to the folder.
    """
    found: dict[str, str] = {}
    for folder in folders:
        for path in sorted(folder.glob(f"**/*{MARK}.nii*")):
            if is_image_name(path.name):
                relative = path.relative_to(folder)
                name = relative.with_name(stem(relative.name)).as_posix()
                found.setdefault(name, os.path.abspath(path))
    return found


def manual_of(
    case: str, file: ResultFile, structures: Mapping[str, str], masks: Mapping[str, str]
) -> str | None:
    """Return the mask that goes before a file of a case.

    Parameters
    ----------
    case : str
        Path of its first image without the extension, relative to the input.
    file : ResultFile
        What the file shows.
    structures : mapping of str to str
        Names of structures in data sets, from the task's file.
    masks : mapping of str to str
        From `list_manual`.
    """
    layouts: tuple[Layout, ...] = ("sct", "neuropoly")
    names = [place(each, case, file, structures).removesuffix(".nii.gz") for each in layouts]
    if (ending := ENDINGS.get(structure_of(file, structures))) is not None:
        names.append(f"{case}_{ending}")
    return next((masks[name + MARK] for name in names if name + MARK in masks), None)
