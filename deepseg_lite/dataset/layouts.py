"""Layouts: where the results of a case go, and what they are called."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal

from deepseg_lite.api.model import FileKind, ResultFile
from deepseg_lite.dataset.names import ordered, parse
from deepseg_lite.errors import OptionError
from deepseg_lite.text import shown

Layout = Literal["bids", "neuropoly", "sct"]
BIDS_SUFFIX: Mapping[FileKind, str] = {
    "mask": "mask",
    "soft": "probseg",
    "labels": "dseg",
    "points": "dseg",
}
NEUROPOLY_SUFFIX: Mapping[FileKind, str] = {
    "mask": "seg",
    "soft": "softseg",
    "labels": "dseg",
    "points": "dlabel",
}
"""Of neuropoly's data sets: https://intranet.neuro.polymtl.ca/data/dataset-curation.html"""
BIDS_ENTITIES: Mapping[str, tuple[str, ...]] = {
    "anat": ("task", "acq", "ce", "rec", "run", "echo", "part", "chunk"),
    "func": ("task", "acq", "ce", "rec", "dir", "run", "echo", "part", "chunk"),
    "dwi": ("acq", "rec", "dir", "run", "part", "chunk"),
}
"""Entities that masks and segmentations may have, by their folder; tried with the validator."""
_FUNCTIONAL = ("bold", "sbref", "cbv")


def place(layout: Layout, case: str, file: ResultFile, structures: Mapping[str, str]) -> str:
    """Return where a file of a case goes, relative to the folder of all results.

    Parameters
    ----------
    layout : {"bids", "neuropoly", "sct"}
        Names of BIDS derivatives, those of neuropoly's data sets, or those of the Spinal Cord
        Toolbox.
    case : str
        Path of its first image without the extension, relative to the input.
    file : ResultFile
        What the file shows.
    structures : mapping of str to str
        Names of structures in data sets, from the task's file.

    Raises
    ------
    OptionError
        For ``bids``, if the image's name is not one of BIDS.
    """
    folder, _, name = case.rpartition("/")
    if layout == "sct":
        end = file.suffix.replace("/", "-")
    else:
        structure = structure_of(file, structures)
        end = f"label-{structure}_{NEUROPOLY_SUFFIX[file.kind]}"
    if layout == "bids":
        folder, name, end = _of_bids(case, file.kind, structure)
    path = f"{name}_{end}.nii.gz"
    return f"{folder}/{path}" if folder else path


def structure_of(file: ResultFile, structures: Mapping[str, str]) -> str:
    """Return what a file shows, as names of files have it: letters and digits alone."""
    if file.suffix in structures or not file.structures:
        names = [file.suffix]
    else:
        names = list(file.structures)
    return "".join(structures.get(name) or re.sub("[^A-Za-z0-9]", "", name) for name in names)


def _of_bids(case: str, kind: FileKind, structure: str) -> tuple[str, str, str]:
    """Return folder, beginning and end of a name in BIDS.

    What BIDS has no place for in the name of a result goes into ``desc``: the image's suffix, and
    entities such as ``inv``. Results of several images of a subject would have one name without it.
    """
    folder, _, name = case.rpartition("/")
    entities, suffix = parse(name)
    if not entities:
        raise OptionError(
            f"{shown(case)} has no name of BIDS, such as sub-01_T2w, so its results can have none; "
            "give `layout=sct` or `layout=neuropoly`."
        )
    datatype = folder.rpartition("/")[2]
    if datatype not in BIDS_ENTITIES:
        datatype = "func" if suffix in _FUNCTIONAL else "anat"
    known = ("sub", "ses", "space", *BIDS_ENTITIES[datatype])
    kept = {entity: value for entity, value in entities.items() if entity in known}
    others = [f"{entity}{value}" for entity, value in entities.items() if entity not in known]
    description = "".join(other.removeprefix("desc") for other in others) + suffix
    if kind in ("mask", "soft"):
        kept |= {"label": structure, "desc": description}
    else:
        kept["desc"] = structure + description
    above = [f"{entity}-{entities[entity]}" for entity in ("sub", "ses") if entity in entities]
    return "/".join([*above, datatype]), ordered(kept), BIDS_SUFFIX[kind]
