"""Worker: a process that runs the jobs it is sent, and ends with the one that sends them.

``python -m deepseg_lite.dataset.worker`` is that process. Its one argument is a JSON object, the
keywords of `run_jobs`. It reads messages from its standard input, one JSON object a line, and
writes messages to its standard output; what libraries print goes to standard error.
"""

from __future__ import annotations

import ctypes
import faulthandler
import json
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict
from queue import SimpleQueue
from threading import Event, Lock, Thread
from time import monotonic
from typing import Any

from deepseg_lite.dataset.job import Job
from deepseg_lite.dataset.running import Hooks, run_jobs
from deepseg_lite.leftovers import ended_by_signals
from deepseg_lite.machine import share_one_heap

ALIVE_S = 1.0
"""Seconds between signs of life, at least."""
_PARENT_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of prctl(2)


class Line:
    """Line to the supervisor: jobs come in, outcomes and signs of life go out."""

    def __init__(self) -> None:
        self._out = os.fdopen(os.dup(1), "w", encoding="utf-8")
        os.dup2(2, 1)  # what a library prints is no message
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        self._stopped, self._lock, self._told = Event(), Lock(), 0.0
        Thread(target=self._listen, daemon=True).start()

    def jobs(self) -> Iterator[Job]:
        """Yield jobs as they come, until there are no more."""
        while (job := self._jobs.get()) is not None:
            yield job

    def is_stopped(self) -> bool:
        """Return whether the run is to stop."""
        return self._stopped.is_set()

    def tell(self, name: str, content: Any) -> None:
        """Send a message."""
        with self._lock:
            self._told = monotonic()
            self._out.write(json.dumps({name: content}) + "\n")
            self._out.flush()

    def alive(self) -> None:
        """Send a sign of life, now and then."""
        if monotonic() - self._told > ALIVE_S:
            self.tell("alive", None)

    def step(self, job: str, name: str) -> None:
        """Say how far a job is, so that its process can die and others' jobs are not blamed."""
        self.tell("step", [job, name])

    def _listen(self) -> None:
        """Take messages; where they end the supervisor is gone, and this process has no use."""
        with os.fdopen(0, "rb", buffering=0) as given:
            for line in iter(given.readline, b""):
                message = json.loads(line)
                if "stop" in message:
                    self._stopped.set()
                if "job" in message:
                    self._jobs.put(Job.from_dict(message["job"]))
                else:
                    self._jobs.put(None)
        os._exit(1)


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when its parent ends, where it can: on Linux."""
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PARENT_DEATH_SIGNAL, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)


def main() -> None:
    """Run the jobs that come."""
    given = json.loads(sys.argv[1])
    die_with_parent(given.pop("parent"))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the supervisor decides
    faulthandler.enable()
    share_one_heap()
    code = 0
    try:
        with ended_by_signals():
            line = Line()
            line.tell("alive", None)
            hooks = Hooks(line.is_stopped, line.alive, line.step)
            for outcome in run_jobs(line.jobs(), **given, hooks=hooks):
                line.tell("outcome", asdict(outcome))
    except SystemExit as end:
        code = int(end.code or 0)
    except BrokenPipeError:
        code = 1
    except BaseException:
        sys.excepthook(*sys.exc_info())
        code = 1
    sys.stderr.flush()
    os._exit(code)  # at once: engines take their time to fold up


if __name__ == "__main__":
    main()
