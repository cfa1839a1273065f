"""Crew: processes of `deepseg_lite.dataset.worker`, the jobs they have, and how far these are."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from queue import SimpleQueue
from threading import Thread
from time import monotonic
from typing import Any

from deepseg_lite.dataset.deaths import Death, memory_kills
from deepseg_lite.dataset.job import Job
from deepseg_lite.dataset.running import PREDICT, WAIT
from deepseg_lite.performance.processes import THREAD_VARIABLES

MODULE = "deepseg_lite.dataset.worker"
AHEAD = 3
"""Jobs a worker has that overlap: one that is written, one in the networks, one to prepare."""
GRACE_S = 2.0
"""Seconds that processes have to remove their working files when they are ended."""
START_S = 120.0
"""Seconds that a process has to start, whatever the time limit of jobs is."""
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
        Times a job may be under way, at most, where its process dies then.
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


@dataclass(frozen=True)
class Left:
    """Jobs that a process which died has left behind.

    Attributes
    ----------
    tried : list of Job
        Under way: in networks, or where none was, in another step.
    doubtful : list of Job
        Read or written beside networks, which may have ended the process as well.
    waiting : list of Job
        Not begun, or waiting between two steps.
    """

    tried: list[Job]
    doubtful: list[Job]
    waiting: list[Job]


class Worker:
    """Process of `deepseg_lite.dataset.worker`, and the jobs it has.

    Parameters
    ----------
    crew : Crew
        What it belongs to.
    heard : queue
        Gets what it says, as pairs of the worker and a message; None at its end.

    Attributes
    ----------
    jobs : dict of str to Job
        What it has been given and has not told the outcome of.
    silent_s : float or None
        Seconds without a sign of life for which it was killed.
    """

    def __init__(
        self, crew: Crew, heard: SimpleQueue[tuple[Worker, dict[str, Any] | None]]
    ) -> None:
        given = {"threads": crew.threads, "overlap": crew.overlap, "parent": os.getpid()}
        limits = {"PYTHONSAFEPATH": "1", **dict.fromkeys(THREAD_VARIABLES, "1")}
        self.jobs: dict[str, Job] = {}
        self._steps: dict[str, str] = {}
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

    @property
    def takes_jobs(self) -> bool:
        """Whether it may be given more jobs."""
        return not self._ended and self.silent_s is None

    def send(self, job: Job) -> None:
        """Give it a job."""
        self.jobs[job.id], self._steps[job.id] = job, WAIT
        self._tell({"job": asdict(job)})

    def end(self, *, stop: bool = False) -> None:
        """Have it end after its jobs, or before networks of another run."""
        if stop or not self._ended:
            self._ended = True
            self._tell({"stop" if stop else "end": True})

    def hear(self, message: Mapping[str, Any]) -> None:
        """Note a sign of life, and how far a job is."""
        self._heard_at, self._has_started = monotonic(), True
        if "step" in message:
            job, step = message["step"]
            self._steps[job] = step

    def forget(self, job: str) -> None:
        """Take a job that has an outcome from it."""
        del self.jobs[job], self._steps[job]

    def left(self) -> Left:
        """Return the jobs that a process which died has left behind."""
        begun = [job for job in self.jobs.values() if self._steps[job.id] != WAIT]
        tried = [job for job in begun if self._steps[job.id] == PREDICT] or begun
        doubtful = [job for job in begun if job not in tried]
        return Left(tried, doubtful, [job for job in self.jobs.values() if job not in begun])

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
