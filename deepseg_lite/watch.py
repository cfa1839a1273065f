"""Watches: progress, cancellation, notices and the seconds of a run's stages."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from time import perf_counter
from typing import TypeVar

from deepseg_lite.errors import Cancelled
from deepseg_lite.notice import Notice, Warn, log

T = TypeVar("T")
A = TypeVar("A")
Progress = Callable[[int, int], None]
"""Called with what is done and how much there is in all: patches, bytes, passes."""

Cancel = Callable[[], bool]
"""Asked after every batch of patches; True stops the run."""


class Watch:
    """A watch over one run; it says nothing and stops nothing by default.

    Parameters
    ----------
    progress : callable, optional
        Told the patches done.
    cancel : callable, optional
        Asked after every batch of patches.
    notify : callable, optional
        Told of notices; they are logged by default.

    Attributes
    ----------
    seconds : dict
        Seconds of each stage; of stages of one name the sum.
    file : str or None
        Image that notices are about if they do not say it.
    notices : list of Notice
        What was doubtful, in the order in which it was found.
    agreements : dict or None
        How far members agree, by their kind and the name of the label; None where nobody asks, and
        members are not compared.
    progress, cancel, notify : callable or None
        As given.
    """

    def __init__(
        self,
        progress: Progress | None = None,
        cancel: Cancel | None = None,
        notify: Warn | None = None,
    ) -> None:
        self.file: str | None = None
        self.seconds: dict[str, float] = {}
        self.notices: list[Notice] = []
        self.agreements: dict[str, dict[str, float]] | None = None
        self.progress = progress
        self.cancel = cancel
        self.notify = notify or log

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the seconds of what is done inside to a stage."""
        started = perf_counter()
        yield
        spent = perf_counter() - started
        self.seconds[name] = round(self.seconds.get(name, 0.0) + spent, 4)

    def warn(self, notice: Notice) -> None:
        """Keep a notice, and log it; what was said once is not said again."""
        if notice.file is None:
            notice = replace(notice, file=self.file)
        if notice not in self.notices:
            self.notices.append(notice)
            self.notify(notice)

    def inner(self, *, tells_progress: bool = True) -> Watch:
        """Return the watch over a model that runs inside this run; its stages are its own."""
        inner = Watch(self.progress if tells_progress else None, self.cancel, self.notify)
        inner.notices, inner.file = self.notices, self.file
        return inner

    def opened(self, networks: Iterable[T]) -> Iterator[T]:
        """Yield networks as they are opened."""
        yield from networks

    def called(self, network: Callable[[A], A]) -> Callable[[A], A]:
        """Return a network as it is to be called."""
        return network

    def count_patches(self, total: int) -> Callable[[int], None]:
        """Return a function that is told how many more patches of so many are done.

        Raises
        ------
        Cancelled
            The function does, when the run is to stop.
        """
        done = 0

        def on_patches(count: int) -> None:
            nonlocal done
            done += count
            if self.progress is not None:
                self.progress(done, total)
            if self.cancel is not None and self.cancel():
                raise Cancelled("cancelled by the caller; nothing was written.")

        return on_patches
