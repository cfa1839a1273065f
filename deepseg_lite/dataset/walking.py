"""Walker: the files of a data set, in a fixed order."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from stat import S_ISDIR
from typing import NamedTuple

from deepseg_lite.errors import ImageError, reason
from deepseg_lite.notice import Notice, Warn, log
from deepseg_lite.text import shown

DESCRIPTION = "dataset_description.json"


class File(NamedTuple):
    """File of a data set: its path relative to that, and whether it is here or a broken link."""

    path: str
    is_here: bool


def is_bids(root: Path) -> bool:
    """Return whether a folder looks like a BIDS data set: it has subjects, or says it is one."""
    if (root / DESCRIPTION).is_file():
        return True
    try:
        with os.scandir(root) as entries:
            return any(entry.name.startswith("sub-") and entry.is_dir() for entry in entries)
    except OSError as error:
        raise ImageError(
            f"{shown(root)} cannot be listed ({reason(error)}); give a folder you may read."
        ) from error


def list_files(
    root: Path, *, bids: bool, without: Collection[Path] = (), warn: Warn = log
) -> Iterator[File]:
    """Yield the files below a folder, sorted by name, folder by folder.

    Of a BIDS data set the subjects alone are walked, and what its ``.bidsignore`` names is left
    out. Hidden files and folders are none of a data set. Links to folders are followed, but never
    back to a folder they are in.

    Parameters
    ----------
    root : Path
        The folder.
    bids : bool
        Whether it is a BIDS data set.
    without : collection of paths
        Folders that are left out, such as that of the results.
    warn : callable
        Told of folders that cannot be listed, and of links that lead in a circle.
    """
    ignores = _ignored_by(root / ".bidsignore") if bids else None
    left_out = {key for path in without if (key := _key(path)) is not None}

    def walk(folder: str) -> Iterator[File]:
        try:
            with os.scandir(root / folder) as listed:
                entries = sorted(listed, key=lambda entry: entry.name)
        except OSError as error:
            text = f"the folder cannot be listed ({reason(error)}), so its images are left out."
            warn(Notice("folder-unread", text, str(root / folder)))
            return
        for entry in entries:
            path = f"{folder}/{entry.name}" if folder else entry.name
            if entry.name.startswith(".") or (ignores is not None and ignores(path)):
                continue
            if not entry.is_dir():
                if folder or not bids:
                    yield File(path, not entry.is_symlink() or os.path.exists(entry.path))
                continue
            is_no_subject = bids and not folder and not entry.name.startswith("sub-")
            if is_no_subject or (left_out and _key(entry.path) in left_out):
                continue
            if entry.is_symlink() and _leads_back(root, path):
                text = "the link leads back to a folder around it, and is not followed."
                warn(Notice("link-circle", text, str(root / path)))
                continue
            yield from walk(path)

    yield from walk("")


def _leads_back(root: Path, link: str) -> bool:
    """Return whether a link is to one of the folders that a walk from ``root`` went through."""
    key, here = _key(root / link), root / link
    while here != root:
        here = here.parent
        if _key(here) == key:
            return True
    return False


def _key(path: Path | str) -> tuple[int, int] | None:
    """Return what a folder is known by, whatever links lead to it: its device and number."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return (found.st_dev, found.st_ino) if S_ISDIR(found.st_mode) else None


def _ignored_by(file: Path) -> Callable[[str], bool] | None:
    """Return a function that says whether a file names a relative path, as ``.gitignore`` does."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return None
    rules = [(line[0] != "!", _rule(line.lstrip("!"))) for line in lines if _is_rule(line)]

    def ignores(path: str) -> bool:
        is_ignored = False
        for says_so, rule in rules:
            if rule.match(path):
                is_ignored = says_so
        return is_ignored

    return ignores if rules else None


def _is_rule(line: str) -> bool:
    return bool(line.strip()) and not line.startswith("#")


def _rule(pattern: str) -> re.Pattern[str]:
    """Return a line of ``.gitignore`` as an expression for relative paths."""
    pattern = pattern.strip()
    start = "" if "/" in pattern.rstrip("/") else r"(?:.*/)?"
    parts = re.split(r"(\*\*/|/\*\*|\*|\?)", pattern.strip("/"))
    known = {"**/": "(?:.*/)?", "/**": "/.*", "*": "[^/]*", "?": "[^/]"}
    return re.compile(
        start + "".join(known.get(part) or re.escape(part) for part in parts) + r"(?:/|$)"
    )
