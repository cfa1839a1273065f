"""Files that came in part: kept by the SHA-256 of their content, so that a later fetch goes on.

They are in ``<home>/partial/<sha256>/``. One process at a time receives a file there; the lock is
the system's and goes with the process, however it ends.
"""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from deepseg_lite.store.cache import home

KEPT_S = 7 * 24 * 3600
TURN_S = 0.2


def partial_directory() -> Path:
    """Return where files are until they are complete."""
    return home() / "partial"


@contextmanager
def receiving(sha256: str, otherwise: Path) -> Iterator[Path]:
    """Give a folder to receive a file in, which stays if the block ends early.

    Parameters
    ----------
    sha256 : str
        Of the whole file.
    otherwise : Path
        Folder to give where another process receives the same file.
    """
    with _alone(partial_directory() / f"{sha256}.lock") as is_alone:
        if not is_alone:
            yield otherwise
            return
        folder = partial_directory() / sha256
        yield folder
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def in_turn(name: str, waits: Callable[[], None]) -> Iterator[None]:
    """Be the only process that does what has a name; wait while another one is at it.

    Where files cannot be locked, all go on.

    Parameters
    ----------
    name : str
        A file's name.
    waits : callable
        Called once if another process is at it.
    """
    is_told = False
    while True:
        with _alone(partial_directory() / f"{name}.lock") as is_alone:
            if is_alone is not False:
                yield
                return
        if not is_told:
            waits()
            is_told = True
        time.sleep(TURN_S)


def sweep() -> None:
    """Remove what nobody went on with for a week."""
    with suppress(OSError):
        for path in partial_directory().iterdir():
            with suppress(OSError):
                if time.time() - _changed(path) > KEPT_S:
                    shutil.rmtree(path) if path.is_dir() else path.unlink()


def _changed(path: Path) -> float:
    """Return when a file, or any in a folder, was changed last."""
    return max(each.stat().st_mtime for each in (path, *path.rglob("*")))


@contextmanager
def _alone(lock: Path) -> Iterator[bool | None]:
    """Hold a lock if nobody does; give whether it is held, or None where there are no locks."""
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        lock.touch()  # so that it is not swept
        file = lock.open("ab")
    except OSError:  # whoever writes next says what is wrong
        yield None
        return
    with file:
        yield _locked(file.fileno())


def _locked(handle: int) -> bool | None:
    """Lock a file until it is closed; False where another process or thread has it."""
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except OSError:  # such as a network's file system
        return None
    return True
