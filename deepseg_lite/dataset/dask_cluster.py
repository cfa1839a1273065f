"""Dask cluster: the same jobs on workers of dask.distributed, on one machine or on many."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Lock
from time import monotonic
from typing import Any

import dask
from distributed import Client, Future, KilledWorker, LocalCluster

from deepseg_lite.dataset.deaths import LESS_MEMORY
from deepseg_lite.dataset.job import FAILED, Job, Outcome, grouped
from deepseg_lite.dataset.running import Models, run_jobs
from deepseg_lite.dataset.sizing import cores
from deepseg_lite.errors import CaseError, NetworkError, OptionError, reason

_logger = logging.getLogger("deepseg_lite")
CONNECT_S = 30
"""Seconds to wait for a scheduler."""
PATIENCE_S = 600.0
"""Seconds to wait for workers, when there are none."""
LOOK_S = 0.5
"""Seconds until the cluster is looked at again."""
_CONFIG = {
    # With the default of 15 s, and workers that start slowly, a cluster ends without any worker.
    "distributed.deploy.lost-worker-timeout": f"{PATIENCE_S:.0f}s",
    "distributed.comm.timeouts.connect": f"{CONNECT_S}s",
    # Of schedulers that are started here: no job waits in a worker that may die, and one whose
    # worker died twice is tried alone.
    "distributed.scheduler.allowed-failures": 1,
    "distributed.scheduler.worker-saturation": 1.0,
}
_lock = Lock()
_models: dict[int, Models] = {}


def work(jobs: list[dict[str, Any]], threads: int | None, sharers: int) -> list[dict[str, Any]]:
    """Run jobs of the same images in a worker, whose models stay in memory.

    It runs in the worker. One runs at a time, however many threads the worker has.

    Parameters
    ----------
    jobs : list of dict
        The jobs.
    threads : int or None
        CPU threads; None for the worker's share of its machine.
    sharers : int
        Workers on a machine, at most.
    """
    threads = threads or max(1, cores() // sharers)
    with _lock:
        models = _models.setdefault(threads, Models(threads))
        given = (Job.from_dict(job) for job in jobs)
        return [asdict(outcome) for outcome in run_jobs(given, overlap=False, models=models)]


def run_on_cluster(
    jobs: Iterable[Job],
    scheduler: str,
    *,
    threads: int | None = None,
    stop: Callable[[], bool] = lambda: False,
    patience_s: float = PATIENCE_S,
) -> Iterator[Outcome]:
    """Run jobs on a Dask cluster; what they write must be reachable under the same paths there.

    A worker that dies, or a machine that goes, gives its jobs to others. Jobs whose workers died
    again and again are tried once more alone, after all others: a job that was only beside such a
    one is done then, and one that ends its worker each time has failed.

    Parameters
    ----------
    jobs : iterable of Job
        Those of the same images, in the order of `in_order`, go to the same worker.
    scheduler : str
        ``tcp://HOST:PORT``, the path of a scheduler file, or ``local:N`` for N workers here.
    threads : int, optional
        CPU threads of a worker, by default its share of its machine.
    stop : callable
        Asked now and then; True ends the run after the jobs that run.
    patience_s : float
        Seconds without any worker after which the run ends.

    Yields
    ------
    outcome : Outcome
        Of each job, in the order in which they end; those that were to stop have none.

    Raises
    ------
    OptionError
        If ``scheduler`` is none of the three.
    NetworkError
        If the scheduler cannot be reached, goes away, or has no workers. What was written stays.
    """
    run = _Run(scheduler, threads, stop, patience_s)
    with dask.config.set(_CONFIG), _connected(scheduler) as client:
        lost: list[Job] = []
        yield from run.collected(client, list(grouped(jobs)), lost)
        for job in lost:
            if stop():
                return
            died: list[Job] = []
            for outcome in run.collected(client, [[job]], died):
                yield replace(outcome, attempts=2)
            if died:
                text = f"{job.images[0]}: its worker died each time it ran this case. {LESS_MEMORY}"
                yield Outcome(job.id, FAILED, text, CaseError.__name__, attempts=2)


@contextmanager
def _connected(scheduler: str) -> Iterator[Client]:
    """Give a client of a scheduler; a cluster that was started for it ends with it."""
    with ExitStack() as stack:
        given: dict[str, Any]
        if match := re.fullmatch(r"local:([1-9]\d*)", scheduler):
            cluster = LocalCluster(
                n_workers=int(match[1]),
                threads_per_worker=1,
                memory_limit=0,
                dashboard_address="127.0.0.1:0",  # None takes 8787
                silence_logs=logging.CRITICAL,
            )
            given = {"address": stack.enter_context(cluster)}
        elif re.fullmatch(r"(tcp|tls|ucx|wss?)://.+:\d+", scheduler):
            given = {"address": scheduler}
        elif Path(scheduler).is_file():
            given = {"scheduler_file": scheduler}
        else:
            raise OptionError(
                f"scheduler={scheduler} is neither an address nor a file that is there; give "
                "tcp://HOST:PORT, a scheduler file, or local:2 for two workers here."
            )
        try:
            client = Client(**given, timeout=CONNECT_S, set_as_default=False)
        except (OSError, ValueError) as error:
            raise NetworkError(
                f"the scheduler {scheduler} cannot be reached ({reason(error)}); start it, or "
                "check address and firewall."
            ) from error
        stack.callback(_close, client)
        yield client


def _close(client: Client) -> None:
    with suppress(Exception):  # whatever state it is in, the run is over
        client.close(timeout=5)


@dataclass(frozen=True)
class _Run:
    """A run on a cluster; see `run_on_cluster`."""

    scheduler: str
    threads: int | None
    stop: Callable[[], bool]
    patience_s: float

    def collected(
        self, client: Client, groups: list[list[Job]], lost: list[Job]
    ) -> Iterator[Outcome]:
        """Yield the outcomes of groups as they come; those whose workers died go to ``lost``."""
        done: SimpleQueue[Future] = SimpleQueue()
        waiting: dict[str, tuple[Future, list[Job]]] = {}
        sharers = max(Counter(_hosts(client)).values(), default=1)
        for group in groups:
            given = [asdict(job) for job in group]
            future = client.submit(work, given, self.threads, sharers, pure=False, retries=1)
            waiting[future.key] = (future, group)
            future.add_done_callback(done.put)
        stopped, seen = False, monotonic()
        while waiting:
            if not stopped and self.stop():
                stopped = True
                _cancel_idle(client, waiting)
                continue
            try:
                future = done.get(timeout=LOOK_S)
            except Empty:
                seen = self._look(client, seen, len(waiting))
                continue
            if future.key not in waiting or future.cancelled():
                continue  # by a stop; or with the scheduler, as the client's state says soon
            _, group = waiting.pop(future.key)
            error = future.exception()
            if error is None:
                yield from map(Outcome.from_dict, future.result())
            elif isinstance(error, KilledWorker):
                lost += group
            else:
                yield from _failed(group, error)

    def _look(self, client: Client, seen: float, open_cases: int) -> float:
        """Return when there last were workers, unless the cluster is gone or has none."""
        kept = f"{open_cases} cases are open. Start"
        if client.status != "running":
            raise NetworkError(
                f"the scheduler {self.scheduler} is gone; {kept} it again and repeat the command, "
                "which goes on where this one ended."
            )
        if _hosts(client):
            return monotonic()
        if monotonic() - seen > self.patience_s:
            raise NetworkError(
                f"{self.scheduler} had no workers for {self.patience_s:g} s; {kept} workers and "
                "repeat the command."
            )
        return seen


def _hosts(client: Client) -> list[str]:
    """Return the host of each worker; none where the scheduler does not answer."""
    try:
        return [address.rpartition(":")[0] for address in client.nthreads()]
    except (OSError, ValueError):  # gone: so is the client's state, soon
        return []


def _cancel_idle(client: Client, waiting: dict[str, tuple[Future, list[Job]]]) -> None:
    """Forget the jobs that no worker runs."""
    running = {key for keys in client.processing().values() for key in keys}
    idle = [key for key in waiting if key not in running]
    client.cancel([waiting.pop(key)[0] for key in idle])


def _failed(group: list[Job], error: BaseException) -> Iterator[Outcome]:
    text = (
        f"its worker could not run it ({type(error).__name__}: {reason(error)}); install the same "
        "deepseg_lite there."
    )
    for job in group:
        yield Outcome(job.id, FAILED, f"{job.images[0]}: {text}", CaseError.__name__)
