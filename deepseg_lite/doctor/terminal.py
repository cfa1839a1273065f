"""Terminal: what the two streams can show."""

from __future__ import annotations

import locale
import os
import shutil
import sys
from collections.abc import Iterator
from typing import TextIO

from deepseg_lite.doctor.finding import Finding, note, ok

_SIGNS = "µ → é 脊"
"""What names of files and results may hold."""


def check_streams(out: TextIO | None = None, errors: TextIO | None = None) -> Iterator[Finding]:
    """Say what standard output and standard error are, and whether they show every sign."""
    for name, stream in (("output", out or sys.stdout), ("errors", errors or sys.stderr)):
        if stream is None or stream.closed:
            yield note(name, "is closed", "Lead it to a file or a terminal to see messages.")
            continue
        encoding = getattr(stream, "encoding", None) or "unknown"
        kind = _kind(stream)
        if _shows(encoding):
            yield ok(name, f"{kind}, {encoding}")
        else:
            yield note(
                name,
                f"{kind}, {encoding}, which cannot show all names; they are escaped",
                "Set PYTHONUTF8=1, or LC_ALL=C.UTF-8.",
            )
    yield ok("locale", f"{_locale()}, files' names in {sys.getfilesystemencoding()}")


def _kind(stream: TextIO) -> str:
    """Return what a stream leads to, and how a terminal shows it."""
    if not stream.isatty():
        return "no terminal, so without bars and questions"
    terminal = os.environ.get("TERM") or "unknown"
    is_plain = terminal == "dumb" or os.environ.get("NO_COLOR")
    colour = "without colour" if is_plain else "colour"
    return f"terminal {terminal}, {shutil.get_terminal_size().columns} columns, {colour}"


def _shows(encoding: str) -> bool:
    try:
        _SIGNS.encode(encoding)
    except (LookupError, UnicodeError):
        return False
    return True


def _locale() -> str:
    name, encoding = locale.getlocale()
    return f"{name or 'C'}.{encoding}" if encoding else name or "C"
