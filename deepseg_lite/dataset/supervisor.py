"""Supervisor: runs jobs in processes that may die without taking others' results along."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from queue import Empty, SimpleQueue
from threading import Thread
from time import monotonic
from typing import Any

from deepseg_lite.dataset.deaths import Death, memory_kills
from deepseg_lite.dataset.job import FAILED, Job, Outcome, add_to_log, grouped
from deepseg_lite.errors import ProviderError
from deepseg_lite.performance.processes import THREAD_VARIABLES

MODULE = "deepseg_lite.dataset.worker"
AHEAD = 3
"""Jobs a worker has that overlap: one that is written, one in the networks, one to prepare."""
LOOK_S = 0.2
"""Seconds until it is asked again whether to stop."""
GRACE_S = 2.0
"""Seconds that processes have to remove their working files when they are ended."""
START_S = 120.0
"""Seconds that a process has to start, whatever the time limit of jobs is."""
EARLY_DEATHS = 5
"""Processes that may die before there is any result at all."""
LAST_WORDS = 4000
"""Characters of standard error that are kept of a process that died."""


@dataclass(frozen=True)
class Crew:
    """Processes to run jobs in.

    Attributes
    ----------
    workers : int
        Processes at the same time.
    threads : int or None
        CPU threads of each; None leaves it to the jobs.
    overlap : bool
        Whether a process prepares its next job while networks run.
    time_limit : float or None
        Seconds without a sign of life after which a process counts as hung.
    tries : int
        Times a job is begun, at most, where its process dies.
    """

    workers: int = 1
    threads: int | None = None
    overlap: bool = True
    time_limit: float | None = None
    tries: int = 2

    @property
    def ahead(self) -> int:
        """Jobs that a worker is given at once."""
        return AHEAD if self.overlap else 1


class Worker:
    """Process of `deepseg_lite.dataset.worker`, and the jobs it has.

    Parameters
    ----------
    crew : Crew
        What it belongs to.
    heard : queue
        Gets what it says, as pairs of the worker and a message; None at its end.
    """

    def __init__(
        self, crew: Crew, heard: SimpleQueue[tuple[Worker, dict[str, Any] | None]]
    ) -> None:
        given = {"threads": crew.threads, "overlap": crew.overlap, "parent": os.getpid()}
        limits = {"PYTHONSAFEPATH": "1", **dict.fromkeys(THREAD_VARIABLES, "1")}
        self.jobs: dict[str, Job] = {}
        self.silent_s: float | None = None
        self._heard_at, self._has_started, self._ended = monotonic(), False, False
        self._kills = memory_kills()
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `close`
        self._process = subprocess.Popen(
            [sys.executable, "-m", MODULE, json.dumps(given)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env={**os.environ, **limits},
            start_new_session=True,  # Ctrl-C is for the supervisor
        )
        self._heard = heard
        self._listener = Thread(target=self._listen, daemon=True)
        self._listener.start()

    @property
    def pid(self) -> int:
        """Number of the process."""
        return self._process.pid

    def send(self, job: Job) -> None:
        """Give it a job."""
        self.jobs[job.id] = job
        self._tell({"job": asdict(job)})

    def end(self, *, stop: bool = False) -> None:
        """Have it end after its jobs, or before networks of another run."""
        if stop or not self._ended:
            self._ended = True
            self._tell({"stop" if stop else "end": True})

    def hear(self) -> None:
        """Note a sign of life."""
        self._heard_at, self._has_started = monotonic(), True

    def end_if_silent(self, time_limit: float | None) -> None:
        """Kill it if it has jobs, and gave no sign of life for longer than it may."""
        if time_limit is None or not self.jobs or self.silent_s is not None:
            return
        limit = time_limit if self._has_started else max(START_S, time_limit)
        if monotonic() - self._heard_at > limit:
            self.silent_s = limit
            self._process.kill()

    def terminate(self) -> None:
        """Have it end now, without its working files."""
        self._process.terminate()

    def close(self) -> Death:
        """Wait for its end, which is soon, and return how it ended."""
        try:
            code = self._process.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        self._listener.join()
        for stream in (self._process.stdin, self._process.stdout):
            with suppress(OSError):
                assert stream is not None
                stream.close()
        self._errors.seek(max(0, self._errors.seek(0, os.SEEK_END) - LAST_WORDS))
        words = self._errors.read().decode("utf-8", "replace")
        self._errors.close()
        kills = memory_kills()
        for_memory = None not in (kills, self._kills) and kills != self._kills
        return Death(code, for_memory and code < 0, self.silent_s, words)

    def _tell(self, message: Mapping[str, Any]) -> None:
        with suppress(OSError):  # it has ended, which its listener says
            assert self._process.stdin is not None
            self._process.stdin.write(json.dumps(message).encode() + b"\n")
            self._process.stdin.flush()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with suppress(ValueError):  # half a line of a process that died
                self._heard.put((self, json.loads(line)))
        self._heard.put((self, None))


def supervise(
    jobs: Iterable[Job], crew: Crew, stop: Callable[[], bool] = lambda: False
) -> Iterator[Outcome]:
    """Run jobs in processes; one that dies is replaced, and its jobs are tried again alone.

    That is done after all others, one at a time in a process of its own, with no other beside it.
    A job whose process dies then, too, has failed.

    Parameters
    ----------
    jobs : iterable of Job
        Those of the same images, in the order of `in_order`, go to the same process.
    crew : Crew
        The processes.
    stop : callable
        Asked now and then; True ends the run after the networks that run.

    Yields
    ------
    outcome : Outcome
        Of each job, in the order in which they end; those that were to stop have none.

    Notes
    -----
    Whatever ends the iteration ends the processes.
    """
    lost: list[tuple[Job, Death]] = []
    yield from _round(deque(grouped(jobs)), crew, stop, lost)
    alone = replace(crew, workers=1, overlap=False)
    for attempt in range(2, crew.tries + 1):
        again, lost = lost, []
        for job, _ in again:
            if stop():
                return
            job = replace(job, keeps_images=False)
            for outcome in _round(deque([[job]]), alone, stop, lost):
                yield replace(outcome, attempts=attempt)
    for job, death in lost:
        yield _failed(job, death, crew.tries)


def _round(
    groups: deque[list[Job]],
    crew: Crew,
    stop: Callable[[], bool],
    lost: list[tuple[Job, Death]],
) -> Iterator[Outcome]:
    """Run groups of jobs; those whose process died go to ``lost``."""
    heard: SimpleQueue[tuple[Worker, dict[str, Any] | None]] = SimpleQueue()
    workers = [Worker(crew, heard) for _ in range(min(crew.workers, len(groups)))]
    stopped, results, deaths = False, 0, 0
    try:
        while workers:
            if not stopped and stop():
                stopped = True
                groups.clear()
                for worker in workers:
                    worker.end(stop=True)
            _deal(groups, workers, crew.ahead)
            try:
                worker, message = heard.get(timeout=LOOK_S)
            except Empty:
                for worker in workers:
                    worker.end_if_silent(crew.time_limit)
                continue
            worker.hear()
            if message is None:
                workers.remove(worker)
                death = worker.close()
                for job in worker.jobs.values():
                    _note(job, death)
                lost += [] if stopped else [(job, death) for job in worker.jobs.values()]
                deaths += bool(worker.jobs)
                if groups and not results and deaths >= EARLY_DEATHS:
                    raise ProviderError(_hopeless(deaths, death))
                if groups:
                    workers.append(Worker(crew, heard))
            elif "outcome" in message:
                outcome = Outcome.from_dict(message["outcome"])
                del worker.jobs[outcome.id]
                results += 1
                yield outcome
    finally:
        for worker in workers:
            worker.terminate()
        for worker in workers:
            worker.close()


def _deal(groups: deque[list[Job]], workers: list[Worker], ahead: int) -> None:
    """Give jobs to those that have the fewest, and tell all when there are no more."""
    while groups:
        able = [worker for worker in workers if worker.silent_s is None]
        worker = min(able, key=lambda each: len(each.jobs), default=None)
        if worker is None or len(worker.jobs) >= ahead:
            return
        for job in groups.popleft():
            worker.send(job)
    for worker in workers:
        worker.end()


def _hopeless(deaths: int, death: Death) -> str:
    return f"{deaths} processes died before there was any result, so no more are started: {death}"


def _note(job: Job, death: Death) -> None:
    with suppress(OSError):
        add_to_log(job, f"{job.task}: {', '.join(job.images)}", str(death), death.last_words)


def _failed(job: Job, death: Death, attempts: int) -> Outcome:
    error = f"{job.images[0]}: {death}"
    return Outcome(job.id, FAILED, error, death.kind, attempts=attempts, signal=death.signal)
