"""Files and folders that appear whole or not at all."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from deepseg_lite.errors import OutputError, reason


def write_files(contents: Mapping[Path, bytes]) -> None:
    """Write files so that either all of them appear whole or none does.

    Raises
    ------
    OutputError
        If a folder is missing or not writable, or the disk is full; nothing is left behind.
    """
    temporary: dict[Path, Path] = {}
    path = next(iter(contents))
    try:
        for path, data in contents.items():
            if path.is_dir():  # found out before the first file is renamed
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
            handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
            temporary[path] = Path(name)
            with os.fdopen(handle, "wb") as file:
                file.write(data)
            Path(name).chmod(0o666 & ~_umask())
        for path, part in temporary.items():
            part.replace(path)
    except OSError as error:
        raise OutputError(
            f"{path} cannot be written ({reason(error)}); check the folder, its permissions and "
            "the free space."
        ) from error
    finally:
        for part in temporary.values():
            part.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def check_folder(folder: Path) -> None:
    """Refuse a folder that cannot be written to, or made; it is made when there is a result."""
    nearest = folder.absolute()
    while not os.path.exists(nearest):  # unlike Path.exists, never raises
        nearest = nearest.parent
    if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
        problem = "not writable" if nearest.is_dir() else "not a folder"
        raise OutputError(
            f"{folder} cannot take results: {nearest} is {problem}; give an output folder you may "
            "write to."
        )


def make_folder(folder: Path) -> None:
    """Make a folder and those above it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"{folder} cannot be made ({error.strerror}); give an output folder you may write to."
        ) from error
