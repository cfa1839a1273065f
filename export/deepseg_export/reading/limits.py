"""Limits on what is read, all of them said in the message of what is beyond them."""

from __future__ import annotations

import math
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from deepseg_export.errors import CheckpointError, UnsupportedError

MAX_VALUES = 2_000_000
"""Values of a document or pickle, with all that it refers to written out."""
MAX_DEPTH = 100
MAX_WHOLE = 2**63
MAX_NUMBER = 65_536
"""Largest whole number that a plan or configuration may say of a network."""
MAX_ITEMS = 1024
MAX_AXES = 32
"""Axes of an array."""
MAX_PATCH_VOXELS = 2**24


def check_file(path: Path, max_bytes: int, needed: str = "a file") -> None:
    """Refuse what is no plain file, which might never end, and what is too large.

    Raises
    ------
    CheckpointError
        If it is one of these, or cannot be looked at.
    """
    try:
        found = os.stat(path)
    except FileNotFoundError as error:
        raise CheckpointError(f"{path} does not exist; {needed} is needed.") from error
    except (OSError, ValueError) as error:
        raise unreadable(path, error) from error
    if not stat.S_ISREG(found.st_mode):
        kind = "a folder" if stat.S_ISDIR(found.st_mode) else "a pipe, socket or device"
        raise CheckpointError(f"{path} is {kind}; {needed} is needed.")
    if found.st_size > max_bytes:
        raise _too_large(path, max_bytes)


def read_file(path: Path, max_bytes: int) -> bytes:
    """Return the content of a plain file.

    Raises
    ------
    CheckpointError
        As `check_file`, or if it cannot be read.
    """
    check_file(path, max_bytes)
    try:
        with path.open("rb") as file:
            content = file.read(max_bytes + 1)
    except OSError as error:
        raise unreadable(path, error) from error
    if len(content) > max_bytes:
        raise _too_large(path, max_bytes)
    return content


def unreadable(path: Path, error: Exception) -> CheckpointError:
    """Return an error that says why a file cannot be read, in one line."""
    reason = getattr(error, "strerror", None) or str(error).strip() or type(error).__name__
    line = " ".join(reason.split())[:150].rstrip(".")
    advice = "" if isinstance(error, OSError) else "; get it again"
    return CheckpointError(f"{path} cannot be read: {line}{advice}.")


def parts_of(value: Any) -> Iterable[Any]:
    """Return what a value is made of; nothing for a plain one."""
    if isinstance(value, Mapping):
        return (*value.keys(), *value.values())
    return value if isinstance(value, (list, tuple, set)) else ()


def check_tree(value: Any, path: Path, parts: Callable[[Any], Iterable[Any]] = parts_of) -> None:
    """Refuse values that are too many, too deep or too large once they are written out.

    Parameters
    ----------
    value : object
        What was parsed. Values that are in several places, or in themselves, count each time.
    path : Path
        The file, for messages.
    parts : callable
        What a value is made of.

    Raises
    ------
    CheckpointError
        If it is beyond a limit.
    """
    level, count = [value], 0
    for _ in range(MAX_DEPTH):
        below: list[Any] = []
        for item in level:
            if type(item) is int and abs(item) >= MAX_WHOLE:
                raise CheckpointError(f"{path} holds a number beyond {MAX_WHOLE}; refused.")
            below.extend(parts(item))
            if count + len(below) > MAX_VALUES:
                raise CheckpointError(
                    f"{path} holds more than {MAX_VALUES} values when its references are written "
                    "out; refused."
                )
        if not below:
            return
        level, count = below, count + len(below)
    raise CheckpointError(f"{path} is nested deeper than {MAX_DEPTH} levels; refused.")


def check_numbers(value: Any) -> None:
    """Refuse numbers and lists beyond those of any network, before one is built of them.

    Parameters
    ----------
    value : object
        Of plain values, no more than `check_tree` accepts.

    Raises
    ------
    UnsupportedError
        Naming what is too large.
    """
    left = [("", value)]
    while left:
        name, item = left.pop()
        if isinstance(item, (int, float)) and abs(item) > MAX_NUMBER:
            raise UnsupportedError(f"{name} is {item:.6g}; {MAX_NUMBER} is the most")
        if isinstance(item, (list, tuple)) and len(item) > MAX_ITEMS:
            raise UnsupportedError(f"{name} has {len(item)} items; {MAX_ITEMS} are the most")
        if isinstance(item, Mapping):
            left += [(str(key)[:80], below) for key, below in item.items()]
        elif isinstance(item, (list, tuple)):
            left += [(name, below) for below in item]


def check_patch(sizes: Sequence[int | None]) -> None:
    """Refuse patches that no machine computes; None is an axis of any size.

    Raises
    ------
    UnsupportedError
        If they have too many voxels.
    """
    voxels = math.prod(max(1, int(size)) for size in sizes if size is not None)
    if voxels > MAX_PATCH_VOXELS:
        raise UnsupportedError(
            f"a patch of {' x '.join(str(size)[:12] for size in sizes[:4])} has more than the "
            f"{MAX_PATCH_VOXELS} voxels that are accepted"
        )


@contextmanager
def limited_memory(more_bytes: int) -> Iterator[None]:
    """Have this process fail to get memory beyond what it has and so much more.

    For native code that computes what a stranger's file says: it reports a failed allocation, and
    the machine stays usable. Without effect where the system keeps no such account.
    """
    try:
        import resource

        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    except (ImportError, OSError, ValueError):
        yield
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    most = pages * resource.getpagesize() + more_bytes
    if soft != resource.RLIM_INFINITY:
        most = min(most, soft)
    resource.setrlimit(resource.RLIMIT_AS, (most, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _too_large(path: Path, max_bytes: int) -> CheckpointError:
    return CheckpointError(f"{path} has more than the {max_bytes} bytes that are read; refused.")
