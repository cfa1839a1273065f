"""Supervisor: runs jobs in processes that may die without taking others' results along."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from queue import Empty, SimpleQueue
from typing import Any

from deepseg_lite.dataset.crew import Crew, Left, Worker
from deepseg_lite.dataset.deaths import Death
from deepseg_lite.dataset.job import FAILED, Job, Outcome, add_to_log, grouped, in_order
from deepseg_lite.errors import ProviderError

LOOK_S = 0.2
"""Seconds until it is asked again whether to stop."""
EARLY_DEATHS = 15
"""Processes that may die before there is any result at all."""
IDLE_DEATHS = 5
"""Processes that may die one after another before any of them has begun a job."""


class _Losses:
    """Jobs whose processes died: how often each was under way then, and those to try alone."""

    def __init__(self) -> None:
        self.tries: Counter[str] = Counter()
        self.deaths: dict[str, Death] = {}
        self.again: deque[Job] = deque()

    def add(self, left: Left, death: Death) -> None:
        """Add the jobs of a process that were, or may have been, what ended it."""
        self.tries.update(job.id for job in left.tried)
        for job in (*left.tried, *left.doubtful):
            _note(job, death)
            self.deaths[job.id] = death
            self.again.append(replace(job, keeps_images=False))


def supervise(
    jobs: Iterable[Job], crew: Crew, stop: Callable[[], bool] = lambda: False
) -> Iterator[Outcome]:
    """Run jobs in processes; one that dies is replaced, and its job is tried again alone.

    That is done after all others, one at a time in a process of its own, with no other beside it.
    A job whose process dies then, too, has failed. Jobs that waited in a process that died, read
    or not, are run as if nothing had been; one that was read or written beside networks is run
    alone, and that does not count against it.

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

    Raises
    ------
    ProviderError
        If processes die before there is any result, or before they have begun a job.

    Notes
    -----
    Whatever ends the iteration ends the processes.
    """
    losses = _Losses()
    yield from _round(deque(grouped(jobs)), crew, stop, losses)
    alone = replace(crew, workers=1, overlap=False)
    while losses.again:
        job = losses.again.popleft()
        tries = losses.tries[job.id]
        if tries >= crew.tries:
            yield _failed(job, losses.deaths[job.id], tries)
        elif not stop():
            for outcome in _round(deque([[job]]), alone, stop, losses):
                yield replace(outcome, attempts=tries + 1)


def _round(
    groups: deque[list[Job]], crew: Crew, stop: Callable[[], bool], losses: _Losses
) -> Iterator[Outcome]:
    """Run groups of jobs; those that may have ended their process go to the losses."""
    heard: SimpleQueue[tuple[Worker, dict[str, Any] | None]] = SimpleQueue()
    workers = [Worker(crew, heard) for _ in range(min(crew.workers, len(groups)))]
    stopped, results, deaths, idle = False, 0, 0, 0
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
            if message is None:
                workers.remove(worker)
                death, left = worker.close(), worker.left()
                if worker.jobs and not stopped:
                    losses.add(left, death)
                    groups.extendleft(reversed([*grouped(in_order(left.waiting))]))
                    deaths, idle = deaths + 1, 0 if left.tried else idle + 1
                if groups:
                    if idle >= IDLE_DEATHS or (not results and deaths >= EARLY_DEATHS):
                        raise ProviderError(_hopeless(idle, deaths, death))
                    workers.append(Worker(crew, heard))
                continue
            worker.hear(message)
            if "outcome" in message:
                outcome = Outcome.from_dict(message["outcome"])
                worker.forget(outcome.id)
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
        able = [worker for worker in workers if worker.takes_jobs]
        worker = min(able, key=lambda each: len(each.jobs), default=None)
        if worker is None or len(worker.jobs) >= ahead:
            return
        for job in groups.popleft():
            worker.send(job)
    for worker in workers:
        worker.end()


def _hopeless(idle: int, deaths: int, death: Death) -> str:
    before = "they began a job" if idle >= IDLE_DEATHS else "there was any result"
    count = idle if idle >= IDLE_DEATHS else deaths
    return f"{count} processes died before {before}, so no more are started: {death}"


def _note(job: Job, death: Death) -> None:
    with suppress(OSError):
        add_to_log(job, f"{job.task}: {', '.join(job.images)}", str(death), death.last_words)


def _failed(job: Job, death: Death, attempts: int) -> Outcome:
    error = f"{job.images[0]}: {death}"
    return Outcome(job.id, FAILED, error, death.kind, attempts=attempts, signal=death.signal)
