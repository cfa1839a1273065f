"""Names of files as BIDS reads them: entities, suffix and extension."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from deepseg_lite.nifti.names import is_image_name, stem

ENTITIES: Mapping[str, str] = {
    "subject": "sub",
    "session": "ses",
    "sample": "sample",
    "task": "task",
    "acquisition": "acq",
    "ceagent": "ce",
    "reconstruction": "rec",
    "direction": "dir",
    "run": "run",
    "echo": "echo",
    "flip": "flip",
    "inversion": "inv",
    "mtransfer": "mt",
    "part": "part",
    "chunk": "chunk",
    "space": "space",
    "resolution": "res",
    "density": "den",
    "label": "label",
    "description": "desc",
}
"""Names of entities in filter files, and in names of files; in the order of the latter."""
INDICES = ("run", "echo", "flip", "inv", "chunk")
"""Entities that are numbers, whatever zeros are before them."""
DATATYPES = ("anat", "dwi", "fmap", "func", "perf")
"""Folders of a BIDS data set that hold images of magnetic resonance."""
CONTRASTS: Mapping[str, Mapping[str, str]] = {
    "t1": {"suffix": "T1w"},
    "t2": {"suffix": "T2w"},
    "t2star": {"suffix": "T2starw"},
    "bold": {"suffix": "bold"},
    "stir": {"suffix": "STIR"},
    "psir": {"suffix": "PSIR"},
    "mp2rage-unit1": {"suffix": "UNIT1"},
    "mp2rage-inv1": {"suffix": "MP2RAGE", "inv": "1"},
    "mp2rage-inv2": {"suffix": "MP2RAGE", "inv": "2"},
}
"""How the contrasts of task files are called in names; a task of any contrast takes all."""
_ENTITY = re.compile(r"([a-zA-Z0-9]+)-([a-zA-Z0-9+]+)")
_SUFFIX = re.compile(r"[a-zA-Z0-9]+")


@dataclass(frozen=True, slots=True)
class Image:
    """Image of a data set, by its name.

    Attributes
    ----------
    path : str
        Where it is, relative to the data set, with forward slashes.
    entities : mapping of str to str
        Of its name, in their order; empty where the name is not one of BIDS.
    suffix : str
        Last part of its name, such as T2w; empty likewise.
    is_here : bool
        Whether it is more than a link to a file that is not here.
    """

    path: str
    entities: Mapping[str, str]
    suffix: str
    is_here: bool = True

    @property
    def folder(self) -> str:
        """Return the folder it is in, relative to the data set; empty for the data set itself."""
        return self.path.rpartition("/")[0]

    @property
    def datatype(self) -> str:
        """Return the folder's own name, such as anat."""
        return self.folder.rpartition("/")[2]

    @property
    def stem(self) -> str:
        """Return its name without the extension."""
        return stem(self.path)

    @property
    def id(self) -> str:
        """Return its path without the extension."""
        return f"{self.folder}/{self.stem}" if self.folder else self.stem


def read_image(path: str, *, is_here: bool = True) -> Image | None:
    """Return the image of a relative path; None where it is no image."""
    if not is_image_name(path):
        return None
    entities, suffix = parse(stem(path))
    return Image(path, entities, suffix, is_here)


def parse(name: str) -> tuple[dict[str, str], str]:
    """Return the entities and the suffix of a name without its extension.

    A name that is none of BIDS, such as ``t2_seg``, has neither.

    >>> parse("sub-01_ses-a_acq-ax_T2w")
    ({'sub': '01', 'ses': 'a', 'acq': 'ax'}, 'T2w')
    """
    *parts, suffix = name.split("_")
    found = [_ENTITY.fullmatch(part) for part in parts]
    entities = {match[1]: match[2] for match in found if match}
    if len(entities) < len(parts) or "sub" not in entities or not _SUFFIX.fullmatch(suffix):
        return {}, ""
    return entities, suffix


def ordered(entities: Mapping[str, str]) -> str:
    """Return entities as the beginning of a name, in the order that BIDS has for them.

    Those that BIDS does not know stand where they were given, before space and what follows it.
    """
    known = list(ENTITIES.values())
    late = known[known.index("space") :]
    early = [name for name in entities if name not in late]
    if all(name in known for name in early):
        early.sort(key=known.index)
    names = [*early, *(name for name in late if name in entities)]
    return "_".join(f"{name}-{entities[name]}" for name in names)
