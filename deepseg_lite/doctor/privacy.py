"""Privacy: reports are pasted in public, so they name neither the user nor what is secret."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path

_TOO_COMMON = ("root", "user", "home", "data", "work", "runner", "ubuntu")


def without_names(text: str) -> str:
    """Return a text with the user's home folder as ``~`` and the user's name as ``USER``."""
    for folder in _homes():
        text = re.sub(rf"{re.escape(folder)}(?![\w.-])", "~", text)
    for name in _users():
        text = re.sub(rf"(?<![\w.-]){re.escape(name)}(?![\w-])", "USER", text)
    return text


def _homes() -> list[str]:
    """Return the ways to write the home folder, the longest first; a root is none."""
    found = {os.path.expanduser("~"), os.environ.get("HOME", "")}
    with suppress(OSError, RuntimeError):
        found.add(str(Path.home().resolve()))
    return sorted((home for home in found if len(Path(home).parts) > 1), key=len, reverse=True)


def _users() -> set[str]:
    names = {os.environ.get(name, "") for name in ("USER", "LOGNAME", "USERNAME", "SUDO_USER")}
    return {name for name in names if len(name) > 2 and name.lower() not in _TOO_COMMON}
