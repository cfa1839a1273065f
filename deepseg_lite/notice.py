"""Notices: warnings as values, for stderr, the record of a run and callers in Python."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_logger = logging.getLogger("deepseg_lite")


EMPTY = "empty"
"""Code of a result in which nothing was found."""
STRUCTURE_EMPTY = "structure-empty"
"""Code of a result in which one structure of several was not found."""


@dataclass(frozen=True)
class Notice:
    """Warning: something doubtful that a run went on with.

    Attributes
    ----------
    code : str
        What kind it is, for programs; ``docs/users/warnings.md`` lists them.
    text : str
        One sentence or two: what was found, what was assumed, what to do.
    file : str or None
        The image it is about.
    figures : mapping
        The numbers in the text.
    """

    code: str
    text: str
    file: str | None = None
    figures: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.file}: {self.text}" if self.file else self.text

    def record(self) -> dict[str, Any]:
        """Return it as a record of a run holds it: the file by its name alone."""
        name = Path(self.file).name if self.file else None
        return {"code": self.code, "text": self.text, "file": name, "figures": dict(self.figures)}


Warn = Callable[[Notice], None]
"""Told of every notice as it arises."""


def ignore(notice: Notice) -> None:
    """Do nothing: somebody else tells of it."""


def log(notice: Notice) -> None:
    """Tell of a notice in the log: on stderr, from the command line."""
    _logger.warning("%s", notice)
