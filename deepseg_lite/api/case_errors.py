"""Errors of a case: whatever goes wrong in one belongs to it, and says so."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from traceback import clear_frames

from deepseg_lite.errors import Cancelled, CaseError, DeepsegError, OutOfMemoryError, reason
from deepseg_lite.text import printable


@contextmanager
def errors_of(image: Path) -> Iterator[None]:
    """Turn every error into a `DeepsegError` that names the case by its first image.

    The arrays of the functions that failed are let go: other cases need the memory.
    """
    try:
        yield
    except Exception as error:
        clear_frames(error.__traceback__)
        if isinstance(error, Cancelled):
            raise
        if isinstance(error, DeepsegError):
            if printable(image.name) not in str(error):
                error.args = (f"{image}: {error.args[0]}", *error.args[1:])
            raise
        if isinstance(error, MemoryError):
            raise OutOfMemoryError(
                f"{image}: out of memory; give `max_ram`, fewer `threads` or a smaller image."
            ) from error
        raise CaseError(
            f"{image}: {type(error).__name__}: {reason(error)}; this is a fault of deepseg_lite, "
            "please report it."
        ) from error
