"""Leftovers: working files that tell their owner, and the removal of what the gone have left.

Whatever is written has a working name until it is complete, beside the final one::

    .deepseg-lite.HOST.PID.START.RANDOM.tmp

It says which process of which host it belongs to; ``START`` tells processes apart that had the same
number. The files of a working folder are a set: each is linked to the same name beside that folder,
and what was there waits in `OLD` until all are.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import signal
import stat
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any, NoReturn

if sys.platform == "win32":
    fcntl: Any = None
else:
    import fcntl

_locked = threading.local()
"""Folders that this thread has locked."""
OLD = ".old"
FOREIGN_DAYS = 3
_NAME = re.compile(r"\.deepseg-lite\.([0-9a-f]{12})\.(\d{1,9})\.(\d{1,20})\.[0-9a-f]{8}\.tmp")


def working_name(path: Path) -> Path:
    """Return a new name beside ``path`` that tells this process; never longer than 75 bytes."""
    pid = os.getpid()
    name = f".deepseg-lite.{_host()}.{pid}.{_start(pid) or 0}.{os.urandom(4).hex()}.tmp"
    return path.with_name(name)


@contextmanager
def working_folder(folder: Path) -> Iterator[Path]:
    """Give a new working folder inside ``folder``; whatever ends the block, `discard` follows.

    What the gone have left in ``folder`` goes first.
    """
    sweep(folder)
    work = working_name(folder / "any")
    try:
        work.mkdir()
        yield work
    finally:
        discard(work)


def sweep(folder: Path) -> None:
    """Discard what processes left in a folder that surely are gone.

    Those of this host are asked for. What another host left goes when it has not changed for
    `FOREIGN_DAYS`; so does, by and by, what was there when a computer stopped.
    """
    try:
        left = [folder / name for name in os.listdir(folder) if _NAME.fullmatch(name)]
    except OSError:  # what is to be written there will say why
        return
    for path in left:
        with suppress(OSError):  # another process was faster, or may not be touched
            if _is_abandoned(path):
                discard(path)


def discard(work: Path) -> None:
    """Remove a working file or folder, and with it those files of a set that have their places.

    They stay if all are there. What a set had replaced, or was about to, is put back.
    """
    try:
        _discard(work)
    except BaseException:  # a signal or an interrupt
        _discard(work)
        raise


def _discard(work: Path) -> None:
    with suppress(OSError):
        if work.is_symlink() or not work.is_dir():
            work.unlink(missing_ok=True)
            return
        with locked(work.parent):
            if not all(map(_is_placed, _files(work))):
                undo(work)
        shutil.rmtree(work, ignore_errors=True)


def undo(work: Path) -> None:
    """Take the files of a set out of their places, and put back what was there.

    The caller holds the lock.
    """
    for file in filter(_is_placed, _files(work)):
        (work.parent / file.name).unlink()
    for replaced in _files(work / OLD):
        place = work.parent / replaced.name
        if not os.path.lexists(place):
            replaced.rename(place)


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.name != OLD] if folder.is_dir() else []


def _is_placed(file: Path) -> bool:
    """Return whether a file of a set has its place: it is linked to it, so the two are one."""
    place = file.parents[1] / file.name
    return os.path.lexists(place) and os.path.samestat(file.lstat(), place.lstat())


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Be the only process, and thread, that moves things in a folder; a thread may be so twice.

    Without effect where folders cannot be locked, as on some network file systems and Windows.
    """
    try:
        opened = os.open(folder, os.O_RDONLY)
    except OSError:  # not there, or a folder on Windows
        yield
        return
    folders: set[tuple[int, int]] = _locked.__dict__.setdefault("folders", set())
    found = os.fstat(opened)
    key = (found.st_dev, found.st_ino)
    is_first = key not in folders
    try:
        if is_first:
            with suppress(OSError, AttributeError):
                fcntl.flock(opened, fcntl.LOCK_EX)
            folders.add(key)
        yield
    finally:
        if is_first:
            folders.discard(key)
        os.close(opened)


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """Have SIGTERM and SIGHUP end the block as `sys.exit` does, so that working files go.

    The exit code is 128 and the signal's number, as a shell has it. The handlers of before return
    with the end of the block; what was ignored, as with nohup, stays ignored.
    """
    before = {}
    for name in ("SIGTERM", "SIGHUP"):  # Windows has no SIGHUP
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            with suppress(ValueError):  # not in the main thread, which alone has handlers
                before[number] = signal.signal(number, _exit)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)


def _exit(number: int, _: Any) -> NoReturn:
    sys.exit(128 + number)


def _is_abandoned(path: Path) -> bool:
    """Return whether the owner of a working file is gone, and the file ours to remove."""
    named = _NAME.fullmatch(path.name)
    assert named is not None
    found, around = path.lstat(), path.parent.stat()
    if around.st_mode & stat.S_ISVTX and found.st_uid not in (os.geteuid(), around.st_uid):
        return False  # anybody may write there, and such names may be bait
    host, pid, start = named.groups()
    if host == _host():
        return _is_gone(int(pid), int(start))
    return time.time() - _last_change(path) > FOREIGN_DAYS * 86400


def _is_gone(pid: int, start: int) -> bool:
    if os.name == "nt":  # to ask there is to end it
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except (PermissionError, OverflowError):
        pass
    return _start(pid) not in (None, start)


def _start(pid: int) -> int | None:
    """Return when a process started, in the kernel's ticks; -1 if it has ended, None if unknown."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    state, *fields = text.rpartition(")")[2].split()  # the name before may hold anything
    return -1 if state in "ZX" else int(fields[18])


def _last_change(path: Path) -> float:
    """Return when a file, or anything in a folder, was last changed."""
    inside = path.rglob("*") if path.is_dir() and not path.is_symlink() else ()
    return max(float(item.lstat().st_mtime) for item in (path, *inside))


@cache
def _host() -> str:
    """Return what tells this host, since it was started, from others; it is not its name.

    A container with processes of its own counts as a host.
    """
    facts = [platform.node()]
    with suppress(OSError):
        facts.append(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii"))
        facts.append(os.readlink("/proc/self/ns/pid"))
    return sha256("\n".join(facts).encode()).hexdigest()[:12]
