"""Child processes that print JSON objects, and end with whoever started them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, NamedTuple

PATIENCE_S = 10.0
"""Seconds that a process has to clean up in, once it is told to end."""


class Ended(NamedTuple):
    """How a process ended: its exit code, or minus the signal, and what it said on stderr."""

    code: int
    errors: str


def run_module(
    module: str,
    *arguments: str,
    environment: Mapping[str, str],
    on_line: Callable[[dict[str, Any]], None],
) -> Ended:
    """Run a module that prints JSON objects, one a line; other lines are left out.

    Parameters
    ----------
    module : str
        Name of the module.
    *arguments : str
        What it is given.
    environment : mapping of str to str
        Variables besides those of this process.
    on_line : callable
        Told of every object, as it comes.

    Notes
    -----
    Whatever ends the wait, an interrupt too, ends the process. Its stdin is open as long as this
    process is there, see `end_with_parent`.
    """
    # Without a safe path, files in the user's folder would hide modules of the same name.
    variables = {**os.environ, "PYTHONSAFEPATH": "1", **environment}
    with tempfile.TemporaryFile(mode="w+", encoding="utf-8", errors="replace") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            encoding="utf-8",
            errors="replace",
            env=variables,
        )
        assert process.stdout is not None
        try:
            for line in process.stdout:
                if (found := _object(line)) is not None:
                    on_line(found)
            process.wait()
        finally:
            _end(process)
        errors.seek(0)
        return Ended(process.returncode, errors.read())


def _object(line: str) -> dict[str, Any] | None:
    """Return the JSON object of a line; None where it is something else, as libraries print."""
    if line.startswith("{"):
        with suppress(ValueError):
            found: dict[str, Any] = json.loads(line)
            return found
    return None


def _end(process: subprocess.Popen[str]) -> None:
    """End a process that may still be running: asked first, killed if it does not."""
    try:
        process.terminate()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()
        with suppress(subprocess.TimeoutExpired):
            process.wait(PATIENCE_S)
    finally:
        process.kill()
        process.wait()


def end_with_parent() -> None:
    """Have this process end with the one that started it by `run_module`, also if that is killed.

    Its stdin ends then. It is told to end as by SIGTERM, and killed if it does not.
    """
    threading.Thread(target=_watch, args=(sys.stdin.fileno(),), daemon=True).start()


def _watch(stdin: int) -> None:
    with suppress(OSError):
        while os.read(stdin, 1 << 12):
            pass
    os.kill(os.getpid(), signal.SIGTERM)
    threading.Event().wait(PATIENCE_S)
    os._exit(128 + signal.SIGTERM)
