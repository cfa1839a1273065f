"""Files and folders that appear whole or not at all, and stay when the power fails."""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path

from deepseg_lite import leftovers
from deepseg_lite.errors import OutputError, reason

_NAME_BYTES = 255
_HERE, _EXCHANGE = -100, 2  # AT_FDCWD and RENAME_EXCHANGE of Linux


def write_files(
    contents: Mapping[Path, bytes], *, overwrite: bool = False, synced: bool = True
) -> None:
    """Write files so that either all of them appear whole or none does.

    The last of them stands for the others, as a record does: it never is beside files of another
    set, also when the process is killed. What a killed process has placed of a set is undone by
    the next that writes in the folder.

    Parameters
    ----------
    contents : mapping of path to bytes
        The files, in folders that are there.
    overwrite : bool
        Whether files that are there are replaced; of links the link is, never what it points to.
    synced : bool
        Whether they are on the disk before they have their names, if `is_synced`.

    Raises
    ------
    OutputError
        If there is a file already, a folder is missing or not writable, or the disk is full;
        nothing is left behind.
    """
    path, works, staged = next(iter(contents)), {}, {}
    try:
        with ExitStack() as stack:
            for path, data in contents.items():
                folder = Path(os.path.realpath(path.parent))
                if folder not in works:
                    works[folder] = stack.enter_context(leftovers.working_folder(folder))
                staged[path] = works[folder] / path.name
                with staged[path].open("xb") as file:
                    file.write(data)
                    file.flush()
                    if synced:
                        _sync(file.fileno())
            for folder in sorted(works):
                stack.enter_context(leftovers.locked(folder))
            for path in reversed(staged):
                _set_aside(path, staged[path].parent, overwrite=overwrite)
            with ExitStack() as failed:
                for work in works.values():
                    failed.callback(leftovers.undo, work)
                for path, part in staged.items():
                    if not _link(part, path):
                        part.rename(path)
                        failed.callback(path.rename, part)
                for folder in works if synced else ():
                    _sync_folder(folder)
                failed.pop_all()
    except OSError as error:
        raise OutputError(_problem(path, error)) from error


def install(staged: Path, target: Path, *, keep: Callable[[], bool] = lambda: False) -> bool:
    """Move a file or folder from a working folder to its place beside that folder.

    What is there is reachable until the new one is, in one step where the system has it. Else it
    goes aside first, and a process that is killed between has the next sweep put it back.

    Parameters
    ----------
    staged : Path
        Complete file or folder.
    target : Path
        Its place, in the folder that the working folder is in.
    keep : callable
        Asked when there is something: whether that stays.

    Returns
    -------
    installed : bool
        Whether it was moved.
    """
    work = target.parent / staged.relative_to(target.parent).parts[0]
    _sync_tree(staged)
    with leftovers.locked(target.parent):
        is_there = os.path.lexists(target)
        if is_there and keep():
            return False
        if not (is_there and _exchange(staged, target)):
            if is_there:
                target.rename(_replaced(target, work))
            staged.rename(target)
        _sync_folder(target.parent)
    return True


def _exchange(one: Path, other: Path) -> bool:
    """Exchange two names in one step; return False where the system cannot."""
    names = os.fsencode(one), os.fsencode(other)
    try:
        call = ctypes.CDLL(None).renameat2
    except (OSError, TypeError, AttributeError):  # not Linux
        return False
    return bool(call(_HERE, names[0], _HERE, names[1], _EXCHANGE) == 0)


def is_synced() -> bool:
    """Return whether files are on the disk before they have their names; it takes milliseconds."""
    return os.environ.get("DEEPSEG_LITE_FSYNC", "1") != "0"


def _sync(opened: int) -> None:
    """Have an open file on the disk."""
    if is_synced():
        os.fsync(opened)


def _sync_folder(folder: Path) -> None:
    """Have the names in a folder on the disk, where that can be asked."""
    if not is_synced() or os.name == "nt":
        return
    try:
        opened = os.open(folder, os.O_RDONLY)
    except PermissionError:  # files may be made there, but not listed
        return
    try:
        os.fsync(opened)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(opened)


def _sync_tree(path: Path) -> None:
    """Have a file, or a folder with all that is in it, on the disk, where that can be asked."""
    if not is_synced() or os.name == "nt" or path.is_symlink():
        return
    if path.is_dir():
        for inner in path.iterdir():
            _sync_tree(inner)
        _sync_folder(path)
        return
    with path.open("rb") as file:
        _sync(file.fileno())


def _set_aside(path: Path, work: Path, *, overwrite: bool) -> None:
    """Move what is in the place of a file to `leftovers.OLD`, if it may go."""
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if os.path.lexists(path):
        if not overwrite:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
        path.rename(_replaced(path, work))


def _replaced(path: Path, work: Path) -> Path:
    """Return where what is replaced waits, for the case that it comes back."""
    old = work / leftovers.OLD
    old.mkdir(exist_ok=True)
    return old / path.name


def _link(staged: Path, path: Path) -> bool:
    """Give a file its place, if nothing is there; return False where there are no links."""
    try:
        os.link(staged, path)
    except FileExistsError:
        raise
    except OSError:  # such as exFAT
        if os.path.lexists(path):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST)) from None
        return False
    return True


def _problem(path: Path, error: OSError) -> str:
    if isinstance(error, FileExistsError):
        return (
            f"{path} exists by now, so nothing was written; another run may write to it. Add "
            "`overwrite` or give another output."
        )
    return (
        f"{path} cannot be written ({reason(error)}); check the folder, its permissions and the "
        "free space."
    )


def check_folder(folder: Path) -> None:
    """Refuse a folder that cannot be written to, or made; it is made when there is a result."""
    nearest = _nearest(folder)
    if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
        problem = "not writable" if nearest.is_dir() else "not a folder"
        raise OutputError(
            f"{folder} cannot take results: {nearest} is {problem}; give an output folder you may "
            "write to."
        )


def check_name(path: Path) -> None:
    """Refuse a file whose name, or that of a folder to be made for it, is too long."""
    nearest = _nearest(path.parent)
    limit = _NAME_BYTES
    with suppress(OSError, ValueError, AttributeError):  # not asked on Windows
        limit = os.pathconf(nearest, "PC_NAME_MAX")
    for name in path.absolute().parts[len(nearest.parts) :]:
        if (size := len(os.fsencode(name))) > limit:
            raise OutputError(
                f"{name[:40]}... is too long a name for a file or folder: {size} bytes, {limit} "
                "are possible here; give a shorter output name."
            )


def _nearest(folder: Path) -> Path:
    """Return a folder, or the nearest above it that is there."""
    nearest = folder.absolute()
    while not os.path.exists(nearest):  # unlike Path.exists, never raises
        nearest = nearest.parent
    return nearest


def make_folder(folder: Path) -> None:
    """Make a folder and those above it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"{folder} cannot be made ({error.strerror}); give an output folder you may write to."
        ) from error
