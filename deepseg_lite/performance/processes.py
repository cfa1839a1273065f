"""Child processes that measure and print JSON."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from typing import Any

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
    # Without a safe path, files in the user's folder would hide modules of the same name.
    limits = {"PYTHONSAFEPATH": "1", **dict.fromkeys(THREAD_VARIABLES, str(blas_threads))}
    with tempfile.TemporaryFile(mode="w+") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env={**os.environ, **limits},
        )
        assert process.stdout is not None
        last: dict[str, Any] = {}
        try:
            for line in process.stdout:
                if not line.startswith("{"):  # libraries may print, too
                    continue
                if last:
                    on_line(last)
                last = json.loads(line)
            process.wait()
        finally:
            process.kill()
            process.wait()
            process.stdout.close()
        if process.returncode:
            errors.seek(0)
            raise _problem(process.returncode, errors.read())
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
