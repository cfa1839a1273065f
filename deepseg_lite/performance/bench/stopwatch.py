"""Stopwatch: a watch over runs that also times every call of a network."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Lock
from time import perf_counter
from typing import TypeVar

from deepseg_lite.bundles.networks import Network
from deepseg_lite.performance.bench.figures import STAGES
from deepseg_lite.watch import Watch

T = TypeVar("T")
A = TypeVar("A")
OPEN, PREDICT, READ = "open", "predict", "load"
"""Stages of a run that a benchmark divides or calls otherwise: opening networks in the sliding
window, all of the sliding window, and reading images."""


@dataclass(frozen=True)
class Call:
    """One call of a network: its patches, the voxels of each, and wall seconds."""

    network: Network
    patches: int
    voxels: int
    seconds: float


class Stopwatch(Watch):
    """Seconds per stage and calls of networks since the last `take`, from any thread."""

    def __init__(self) -> None:
        super().__init__()
        self._calls: list[Call] = []
        self._lock = Lock()

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the seconds of what is done inside to a stage of the benchmark."""
        started = perf_counter()
        try:
            yield
        finally:
            self.add("read" if name == READ else name, perf_counter() - started)

    def inner(self, *, tells_progress: bool = True) -> Watch:
        """Return this stopwatch: models that run inside a run count as it."""
        return self

    def opened(self, networks: Iterable[T]) -> Iterator[T]:
        """Yield networks; the time of opening them is a stage."""
        waiting = iter(networks)
        while True:
            with self.stage(OPEN):
                try:
                    network = next(waiting)
                except StopIteration:
                    return
            yield network
            del network  # so that it can go before the next one is opened

    def called(self, network: Callable[[A], A]) -> Callable[[A], A]:
        """Return a network whose calls are noted."""
        row: Network = network.network  # type: ignore[attr-defined]

        def call(patches: A) -> A:
            started = perf_counter()
            scores = network(patches)
            seconds = perf_counter() - started
            count, voxels = len(patches), patches[0, 0].size  # type: ignore[arg-type,index]
            with self._lock:
                self._calls.append(Call(row, count, voxels, seconds))
            return scores

        return call

    def add(self, stage: str, seconds: float) -> None:
        """Add to a stage."""
        with self._lock:
            self.seconds[stage] = self.seconds.get(stage, 0.0) + seconds

    def take(self, wall: float) -> tuple[dict[str, float], list[Call]]:
        """Return the seconds of every stage and the calls of a run, and begin anew.

        ``wall`` are the seconds of the run. What the other stages leave of them is ``other``;
        nothing is left where stages overlap.
        """
        found, calls = self.seconds, self._calls
        self.seconds, self._calls = {}, []
        found["network"] = sum(call.seconds for call in calls)
        opening = found.pop(OPEN, 0.0)
        found["load"] = found.get("load", 0.0) + opening
        found["blend"] = max(0.0, found.pop(PREDICT, 0.0) - found["network"] - opening)
        stages = {stage: found.get(stage, 0.0) for stage in STAGES}
        return {**stages, "other": max(0.0, wall - sum(stages.values()))}, calls
