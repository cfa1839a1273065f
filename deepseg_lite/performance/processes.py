"""Python processes that measure: started, listened to, and never left behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from typing import Any

from deepseg_lite.errors import DeepsegError, ProviderError

BLAS = ("OMP", "OPENBLAS", "MKL")  # as the command line limits them
THREAD_VARIABLES = (*(f"{name}_NUM_THREADS" for name in BLAS), "VECLIB_MAXIMUM_THREADS")


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
    DeepsegError
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
            raise DeepsegError(_problem(process.returncode, errors.read()))
    return last


def _problem(code: int, errors: str) -> str:
    """Say in one line how a process ended."""
    if code < 0:
        return (
            f"the process that measured was ended by signal {-code}, as it is where there is not "
            "enough memory; give a smaller image."
        )
    last = (errors.strip().splitlines() or ["it said nothing"])[-1]
    return f"the process that measured ended with exit code {code} ({last}); please report this."


def in_new_process(module: str, *arguments: str, what: str) -> Any:
    """Run a module in a new process and return the JSON document that is its last line.

    Parameters
    ----------
    module : str
        What ``python -m`` is given.
    *arguments : str
        The module's own.
    what : str
        What it measures, for an error.

    Raises
    ------
    ProviderError
        If the process fails, and why.
    """
    command = [sys.executable, "-m", module, *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise ProviderError(
            f"{what} could not be measured on this machine ({reason}); free some memory or choose "
            "another device, or plan with `no_calibrate`."
        )
    return json.loads(done.stdout.splitlines()[-1])
