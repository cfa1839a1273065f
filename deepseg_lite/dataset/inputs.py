"""Inputs: what a user names, a data set, a folder, a pattern or a list, as images."""

from __future__ import annotations

import csv
import glob
import io
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from deepseg_lite.dataset.choosing import (
    Channel,
    Wanted,
    cases_of,
    images_of,
    tell_lone_sidecars,
)
from deepseg_lite.dataset.names import Image, parse
from deepseg_lite.dataset.walking import File, is_bids, list_files
from deepseg_lite.errors import ImageError, OptionError, reason
from deepseg_lite.nifti.names import is_image_name, stem
from deepseg_lite.notice import Notice, Warn, log
from deepseg_lite.text import shown

LISTS = (".txt", ".tsv")
_RECORD_BYTES = 1 << 20
Find = Callable[[Sequence[Channel], Wanted, Warn], list["Found"]]


@dataclass(frozen=True)
class Found:
    """Images of one case.

    Attributes
    ----------
    id : str
        Path of the first image without its extension, relative to the input, with forward slashes:
        where results go, and what the case is called.
    paths : tuple of paths
        One per channel.
    """

    id: str
    paths: tuple[Path, ...]


@dataclass(frozen=True)
class Source:
    """Input, listed once for all tasks.

    Attributes
    ----------
    root : Path
        Folder that the names of its cases are relative to.
    bids : bool
        Whether it is a BIDS data set.
    find : callable
        ``find(channels, wanted, warn)`` gives the cases of a model with such channels.
    """

    root: Path
    bids: bool
    find: Find


def read_input(word: str, out: Path, warn: Warn = log) -> Source:
    """Return the source that a word names.

    Parameters
    ----------
    word : str
        A BIDS data set; any other folder, of which all images are taken that are no results; a
        pattern such as ``'sub-*/anat/*.nii.gz'``; a list of images, one a line (``.txt``); or a
        table with a column for each channel (``.tsv``). Paths in lists are relative to the list.
    out : Path
        Folder of the results, which is not listed.
    warn : callable
        Told of what is doubtful.

    Raises
    ------
    ImageError
        If there is no such thing, or it cannot be read.
    """
    path = Path(word)
    if path.is_dir():
        return _of_folder(path, out, warn)
    if path.suffix.lower() in LISTS and path.is_file():
        return _of_list(path, warn)
    if path.is_file() and is_image_name(path):
        return _of_files(path.parent, [path])
    if not os.path.lexists(path) and glob.has_magic(word):
        return _of_pattern(word, out)
    what = "is no folder, pattern or list" if path.exists() else "does not exist"
    raise ImageError(
        f"{shown(word)} {what}; give a BIDS data set, a folder of images, a pattern in quotes, or "
        "a list (.txt, .tsv)."
    )


def _of_folder(root: Path, out: Path, warn: Warn) -> Source:
    bids = is_bids(root)
    files = list(list_files(root, bids=bids, without=[out], warn=warn))
    files = [
        file
        for file in files
        if (bids and parse(stem(file.path))[1]) or not _is_result(root / file.path)
    ]
    images = images_of(files, warn)
    if bids:
        tell_lone_sidecars(files, images, warn)
    return Source(root, bids, partial(_find, root, images, bids))


def _find(
    root: Path,
    images: Sequence[Image],
    bids: bool,
    channels: Sequence[Channel],
    wanted: Wanted,
    warn: Warn = log,
) -> list[Found]:
    cases = cases_of(images, channels, wanted, bids=bids, warn=warn)
    return [Found(case[0].id, tuple(root / image.path for image in case)) for case in cases]


def _is_result(path: Path) -> bool:
    """Return whether the record beside an image says that it is a result of ours."""
    if not is_image_name(path):
        return False
    record = path.with_name(f"{stem(path)}.json")
    try:
        if record.stat().st_size > _RECORD_BYTES:
            return False
        document = json.loads(record.read_bytes())
        return any(maker["Name"] == "deepseg-lite" for maker in document["GeneratedBy"])
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return False


def _of_pattern(word: str, out: Path) -> Source:
    """Return the images of a pattern; the part before its first special sign is the root."""
    parts = Path(word).parts
    fixed = next(i for i, part in enumerate(parts) if glob.has_magic(part))
    root = Path(*parts[:fixed])
    results = os.path.realpath(out)
    found = [
        path
        for path in map(Path, sorted(glob.glob(word, recursive=True)))
        if is_image_name(path)
        and not os.path.realpath(path).startswith(results + os.sep)
        and not _is_result(path)
    ]
    if not found:
        raise ImageError(
            f"{shown(word)} matches no .nii or .nii.gz images; give a pattern in quotes, such as "
            "'data/*/*_T2w.nii.gz'."
        )
    return _of_files(root, found)


def _of_files(root: Path, paths: Sequence[Path]) -> Source:
    """Return certain images below a folder."""
    files = [File(path.relative_to(root).as_posix(), path.exists()) for path in paths]

    def find(channels: Sequence[Channel], wanted: Wanted, warn: Warn = log) -> list[Found]:
        return _find(root, images_of(files, warn), False, channels, wanted, warn)

    return Source(root, False, find)


def _of_list(file: Path, warn: Warn) -> Source:
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ImageError(
            f"{shown(file)} cannot be read ({reason(error)}); give a list as text in UTF-8."
        ) from error
    if file.suffix.lower() == ".tsv":
        return Source(file.parent, False, partial(_find_rows, file, _rows(file, text)))
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    rows = [{"": line.strip()} for line in lines]
    return Source(file.parent, False, partial(_find_rows, file, rows))


def _rows(file: Path, text: str) -> list[dict[str, str]]:
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter="\t", quoting=csv.QUOTE_NONE)
    rows = [{key: (value or "").strip() for key, value in row.items() if key} for row in reader]
    if not rows:
        raise ImageError(
            f"{shown(file)} has no rows; a first line with the names of the channels is needed, "
            "and a line of images for each case."
        )
    return rows


def _find_rows(
    file: Path,
    rows: Sequence[Mapping[str, str]],
    channels: Sequence[Channel],
    wanted: Wanted,
    warn: Warn = log,
) -> list[Found]:
    """Return the cases of a list; its only column needs no name."""
    names = [channel.name for channel in channels]
    if len(names) == 1 and len(columns := list(rows[0]) if rows else []) == 1:
        names = columns
    if rows and (missing := [name for name in names if name not in rows[0]]):
        raise OptionError(
            f"{shown(file)} has no column {missing[0]}; a column for each of "
            f"{', '.join(channel.name for channel in channels)} is needed."
        )
    cases: dict[str, Found] = {}
    for row in rows:
        case = _found(file.parent, [row[name] for name in names])
        other = cases.setdefault(case.id, case)
        if other.paths != case.paths:
            raise OptionError(
                f"{shown(case.paths[0])} and {shown(other.paths[0])} would both be called "
                f"{shown(case.id)}; put the list into a folder above them, or rename one."
            )
    if twice := len(rows) - len(cases):
        text = f"{twice} lines are there twice, and taken once."
        warn(Notice("listed-twice", text, str(file), {"lines": twice}))
    return [case for case in cases.values() if wanted.takes(_named(case))]


def _found(root: Path, names: Sequence[str]) -> Found:
    """Return a case of a list; it is called by where its first image lies.

    Below the list's folder that is its path; elsewhere its subject, session and folder, or its name
    alone.
    """
    paths = tuple(root / name for name in names)
    try:
        place = Path(os.path.abspath(paths[0])).relative_to(os.path.abspath(root))
    except ValueError:
        entities, _ = parse(stem(paths[0]))
        folders = [f"{key}-{entities[key]}" for key in ("sub", "ses") if key in entities]
        place = Path(*folders, *([paths[0].parent.name] if folders else []), paths[0].name)
    return Found(place.with_name(stem(place)).as_posix(), paths)


def _named(case: Found) -> Image:
    entities, suffix = parse(case.id.rpartition("/")[2])
    return Image(f"{case.id}.nii.gz", entities, suffix)
