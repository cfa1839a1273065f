"""Records: what a pickle names, kept as it is described there, and never called."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from deepseg_export.reading.limits import parts_of

_SHOWN = 100


class Record:
    """Class, function or instance that a pickle describes.

    Attributes
    ----------
    name : str
        Module and name, joined by a dot.
    arguments : tuple or None
        What the pickle calls it with; None where it is only named.
    state : object
        What the pickle says of its attributes: a dictionary of them, as a rule. Items that are put
        into it, as into a dictionary or a list, are dropped.
    """

    __slots__ = ("arguments", "name", "state")

    def __init__(self, name: str, arguments: tuple[Any, ...] | None = None) -> None:
        self.name = name
        self.arguments = arguments
        self.state: Any = None

    def __repr__(self) -> str:
        """Return the name, so that a message can show it: printable, and not too long."""
        return self.name[:_SHOWN].encode("unicode_escape").decode()[:_SHOWN]


def record_parts(value: Any) -> Iterable[Any]:
    """Return what a value is made of, records included."""
    return (value.arguments, value.state) if isinstance(value, Record) else parts_of(value)


def kind_of(value: Any) -> str:
    """Return what a value is called in messages: its class, or the name of a record."""
    return repr(value) if isinstance(value, Record) else type(value).__name__
