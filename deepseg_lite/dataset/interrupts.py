"""Interrupts of long runs: the first asks to stop, the second stops at once."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event
from types import FrameType


@contextmanager
def stopped_by_interrupt(tell: Callable[[], None] = lambda: None) -> Iterator[Callable[[], bool]]:
    """Give a function that says whether Ctrl-C was pressed; pressed again, it interrupts.

    Parameters
    ----------
    tell : callable
        Called at the first.

    Notes
    -----
    Handlers are the main thread's; in others the function says False, and an interrupt is one.
    """
    asked = Event()
    before = signal.getsignal(signal.SIGINT)

    def note(number: int, frame: FrameType | None) -> None:
        asked.set()
        signal.signal(signal.SIGINT, before)
        tell()

    try:
        signal.signal(signal.SIGINT, note)
    except ValueError:  # not in the main thread
        yield asked.is_set
        return
    try:
        yield asked.is_set
    finally:
        signal.signal(signal.SIGINT, before)
