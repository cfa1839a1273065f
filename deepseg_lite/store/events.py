"""Events of a conversion that runs in a process of its own, as it tells them to its caller.

Each is a JSON object in a line of stdout, one of::

    {"event": "begins", "text": ...}                  the next thing that takes time, in words
    {"event": "progress", "done": ..., "total": ...}  bytes of the download that began last
    {"event": "warning", "text": ...}
    {"event": "error", "kind": ..., "text": ...}      why it ends, and the exception's class

The exit code is 0 if all went well.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from deepseg_lite import errors
from deepseg_lite.errors import ConversionError, DeepsegError


def tell(event: str, **facts: Any) -> None:
    """Print an event."""
    print(json.dumps({"event": event, **facts}), flush=True)


@dataclass
class Listener:
    """What a caller does about events; ``error`` is why the process ended, once it said so.

    Attributes
    ----------
    begins, warning : callable
        Given a text.
    progress : callable
        Given bytes received and bytes in all.
    """

    begins: Callable[[str], None]
    warning: Callable[[str], None]
    progress: Callable[[int, int], None]
    error: DeepsegError | None = None

    def hear(self, facts: Mapping[str, Any]) -> None:
        """Do what is to be done about an event; one of another form is none."""
        match facts:
            case {"event": "begins", "text": str(text)}:
                self.begins(text)
            case {"event": "progress", "done": int(done), "total": int(total)}:
                self.progress(done, total)
            case {"event": "warning", "text": str(text)}:
                self.warning(text)
            case {"event": "error", "kind": str(kind), "text": str(text)}:
                self.error = _class_of(kind)(text)


def _class_of(name: str) -> type[DeepsegError]:
    """Return the class of an error: the runtime's of that name, or that of all others."""
    found = getattr(errors, name, None)
    is_error = isinstance(found, type) and issubclass(found, DeepsegError)
    return found if is_error and found is not DeepsegError else ConversionError  # type: ignore
