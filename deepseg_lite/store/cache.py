"""Places of bundles: the models that ship with the package, and the local cache.

The cache is ``<home>/bundles/<name>/``: a bundle's files as they are anywhere else, its card, and
``source.json`` that says where it came from. Nothing here uses the network.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

from deepseg_lite import atomic, leftovers
from deepseg_lite.bundles.files import MANIFEST_NAME
from deepseg_lite.errors import BundleNotFoundError, DeepsegError, OutputError

SOURCE_NAME = "source.json"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_NO_HOME = Path(os.sep, "nonexistent")


def models_directory() -> Path:
    """Return the folder of task directories: inside the wheel, or the checkout's ``models/``."""
    package = Path(str(files("deepseg_lite")))
    shipped = package / "_models"
    return shipped if shipped.is_dir() else package.parent / "models"


def home() -> Path:
    """Return the local cache: ``DEEPSEG_LITE_HOME``, or a folder in the platform's cache."""
    if chosen := os.environ.get("DEEPSEG_LITE_HOME"):
        return _NO_HOME / "deepseg_lite" if _is_lost(chosen) else Path(chosen).expanduser()
    user = _NO_HOME if _is_lost("~") else Path.home()
    if sys.platform == "win32":
        caches = Path(os.environ.get("LOCALAPPDATA") or user / "AppData" / "Local")
    elif sys.platform == "darwin":
        caches = user / "Library" / "Caches"
    else:
        caches = Path(os.environ.get("XDG_CACHE_HOME") or user / ".cache")
    return caches / "deepseg_lite"


def _is_lost(path: str) -> bool:
    """Return whether a path names a home folder that the system does not know, as in containers."""
    return path.startswith("~") and not os.path.isabs(os.path.expanduser(path))


def bundle_directory(name: str) -> Path:
    """Return where the cache keeps the bundle of that name, whether it is there or not."""
    return home() / "bundles" / name


def is_name(name: str) -> bool:
    """Return whether a bundle may have that name; such a name is one plain folder."""
    return len(name) <= 100 and _NAME.fullmatch(name) is not None


def locate(name: str) -> Path | None:
    """Return the directory of an installed bundle; None when the cache has none of that name."""
    if not is_name(name):
        return None
    directory = bundle_directory(name)
    leftovers.sweep(directory.parent)  # where a killed process may have put it aside
    return directory if os.path.isfile(directory / MANIFEST_NAME) else None


def bundle_names() -> list[str]:
    """Return the names of the bundles in the cache, sorted."""
    manifests = (home() / "bundles").glob(f"*/{MANIFEST_NAME}")
    return sorted(file.parent.name for file in manifests if is_name(file.parent.name))


def source_of(directory: Path) -> Mapping[str, Any]:
    """Return where a bundle of the cache came from; empty when nobody wrote that down."""
    try:
        record = json.loads((directory / SOURCE_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def remove(name: str) -> int:
    """Remove a bundle from the cache.

    Returns
    -------
    freed : int
        Bytes of its files.

    Raises
    ------
    BundleNotFoundError
        If the cache has no bundle of that name. Nothing outside the cache is ever removed.
    OutputError
        If it cannot be removed.
    """
    directory = bundle_directory(name)
    if locate(name) is None:
        raise _missing(name)
    with workplace(directory) as work, leftovers.locked(directory.parent):
        if locate(name) is None:  # another process was faster
            raise _missing(name)
        size = sum(file.stat().st_size for file in directory.rglob("*") if file.is_file())
        # Gone at once for whoever looks, also if it is a link.
        directory.rename(work / "removed")
    return size


def _missing(name: str) -> BundleNotFoundError:
    return BundleNotFoundError(f"{name} is not in {home() / 'bundles'}; nothing was removed.")


@contextmanager
def workplace(target: Path) -> Iterator[Path]:
    """Give a working folder beside ``target``, on its file system; it never outlives the block.

    Those of processes that were killed go first.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with leftovers.working_folder(target.parent) as work:
            yield work
    except OSError as error:
        if isinstance(error, DeepsegError):
            raise
        raise OutputError(
            f"{target.parent} cannot be changed: {error.strerror or error}. Set DEEPSEG_LITE_HOME "
            "to a folder you may write."
        ) from error


def put(staged: Path, target: Path, *, keep: Callable[[], bool]) -> None:
    """Move a folder of a `workplace` to ``target``; what is there is reachable until then.

    Parameters
    ----------
    staged : Path
        Complete folder.
    target : Path
        Where it goes.
    keep : callable
        Asked when there is something at ``target``, such as the bundle of a process that was
        faster: whether that stays.
    """
    atomic.install(staged, target, keep=keep)
