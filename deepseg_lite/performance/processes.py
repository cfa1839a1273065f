"""Child processes that measure."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from deepseg_lite import processes
from deepseg_lite.errors import DeepsegError
from deepseg_lite.failures import says_no_memory

BLAS = ("OMP", "OPENBLAS", "MKL")  # as the command line limits them
THREAD_VARIABLES = (*(f"{name}_NUM_THREADS" for name in BLAS), "VECLIB_MAXIMUM_THREADS")


class ProcessError(DeepsegError):
    """Failure of a process that measured.

    Attributes
    ----------
    reason : str
        The last line of what it said, or the signal that ended it.
    """

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


def run_module(
    module: str,
    *arguments: str,
    blas_threads: int,
    on_line: Callable[[dict[str, Any]], None] = lambda line: None,
) -> dict[str, Any]:
    """Run a module that prints JSON objects, one a line, and return the last.

    Parameters
    ----------
    module : str
        Name of the module.
    *arguments : str
        What it is given.
    blas_threads : int
        Threads of numpy's matrix products.
    on_line : callable
        Told of every object but the last, when the next comes.

    Raises
    ------
    ProcessError
        If the process fails or is killed.

    Notes
    -----
    Whatever ends the wait, an interrupt too, ends the process.
    """
    limits = dict.fromkeys(THREAD_VARIABLES, str(blas_threads))
    last: dict[str, Any] = {}

    def take(line: dict[str, Any]) -> None:
        nonlocal last
        if last:
            on_line(last)
        last = line

    ended = processes.run_module(module, *arguments, environment=limits, on_line=take)
    if ended.code:
        raise _problem(*ended)
    return last


def _problem(code: int, errors: str) -> ProcessError:
    """Say in one line how a process ended."""
    if code < 0:
        reason = f"ended by signal {-code}"
        advice = "as it is where there is not enough memory; give a smaller image."
        return ProcessError(f"the process that measured was {reason}, {advice}", reason)
    last = (errors.strip().splitlines() or ["it said nothing"])[-1]
    reason = re.sub(r"^deepseg_lite\.errors\.\w+: ", "", last).rstrip(".")
    message = f"the process that measured ended with exit code {code} ({reason})"
    advice = "free some memory" if says_no_memory(reason) else "please report this"
    return ProcessError(f"{message}; {advice}.", reason)
